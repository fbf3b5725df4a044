"""An area in the output of a cell: drawn anew in its place, seldom, by a thread of its own."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from typing import NamedTuple

from hf_monitor.notebook.shell import cell_runs, clearings, listen, publish, this_cell

__all__ = ["Area", "Drawing"]

log = logging.getLogger("hf_monitor")

_EVERY_S = 0.5
"""At most two updates a second."""
_SHARE = 0.01
"""Of a core, what drawing may take: what is drawn slowly is drawn less often, ..."""
_LONGEST_S = 2.0
"""... but not less often than this."""
_BEAT_S = 5.0
"""Drawn at least so often while a cell runs: clocks go on while nothing else happens."""


class Drawing(NamedTuple):
    """What an area shows: in a notebook, and where there is no HTML."""

    html: str
    text: str


_NOTHING = Drawing("", "")


class Area:
    """A place in the output of the cell in which :meth:`open` is called.

    Whoever has news says :meth:`changed`, at no cost, from any thread; a thread draws it. Nothing raises: that
    something cannot be drawn is said once, the area stays as it was, and the next news is tried again. Forked children
    show nothing.

    Parameters
    ----------
    draw : callable
        Gives the :class:`Drawing` of now; a bound method is held weakly. Called by one thread at a time, while others
        wait in :meth:`flush` and :meth:`close`: these are not for callers that hold what `draw` waits for.
    """

    def __init__(self, draw: Callable[[], Drawing]) -> None:
        self._draw = weakref.WeakMethod(draw) if hasattr(draw, "__self__") else lambda: draw
        self._id = uuid.uuid4().hex
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._pid = os.getpid()
        self._shown: Drawing | None = None
        self._closed = False
        self._failed = False
        self._stale = False
        self._cell = self._clearings = 0  # it is gone where its cell was cleared more often

    @property
    def is_open(self) -> bool:
        """Whether it is still drawn."""
        return self._shown is not None and not self._closed

    @property
    def is_seen(self) -> bool:
        """Whether what is new is seen in it: it is open and still there, and the last drawing of it was shown."""
        return self.is_open and not self._stale and not self._is_gone()

    @property
    def shown(self) -> Drawing | None:
        """What it shows; None before :meth:`open`."""
        return self._shown

    def open(self) -> None:
        """Show it in the running cell, and keep it up to date from here on."""
        if self._is_foreign():
            return
        with self._lock:
            if self._shown is not None or self._closed:
                return
            listen()
            self._look_at_cell()
            self._publish(update=False)
        keeper = threading.Thread(target=_keep, args=(weakref.ref(self), self._wake), daemon=True)
        keeper.name = "hf_monitor-area"
        try:
            keeper.start()
        except RuntimeError as error:  # no more threads: it is drawn when a cell ends, and when it is closed
            self._report(error)
            log.debug("hf_monitor: traceback", exc_info=True)

    def changed(self) -> None:
        """Say that there is something new; it is shown within half a second, mostly."""
        if not self._wake.is_set() and not self._is_foreign():
            self._wake.set()

    def flush(self) -> None:
        """Show now what is new; at the end of a cell no later message reaches its output in every front end."""
        if self._is_foreign():
            return
        with self._lock:  # before the question: what is just being drawn is shown when this returns
            if self.is_open and self._wake.is_set():
                self._wake.clear()
                self._publish(update=True)

    def close(self) -> None:
        """Show it as it is now, for the last time; once more where somebody's ``clear_output()`` took it away."""
        if self._is_foreign():
            return
        with self._lock:
            if self.is_open and self._is_gone():
                self._look_at_cell()
                self._publish(update=False)
            elif self.is_open:
                self._publish(update=True)
            self._closed = True
        self._wake.set()

    def _is_foreign(self) -> bool:
        """Whether this is a forked child, in which the lock may be held for ever by a thread that is not there."""
        return os.getpid() != self._pid

    def _look_at_cell(self) -> None:
        try:
            self._cell = this_cell()
            self._clearings = clearings(self._cell)
        except Exception:
            log.debug("hf_monitor: traceback", exc_info=True)

    def _is_gone(self) -> bool:
        try:
            return clearings(self._cell) != self._clearings
        except Exception:
            log.debug("hf_monitor: traceback", exc_info=True)
            return False

    def _publish(self, *, update: bool) -> None:
        try:
            drawing = self._drawn()
            if drawing is not None and (drawing != self._shown or not update):
                publish(*drawing, self._id, update=update)
                self._shown = drawing
            self._stale = drawing is None or drawing is _NOTHING
        except Exception as error:
            self._report(error)
            log.debug("hf_monitor: traceback", exc_info=True)

    def _drawn(self) -> Drawing | None:
        draw = self._draw()
        try:
            return None if draw is None else draw()
        except Exception as error:
            self._report(error)
            log.debug("hf_monitor: traceback", exc_info=True)
            return _NOTHING if self._shown is None else None  # its place in the cell is taken in any case

    def _report(self, error: Exception) -> None:
        self._stale = True
        if not self._failed:
            self._failed = True
            log.warning("hf_monitor: the area in the notebook stays as it is: %s: %s", type(error).__name__, error)

    def _beat(self) -> float | None:
        """Draw, and give how long to rest; None where it is over."""
        began = time.thread_time()  # of this thread alone: not how long it waited for a training that computes
        with self._lock:
            if not self.is_open:
                return None
            if self._wake.is_set() or cell_runs():  # else the clock alone would change a notebook that rests
                self._wake.clear()
                self._publish(update=True)
        return min(max(_EVERY_S, (time.thread_time() - began) / _SHARE), _LONGEST_S)


def _keep(reference: weakref.ref[Area], wake: threading.Event) -> None:
    """Draw an area as long as somebody holds it."""
    rest: float | None = _EVERY_S
    while rest is not None:
        time.sleep(rest)  # first: it was shown just now
        wake.wait(_BEAT_S)
        area = reference()
        rest = None if area is None else area._beat()
        del area
