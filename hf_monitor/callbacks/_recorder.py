"""Recorder: turns Trainer events into rows, once, however many of our callbacks hear of them."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_monitor.callbacks._facts import training_facts
from hf_monitor.run.writer import RunWriter

__all__ = ["Recorder", "kind_of", "recorder_for", "run_dir_for"]


def run_dir_for(run_dir: Any, args: Any) -> Path:
    """Give the run folder: what the user named, else ``monitor`` inside the Trainer's ``output_dir``."""
    return Path(run_dir).expanduser() if run_dir is not None else Path(args.output_dir).expanduser() / "monitor"


def kind_of(logs: Mapping[str, Any]) -> str:
    """Say what the Trainer is logging: ``train``, ``eval``, ``train_summary``, or ``log`` for the user's own."""
    if "loss" in logs:
        return "train"
    if "train_loss" in logs and "train_runtime" in logs:
        return "train_summary"
    if any(key.endswith("_runtime") and key != "train_runtime" for key in logs):
        return "eval"
    return "log"


class Recorder:
    """Writes the rows of one run folder on behalf of all callbacks that share it.

    The same event reaches several callbacks, and an evaluation arrives twice (``on_log``, then ``on_evaluate``, with
    the same dict): the first to call records it, the others are recognised by it being the same object.

    Parameters
    ----------
    writer : RunWriter
    """

    def __init__(self, writer: RunWriter) -> None:
        self.writer = writer
        self.trained = False  # has a training begun in the running attempt?
        self.eval_dataset: Any = None  # set by attach(), which sees the trainer
        self._last: Any = None
        self._last_callers: set[tuple[int, str]] = set()
        self._begin_callers: set[int] = set()
        self._end_callers: set[int] = set()

    def begin(self, caller: object, args: Any, state: Any, **kwargs: Any) -> None:
        """Begin an attempt for a training, unless another callback did so for the same ``on_train_begin``."""
        if self._begin_callers and id(caller) not in self._begin_callers:
            self._begin_callers.add(id(caller))
            return
        self._begin_callers, self._end_callers = {id(caller)}, set()
        facts = training_facts(args, state, kwargs.get("model"), kwargs.get("train_dataloader"), self.eval_dataset)
        if self.writer.attempt and not self.trained:
            self.writer.update_facts(facts)  # an evaluation before the training opened this attempt
        else:
            self.writer.begin_attempt(facts)
        self.trained = True
        self.writer.event("train_begin", state.global_step, max_steps=state.max_steps, epochs=state.num_train_epochs)

    def ensure_attempt(self, args: Any, model: Any = None) -> None:
        """Begin an attempt where nothing has: ``evaluate()`` and ``predict()`` alone fire no ``on_train_begin``."""
        if not self.writer.attempt:
            self.writer.begin_attempt(training_facts(args, None, model, None, self.eval_dataset))

    def values(self, caller: object, event: str, kind: str, step: int, values: Mapping[str, Any]) -> bool:
        """Record a dict of values; returns False where another callback has recorded this very dict."""
        who = (id(caller), event)
        if values is self._last and who not in self._last_callers:
            self._last_callers.add(who)
            return False
        self._last, self._last_callers = values, {who}
        self.writer.row(kind, step, values)
        return True

    def end(self, caller: object, step: int) -> None:
        """Record the end of a training, once; the next ``on_train_begin`` begins a new attempt."""
        if not self._end_callers:
            self.writer.event("train_end", step)
            self._begin_callers = set()
        self._end_callers.add(id(caller))


_recorders: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()


def recorder_for(run_dir: Path) -> Recorder:
    """Give the recorder of a folder in this process; callbacks that name the same folder get the same one."""
    key = f"{os.getpid()}:{run_dir.resolve()}"
    found = _recorders.get(key)
    if found is None:
        found = _recorders[key] = Recorder(RunWriter(run_dir))
    return found
