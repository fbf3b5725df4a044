"""An area where there is no notebook: lines of text, printed ever more seldom."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections.abc import Callable
from time import monotonic

from hf_monitor.gpu.report_text import encodable
from hf_monitor.loggers.console import say
from hf_monitor.loggers.levels import INFO
from hf_monitor.notebook.area import Area, Drawing
from hf_monitor.notebook.shell import in_notebook

__all__ = ["PlainArea", "make_area", "show_line"]

log = logging.getLogger("hf_monitor")

_EVERY_S = 0.5
"""At most two lines a second, ..."""
_SHARE = 0.01
"""... later as much of the time that has passed, so that a day's log stays short, ..."""
_LONGEST_S = 30.0
"""... but not less often than this, as long as there is news."""


class PlainArea:
    """What :class:`hf_monitor.notebook.area.Area` is in a notebook, as lines of text; the same calls.

    There is no thread: a line is printed by whoever says :meth:`changed` when it is time. The same line is never
    printed twice in a row. Nothing raises: what cannot be said is reported once, and then nothing more is.

    Parameters
    ----------
    line : callable
        Gives the text of now; empty: nothing to say. A bound method is held weakly.
    """

    def __init__(self, line: Callable[[], str]) -> None:
        self._line = weakref.WeakMethod(line) if hasattr(line, "__self__") else lambda: line
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._began = self._next = float("inf")  # not open
        self._news = False
        self._said = ""
        self._failed = False

    @property
    def is_open(self) -> bool:
        """Whether lines are still printed."""
        return self._began < float("inf")

    def open(self) -> None:
        """Print the first line."""
        if not self.is_open:
            self._began = monotonic()
            self._say()

    def changed(self) -> None:
        """Say that there is something new; it is printed if the last line was printed long enough ago."""
        self._news = True
        if monotonic() >= self._next:
            self._say()

    def flush(self) -> None:
        """Print what is new."""
        if self._news and self.is_open:
            self._say()

    def close(self) -> None:
        """Print the line of now, the last one."""
        if self.is_open:
            self._say()
        self._began = self._next = float("inf")

    def _say(self) -> None:
        if self._failed or os.getpid() != self._pid or not self._lock.acquire(blocking=False):
            return  # of two threads that have news one tells it
        try:
            self._news = False
            now = monotonic()
            self._next = now + min(max(_EVERY_S, (now - self._began) * _SHARE), _LONGEST_S)
            line = self._line()
            text = "" if line is None else line()
            if text and text != self._said:
                self._said = text
                show_line(text)
        except Exception as error:
            self._failed = True
            log.warning("hf_monitor: nothing more is printed here: %s: %s", type(error).__name__, error)
            log.debug("hf_monitor: traceback", exc_info=True)
        finally:
            self._lock.release()


def show_line(text: str) -> None:
    """Print a text above tqdm's bars, with ``?`` for what the console has no sign for. Never raises."""
    say(text if sys.stdout is None else encodable(text, sys.stdout), INFO)


def make_area(draw: Callable[[], Drawing], line: Callable[[], str]) -> Area | PlainArea:
    """Give an area of the running cell in a notebook, and lines of text elsewhere; not open yet.

    Parameters
    ----------
    draw : callable
        Gives what a notebook shows now.
    line : callable
        Gives what is printed elsewhere.
    """
    return Area(draw) if in_notebook() else PlainArea(line)
