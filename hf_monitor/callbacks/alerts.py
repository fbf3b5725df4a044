"""AlertCallback: says what goes wrong in a training while there is still something to be done about it."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._alert_outlets import alert_row, say, tell_wandb
from hf_monitor.callbacks._overlap import overlap_events
from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.callbacks._room import checkpoint_event, deadline_event
from hf_monitor.diagnosis.alert_thresholds import AlertThresholds, thresholds_of
from hf_monitor.diagnosis.checkpoint_files import checkpoint_files_problem
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.hardware import HARDWARE_RULES
from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.rules.base import Rule
from hf_monitor.diagnosis.watcher import Watcher, lineage, muted_of, names_of
from hf_monitor.errors import InputError
from hf_monitor.run.run_json import rows_on_disk

__all__ = ["STOPPING", "AlertCallback"]

log = logging.getLogger("hf_monitor")

STOPPING = frozenset({"nan", "divergence"})
"""Rules that may stop a training: they need only what the Trainer itself logs, so that all processes judge alike."""

_NAMES = frozenset(rule.name for rule in RULES)


class AlertCallback(TrainerCallback):
    """Watch a training, and speak when one of the rules has found something: once each, and seldom.

    Each row that is recorded is shown to the rules of :func:`hf_monitor.diagnose`. What they find goes into
    ``metrics.jsonl`` (kind ``alert``), to the console and ``train.log``, and to the W&B run that is open, if one is;
    what is only worth knowing (severity ``info``) goes into the record alone.

    A training is stopped only where `stop_on` says so, at the end of the step at which it was found. The Trainer then
    ends as after its last step: ``load_best_model_at_end`` loads the best checkpoint, ``EarlyStoppingCallback`` and all
    others see an orderly end. A checkpoint that was due at that very step is not saved: its weights are those that the
    alert is about, and ``save_total_limit`` might delete a good one for it.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    stop_on : collection of str
        Alerts that end the training: ``"nan"``, ``"divergence"``; none by default.
    thresholds : AlertThresholds or mapping of str to float, optional
        Those that are to be others: ``{"overfitting_rise": 0.1}`` (docs/alerts.md has all).
    mute : collection of str
        Rules that are left out; of those of :func:`hf_monitor.hardware_findings` also at the end of the training.
    time_limit_s : float, optional
        Seconds that the training may take from its beginning, for the rule ``time_short``; by default what the batch
        system says, where it says so (``SLURM_JOB_END_TIME``).

    Attributes
    ----------
    findings : list of Finding
        What was found in the running or last training, in order.
    stopped_by : Finding or None
        What ended the training.

    Raises
    ------
    InputError
        If a rule or threshold has no such name, or a value is no number.

    Examples
    --------
    >>> trainer.add_callback(AlertCallback(stop_on={"nan", "divergence"}))  # doctest: +SKIP
    """

    def __init__(
        self,
        run_dir: str | os.PathLike[str] | None = None,
        *,
        stop_on: Collection[str] = (),
        thresholds: AlertThresholds | Mapping[str, float] | None = None,
        mute: Collection[str] = (),
        time_limit_s: float | None = None,
    ) -> None:
        self.run_dir = run_dir
        self.stop_on = _stopping(stop_on)
        self.thresholds = thresholds_of(thresholds)
        self.mute = muted_of(mute, _NAMES | set(HARDWARE_RULES))
        if both := self.stop_on & self.mute:
            raise InputError(f"{sorted(both)[0]!r} is both in stop_on and in mute: a rule that is muted stops nothing.")
        if time_limit_s is not None and (
            isinstance(time_limit_s, bool) or not isinstance(time_limit_s, int | float) or not 0 < time_limit_s < 1e10
        ):
            raise InputError(f"time_limit_s must be a number of seconds above 0, got {time_limit_s!r}.")
        self.time_limit_s = time_limit_s
        self.stopped_by: Finding | None = None
        self._watcher: Watcher | None = None
        self._peers: Watcher | None = None  # on several processes: what all of them see alike
        self._recorder: Recorder | None = None
        self._stops = False
        self._compared: set[str] = set()  # evaluation sets that were compared with the training set
        self._saved = -1

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in order."""
        return [] if self._watcher is None else list(self._watcher.findings)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch; a training that resumes is watched with what it had before its checkpoint."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.stopped_by, self._stops, self._watcher, self._peers = None, False, None, None
        self._compared, self._saved = set(), -1
        if args.world_size > 1 and self.stop_on:
            self._peers = Watcher(
                thresholds=self.thresholds,
                rules=[rule for rule in RULES if rule.name in self.stop_on],
                on_error=self._failed,
            )
        if not state.is_world_process_zero:
            return
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        recorder = self._recorder
        recorder.alerts_of_nan = "nan" not in self.mute
        recorder.alerted = set(self.mute)
        recorder.begin(args, state, **kwargs)
        self._watcher = Watcher(
            recorder.writer.facts, thresholds=self.thresholds, mute=self.mute & _NAMES, on_error=self._failed
        )
        self._begin(args, state, control, **kwargs)

    def _failed(self, rule: Rule, error: Exception) -> None:
        report_once(self, rule.name, f"the rule {rule.name!r} failed and is left out: {described(error)}")
        log.debug("hf_monitor: traceback", exc_info=error)

    @guarded
    def _begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        assert self._recorder is not None
        assert self._watcher is not None
        writer, watcher = self._recorder.writer, self._watcher
        rows: list[Mapping[str, Any]] = [self._recorder.begin_row]
        if state.global_step:
            rows = lineage(rows_on_disk(writer.run_dir)) or rows
        for row in rows:
            watcher.see(row)
        self._recorder.alerted.update(finding.rule for finding in watcher.findings)
        self._compared = {str(row.get("name")) for row in rows if row.get("event") == "data_overlap"}
        reference = weakref.WeakMethod(self._hear)

        def on_row(row: dict[str, Any]) -> None:
            hear = reference()
            if hear is not None:
                hear(row)

        writer.on_row = on_row
        if (deadline := deadline_event(os.environ, self.time_limit_s)) is not None:
            writer.event("deadline", state.global_step, **deadline)
        self._compare(state, self._recorder.eval_dataset, **kwargs)

    def _compare(self, state: Any, evaluation: Any, **kwargs: Any) -> None:
        """Record which evaluation samples stand in the training set, once an evaluation set."""
        train = getattr(kwargs.get("train_dataloader"), "dataset", None)
        assert self._recorder is not None
        sets = evaluation if isinstance(evaluation, Mapping) else {"": evaluation}
        new = {name: dataset for name, dataset in sets.items() if _prefix(name) not in self._compared}
        if evaluation is None or not new:
            return
        self._compared |= {_prefix(name) for name in new}
        pad_id = getattr(kwargs.get("processing_class"), "pad_token_id", None)
        for values in overlap_events(train, new if isinstance(evaluation, Mapping) else evaluation, pad_id=pad_id):
            self._recorder.writer.row("event", state.global_step, values)

    def _hear(self, row: dict[str, Any]) -> None:
        """Show a row that was just written to the rules; never raises."""
        watcher, recorder = self._watcher, self._recorder
        if watcher is None or recorder is None or recorder.writer.is_copy:
            return
        kind = row.get("kind")
        try:
            if kind != "train" and kind != "timing":
                watcher.about.facts = recorder.writer.facts  # more may be known by now
            for finding in watcher.see(row):
                self._alert(finding, row)
        except Exception as error:  # the policy: the row was written for somebody else, who must not fail
            report_once(self, "alerts", f"an alert could not be given: {described(error)}")
            log.debug("hf_monitor: traceback", exc_info=True)

    def _alert(self, finding: Finding, row: Mapping[str, Any]) -> None:
        assert self._recorder is not None
        stops = finding.rule in self.stop_on
        if stops and self._peers is None:
            self._stop(finding)
        self._recorder.alerted.add(finding.rule)
        writer = self._recorder.writer
        say(finding, stops=stops)
        writer.row("alert", int(row.get("step") or 0), alert_row(finding, stops=stops))
        tell_wandb(finding, writer.mask.text, self)

    def _stop(self, finding: Finding) -> None:
        if self.stopped_by is None:
            self.stopped_by, self._stops = finding, True

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        """Record what is logged unless another callback has, and end the training where that was asked for."""
        if logs is not None:
            self._log(args, state, control, logs=logs, **kwargs)
        return self._steer(control)

    @guarded
    def _log(self, args: Any, state: Any, control: Any, *, logs: Any, **kwargs: Any) -> None:
        kind = kind_of(logs, state)
        if self._recorder is not None and state.is_world_process_zero:
            self._recorder.ensure_attempt(args, kwargs.get("model"))
            self._recorder.values(self, "log", kind, state, logs)
        if self._peers is not None and kind in ("train", "eval"):
            for finding in self._peers.see({**logs, "kind": kind, "step": state.global_step}):
                self._stop(finding)

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        """Record an evaluation unless another callback has."""
        if metrics is not None and state.is_world_process_zero:
            if self._recorder is None:
                self._recorder = recorder_for(run_dir_for(self.run_dir, args))
            self._recorder.ensure_attempt(args, kwargs.get("model"))
            self._recorder.values(self, "evaluate", "eval", state, metrics)
            if self._watcher is not None and self._recorder.eval_dataset is None:  # attach() knows it from the start
                self._compare(state, getattr(kwargs.get("eval_dataloader"), "dataset", None), **kwargs)
        return self._steer(control)

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look whether the checkpoint can be loaded back, and what room is left for more.

        And leave in it to which run it belongs, unless another callback has.
        """
        if not state.is_world_process_zero or self._recorder is None:
            return
        checkpoint = self._recorder.save(args, state)
        if self._watcher is not None and self._saved != state.global_step:
            self._saved = state.global_step
            problem = checkpoint_files_problem(checkpoint)
            self._recorder.writer.event(
                "checkpoint", state.global_step, **checkpoint_event(args, state, checkpoint, problem)
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """End the training where that was asked for."""
        return self._steer(control)

    def _steer(self, control: Any) -> Any:
        if not self._stops:
            return None
        control.should_training_stop, control.should_save = True, False
        return control

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, unless another callback has, and watch no more."""
        self._stops = False
        if state.is_world_process_zero and self._recorder is not None:
            self._recorder.end(state)
            self._recorder.writer.on_row, self._recorder.alerts_of_nan = None, False


def _prefix(name: str) -> str:
    return f"eval_{name}" if name else "eval"


def _stopping(names: Collection[str]) -> frozenset[str]:
    found = names_of("stop_on", names)
    if unknown := sorted(found - STOPPING):
        raise InputError(
            f"stop_on takes {' and '.join(map(repr, sorted(STOPPING)))}, got {unknown[0]!r}. "
            "For an end by a metric use transformers.EarlyStoppingCallback."
        )
    return found
