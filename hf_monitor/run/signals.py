"""What is left of a process that a signal ends: which signal it was, and where the code was.

:mod:`faulthandler` writes it, in C, in the instant in which the signal arrives: also while a collective or another long
call in C holds the interpreter, where a handler written in Python would not run (and would keep the process from
dying). Python's own table of handlers is not touched: ``signal.getsignal``, the handlers of others and the exit code
stay as they are. For this a file must be open beforehand: while a training runs, some empty ones are in ``signals/``.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Trace", "collect", "read_traces", "unwatch", "was_cleared", "watch"]

_FOLDER = "signals"
_USUAL = ("SIGTERM", "SIGHUP", "SIGXCPU")
_OTHERS = ("SIGQUIT", "SIGUSR1", "SIGUSR2")  # if somebody handles them, they mean something else than an end
_WATCHED = tuple(name for name in (*_USUAL, *_OTHERS) if hasattr(signal, name))
_FAULT = "fault"  # SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL: in one file, which says which
_MAX_BYTES = 20_000
_FAULTS = {
    "Segmentation fault": "SIGSEGV",
    "Aborted": "SIGABRT",
    "Bus error": "SIGBUS",
    "Floating point exception": "SIGFPE",
    "Floating-point exception": "SIGFPE",
    "Illegal instruction": "SIGILL",
}


class Trace(NamedTuple):
    """A signal that arrived."""

    signal: str
    """``SIGTERM``, ``SIGHUP``, ``SIGXCPU``, ``SIGQUIT`` ...; ``SIGSEGV`` and its like for a fault in C code."""
    time: float
    """Epoch seconds."""
    traceback: str

    @property
    def is_fault(self) -> bool:
        """Whether the process itself did wrong, and nobody ended it from outside."""
        return self.signal not in _WATCHED


class _Watch:
    """The descriptors that :mod:`faulthandler` writes to. They keep their numbers for the life of the process.

    faulthandler may hold one longer than we want (somebody enabled his own over ours: there is no way to tell), so they
    are never closed, only pointed at another file.
    """

    def __init__(self) -> None:
        self.fds: dict[str, int] = {}
        self.trainings: list[tuple[Path, str]] = []  # folder and stem, the last one is written to
        self.pid = -1

    def point(self, name: str, path: str | Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o644)
        if name in self.fds:
            os.dup2(fd, self.fds[name], inheritable=False)
            os.close(fd)
        else:
            self.fds[name] = fd

    def point_at(self, folder: Path, stem: str) -> None:
        for name in (*_WATCHED, _FAULT):
            self.point(name, folder / f"{stem}.{name}.txt")

    def point_at_last(self) -> None:
        """Back to the training within which, or beside which, another one ran; to nothing where there is none."""
        with contextlib.suppress(OSError):
            if self.trainings:
                self.point_at(*self.trainings[-1])
                return
        for name in self.fds:
            with contextlib.suppress(OSError):
                self.point(name, os.devnull)

    def forget(self, folder: Path) -> bool:
        """Take out the trainings of a folder, and their empty files; say whether there were any."""
        gone = [stem for found, stem in self.trainings if found == folder]
        self.trainings = [one for one in self.trainings if one[0] != folder]
        for path in (path for stem in gone for path in folder.glob(f"{stem}.*")):
            with contextlib.suppress(OSError):
                if not path.stat().st_size:
                    path.unlink()
        return bool(gone)


_watch = _Watch()
_lock = threading.Lock()


def _in_child() -> None:
    """Let a forked child that gets the signal write nothing: its end is not the training's."""
    global _lock
    _lock = threading.Lock()
    _watch.trainings = []
    _watch.point_at_last()


def watch(run_dir: Path, rank: int = 0) -> str:
    """Begin to record, in ``signals/`` of the run folder, a signal that ends this process.

    Of several trainings of a process the one that began last is watched, then again the one before it. One that begins
    anew in the same folder takes the place of the one that was there.

    Parameters
    ----------
    run_dir : Path
    rank : int

    Returns
    -------
    str
        The name under which :func:`read_traces` finds what was recorded. Empty where it cannot be (disk, system).
    """
    if not hasattr(faulthandler, "register"):  # Windows
        return ""
    with _lock:
        if _watch.pid != os.getpid():
            if _watch.pid < 0 and hasattr(os, "register_at_fork"):
                os.register_at_fork(after_in_child=_in_child)
            _watch.pid = os.getpid()
        folder = run_dir / _FOLDER
        stem = f"rank{rank}-{socket.gethostname()}-{os.getpid()}-{time.time_ns() // 1_000_000}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            _watch.point_at(folder, stem)
        except OSError:
            _watch.point_at_last()
            return ""
        _watch.forget(folder)
        _watch.trainings.append((folder, stem))
        for name in _WATCHED:
            _register(getattr(signal, name), _watch.fds[name])
        if not faulthandler.is_enabled():  # pytest, PYTHONFAULTHANDLER: then theirs stays
            faulthandler.enable(_watch.fds[_FAULT], all_threads=False)
        return stem


def _register(number: int, fd: int) -> None:
    """Put our handler before whatever handles the signal now; anew, since others may have taken its place meanwhile."""
    handler = signal.getsignal(number)
    if handler is signal.SIG_IGN:  # nohup: nothing ends by it
        return
    if signal.Signals(number).name in _OTHERS and handler is not signal.SIG_DFL:
        return
    if threading.current_thread() is threading.main_thread():  # elsewhere no handler can be put back
        with _handlers_kept(number):
            faulthandler.unregister(number)
    faulthandler.register(number, fd, all_threads=False, chain=True)


@contextlib.contextmanager
def _handlers_kept(number: int) -> Iterator[None]:
    """Keep what Python knows as the handler; ``unregister`` puts back what it found when it was registered."""
    handler = signal.getsignal(number)
    yield
    if handler is not None:  # None: put there by C code
        signal.signal(number, handler)


def unwatch(run_dir: Path) -> None:
    """End what :func:`watch` began; empty files are taken away. Handlers are left as Python knows them."""
    with _lock:
        folder = run_dir / _FOLDER
        if _watch.pid != os.getpid() or not _watch.forget(folder):
            return
        _watch.point_at_last()
        if not _watch.trainings and threading.current_thread() is threading.main_thread():
            for name in _WATCHED:
                with _handlers_kept(getattr(signal, name)):
                    faulthandler.unregister(getattr(signal, name))
        with contextlib.suppress(OSError):
            folder.rmdir()  # stays where it is not empty


def collect(run_dir: Path) -> Trace | None:
    """Give the signal that this process got and outlived (a handler of others made of it an orderly end), or None."""
    with _lock:
        stems = [stem for folder, stem in _watch.trainings if folder == run_dir / _FOLDER]
        traces = read_traces(run_dir, stems[-1]) if stems and _watch.pid == os.getpid() else []
    return traces[0] if traces else None


def _sweep(folder: Path) -> None:
    """Take away the empty files that killed processes of this machine left."""
    mine = re.compile(rf"rank\d+-{re.escape(socket.gethostname())}-(\d+)-\d+\.")
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            found = mine.match(path.name)
            if found is None or path.stat().st_size:
                continue
            try:
                os.kill(int(found[1]), 0)
            except ProcessLookupError:
                path.unlink()


def was_cleared(run_dir: Path, stem: str) -> bool:
    """Say whether the files of a watch are gone: :func:`unwatch` was called, whatever could be written else."""
    return not any((run_dir / _FOLDER / f"{stem}.{name}.txt").exists() for name in (*_WATCHED, _FAULT))


def read_traces(run_dir: Path, stem: str) -> list[Trace]:
    """Read what was recorded under `stem`, the earliest first.

    Returns
    -------
    list of Trace
    """
    found = []
    for name in (*_WATCHED, _FAULT) if stem else ():
        path = run_dir / _FOLDER / f"{stem}.{name}.txt"
        try:
            with path.open("rb") as file:
                text = file.read(_MAX_BYTES).decode("utf-8", "replace")
            when = path.stat().st_mtime
        except OSError:
            continue
        if not text.strip():
            continue
        if name == _FAULT:
            said = text.partition("\n")[0].removeprefix("Fatal Python error: ").strip()
            name = _FAULTS.get(said, said or "fault")
        found.append(Trace(name, when, text.strip()))
    return sorted(found, key=lambda trace: trace.time)
