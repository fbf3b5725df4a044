"""What a callback does not hear of: an error that leaves the script, or its end in the middle of a training.

:func:`hf_monitor.attach` sees the error itself; this is for callbacks without it, and for a script that ends while the
training runs in another thread. The hook of others is always called, and ours goes when no training is left.
"""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from typing import Any, Protocol

__all__ = ["before_exit", "disarm", "no_more_before_exit", "watch_exit"]


class Dying(Protocol):
    """Whoever has something to write down at the end."""

    def die(self, error: BaseException | None) -> None:
        """Record what ended the process; None where nobody knows. Never raises."""


class Owing(Protocol):
    """Whoever has something to do before the process ends."""

    def settle(self) -> None:
        """Do it. Never raises."""


_active: weakref.WeakSet[Any] = weakref.WeakSet()
_last: dict[int, Owing] = {}  # those that tell of what the others leave
_owing: dict[int, Owing] = {}  # held: a Trainer and all that belongs to it may be gone by then
_hook: Any = None
_previous: Any = None  # what was there before ours
_pid = -1


def watch_exit(recorder: Dying) -> None:
    """Tell `recorder` if the process ends before :func:`disarm`."""
    global _hook, _previous
    _active.add(recorder)
    _register()
    if _hook is None:
        _previous = sys.excepthook
        sys.excepthook = _hook = _make_hook(_previous)


def disarm(recorder: Dying) -> None:
    """End :func:`watch_exit`: the training has ended, or its error is known."""
    global _hook
    _active.discard(recorder)
    if not _active and _hook is not None:
        hook, _hook = _hook, None
        if sys.excepthook is hook:  # else somebody has wrapped it, and ours passes on
            sys.excepthook = _previous


def before_exit(owing: Owing, *, last: bool = False) -> None:
    """Have `owing` settled when the process ends, after :class:`Dying` were told, unless it asks no more for it.

    With `last` after all those without.
    """
    (_last if last else _owing)[id(owing)] = owing
    _register()


def no_more_before_exit(owing: Owing) -> None:
    """End :func:`before_exit`."""
    _owing.pop(id(owing), None)
    _last.pop(id(owing), None)


def _register() -> None:
    global _pid
    if _pid != os.getpid():
        _pid = os.getpid()
        atexit.register(_at_exit)


def _make_hook(previous: Any) -> Any:
    def excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if _hook is excepthook:
            _tell(error)
        previous(kind, error, trace)

    return excepthook


def _at_exit() -> None:
    _tell(None)
    if _pid == os.getpid():
        for owing in list(_owing.values()):
            owing.settle()
        for owing in list(_last.values()):
            owing.settle()


def _tell(error: BaseException | None) -> None:
    if _pid == os.getpid():  # a forked child's end is not the training's
        for recorder in list(_active):
            _active.discard(recorder)
            recorder.die(error)
