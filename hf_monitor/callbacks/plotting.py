"""PlottingCallback: the curves of a training as pictures in the run folder."""

from __future__ import annotations

import importlib
import logging
import math
import os
import sys
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._painter import Painter
from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import kind_of, recorder_for, run_dir_for
from hf_monitor.callbacks._report import report_once
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.run.reader import load_run

__all__ = ["PlottingCallback"]

log = logging.getLogger("hf_monitor")

_LEAST_SECONDS = 5.0  # between two refreshes, and before the first: evaluations may come fast, trainings may be short
_SHARE = 10.0  # after a drawing that took a second, so many go by without one
_MOST_FAILURES = 3  # in a row
_DRAWING = ("hf_monitor.charts.history", "matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.Image")


class PlottingCallback(TrainerCallback):
    """Draw training history and train/validation loss into ``plots/`` of the run folder, again and again.

    During the training a process of its own draws, at a low priority, and the training does not wait for it: after each
    evaluation, and with the first log after `refresh_seconds`. A refresh is made up for later where the last one still
    draws, began less than five seconds ago, or took more than a tenth of the time since. When the training ends, the
    charts are complete as ``train()`` returns. A failure is one line in the log.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    refresh_seconds : float or None
        Seconds between two refreshes where no evaluation comes; more where a drawing takes long. None: only at the end.

    Attributes
    ----------
    paths : list of Path
        The pictures drawn last.

    Raises
    ------
    InputError
        If `refresh_seconds` is neither a positive number nor None.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None, *, refresh_seconds: float | None = 60.0) -> None:
        good = isinstance(refresh_seconds, int | float) and not isinstance(refresh_seconds, bool)
        if refresh_seconds is not None and not (good and 0 < refresh_seconds < math.inf):
            raise InputError(
                f"refresh_seconds must be a positive number of seconds, or None for no charts before the end; got "
                f"{refresh_seconds!r}."
            )
        self.run_dir = run_dir
        self.refresh_seconds = refresh_seconds
        self.paths: list[Path] = []
        self._refreshes = False  # within a training, on the main process
        self._began = 0.0  # the last refresh, or the training
        self._owed = False  # an evaluation came that is not in the pictures
        self._seconds = 0.0  # what the last drawing took
        self._failures = 0
        self._painter: Painter | None = None
        self._stop_painter: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget the pictures of an earlier training, and settle where those of this one will be."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.stop()
        self.paths = []
        self.run_dir = run_dir_for(self.run_dir, args)
        self._refreshes = self.refresh_seconds is not None and state.is_world_process_zero
        self._began, self._owed, self._seconds, self._failures = monotonic(), False, 0.0, 0

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Refresh the charts if it is time; what an evaluation logs waits for ``on_evaluate``."""
        if self._refreshes and monotonic() - self._began >= self._gap(self._owed) and logs is not None:
            self._tend(args, state, control, logs=logs)

    @guarded
    def _tend(self, args: Any, state: Any, control: Any, *, logs: Mapping[str, Any]) -> None:
        if kind_of(logs, state) in ("train", "log"):
            self._refresh(args, state)

    @guarded
    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Refresh the charts, unless that was done a moment ago."""
        self._owed = True
        if self._refreshes and monotonic() - self._began >= self._gap(True):
            self._refresh(args, state)

    def _gap(self, owed: bool) -> float:
        seconds = self.refresh_seconds or 0.0
        return max(min(seconds, _LEAST_SECONDS) if owed else seconds, _SHARE * self._seconds)

    def _refresh(self, args: Any, state: Any) -> None:
        folder = run_dir_for(self.run_dir, args)
        if self._painter is None:
            if recorder_for(folder).keeps_logs:
                self._painter = Painter(folder / "plots", run_dir=folder)
            else:
                self._painter = Painter(folder / "plots", history=state.log_history)
            self._stop_painter = weakref.finalize(self, self._painter.stop)  # given up after an error, or at exit
        if self._painter.busy:
            return
        self._take_in(folder)
        if self._refreshes and monotonic() - self._began >= self._gap(self._owed):
            self._began, self._owed = monotonic(), False
            self._painter.draw()

    def _take_in(self, folder: Path) -> None:
        """Take in what became of the last drawing."""
        assert self._painter is not None
        outcome, self._painter.outcome = self._painter.outcome, None
        if outcome is None:
            return
        if outcome.kind == "drawn":
            self.paths, self._seconds, self._failures = outcome.paths, outcome.seconds, 0
        elif outcome.kind == "disk":
            self._say_once_of_disk(folder, outcome.reason)
        else:
            self._failures += 1
            self._refreshes = self._failures < _MOST_FAILURES
            report_once(
                self,
                "refresh",
                f"the charts could not be refreshed during the training: {outcome.reason}. The training goes on; they "
                "are drawn when it ends.",
            )

    def _say_once_of_disk(self, folder: Path, reason: str) -> None:
        reported: set[str] = self.__dict__.setdefault("_reported", set())
        if "refresh_disk" not in reported:
            reported.add("refresh_disk")
            recorder_for(folder).writer.trouble.say(
                f"the charts could not be refreshed in {str(folder / 'plots')!r}: {reason}. The training goes on, and "
                "they are tried again.",
                reason,
                lasting=False,
            )

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw, here: the charts are complete when ``train()`` returns."""
        if not state.is_world_process_zero:
            return
        folder = run_dir_for(self.run_dir, args)
        try:
            self.draw(args, state.log_history)
        except OSError as error:
            writer = recorder_for(folder).writer
            reason = error.strerror or str(error)
            message = (
                f"the charts could not be drawn into {str(folder / 'plots')!r}: {reason}. The rows are there: "
                f"create_training_visualizations(history_data={str(folder)!r}, output_dir='another_folder') draws them."
            )
            if not writer.trouble.say(message, reason, lasting=False) and writer.trouble.since is None:
                writer.announce(f"hf_monitor: {message}")  # no second warning, but charts are missed

    def draw(self, args: Any, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
        """Draw from rows (``trainer.state.log_history``), with the loss that the run folder has for them.

        Returns
        -------
        list of Path
            The pictures; a chart without data is not drawn.
        """
        folder = run_dir_for(self.run_dir, args)
        self._finish(folder)
        _import_whole()
        from hf_monitor.charts.history import draw_history

        self.paths = draw_history(_honest(rows, folder), folder / "plots")
        return self.paths

    def _finish(self, folder: Path) -> None:
        """End what draws in the background: what comes now is newer."""
        painter = self._painter
        if painter is not None:
            painter.stop()
            self._take_in(folder)
        self.stop()

    def stop(self) -> None:
        """Refresh no more, and end the process that draws; nothing happens where there is none. Never raises."""
        self._refreshes = False
        painter, self._painter = self._painter, None
        if painter is not None:
            self._stop_painter.detach()
            painter.stop()


def _import_whole() -> None:
    """Import what draws in a thread: a Ctrl-C, which only the main one hears, would leave matplotlib broken for good.

    Interrupted meanwhile, the import goes on to its end. What it raises is raised again by who needs it.
    """
    thread = threading.Thread(target=_import, name="hf_monitor import", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads
        return
    thread.join()


def _import() -> None:
    try:
        for name in _DRAWING:
            importlib.import_module(name)
        sys.modules["PIL.Image"].preinit()  # what it would import at the first picture
    except Exception:
        log.debug("hf_monitor: traceback", exc_info=True)


def _honest(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Mapping[str, Any]]:
    """Put the recorded loss where the Trainer logged another (too large, 0.0 for NaN)."""
    try:
        recorded = load_run(folder).rows
    except (RunFolderError, OSError):
        return list(rows)
    known = {
        (row.get("step"), name[:-4], row[name]): row.get(name[:-4])
        for row in recorded
        if row.get("kind") in ("train", "eval")
        for name in row
        if name.endswith("loss_raw")
    }
    if not known:
        return list(rows)
    return [
        {
            name: known.get((row.get("step"), name, value), value) if name.endswith("loss") else value
            for name, value in row.items()
        }
        for row in rows
    ]
