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

__all__ = ["disarm", "watch_exit"]


class Dying(Protocol):
    """Whoever has something to write down at the end."""

    def die(self, error: BaseException | None) -> None:
        """Record what ended the process; None where nobody knows. Never raises."""


_active: weakref.WeakSet[Any] = weakref.WeakSet()
_hook: Any = None
_previous: Any = None  # what was there before ours
_pid = -1


def watch_exit(recorder: Dying) -> None:
    """Tell `recorder` if the process ends before :func:`disarm`."""
    global _hook, _previous, _pid
    _active.add(recorder)
    if _pid != os.getpid():
        _pid = os.getpid()
        atexit.register(_at_exit)
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


def _make_hook(previous: Any) -> Any:
    def excepthook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if _hook is excepthook:
            _tell(error)
        previous(kind, error, trace)

    return excepthook


def _at_exit() -> None:
    _tell(None)


def _tell(error: BaseException | None) -> None:
    if _pid == os.getpid():  # a forked child's end is not the training's
        for recorder in list(_active):
            _active.discard(recorder)
            recorder.die(error)
