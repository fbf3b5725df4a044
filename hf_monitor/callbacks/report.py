"""ReportCallback: the page of a run, there when the training ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._page import Page
from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import Recorder, kind_of, recorder_for, run_dir_for

__all__ = ["ReportCallback"]


class ReportCallback(TrainerCallback):
    """Write ``report.html`` into the run folder when the training ends (:func:`hf_monitor.report.write_report`).

    An evaluation or prediction after the training brings it up to date: at once where the last writing was quick, else
    at the end of ``with attach(...)`` or of the process. Nothing is done at a step. Of more than 48 MiB of rows a
    process of its own makes the page, within a minute; ``hf-monitor report`` has no such limits. After an error it is
    written by :func:`hf_monitor.attach`, without that when the process ends; a process that is killed leaves none, as
    that of an earlier training is taken away when one begins. A failure is one line in the log.

    Callbacks that record have their place before it.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.

    Attributes
    ----------
    path : Path or None
        Where the page is written; None before anything was recorded.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None) -> None:
        self.run_dir = run_dir
        self._recorder: Recorder | None = None
        self._page: Page | None = None

    @property
    def path(self) -> Path | None:
        """Where the page is written."""
        return None if self._page is None else self._page.path

    def _open(self, args: Any) -> tuple[Recorder, Page]:
        if self._recorder is None:
            self._recorder = recorder_for(run_dir_for(self.run_dir, args))
        if self._page is None:
            self._page = Page(self._recorder.writer)
        return self._recorder, self._page

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin an attempt in the run folder, unless another callback has."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        if self._page is not None:
            self._page.forget()
        self._page = None
        if state.is_world_process_zero:
            recorder, page = self._open(args)
            recorder.begin(args, state, **kwargs)
            page.announce()
            page.owe()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Record what was logged, where no other callback does."""
        kept = self._recorder is not None and self._recorder.keeps_logs
        if logs is not None and not kept and state.is_world_process_zero:
            self._record(args, state, control, logs=logs, model=kwargs.get("model"))

    @guarded
    def _record(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any], model: Any) -> None:
        recorder, _ = self._open(args)
        recorder.ensure_attempt(args, model)
        recorder.values(self, "log", kind_of(logs, state), state, logs)

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Bring the page up to date after an evaluation outside of a training."""
        self._renew(args, state)

    @guarded
    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        """Record a prediction, unless another callback has, and bring the page up to date."""
        if metrics is not None and state.is_world_process_zero:
            recorder, _ = self._open(args)
            recorder.ensure_attempt(args, kwargs.get("model"))
            recorder.values(self, "predict", "predict", state, metrics)
            self._renew(args, state)

    def _renew(self, args: Any, state: Any) -> None:
        if state.is_world_process_zero:
            recorder, page = self._open(args)
            if not recorder.is_training:
                page.owe()
                page.settle_soon()

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Record the end, unless another callback has, and write the page."""
        if state.is_world_process_zero and self._recorder is not None and self._page is not None:
            self._recorder.end(state)
            self.settle()

    def owe(self, args: Any, state: Any) -> None:
        """Note that something was recorded of which no event tells; :meth:`settle` writes it."""
        if state.is_world_process_zero:
            self._open(args)[1].owe()

    def settle(self, *, look: bool = False) -> None:
        """Write the page if it is owed; with `look` also if a row or picture in the folder is newer. Never raises."""
        if self._page is not None:
            self._page.is_linked = self._recorder is not None and self._recorder.is_seen
            if look:
                self._page.owe_if_older()
            self._page.settle()
