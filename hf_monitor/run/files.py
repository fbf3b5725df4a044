"""The two ways in which a file of the run folder is written: appended line by line, or replaced whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

__all__ = ["AppendFile", "replace_file"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class AppendFile:
    """A file to which whole lines are appended, each with one system call, so that a crash tears at most the last one.

    Opened at the first line. A torn last line, left by an earlier crash or a full disk, is closed with a newline first.
    No fsync: a killed process loses nothing that was written; only a power cut may.

    Parameters
    ----------
    path : path-like
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd = -1
        self._pid = -1  # the process that was first to write here
        self._torn = False
        self._lock = threading.Lock()

    def append(self, lines: bytes) -> None:
        r"""Append complete lines (ending with ``\n``).

        A process forked from the one that opened the file writes nothing: its state is a copy, and the lock may be held
        by a thread that does not exist there.

        Raises
        ------
        OSError
            As the operating system says (disk full, folder gone ...). The file stays usable for the next call.
        """
        if self._pid < 0:
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            return
        with self._lock:
            if self._fd < 0:
                self._open()
            if self._torn:
                lines = b"\n" + lines
            written = os.write(self._fd, lines)
            while written < len(lines):  # a nearly full disk takes a part: say so at the next try, or raise there
                self._torn = not lines[:written].endswith(b"\n")
                written += os.write(self._fd, lines[written:])
            self._torn = False

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, _FLAGS, 0o644)
        self._torn = _ends_torn(self.path)

    def close(self) -> None:
        """Close the file; a later :meth:`append` opens it again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1

    def refresh(self) -> None:
        """Let go of a file that is no longer the one at its path (deleted, moved): :meth:`append` makes it anew."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if self._fd < 0:
                return
            try:
                same = os.path.samestat(os.fstat(self._fd), self.path.stat())
            except OSError:
                same = False
        if not same:
            self.close()

    def __del__(self, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        # Bound here, since at the exit of the interpreter `os` may be gone already.
        if getattr(self, "_fd", -1) >= 0 and self._pid == getpid():
            close(self._fd)
            self._fd = -1


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def replace_file(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file under a temporary name, then rename it: a reader sees the old text or the new one, never a half.

    Raises
    ------
    OSError
        As the operating system says; the old file is as it was.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # once an attempt: the rename must not come to the disk before the data
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
