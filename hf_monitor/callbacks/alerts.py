"""AlertCallback: says what goes wrong in a training while there is still something to be done about it."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Collection, Mapping
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._alert_outlets import alert_row, say, tell_wandb
from hf_monitor.callbacks._judge import STOPPING, Judge, stopping
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
from hf_monitor.diagnosis.watcher import Watcher, lineage, muted_of
from hf_monitor.errors import InputError
from hf_monitor.run.run_json import rows_on_disk

__all__ = ["STOPPING", "AlertCallback"]

log = logging.getLogger("hf_monitor")

_GOES_ON = "The training goes on: the other processes are not told of this, and all have to stop at the same step."
_NAMES = frozenset(rule.name for rule in RULES)


class AlertCallback(TrainerCallback):
    """Watch a training, and speak when one of the rules has found something: once each, and seldom.

    Each row that is recorded is shown to the rules of :func:`hf_monitor.diagnose`. What they find goes into
    ``metrics.jsonl`` (kind ``alert``), to the console and ``train.log``, and to the W&B run that is open, if one is;
    what is only worth knowing (severity ``info``) goes into the record alone.

    A training is stopped only where `stop_on` says so and an error was found (not a warning), at the end of the step at
    which it was. The Trainer then ends as after its last step: ``load_best_model_at_end`` loads the best checkpoint,
    ``EarlyStoppingCallback`` and all others see an orderly end. A checkpoint that was due at that very step, or is at
    the end of an epoch, is not saved: its weights are those that the alert is about, and ``save_total_limit`` might
    delete a good one for it.

    Of several in one Trainer the first one watches and speaks, by its own `thresholds` and `mute`; what any of them has
    in `stop_on` counts.

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
        self.stop_on = stopping(stop_on)
        self.thresholds = thresholds_of(thresholds)
        self.mute = muted_of(mute, _NAMES | set(HARDWARE_RULES))
        if both := self.stop_on & self.mute:
            raise InputError(f"{sorted(both)[0]!r} is both in stop_on and in mute: a rule that is muted stops nothing.")
        if time_limit_s is not None and (
            isinstance(time_limit_s, bool) or not isinstance(time_limit_s, int | float) or not 0 < time_limit_s < 1e10
        ):
            raise InputError(f"time_limit_s must be a number of seconds above 0, got {time_limit_s!r}.")
        self.time_limit_s = time_limit_s
        self._recorder: Recorder | None = None
        self._reset()

    def _reset(self) -> None:
        self._leader: AlertCallback | None = None  # the one that watches, where this is not the first in its Trainer
        self._stop_on = self.stop_on  # with those of the others
        self._stopped_by: Finding | None = None
        self._watcher: Watcher | None = None
        self._judge: Judge | None = None  # on several processes: decides whether to stop, on all alike
        self._decided: list[Finding] = []  # by the judge
        self._pending: list[tuple[Finding, int]] = []  # found, and not said: the judge has to decide first
        self._compared: set[str] = set()  # evaluation sets that were compared with the training set
        self._saved = -1
        self._steers = True
        self._begins = False  # callbacks after this one may not have heard of the training
        self._for_wandb: list[Finding] = []

    @property
    def findings(self) -> list[Finding]:
        """What was found so far, in order."""
        if self._leader is not None:
            return self._leader.findings
        found = [] if self._watcher is None else self._watcher.findings
        rules = {finding.rule for finding in found}
        return [*found, *(finding for finding in self._decided if finding.rule not in rules)]

    @property
    def stopped_by(self) -> Finding | None:
        """What ended the training."""
        return self._stopped_by if self._leader is None else self._leader.stopped_by

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to watch; a training that resumes is watched with what it had before its checkpoint."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self._reset()
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        recorder = self._recorder
        first = recorder.first_to("watch", self, state)
        if first is not self:
            first._join(self, args, state, **kwargs)
            self._leader = first
            return
        self._appoint(args, state, **kwargs)
        if not state.is_world_process_zero:
            return
        recorder.alerts_of_nan = "nan" not in self.mute
        recorder.alerted = set(self.mute)
        self._begins = True
        recorder.begin(args, state, **kwargs)
        self._record_settings(recorder)
        self._watcher = Watcher(
            recorder.writer.facts, thresholds=self.thresholds, mute=self.mute & _NAMES, on_error=self._failed
        )
        self._begin(args, state, control, **kwargs)

    def _appoint(self, args: Any, state: Any, **kwargs: Any) -> None:
        if args.world_size > 1 and self._stop_on:
            self._judge = Judge(
                args,
                state,
                self._stop_on,
                thresholds=self.thresholds,
                on_error=self._failed,
                optimizer=kwargs.get("optimizer"),
            )

    def _join(self, other: AlertCallback, args: Any, state: Any, **kwargs: Any) -> None:
        """Take over what another callback of the same Trainer is to stop the training on."""
        if both := other.stop_on & self.mute:
            raise InputError(
                f"{sorted(both)[0]!r} is in stop_on of one AlertCallback, and in mute of another one before it: a rule "
                "that is muted stops nothing. Give the Trainer one AlertCallback."
            )
        new = other.stop_on - self._stop_on
        if new:
            self._stop_on |= new
            self._appoint(args, state, **kwargs)
        if not state.is_world_process_zero:
            return
        if new:
            self._look_again(state, new)
        own = [name for name in ("thresholds", "mute", "time_limit_s") if getattr(other, name) != getattr(self, name)]
        if own and (other.mute or other.thresholds.changed() or other.time_limit_s is not None):
            log.warning(
                "hf_monitor: this Trainer has several AlertCallbacks: the first one's %s counts. Put your own before "
                "default_callbacks(), or use attach(trainer) in their place.",
                " and ".join(own),
            )

    def _record_settings(self, recorder: Recorder) -> None:
        """Let ``run.json`` say what :func:`hf_monitor.diagnose` is to judge by; nothing where all is the default."""
        settings = {"thresholds": self.thresholds.changed(), "mute": sorted(self.mute)}
        told = {name: value for name, value in settings.items() if value}
        if recorder.writer.facts.get("alerts", {}) != told:
            recorder.writer.update_facts({"alerts": told}, begins=True)

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
        if state.global_step:
            self._look_again(state, self._stop_on)
        if (deadline := deadline_event(os.environ, self.time_limit_s)) is not None:
            writer.event("deadline", state.global_step, **deadline)
        self._compare(state, self._recorder.eval_dataset, **kwargs)

    def _look_again(self, state: Any, rules: Collection[str]) -> None:
        """Let rules that spoke before the checkpoint look at what comes from here, where they are to stop it."""
        assert self._recorder is not None
        known = [] if self._watcher is None else self._watcher.findings
        for finding in known:
            if finding.rule in rules and finding.severity == "error":
                log.warning(
                    "hf_monitor: this training goes on from step %d, after %r was found (%s): stop_on acts on what "
                    "comes from here.",
                    *(state.global_step, finding.rule, finding.sentence),
                )
                self._recorder.alerted.discard(finding.rule)
                self._recorder.writer.event("watch_again", state.global_step, rules=[finding.rule])

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
        step = int(row.get("step") or 0)
        stops = finding.rule in self._stop_on and finding.severity == "error"
        if self._judge is None:
            if stops:
                self._stop(finding)
            self._give(finding, step, stops=stops)
        elif stops:
            self._pending.append((finding, step))
        else:
            self._give(finding, step, stops=False)

    def _give(self, finding: Finding, step: int, *, stops: bool, note: str = "") -> None:
        assert self._recorder is not None
        self._recorder.alerted.add(finding.rule)
        writer = self._recorder.writer
        say(finding, stops=stops, note=note, is_shown=self._recorder.is_seen)
        writer.row("alert", step, alert_row(finding, stops=stops))
        if self._begins:
            self._for_wandb.append(finding)
        else:
            tell_wandb(finding, writer.mask.text, self, told=self._recorder.told_run)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell an open W&B run what was found before the training: by now it is known whether a mirror does."""
        self._begins = False
        found, self._for_wandb = self._for_wandb, []
        for finding in found:
            assert self._recorder is not None
            tell_wandb(finding, self._recorder.writer.mask.text, self, told=self._recorder.told_run)

    def _stop(self, finding: Finding) -> None:
        if self._stopped_by is None:
            self._stopped_by = finding

    @guarded
    def _decide(self, args: Any, state: Any, control: Any, *, logs: Any) -> None:
        """Decide on several processes whether to stop: before anything that one of them does alone, and may fail."""
        assert self._judge is not None
        for finding in self._judge.decide(kind_of(logs, state), state, logs):
            self._decided.append(finding)
            self._stop(finding)

    @guarded
    def _settle(self, args: Any, state: Any, control: Any, *, decided: list[Finding]) -> None:
        """Say and record on rank 0 what it has found, with what was decided."""
        pending, self._pending = self._pending, []
        rules = {finding.rule for finding in decided}
        for finding, step in pending:
            stops = finding.rule in rules
            if stops and self._stopped_by in decided:
                self._stopped_by = finding  # the same, from what is recorded
            self._give(finding, step, stops=stops, note="" if stops or self._stopped_by else _GOES_ON)
        said = {finding.rule for finding, _ in pending}
        for finding in decided:
            if finding.rule not in said:
                self._give(finding, state.global_step, stops=True)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> Any:
        """Record what is logged unless another callback has, and end the training where that was asked for."""
        if logs is not None and self._judge is None:
            self._log(args, state, control, logs=logs, **kwargs)
        elif logs is not None:
            before = len(self._decided)
            self._decide(args, state, control, logs=logs)
            self._log(args, state, control, logs=logs, **kwargs)
            if state.is_world_process_zero:
                self._settle(args, state, control, decided=self._decided[before:])
        return self._steer(control)

    @guarded
    def _log(self, args: Any, state: Any, control: Any, *, logs: Any, **kwargs: Any) -> None:
        if self._recorder is not None and state.is_world_process_zero:
            self._recorder.ensure_attempt(args, kwargs.get("model"))
            self._recorder.values(self, "log", kind_of(logs, state), state, logs)

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> Any:
        """Record an evaluation unless another callback has."""
        self._evaluated(args, state, control, metrics=metrics, **kwargs)
        return self._steer(control)

    @guarded
    def _evaluated(self, args: Any, state: Any, control: Any, *, metrics: Any, **kwargs: Any) -> None:
        if metrics is not None and state.is_world_process_zero:
            if self._recorder is None:
                self._recorder = recorder_for(run_dir_for(self.run_dir, args))
            self._recorder.ensure_attempt(args, kwargs.get("model"))
            self._recorder.values(self, "evaluate", "eval", state, metrics)
            if self._watcher is not None and self._recorder.eval_dataset is None:  # attach() knows it from the start
                self._compare(state, getattr(kwargs.get("eval_dataloader"), "dataset", None), **kwargs)

    @guarded
    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Look whether the checkpoint can be loaded back, and what room is left for more.

        And leave in it to which run it belongs, unless another callback has.
        """
        if self._judge is not None:
            self._judge.saved(state)
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
        if self._pending and not control.should_log:  # heard of between logs: nothing is decided before the next one
            self._settle(args, state, control, decided=[])
        return self._steer(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        """As at a step's end: with ``save_strategy="epoch"`` a save is due here, also after a stop within the epoch."""
        return self._steer(control)

    def _steer(self, control: Any) -> Any:
        if self._stopped_by is None or not self._steers:
            return None
        control.should_training_stop, control.should_save = True, False
        return control

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, unless another callback has, and watch no more."""
        self._steers, self._judge = False, None
        if not state.is_world_process_zero or self._recorder is None:
            return
        self._settle(args, state, control, decided=[])
        self.on_epoch_begin(args, state, control)  # of a training without one
        self._recorder.end(state)
        if self._leader is None:
            self._recorder.writer.on_row, self._recorder.alerts_of_nan = None, False


def _prefix(name: str) -> str:
    return f"eval_{name}" if name else "eval"
