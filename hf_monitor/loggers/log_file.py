"""One log file: lines appended whole, each with one system call, by any thread and any forked child."""

from __future__ import annotations

import atexit
import contextlib
import errno
import os
import stat
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic

from hf_monitor.loggers.locks import usable
from hf_monitor.run.backlog import RETRY_SECONDS, Backlog
from hf_monitor.run.files import FULL, out_of_the_way

__all__ = ["LogFile", "refuse_if_hopeless", "shared_log_file"]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)

_files: weakref.WeakValueDictionary[str, LogFile] = weakref.WeakValueDictionary()
_files_lock = threading.Lock()
_prepared = False


class LogFile:
    """A file for whole lines. Opened at the first one; a torn last line is closed with a newline before.

    What cannot be written waits in memory, up to 8 MiB, and is tried again a second later, with the next line, by
    :meth:`flush`, :meth:`close` and when the process ends.

    Unlike :class:`hf_monitor.run.files.AppendFile` it may be used from forked children (appending needs no state that a
    fork would double), tries again by itself, and notes in the file what it has lost.

    Parameters
    ----------
    path : Path
        Absolute.

    Attributes
    ----------
    proven : bool
        A line has been written: from here on failures are for the caller to bear in silence.
    failing : bool
        The last try to write has failed.
    waiting : Backlog
        Lines that are not in the file yet.
    apology : callable or None
        Makes the text that precedes the first line after lines were lost.
    echoes : deque of (float, callable)
        Console lines that are not to be repeated here: until when (monotonic seconds), and which.
    """

    _close = staticmethod(os.close)  # at the interpreter's exit `os` may be gone before the last file

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.RLock()
        self.proven = False
        self.reported = False
        self.failing = False
        self.waiting = Backlog()
        self.apology: Callable[[], bytes] | None = None
        self.echoes: deque[tuple[float, Callable[[str], bool]]] = deque(maxlen=16)
        self._fd = -1
        self._ready = False
        self._torn = False
        self._retry_at = 0.0

    def append(self, data: bytes) -> None:
        r"""Append complete lines (ending with ``\n``); where others wait and it is not yet time to try, keep them.

        Raises
        ------
        OSError
            As the operating system says. The lines wait.
        """
        with usable(self.lock):
            if not self._ready:
                if self.waiting.is_copy:
                    self.waiting.clear()
                self._keep(data)
                if monotonic() >= self._retry_at:
                    self._drain()
                return
            self._ready = False  # also if a signal's exception cuts in below
            try:
                written = os.write(self._fd, data)
            except OSError as error:
                self._keep(data)
                self._fail(error)
                raise
            if written < len(data):  # a nearly full disk takes a part
                self._keep(data)
                self.waiting.advance(written)
                self._drain()
            self._ready = True

    def flush(self) -> None:
        """Try to write what waits.

        Raises
        ------
        OSError
            As the operating system says; what was not written waits on.
        """
        with usable(self.lock):
            if self.waiting and not self.waiting.is_copy:
                self._drain()

    def _keep(self, data: bytes) -> None:
        if not self.waiting:
            atexit.register(self.close)
        self.waiting.keep(data)

    def _drain(self) -> None:
        try:
            if self._fd < 0:
                self.open()
            if self._torn:
                os.write(self._fd, b"\n")
                self._torn = False
            if self.waiting.lost and self.apology is not None:
                os.write(self._fd, self.apology())
                self.waiting.lost = 0
            while self.waiting:
                self.waiting.advance(os.write(self._fd, self.waiting.unwritten()))
        except OSError as error:
            self._fail(error)
            raise
        atexit.unregister(self.close)
        self.proven, self.failing, self._ready = True, False, True

    def _fail(self, error: OSError) -> None:
        self.failing = True
        stale = error.errno == errno.EBADF  # closed behind our back: another one can be opened at once
        self._retry_at = 0.0 if stale else monotonic() + RETRY_SECONDS
        if error.errno not in FULL:
            self._drop_descriptor(keep_open=stale)

    def open(self) -> None:
        """Open the file, making its folder, if it is not open yet or not the one at that path any more.

        Raises
        ------
        OSError
            As the operating system says.
        """
        with usable(self.lock):
            self.forget_if_gone()
            if self._fd >= 0:
                return
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = out_of_the_way(os.open(self.path, _FLAGS, 0o644))
            self.waiting.start_line_anew()
            self._torn = _ends_torn(self.path)

    def forget_if_gone(self) -> None:
        """Close the file if it was deleted or replaced, so that the next line is not lost in what nobody can see."""
        with usable(self.lock):
            if self._fd >= 0 and _is_gone(self._fd, self.path):
                self._drop_descriptor(keep_open=False)

    def truncate(self) -> None:
        """Empty the file.

        Raises
        ------
        OSError
            As the operating system says.
        """
        with usable(self.lock):
            self.open()
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, 0)
            self._torn = False

    def close(self) -> None:
        """Close the file, after a last try to write what waits; a later :meth:`append` opens it again."""
        with usable(self.lock):
            with contextlib.suppress(OSError):
                self.flush()
            self._drop_descriptor(keep_open=False)

    def __del__(self) -> None:
        self._drop_descriptor(keep_open=False)

    def _drop_descriptor(self, *, keep_open: bool) -> None:
        fd, self._fd, self._ready = self._fd, -1, False
        if fd >= 0 and not keep_open:
            try:
                self._close(fd)
            except OSError:
                return  # closed behind our back, or a network disk's late error: nothing is left to do with it


def shared_log_file(path: str | os.PathLike[str]) -> LogFile:
    """Find or make the one object of this process for a file, so that several loggers know that they share it."""
    global _prepared
    real = os.path.realpath(path)
    with _files_lock:
        if not _prepared and hasattr(os, "register_at_fork"):
            _prepared = True
            os.register_at_fork(after_in_child=_in_child)
        file = _files.get(real)
        if file is None:
            file = _files[real] = LogFile(Path(real))
        return file


def _in_child() -> None:
    """In a forked child: replace locks that a thread of the parent, which does not exist here, may have held.

    What the parent has lost, and what it expects, is not the child's to report.
    """
    global _files_lock
    _files_lock = threading.Lock()
    for file in list(_files.values()):
        file.lock = threading.RLock()
        file.waiting.clear()  # the parent's
        file.waiting.lost = 0
        file.echoes.clear()


def refuse_if_hopeless(path: Path) -> str | None:
    """Say why nothing can ever be written to `path`, without making anything; None if it looks possible."""
    try:
        if path.is_dir():
            return "it is a folder"
        if path.exists():
            return None if os.access(path, os.W_OK) else "the file may not be written to"
        folder = next(folder for folder in path.parents if folder.exists())
    except OSError as error:
        return error.strerror
    if not folder.is_dir():
        return f"{folder} is a file, not a folder"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"the folder {folder} may not be written to"


def _is_gone(fd: int, path: Path) -> bool:
    try:
        return not os.path.samestat(os.fstat(fd), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # nothing can be said; what can still be written to is better than nothing


def _ends_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) or file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # a file that may be written but not read
