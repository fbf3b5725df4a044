"""An experiment: what was logged in it, its area, and its attempt in a run folder."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from hf_monitor.loggers.error_facts import error_facts
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.echo import Echo
from hf_monitor.notebook.plain import make_area, show_line
from hf_monitor.notebook.plots import Plot, drawn
from hf_monitor.notebook.progress import Progress, bar_line
from hf_monitor.notebook.record import Record
from hf_monitor.notebook.scene import Scene
from hf_monitor.notebook.shell import at_cell_end, in_notebook, this_cell
from hf_monitor.notebook.summary import Summary
from hf_monitor.notebook.tally import Tally
from hf_monitor.report.words import duration, number
from hf_monitor.run.rows import plain
from hf_monitor.run.secrets import SecretMask

__all__ = ["Experiment"]

log = logging.getLogger("hf_monitor")

_MESSAGES, _PLOTS, _BARS = 8, 8, 8
_IN_A_LINE = 6
_SETTINGS = 8


class Experiment:
    """What ``NotebookLogger`` has open. Its methods may be called from any thread.

    Parameters
    ----------
    name : str
    run_dir : path-like, optional
    config : mapping
    total_steps : int, optional

    Raises
    ------
    RunFolderError
        If the folder cannot be written; nothing is shown then.
    """

    def __init__(self, name: str, run_dir: Any, config: Mapping[str, Any], total_steps: int | None) -> None:
        self.cell = this_cell()
        self._lock = threading.RLock()  # a collection of garbage may end another one while it is held
        self._record = None if run_dir is None else Record(run_dir, name, config, total_steps)
        self._mask = SecretMask.of_process() if self._record is None else self._record.mask
        if self._record is None:
            self._mask.learn(plain(config))
        self.name = name = self._mask.text(name)
        self._began = time.time()
        self._seconds: float | None = None
        self._status, self._ending = "running", ""
        self._used = True  # in this cell: its error is that of the experiment
        self._stopped: dict[str, Any] | None = None  # the error of the last cell that used it
        self._tally = Tally(config, total_steps)
        self._messages: deque[str] = deque(maxlen=_MESSAGES)
        self._n_messages = 0
        self._plots: dict[Any, Plot] = {}
        self._n_plots = 0
        self._bars: list[Progress[Any]] = []
        self._settings = [f"{key} = {value}" for key, value in self._mask.values(plain(config)).items()]
        self._area = make_area(self.drawing, self._line)
        self._echo = Echo(self._now, _MESSAGES)
        at_cell_end(self._cell_ended)
        self._area.open()

    @property
    def is_open(self) -> bool:
        """Whether it takes values."""
        return self._seconds is None

    def log(self, values: Mapping[str, float], step: int | None) -> None:
        """Take values; without a step they have a common one (:meth:`Tally.step_for`)."""
        now = time.time()
        with self._lock:
            if not self.is_open:  # another thread has ended it
                return
            self._go_on()
            at = self._tally.step_for(values) if step is None else step
            self._tally.take(at, values, now)
            if self._record is not None:
                self._record.log(at, dict(values))
        self._area.changed()

    def message(self, text: str) -> None:
        """Take a message; outside of a notebook it is printed."""
        line = f"{time.strftime('%H:%M:%S')} {self._mask.text(text)}"
        self._echo.open()
        with self._lock:
            self._messages.append(line)
            self._echo.message(line)
            self._n_messages += 1
        self._changed()
        if not in_notebook():
            show_line(line)

    def plot(self, key: Any, plot: Plot) -> None:
        """Take a plot in the place of the one with the same key; outside of a notebook it is printed."""
        plot.hide(self._mask)
        if not in_notebook():
            show_line(plot.text())
            return
        self._echo.open()
        with self._lock:
            self._n_plots += key not in self._plots
            self._plots[key] = plot
            while len(self._plots) > _PLOTS:
                del self._plots[next(iter(self._plots))]
            self._echo.plot(key, plot)
        self._changed()

    def progress(self, source: Any, description: str, total: int | None = None) -> Progress[Any]:
        """Give a bar in the area; one that is over makes room for the next of its name."""
        bar: Progress[Any] = Progress(source, description, self._moved, total)
        bar.description = self._mask.text(description)
        self._echo.open()
        with self._lock:
            self._go_on()
            same = next(
                (n for n, one in enumerate(self._bars) if one.closed and one.description == bar.description), None
            )
            if same is not None:
                self._bars[same] = bar
            else:
                self._bars.append(bar)
                over = next((n for n, one in enumerate(self._bars) if one.closed), 0)
                if len(self._bars) > _BARS:
                    del self._bars[over]
        self._changed()
        return bar

    def _moved(self) -> None:
        self._go_on()
        self._changed()

    def _changed(self) -> None:
        self._area.changed()
        self._echo.changed()

    def _go_on(self) -> None:
        """Values came, or a bar moved: after a cell that ended with an error it runs again."""
        self._used = True
        if self._stopped is not None and self._seconds is None:
            self._stopped = None
            self._status, self._ending = "running", ""

    def _cell_ended(self, error: BaseException | None) -> None:
        used, self._used = self._used, False
        try:
            if error is not None and used:
                self.stop(error)
            self._area.flush()
            self._echo.flush()
        except Exception:  # the cell is over; the user's next one has nothing to do with it
            log.debug("hf_monitor: the end of a cell", exc_info=True)

    def stop(self, error: BaseException) -> None:
        """Take an error that stopped it: that is how it ended, unless it goes on."""
        if self.is_open:
            with self._lock:
                self._stopped = error_facts(error, self._mask)
                self._status, self._ending = _told(self._stopped)
                self._ending += "; the experiment is still open"
            self._changed()

    def end(self, error: BaseException | None = None) -> None:
        """End it, for the last drawing; by an error, or in order."""
        self._end(None if error is None else error_facts(error, self._mask))

    def let_go(self, otherwise: BaseException | Mapping[str, Any] | None = None) -> None:
        """End it for somebody who did not: by what stopped it, or else as told."""
        if isinstance(otherwise, BaseException):
            otherwise = error_facts(otherwise, self._mask)
        self._end(otherwise if self._stopped is None else self._stopped)

    def _end(self, facts: Mapping[str, Any] | None) -> None:
        with self._lock:
            if not self.is_open:
                return
            self._stopped = None
            self._seconds = time.time() - self._began
            self._status, self._ending = ("finished", "") if facts is None else _told(facts)
            for bar in self._bars:
                bar.close()
            if self._record is not None:
                self._record.end(self._tally.step, facts)
        self._area.close()
        self._echo.close()

    def summary(self) -> Summary:
        """Give the table of what it came to so far."""
        with self._lock:
            seconds = time.time() - self._began if self._seconds is None else self._seconds
            return Summary(self.name, self._status, self._ending, seconds, self._tally.summary(), self._place)

    @property
    def _place(self) -> str:
        return "" if self._record is None else str(self._record.run_dir)

    def drawing(self) -> Drawing:
        """Draw it as it is now."""
        with self._lock:
            scene = self._scene()
            plots = list(self._plots.values())
        return drawn(scene, plots)

    def _now(self) -> Scene:
        with self._lock:
            return self._scene()

    def _scene(self) -> Scene:
        notes = self._tally.notes()
        if self._n_plots > len(self._plots):
            notes.append(f"{self._n_plots - len(self._plots):,} earlier plots are not shown.")
        if self._n_messages > len(self._messages):
            notes.append(f"{self._n_messages - len(self._messages):,} earlier messages are not shown.")
        if self._settings:
            rest = len(self._settings) - _SETTINGS
            notes.append(", ".join(self._settings[:_SETTINGS]) + (f" and {rest} more" if rest > 0 else ""))
        state = self._tally.view()
        return Scene(
            self.name,
            self._status,
            self._began,
            time.time() if self._seconds is None else self._began + self._seconds,
            state,
            ending=self._ending,
            metrics=tuple(state.curves),
            bars=[*self._tally.bars(self._status == "running"), *(bar.bar() for bar in self._bars)],
            messages=tuple(self._messages),
            notes=notes,
            links=[("run folder", self._place)] if self._place else [],
        )

    def _line(self) -> str:
        with self._lock:
            state = self._tally.state
            parts = [] if self._status == "running" else [" ".join((self._status, self._ending)).strip()]
            if state.max_steps is None and state.step is not None:
                parts.append(f"step {number(int(state.step))}")
            parts += map(bar_line, self._tally.bars(self._status == "running"))
            parts += [bar_line(bar.bar()) for bar in self._bars if not bar.closed]
            shown = [(name, curve.last) for name, curve in state.curves.items() if curve.last is not None]
            parts += [f"{name} {number(last[1])}" for name, last in shown[:_IN_A_LINE]]
            if len(shown) > _IN_A_LINE:
                parts.append(f"{len(shown) - _IN_A_LINE} more")
            if self._seconds is not None:
                parts.append(f"after {duration(self._seconds)}")
            if not parts:
                parts = [f"recording to {self._place}" if self._place else "begins"]
        return f"{self.name}: {', '.join(parts)}"


def _told(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Give the status and a sentence for an error, as a run folder has them."""
    message = str(facts.get("message") or "").strip().split("\n")[0][:200]
    if facts.get("exit_code") == 0:
        return "interrupted", message
    if facts["type"] == "KeyboardInterrupt":
        return "interrupted", "in the cell" if in_notebook() else "by Ctrl-C"
    return "crashed", ": ".join(part for part in (facts["type"], message) if part)
