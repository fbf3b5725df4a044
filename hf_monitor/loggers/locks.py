"""A lock that nobody holds any more at the interpreter's exit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

__all__ = ["usable"]


def usable(
    lock: threading.RLock,
    *,
    _finalizing: Callable[[], bool] = sys.is_finalizing,
    _spare: threading.RLock = threading.RLock(),  # noqa: B008 - bound here: at that time the modules are empty
) -> threading.RLock:
    """Give the lock, or, once the interpreter is being taken down, another one.

    Only one thread runs then. Daemon threads have stopped wherever they were, and what they hold they hold for ever.
    """
    return _spare if _finalizing() else lock
