"""An experiment in a later cell than its own: bars, messages and plots are looked for where the loop is."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from hf_monitor.notebook.area import Area, Drawing
from hf_monitor.notebook.plots import Plot, drawn
from hf_monitor.notebook.scene import Scene
from hf_monitor.notebook.shell import in_notebook, this_cell
from hf_monitor.report.watch.state import State

__all__ = ["Echo"]


class Echo:
    """One output in the cell that runs, if that is another than the experiment's; the metrics stay where they are.

    Parameters
    ----------
    scene : bound method
        Gives the whole scene; held weakly.
    most : int
        Messages and plots that are kept.
    """

    def __init__(self, scene: Callable[[], Scene], most: int) -> None:
        self._scene = weakref.WeakMethod(scene)
        self._most = most
        self._cell = this_cell()  # of the area, at first that of the experiment
        self._area: Area | None = None
        self._messages: list[str] = []
        self._plots: dict[Any, Plot] = {}

    def open(self) -> None:
        """Show it in this cell from here on."""
        cell = this_cell()
        if cell == self._cell or not in_notebook() or threading.current_thread() is not threading.main_thread():
            return
        self.close()
        self._cell, self._messages, self._plots = cell, [], {}
        self._area = Area(self._draw)
        self._area.open()

    def message(self, line: str) -> None:
        """Show a message, too."""
        self._messages = [*self._messages, line][-self._most :]

    def plot(self, key: Any, plot: Plot) -> None:
        """Show a plot, too."""
        self._plots = dict([*(self._plots | {key: plot}).items()][-self._most :])

    def changed(self) -> None:
        """Say that there is something new."""
        if self._area is not None:
            self._area.changed()

    def flush(self) -> None:
        """Show what is new, at the end of a cell."""
        if self._area is not None:
            self._area.flush()

    def close(self) -> None:
        """Show it for the last time."""
        area, self._area = self._area, None
        if area is not None:
            area.close()

    def _draw(self) -> Drawing:
        find = self._scene()
        if find is None:
            return Drawing("", "")
        scene = find()
        scene.state, scene.metrics, scene.links = State(), (), ()
        scene.messages = tuple(self._messages)
        scene.notes = ["Its metrics are in the area of the cell that began it."]
        return drawn(scene, list(self._plots.values()))
