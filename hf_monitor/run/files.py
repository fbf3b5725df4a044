"""The two ways in which a file of the run folder is written: appended line by line, or replaced whole."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hf_monitor.run.backlog import KEPT_BYTES, Backlog

__all__ = ["FULL", "AppendFile", "is_missing", "out_of_the_way", "replace_file", "try_folder"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

FULL = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Errors that say nothing against the descriptor itself: it need not be opened anew."""


class AppendFile:
    """A file to which whole lines are appended, each with one system call, so that a crash tears at most the last one.

    Opened at the first line. A torn last line, left by an earlier crash, is closed with a newline first. No fsync: a
    killed process loses nothing that was written; only a power cut may.

    What cannot be written waits in memory, up to 8 MiB, and is written by :meth:`flush`, in order; until then
    :meth:`append` only adds to it.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    waiting : Backlog
        Lines that are not in the file yet.
    late : int
        Lines that were written after a wait.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.waiting = Backlog()
        self.late = 0
        self._recent = bytearray()  # written since the file was last seen at its path
        self._fd = -1
        self._pid = -1  # the process that was first to write here
        self._torn = False
        self._size = -1  # when the disk was full, if it was
        self._smooth = False  # open, not torn, and nothing waits
        self._lock = threading.RLock()  # a signal handler may have a row to write

    def append(self, lines: bytes) -> None:
        r"""Append complete lines (ending with ``\n``), or keep them where others wait already.

        A process forked from the one that opened the file writes nothing: its state is a copy, and the lock may be held
        by a thread that does not exist there.

        Raises
        ------
        OSError
            As the operating system says (disk full, folder gone ...), once: the lines wait for :meth:`flush`.
        """
        if self._pid < 0:
            self._pid = os.getpid()
        elif self._pid != os.getpid():
            return
        with self._lock:
            if not self._smooth:
                self._append_roughly(lines)
                return
            try:
                written = os.write(self._fd, lines)
            except OSError as error:
                self.waiting.keep(lines)
                self._distrust(error)
                raise
            if written == len(lines):
                self._recent += lines
                if len(self._recent) > KEPT_BYTES:
                    self._trim()
                return
            self.waiting.keep(lines)
            self._recent += self.waiting.advance(written)
            self._drain()

    def _append_roughly(self, lines: bytes) -> None:
        """Append where the file is not open, ends torn, or has lines that wait."""
        tried = bool(self.waiting)
        self.waiting.keep(lines)
        if not tried:
            self._drain()

    def flush(self) -> None:
        """Try to write what waits.

        Raises
        ------
        OSError
            As the operating system says; what was not written waits on.
        """
        if self._is_copy():
            return
        with self._lock:
            if not self.waiting:
                return
            before = len(self.waiting)
            try:
                self._drain()
            finally:
                self.late += before - len(self.waiting)

    def _drain(self) -> None:
        try:
            if self._fd < 0:
                self._open()
            elif self.waiting.begun and self._size not in (-1, os.fstat(self._fd).st_size):  # others have written since
                self.waiting.start_line_anew()
                self._torn = _ends_torn(self.path)
            if self._torn:
                os.write(self._fd, b"\n")
                self._torn = False
            while self.waiting:
                self._recent += self.waiting.advance(os.write(self._fd, self.waiting.unwritten()))
        except OSError as error:
            self._distrust(error)
            raise
        self._trim()
        self._size, self._smooth = -1, True

    def _trim(self) -> None:
        excess = len(self._recent) - KEPT_BYTES
        if excess > 0:
            del self._recent[: self._recent.find(b"\n", excess - 1) + 1]

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = out_of_the_way(os.open(self.path, _FLAGS, 0o644))
        self.waiting.start_line_anew()
        self._torn = _ends_torn(self.path)

    def _is_copy(self) -> bool:
        return self._pid not in (-1, os.getpid())

    def _distrust(self, error: OSError) -> None:
        """After an error: only a full disk leaves the descriptor as good as it was."""
        self._smooth = False
        if error.errno not in FULL:
            self._drop()
        elif self._fd >= 0:
            self._size = os.fstat(self._fd).st_size

    def _drop(self) -> None:
        fd, self._fd, self._smooth = self._fd, -1, False
        if fd >= 0:
            with suppress(OSError):  # a network disk's late error: nothing is left to do with it
                os.close(fd)

    def close(self) -> None:
        """Close the file; a later :meth:`append` opens it again."""
        if self._pid != os.getpid():
            return
        with self._lock:
            self._drop()

    def is_gone(self) -> bool:
        """Say whether the file is open and no longer the one at its path (deleted, moved away)."""
        if self._pid != os.getpid():
            return False
        with self._lock:
            if self._fd < 0:
                return False
            try:
                if os.path.samestat(os.fstat(self._fd), self.path.stat()):
                    self._recent.clear()
                    return False
            except (FileNotFoundError, NotADirectoryError):
                return True
            except OSError:  # nothing can be said
                return False
            return True

    def refresh(self) -> None:
        """Let go of a file that :meth:`is_gone`, and of what was to be in it: :meth:`append` makes it anew."""
        if self.is_gone():
            with self._lock:
                self._drop()
                self._recent.clear()
                self.waiting.clear()

    def start_anew(self) -> None:
        """Let go of a file that :meth:`is_gone`. What went into it since it was last seen there is written again."""
        with self._lock:
            self._drop()
            self.waiting.put_first(bytes(self._recent))
            self._recent.clear()

    def __del__(self, getpid: Callable[[], int] = os.getpid, close: Callable[[int], None] = os.close) -> None:
        # Bound here, since at the exit of the interpreter `os` may be gone already.
        fd, self._fd = getattr(self, "_fd", -1), -1
        if fd >= 0 and self._pid == getpid():
            try:
                close(fd)
            except OSError:
                return  # a network disk's late error


def is_missing(path: str) -> bool:
    """Say whether there surely is no such file."""
    try:
        os.stat(path)  # noqa: PTH116 - asked for before every row
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:  # nothing can be said
        return False
    return False


def out_of_the_way(fd: int) -> int:
    """Move a file off the place of a standard stream that was closed: what C code writes there is none of our lines."""
    below = []
    while fd <= 2:
        below.append(fd)
        fd = os.dup(fd)
    for low in below:
        os.close(low)
    return fd


def try_folder(folder: Path) -> None:
    """Make a folder, and see whether a file can be made in it.

    Raises
    ------
    OSError
        If not.
    """
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".write_test.{os.getpid()}.{threading.get_ident()}"
    probe.touch()
    probe.unlink()


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def replace_file(path: str | os.PathLike[str], data: bytes, *, sync: bool = True) -> None:
    """Write a file under a temporary name, then rename it: a reader sees the old text or the new one, never a half.

    Parameters
    ----------
    path : path-like
        Of a symbolic link it is the file that it leads to; the link stays.
    data : bytes
    sync : bool
        Wait for the disk, so that this holds after a power cut, too. False for what can be made again.

    Raises
    ------
    OSError
        As the operating system says; the old file is as it was.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())  # once an attempt: the rename must not come to the disk before the data
        temporary.replace(path)
    except OSError:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink(missing_ok=True)
        raise
