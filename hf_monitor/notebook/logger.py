"""NotebookLogger: any loop, seen in a notebook."""

from __future__ import annotations

import os
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from hf_monitor.errors import InputError
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.dress import line
from hf_monitor.notebook.dress import name as cut
from hf_monitor.notebook.experiment import Experiment
from hf_monitor.notebook.held import Held, watch_exit
from hf_monitor.notebook.inputs import named, number_of, series_of, step_of
from hf_monitor.notebook.plain import show_line
from hf_monitor.notebook.plots import Plot
from hf_monitor.notebook.progress import LoneProgress, Progress
from hf_monitor.notebook.record import config_of, folder_of
from hf_monitor.notebook.shell import in_notebook, publish, this_cell
from hf_monitor.notebook.summary import Summary
from hf_monitor.report.words import number
from hf_monitor.run.secrets import SecretMask

__all__ = ["NotebookLogger"]

Item = TypeVar("Item")


class NotebookLogger:
    """Show a loop of one's own in a notebook: one area in the cell that began it, kept up to date in its place.

    The saved notebook keeps what the area showed last. Outside of a notebook the same calls print lines of text, ever
    more seldom. A cell that is stopped, or fails, leaves the experiment open; what is logged later goes on with it.
    Called in a forked child (a worker of a ``DataLoader``), nothing happens.

    Parameters
    ----------
    run_dir : path-like, optional
        A run folder to record into as well (:func:`hf_monitor.load_run` reads it); each experiment is an attempt in it.

    Raises
    ------
    InputError
        If something given cannot be used; also from the methods.
    RunFolderError
        From ``start_experiment``, if the folder cannot be written. Later nothing raises because of the disk.

    Examples
    --------
    >>> nb = NotebookLogger()  # doctest: +SKIP
    >>> nb.start_experiment("a first try", total_steps=1000)  # doctest: +SKIP
    >>> for batch in nb.progress(loader, "epoch 1"):  # doctest: +SKIP
    ...     nb.log_metric("loss", train(batch))
    >>> nb.end_experiment()  # doctest: +SKIP
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None) -> None:
        self._run_dir = folder_of(run_dir)
        self._open = Held()
        self._starting = threading.Lock()
        self._mask: SecretMask | None = None  # of what is shown without an experiment
        self._last: Summary | None = None
        self._picture: str | None = None  # of the last experiment that was ended
        self._shown: dict[str, str] = {}  # plots of the cell that runs: title -> display id
        self._shown_in = 0
        self._titled_in, self._titles = -1, 0  # plots without a title
        weakref.finalize(self, self._open.let_go).atexit = False  # a cell that makes it is run again

    def __repr__(self) -> str:
        experiment = self._open.experiment
        return f"<NotebookLogger{f' with the experiment {experiment.name!r} open' if experiment else ''}>"

    def _repr_html_(self) -> str | None:
        """Show the experiment once more: a page that was reloaded while a cell ran has missed the rest of it."""
        experiment = self._open.experiment
        return self._picture if experiment is None else experiment.drawing().html

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        orderly = isinstance(error, SystemExit) and error.code in (None, 0)
        self._end(None if orderly or isinstance(error, GeneratorExit) else error)

    @property
    def _forked(self) -> bool:
        return self._open.pid != os.getpid()

    def start_experiment(
        self,
        name: str = "experiment",
        *,
        run_dir: str | os.PathLike[str] | None = None,
        config: Any = None,
        total_steps: int | None = None,
    ) -> None:
        """Begin an experiment, and show its area in this cell; one that is open is ended first.

        Parameters
        ----------
        name : str, optional
        run_dir : path-like, optional
            A run folder of its own, in place of that of the logger.
        config : mapping, argparse.Namespace or dataclass, optional
            Hyperparameters. Secrets in it are masked.
        total_steps : int, optional
            How many steps there will be, for a bar and the time left.
        """
        named(name, "name")
        place, config = folder_of(run_dir), config_of(config)
        total = step_of(total_steps, "total_steps") if total_steps is None or total_steps else 0
        if total == 0:
            raise InputError(f"total_steps must be a whole number from 1 on, or None; got {total_steps!r:.100}.")
        if self._forked:
            return
        before = self._open.experiment
        self._open.let_go()
        if before is not None:
            self._last = before.summary()
        watch_exit()
        self._open.experiment = Experiment(name, self._run_dir if place is None else place, config, total)

    def _experiment(self) -> Experiment:
        found = self._open.experiment
        if found is None:
            with self._starting:  # of several threads one begins it
                found = self._open.experiment
                if found is None:
                    self.start_experiment()
                    found = self._open.experiment
        assert found is not None
        return found

    def log_metric(self, name: str, value: Any, step: int | None = None) -> None:
        """Log a value; without an experiment one called ``experiment`` begins.

        Parameters
        ----------
        name : str
        value : float, or tensor or array with one number
            NaN and infinities are shown as such.
        step : int, optional
            By default the step of what was logged last, so that metrics of one step stand beside each other; where this
            metric has a value there already, the next one. The first is 0. Count on over the epochs: at a step that
            was there the curve that is shown goes on from there, as when a cell is run again; a run folder keeps all.
        """
        named(name, "name")
        found = number_of(value, f"the value of {name!r}")
        step = step_of(step)
        if not self._forked:
            self._experiment().log({name: found}, step)

    def log_metrics(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Log several values at once, all at one step; see :meth:`log_metric`."""
        if not isinstance(values, Mapping):
            raise InputError(f'log_metrics() takes a mapping, such as {{"loss": 0.5}}; got {values!r:.100}.')
        found = {named(name, "name"): number_of(value, f"the value of {name!r}") for name, value in values.items()}
        step = step_of(step)
        if found and not self._forked:
            self._experiment().log(found, step)

    def create_inline_plot(self, values: Any, title: str = "") -> None:
        """Plot values: in the area, where this is its cell, else as an output of this cell.

        With the same title again, in the same cell, it takes the place of the first.

        Parameters
        ----------
        values : sequence, mapping or (steps, values)
            Numbers, at steps from 0 on; a tuple of steps and values, as ``run.curve(...)`` gives; or a mapping of names
            to one of both.
        title : str, optional
            Without one the plot is called ``plot 1``, ``plot 2`` ... of its cell.
        """
        title = title if title != "" else self._next_title()
        plot = Plot(named(title, "title"), series_of(values, title))
        if self._forked:
            return
        experiment = self._open.experiment
        if experiment is not None and experiment.cell == this_cell():
            experiment.plot(title, plot)
        else:
            self._show_plot(title, plot)

    def log_with_plot(self, message: str, data: Any = None) -> None:
        """Show a message with the time of day, and its data: lists as curves, numbers as metrics that are logged.

        In the area, and in a later cell than that of the experiment there as well.

        Parameters
        ----------
        message : str
        data : mapping of str to sequence or float, optional
            Or anything that :meth:`create_inline_plot` takes. Lists of the same names take the place of the former.
        """
        named(message, "message")
        numbers: dict[str, Any] = {}
        lists = data = {} if data is None else data
        if isinstance(data, Mapping):
            numbers = {named(name, "name"): number_of(one, repr(name)) for name, one in data.items() if not _many(one)}
            lists = {name: one for name, one in data.items() if _many(one)}
        series = series_of(lists, "values")
        if self._forked:
            return
        plot = Plot(", ".join(one.name for one in series), series) if series else None
        experiment = self._open.experiment
        if experiment is not None:
            experiment.message(message)
            if numbers:
                experiment.log(numbers, None)
            if plot is not None:
                experiment.plot(("message", plot.title), plot)
            return
        words = ", ".join(
            [f"{time.strftime('%H:%M:%S')} {message}", *(f"{name} {number(one)}" for name, one in numbers.items())]
        )
        self._show(f"message {message}", _said(self._secrets.text(words)))
        if plot is not None:
            self._show_plot(f"message {plot.title}", plot)

    @overload
    def progress(
        self, iterable_or_total: int | None = None, description: str = "", *, total: int | None = None
    ) -> Progress[int]: ...

    @overload
    def progress(
        self, iterable_or_total: Iterable[Item], description: str = "", *, total: int | None = None
    ) -> Progress[Item]: ...

    def progress(
        self, iterable_or_total: Any = None, description: str = "", *, total: int | None = None
    ) -> Progress[Any]:
        """Show how far a loop is: ``for item in nb.progress(items, "epoch 1"):``, or ``with`` it and :meth:`update`.

        It is a bar in the area of the experiment, and in a later cell than that there as well; without an experiment,
        in an area of its own in this cell.

        Parameters
        ----------
        iterable_or_total : iterable or int
            A number n stands for ``range(n)``.
        description : str
        total : int, optional
            How many items there are, where the iterable does not know it; alone as the number n.

        Returns
        -------
        Progress
            Gives the items; has ``update(n=1)`` and ``close()``.
        """
        total = step_of(total, "total")
        if iterable_or_total is None:
            iterable_or_total = total
        experiment = self._open.experiment
        bar: Progress[Any]
        if self._forked:
            bar = Progress(iterable_or_total, description, _nothing)
        elif experiment is not None:
            bar = experiment.progress(iterable_or_total, description, total)
        else:
            bar = LoneProgress(iterable_or_total, description, total, self._secrets)
        return bar

    def display_summary(self) -> None:
        """Show a table in this cell: last and best value of each metric; of the last experiment, if none is open."""
        if self._forked:
            return
        experiment = self._open.experiment
        summary = self._last if experiment is None else experiment.summary()
        drawing = (
            _said("No experiment so far: start_experiment(name) begins one.") if summary is None else summary.drawing()
        )
        self._show(uuid.uuid4().hex, drawing)

    def end_experiment(self) -> None:
        """End the experiment: its area is drawn for the last time. Without one nothing happens."""
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        experiment = self._open.experiment
        if experiment is not None and not self._forked:
            self._open.experiment = None
            experiment.end(error)
            self._last = experiment.summary()
            self._picture = experiment.drawing().html if in_notebook() else None

    def _next_title(self) -> str:
        cell = this_cell()
        if cell != self._titled_in:
            self._titled_in, self._titles = cell, 0
        self._titles += 1
        return f"plot {self._titles}"

    @property
    def _secrets(self) -> SecretMask:
        if self._mask is None:
            self._mask = SecretMask.of_process()
        return self._mask

    def _show_plot(self, key: str, plot: Plot) -> None:
        plot.hide(self._secrets)
        self._show(key, plot.drawing() if in_notebook() else Drawing("", plot.text()))

    def _show(self, key: str, drawing: Drawing) -> None:
        """Show an output in this cell, in the place of the one with the same key."""
        if not in_notebook():
            show_line(drawing.text)
            return
        cell = this_cell()
        if cell != self._shown_in:
            self._shown_in, self._shown = cell, {}
        known = key in self._shown
        publish(*drawing, self._shown.setdefault(key, uuid.uuid4().hex), update=known)


def _many(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | bytes) and getattr(value, "ndim", 1) != 0


def _said(words: str) -> Drawing:
    return Drawing(str(line(cut(words, 400))), words)


def _nothing() -> None: ...
