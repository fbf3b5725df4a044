"""One process at a time rewrites ``run.json``."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["folder_lock"]

_PATIENCE_SECONDS = 5.0


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a run folder, against other processes and other threads.

    Where the system or the disk has no locks, or somebody holds it for seconds (a stopped process), we go on without:
    the lock guards against two beginning at the same instant, and a training must not wait for it.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    try:
        fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
    except OSError:
        yield
        return
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    break
                time.sleep(0.01)
            except OSError:
                break
        yield
    finally:
        with contextlib.suppress(OSError):  # a disk that fails tells it where something is written
            os.close(fd)  # lets go of the lock
