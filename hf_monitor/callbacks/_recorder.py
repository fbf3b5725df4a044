"""Recorder: turns Trainer events into rows, once, however many of our callbacks hear of them."""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_monitor.callbacks._eval_loss import EvaluationLosses
from hf_monitor.callbacks._exit import disarm, watch_exit
from hf_monitor.callbacks._facts import training_facts
from hf_monitor.callbacks._loss import LossRecord, is_summary
from hf_monitor.callbacks._page import take_away
from hf_monitor.callbacks._ranks import describe_error, next_training
from hf_monitor.callbacks._report import described, report_once
from hf_monitor.callbacks._state import checkpoint_folder, read_state, write_state
from hf_monitor.errors import InputError
from hf_monitor.notebook.area import Area
from hf_monitor.run.lineage import Lost
from hf_monitor.run.reader import load_run
from hf_monitor.run.rows import plain
from hf_monitor.run.signals import collect, unwatch, watch
from hf_monitor.run.writer import RunWriter

log = logging.getLogger("hf_monitor")

__all__ = ["Recorder", "kind_of", "recorder_for", "run_dir_for"]


def run_dir_for(run_dir: Any, args: Any) -> Path:
    """Give the run folder: what the user named, else ``monitor`` inside the Trainer's ``output_dir``.

    Absolute: a training that changes the working directory is recorded where it began.

    Raises
    ------
    InputError
        If `run_dir` is no path.
    """
    if run_dir is not None and (not isinstance(run_dir, str | os.PathLike) or not os.fspath(run_dir)):
        raise InputError(
            f"run_dir must be the path of a folder, got {run_dir!r}. Leave it out for <output_dir>/monitor."
        )
    folder = Path(run_dir) if run_dir is not None else Path(args.output_dir) / "monitor"
    return folder.expanduser().absolute()


def kind_of(logs: Mapping[str, Any], state: Any) -> str:
    """Say what the Trainer is logging: ``train``, ``eval``, ``train_summary``, or ``log`` for the user's own."""
    if "loss" in logs:
        return "train"
    if is_summary(logs, state):
        return "train_summary"
    if any(key.endswith("_runtime") for key in logs):
        return "eval"
    return "log"


class Recorder:
    """Writes the rows of one run folder on behalf of all callbacks that share it.

    The same event reaches several callbacks, and an evaluation arrives twice (``on_log``, then ``on_evaluate``, with
    the same dict): the first to call records it, the others are recognised by it being the same object, or by the same
    time measured for the same step where a Trainer's own ``log()`` made a copy.

    Parameters
    ----------
    writer : RunWriter
    """

    def __init__(self, writer: RunWriter) -> None:
        self.writer = writer
        self.trained = False  # has a training begun in the running attempt?
        self.begun = 0  # how many trainings have begun
        self.keeps_logs = False  # is there a callback that records all that is logged?
        self._loads_best = False
        self._running = False
        self._weights_step = 0
        self.eval_dataset: Any = None  # set by attach(), which sees the trainer
        self._last: Any = None
        self._last_callers: set[tuple[int, str]] = set()
        self._last_step = -1
        self._begin_state: Any = None  # every training has a TrainerState of its own, which all callbacks see
        self._end_state: Any = None
        self._saved: tuple[int, int] | None = None
        self.callers: list[str] = []  # of the method of the Trainer that failed; set by attach()
        self.recorded_error = 0  # its id, not itself: its frames hold the model
        self.begin_row: dict[str, Any] = {}  # the running training's first
        self.alerted: set[str] = set()  # rules that have spoken in this training, or are to be silent
        self.alerts_of_nan = False  # does an AlertCallback say what is said of values that are not finite?
        self._firsts: dict[str, tuple[Any, weakref.ref[Any]]] = {}  # a training's state, and who watches it
        self.told_run: Any = None  # the user's open W&B run that is told all that is recorded here, alerts too
        self.resume_path: Any = None  # what train(resume_from_checkpoint=...) was given; set by attach()
        self.resumed: dict[str, Any] = {}  # our state in the checkpoint from which the running training goes on
        self.kept: dict[str, Any] = {}  # what callbacks want to find there again
        self.before_end: weakref.WeakMethod[Any] | None = None  # whoever writes rows on its own, and must have ended
        self.loss = LossRecord()
        self.evaluation_losses = EvaluationLosses(self.loss)
        self._told: tuple[Any, int, Any] = (None, 0, None)  # what was logged, at which step, what it was
        self.expect_echo: Callable[[str], None] | None = None  # told of a line that train.log is not to have
        self._area: weakref.ref[Area] | None = None

    def first_to(self, do: str, callback: Any, state: Any) -> Any:
        """Give the callback that was the first to ask this for a training, on any process; it may be `callback`.

        Parameters
        ----------
        do : str
            What only one is to do.
        callback, state
        """
        known = self._firsts.get(do)
        if known is not None and known[0] is state:
            first = known[1]()
            if first is not None:
                return first
        self._firsts[do] = state, weakref.ref(callback)
        return callback

    def shown_in(self, area: Area | None) -> None:
        """Say in which area of a notebook the training, its alerts and its report are shown."""
        self._area = None if area is None else weakref.ref(area)

    @property
    def is_seen(self) -> bool:
        """Whether alerts, and where the report is, are seen without being printed."""
        area = None if self._area is None else self._area()
        return area is not None and area.is_seen

    def begin(self, args: Any, state: Any, **kwargs: Any) -> None:
        """Begin an attempt for a training, unless another callback did so for the same ``on_train_begin``."""
        if state is self._begin_state:
            return
        self._begin_state = state
        self.begun += 1
        self._running, self._loads_best = True, args.load_best_model_at_end
        self.writer.learn(vars(args))  # before to_dict() takes `hub_token` out
        self.__dict__.pop("_reported", None)
        model, optimizer = kwargs.get("model"), kwargs.get("optimizer")
        facts = training_facts(args, state, model, kwargs.get("train_dataloader"), self.eval_dataset, optimizer)
        facts |= self.loss.begin(args, state, model)
        if self.writer.attempt and not self.trained and not self.writer.is_copy:
            self.writer.update_facts(facts, begins=True)  # an evaluation before the training opened this attempt
        else:
            self.writer.begin_attempt(facts)
        take_away(self.writer.run_dir)  # here, since not every training has a ReportCallback
        self.trained = True
        self.kept, self._saved = {}, None
        values = {
            "event": "train_begin",
            "max_steps": state.max_steps,
            "epochs": state.num_train_epochs,
            "training": next_training(self.writer.run_dir),
            "signals": watch(self.writer.run_dir),
            **self._goes_on_from(args, state),
        }
        head = {"time": time.time(), "attempt": self.writer.attempt, "step": state.global_step, "kind": "event"}
        self.begin_row = head | values
        self.writer.row("event", state.global_step, values, now=head["time"])
        watch_exit(self)

    def _goes_on_from(self, args: Any, state: Any) -> dict[str, Any]:
        self.resumed = {}
        if not state.global_step:
            return {}
        checkpoint, self.resumed = read_state(args, state.global_step, self.resume_path)
        found: dict[str, Any] = {"resumed_from": None if checkpoint is None else str(checkpoint)}
        if self.resumed.get("run_id") == self.writer.run_id:
            found["resumed_attempt"] = self.resumed.get("attempt")
        elif self.resumed and checkpoint is not None:
            run = {key: self.resumed.get(key) for key in ("run_id", "run_dir", "attempt")}
            run["run_dir"] = os.path.normpath(checkpoint.resolve() / str(run["run_dir"]))
            found["resumed_run"] = run
            log.warning(
                "hf_monitor: this training goes on from step %d of a run that is recorded in %s; its steps up to there "
                "stay in that folder, what comes is in %s. To continue the same run: attach(trainer, run_dir=%r).",
                *(state.global_step, run["run_dir"], self.writer.run_dir, run["run_dir"]),
            )
        return found

    def lost_steps(self) -> list[Lost]:
        """Give the steps that this attempt does again, because they came after its checkpoint."""
        return [lost for lost in load_run(self.writer.run_dir).lost_steps if lost.resumed_as == self.writer.attempt]

    def save(self, args: Any, state: Any) -> Path:
        """Record that a checkpoint was saved, and leave in it what a resume needs to know of this run; once.

        Returns
        -------
        Path
            The checkpoint.
        """
        checkpoint = checkpoint_folder(args, state.global_step, state)
        if self._saved == (id(state), state.global_step):
            return checkpoint
        self._saved = (id(state), state.global_step)
        n_nonfinite = self.loss.nonfinite_steps(state)
        known = {"nonfinite_steps": n_nonfinite} if n_nonfinite else {}
        self.writer.event("save", state.global_step, checkpoint=str(checkpoint), **known)
        ours = {
            "run_id": self.writer.run_id,
            # Not absolute: a checkpoint may be pushed to the hub.
            "run_dir": os.path.relpath(self.writer.run_dir.resolve(), checkpoint.resolve()),
            "attempt": self.writer.attempt,
            "step": state.global_step,
            "time": time.time(),
            "callbacks": self.kept,
        }
        write_state(checkpoint, self.writer.mask.values(plain(ours)))
        return checkpoint

    def outside(self, state: Any) -> dict[str, Any]:
        """Give what goes into the rows of evaluations outside of ``train()``; nothing for those within.

        Every training has a state of its own, which its Trainer keeps after it; another Trainer has another.
        """
        if state is not self._begin_state:
            return {"standalone": True}
        return {} if self._running else {"standalone": True, "weights_step": self._weights_step}

    def differs_from_before(self) -> list[str]:
        """Say what is another than in the attempt before: ``model`` (class or size), ``data`` (training set)."""
        attempts = self.writer.facts.get("attempts") or []
        before = attempts[-2].get("facts", {}) if len(attempts) > 1 else {}
        now = self.writer.facts

        def differs(fact: str, part: str | None, names: tuple[str, ...]) -> bool:
            if fact not in before:  # as it was
                return False
            old, new = (found.get(fact) or {} for found in (before, now))
            old, new = (old.get(part) or {}, new.get(part) or {}) if part else (old, new)
            return any(old.get(name) != new.get(name) for name in names if name in old and name in new)

        looked_at: dict[str, tuple[str | None, tuple[str, ...]]] = {
            "model": (None, ("class", "n_parameters")),
            "data": ("train", ("fingerprint", "n_samples")),
        }
        return [fact for fact, (part, names) in looked_at.items() if differs(fact, part, names)]

    def ensure_attempt(self, args: Any, model: Any = None) -> None:
        """Begin an attempt where nothing has: ``evaluate()`` and ``predict()`` alone fire no ``on_train_begin``."""
        if not self.writer.attempt:
            self.writer.open()
            self.writer.learn(vars(args))
            facts = training_facts(args, None, model, None, self.eval_dataset)
            # An evaluation knows no training set: what an earlier attempt knew of it stays.
            facts["data"] = {**(self.writer.facts.get("data") or {}), **facts.get("data", {})}
            self.writer.begin_attempt(facts)

    def told(self, state: Any, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what is to be shown and recorded of a dict that was logged: its loss may not be what it seems.

        Returns
        -------
        mapping
            `logs` itself where there is nothing to say, else another dict; the same for the same `logs`.
        """
        given, step, told = self._told
        if given is logs and step == state.global_step:
            return told  # type: ignore[no-any-return]  # a row()
        try:
            told = self.loss.row(state, logs)
        except Exception as error:  # noqa: BLE001 - the policy: the row is worth more than its correction
            report_once(self, "loss", f"the loss is recorded as logged: {described(error)}")
            told = logs
        self._told = logs, state.global_step, told
        return told

    def told_evaluation(self, state: Any, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give what is to be shown and recorded of an evaluation's or a prediction's metrics, as :meth:`told` does."""
        try:
            return self.evaluation_losses.row(state, values)
        except Exception as error:  # noqa: BLE001 - the policy: the row is worth more than its correction
            report_once(self, "eval_loss", f"the evaluation's loss is recorded as logged: {described(error)}")
            return values

    def before_step(self, trainer: Any, inputs: Any) -> None:
        """Hear of a micro-batch of a training (:func:`hf_monitor.attach`); never raises."""
        try:
            verdict = self.loss.before(trainer, inputs)
            if verdict is not None and trainer.is_world_process_zero():
                self.writer.update_facts(verdict.facts())
        except Exception as error:  # noqa: BLE001 - the policy
            report_once(self, "loss", f"whether the loss is right could not be said: {described(error)}")

    def after_step(self, trainer: Any, loss: Any, num_items: Any) -> None:
        """Hear of a micro-batch's loss (:func:`hf_monitor.attach`); never raises."""
        try:
            self.loss.add(trainer, loss, num_items is not None)
            if self.loss.news is not None and trainer.is_world_process_zero():
                self._report_nonfinite(trainer.state.global_step)
        except Exception as error:  # noqa: BLE001 - the policy
            self.loss.end()
            report_once(self, "loss", f"the loss is recorded as logged: {described(error)}")

    def values(self, caller: object, event: str, kind: str, state: Any, values: Mapping[str, Any]) -> bool:
        """Record a dict of values; returns False where another callback has recorded this very dict."""
        step = state.global_step
        who = (id(caller), event)
        if who not in self._last_callers and (values is self._last or self._same_evaluation(step, values)):
            self._last_callers.add(who)
            return False
        self._last, self._last_callers, self._last_step = values, {who}, step
        recorded: Mapping[str, Any] = values
        if kind in ("eval", "predict"):
            outside = self.outside(state)
            recorded = {**self.told_evaluation(state, values), **outside}
            if facts := self.evaluation_losses.facts(self.writer.attempt):
                self.writer.update_facts(facts)
            if kind == "eval" and not outside:
                self.loss.look_at_evaluation(values)
        elif kind in ("train", "train_summary"):
            recorded = self.told(state, values)
        self.writer.row(kind, step, recorded)
        if self.loss.news:
            self._report_nonfinite(step)
        return True

    def numbers(
        self, caller: object, event: str, state: Any, values: Mapping[str, Any], told: dict[str, float]
    ) -> None:
        """Record a training log of finite floats (`told` of `values`), as :meth:`values` does, the short way."""
        if values is self._last:
            self.values(caller, event, "train", state, values)
            return
        step = state.global_step
        self._last, self._last_callers, self._last_step = values, {(id(caller), event)}, step
        self.writer.numbers("train", step, told)

    def _report_nonfinite(self, step: int) -> None:
        """Say once a training what was not finite first: in an event, and to whoever sits there."""
        news = self.loss.news
        assert news is not None
        shown = ", ".join(f"{name} {value}" for name, value in news.items())
        if not self.alerts_of_nan:
            report_once(
                self,
                "nonfinite",
                f"step {step}: not a finite number: {shown}. The Trainer goes on, and may log such a loss as 0.0 or as "
                "the mean of the others (logging_nan_inf_filter).",
            )
        self.writer.event("nonfinite", step, evidence=list(news), **news)
        self.loss.news = None

    def _same_evaluation(self, step: int, values: Mapping[str, Any]) -> bool:
        times = [key for key in values if key.endswith("_runtime")]
        return bool(times) and step == self._last_step and all(self._last.get(key) == values[key] for key in times)

    def end(self, state: Any) -> None:
        """Record the end of a training, once. The Trainer has loaded the best checkpoint by then, if it was to."""
        if state is self._end_state:
            return
        self._end_state = state
        step = state.global_step
        if self._loads_best and state.best_model_checkpoint is not None:
            step = state.best_global_step
        if state is self._begin_state:
            self._running, self._weights_step = False, step
            self.loss.end()
        self._end_others()
        self.writer.flush()
        ended: dict[str, Any] = {}
        if (signal := collect(self.writer.run_dir)) is not None:  # somebody's handler made an orderly end of it
            self.writer.event("signal", state.global_step, signal=signal.signal, traceback=signal.traceback)
            if state.global_step < state.max_steps:
                ended["stopped_by"] = signal.signal
        self.writer.event("train_end", state.global_step, **ended)
        self.writer.flush(last=True)
        self._unwatch()

    def _end_others(self) -> None:
        end = self.before_end() if self.before_end is not None else None
        if end is not None:
            end()

    def _unwatch(self) -> None:
        disarm(self)
        unwatch(self.writer.run_dir)

    def die(self, error: BaseException | None) -> None:
        """Record that the process ends in the middle of the training, at its end. Never raises."""
        try:
            self.callers = []  # of an earlier error
            if self._running and self.writer.run_dir.is_dir():
                self.error(error, self._begin_state.global_step, began=True)
        except Exception as failure:  # noqa: BLE001 - the user must see his error, not ours
            log.warning("hf_monitor: the end could not be recorded: %s: %s", type(failure).__name__, failure)

    @property
    def is_training(self) -> bool:
        """Whether a training runs."""
        return self._running

    def describe(self, error: BaseException | None) -> dict[str, Any]:
        """Give what is recorded of an error."""
        return describe_error(error, self.writer.mask.text, self.callers)

    def error_outside(self, error: BaseException, step: int, during: str) -> None:
        """Record the error that ended ``evaluate()`` or ``predict()`` outside of a training, in the same attempt."""
        self.writer.event("error", step, rank=0, during=during, **self.describe(error))
        self.writer.flush(last=True)

    def error(self, error: BaseException | None, step: int, began: bool) -> None:
        """Record the error that ended a training.

        Parameters
        ----------
        error : BaseException or None
            None where it is not known.
        step : int
        began : bool
            Whether the training had begun. If not, the error belongs to an attempt of its own: the one before it may
            have finished well.
        """
        if error is not None and id(error) == self.recorded_error:
            return
        if not began and self.trained:
            self.writer.begin_attempt()
            self.trained = False
        if began:
            self._running, self._weights_step = False, step
            self.loss.end()
            self._end_others()
        try:
            self.writer.event("error", step, rank=0, **self.describe(error))
            self.recorded_error = id(error)
            self.writer.flush(last=True)
        finally:
            if began:
                self._unwatch()


_recorders: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()


def recorder_for(run_dir: Path) -> Recorder:
    """Give the recorder of a folder in this process; callbacks that name the same folder get the same one."""
    key = f"{os.getpid()}:{run_dir.resolve()}"
    found = _recorders.get(key)
    if found is None:
        found = _recorders[key] = Recorder(RunWriter(run_dir))
    return found
