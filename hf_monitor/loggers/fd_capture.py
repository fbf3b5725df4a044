"""``capture_fd``: what C code and subprocesses write to file descriptors 1 and 2 reaches the log, too.

Both descriptors are replaced by a pipe (by a terminal, where they were one) to a process of its own,
:mod:`hf_monitor.loggers.fd_pump`. Text that Python code writes does not go that way: it is seen as before, with its
levels and records, and written to the console directly.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import fcntl
import mmap
import os
import select
import subprocess
import sys
import tempfile
import termios
import threading
import time
import tty
from pathlib import Path
from typing import Any, Protocol

from hf_monitor.errors import InputError
from hf_monitor.loggers import redirect
from hf_monitor.loggers.console import say
from hf_monitor.loggers.fd_pump import STATE_BYTES, copy_window_size, receive, send
from hf_monitor.loggers.levels import WARNING
from hf_monitor.loggers.log_file import LogFile

__all__ = ["attach_fds", "catch_up", "detach_fds", "flush_fds", "renew_mask"]

_START_SECONDS = 60.0  # a mask's module may import much, on a slow disk
_ANSWER_SECONDS = 5.0
_ORDER_SECONDS = 0.5  # how long a print waits for what came before it by way of the pump
# The process detaches itself at once, so that it is no child of ours: os.wait() and the like do not meet it.
_CODE = (
    "import os, sys\n"
    "if os.fork(): os._exit(0)\n"
    "sys.path.insert(0, sys.argv[1])\n"
    "from hf_monitor.loggers.fd_pump import main\n"
    "main(sys.argv[2:])\n"
)


class FdSink(Protocol):
    """What is needed of a logger."""

    file: LogFile

    def pump_settings(self) -> tuple[dict[str, Any], bytes]:
        """Arguments for a logger of the same kind in another process, and the pickled mask."""


_lock = threading.RLock()
_capture: _Capture | None = None
_prepared = False


def attach_fds(sink: FdSink) -> None:
    """Let a logger have what is written to descriptors 1 and 2; no change where it has that already.

    Raises
    ------
    InputError
        If the mask cannot be used in another process, or that cannot be started.
    """
    global _capture
    _prepare()
    with _lock:
        if _capture is not None and _capture.pid != os.getpid():
            _capture.end()  # the parent's; what this process writes is its own from here on
            _capture = None
        begun = _capture or _Capture.begin()
        if begun is None or sink in begun.sinks:
            return
        reason: str | None = "interrupted"
        try:
            reason = begun.ask("add", id(sink), *sink.pump_settings(), seconds=_START_SECONDS)
        finally:
            if reason and not begun.sinks:
                begun.end()
        if reason:
            raise InputError(_NO_MASK.format(reason) if begun.answers else _NO_PUMP.format(reason))
        begun.sinks.append(sink)
        if _capture is None:
            begun.take()
            _capture = begun


_NO_MASK = (
    "capture_fd=True needs a mask that another process can load: {}. Define it at the top of a module that can be "
    "imported (not in the script that is run, nor in a notebook), or leave capture_fd out."
)
_NO_PUMP = "capture_fd=True needs a process of its own, and that did not start: {}. Leave capture_fd out here."


def detach_fds(sink: FdSink) -> None:
    """Take a logger off; the last one gives the descriptors back."""
    global _capture
    with _lock:
        if _capture is None or sink not in _capture.sinks:
            return
        _capture.sinks.remove(sink)
        if _capture.sinks:
            _flush_here()
            _capture.ask("remove", id(sink))
        else:
            ended, _capture = _capture, None
            ended.end()


def flush_fds(sink: FdSink) -> None:
    """Write the present state of a logger's progress displays."""
    with _lock:
        if _capture is not None and sink in _capture.sinks:
            _capture.ask("flush", id(sink))


def renew_mask(sink: FdSink) -> None:
    """Hand a logger's mask, which has learned something, to the process that masks what the descriptors bring."""
    with _lock:
        if _capture is not None and sink in _capture.sinks:
            _capture.ask("mask", id(sink), sink.pump_settings()[1])


def catch_up() -> None:
    """Wait, not for long, until what was written to the descriptors before has been shown and logged."""
    if _capture is not None:
        _capture.catch_up()


class _Stream:
    """One descriptor while it is captured."""

    def __init__(self, name: str, fd: int) -> None:
        self.name = name
        self.fd = fd
        self.saved = _high(fd)
        self.write_end = -1
        try:
            pair = _terminal_like(self.saved) if os.isatty(fd) else os.pipe()
            self.read_end, self.write_end = (_high(end, close=True) for end in pair)
        except OSError:
            os.close(self.saved)
            raise
        self._ours = os.fstat(self.write_end)

    def take(self) -> None:
        os.dup2(self.write_end, self.fd)
        self._forget_write_end()

    def give_back(self) -> None:
        with contextlib.suppress(OSError):  # closed meanwhile, or somebody else's by now: not ours to restore
            if os.path.samestat(os.fstat(self.fd), self._ours):
                os.dup2(self.saved, self.fd)

    def _forget_write_end(self) -> None:
        if self.write_end >= 0:
            os.close(self.write_end)
            self.write_end = -1

    def close(self) -> None:
        self._forget_write_end()
        os.close(self.read_end)
        os.close(self.saved)


class _Capture:
    """The two descriptors of this process, and the pump behind them."""

    def __init__(self, streams: list[_Stream]) -> None:
        self.pid = os.getpid()
        self.sinks: list[FdSink] = []
        self.answers = False
        self._streams = streams
        self._taken = False
        self._asked = 0
        self._impatient_until = 0.0
        self._pumping = True
        with tempfile.TemporaryFile() as shared:
            shared.truncate(STATE_BYTES)
            self._state = mmap.mmap(shared.fileno(), STATE_BYTES)
            handed = _high(shared.fileno())
        try:
            self._start(handed)
        finally:
            os.close(handed)

    @classmethod
    def begin(cls) -> _Capture | None:
        """Start a pump for the descriptors that there are; None if there are none to capture."""
        streams: list[_Stream] = []
        try:
            streams.extend(_Stream(name, fd) for name, fd in (("stdout", 1), ("stderr", 2)) if _capturable(name, fd))
            return cls(streams) if streams else None
        except (OSError, EOFError) as error:
            for stream in streams:
                stream.close()
            raise InputError(_NO_PUMP.format(error)) from error

    def _start(self, shared: int) -> None:
        root = str(Path(__file__).parents[2])
        alive, theirs = (_high(end, close=True) for end in os.pipe())
        handed = [shared, theirs]
        names = [str(shared), str(theirs)]
        for stream in self._streams:
            handed += [stream.read_end, stream.saved]
            names += [stream.name, str(stream.read_end), str(stream.saved)]
        try:
            with subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _CODE, root, *names],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._streams[-1].saved,
                pass_fds=handed,
                start_new_session=True,
            ) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                self._control = _high(process.stdin.fileno())
                self._reply = _high(process.stdout.fileno())
        except OSError:
            os.close(alive)
            raise
        finally:
            os.close(theirs)
        self._alive = alive
        send(self._control, [os.path.abspath(place) for place in sys.path])  # noqa: PTH100 - '' is the folder we are in

    def ask(self, *command: object, seconds: float = _ANSWER_SECONDS) -> str | None:
        """Tell the pump something; it first passes on what has been written so far. Returns why it failed, or None."""
        if self.pid != os.getpid() or not self._pumping:
            return None
        try:
            self._asked += 1
            send(self._control, (self._asked, *command))
            number = 0
            while number != self._asked:  # an answer that Ctrl-C kept somebody from reading may come first
                if not _ready([self._reply], seconds):
                    return f"no answer within {seconds:g} s"
                number, reason = receive(self._reply)
        except (OSError, EOFError) as error:
            return str(error)
        self.answers = True
        return None if reason is None else str(reason)

    def take(self) -> None:
        """Put the pump behind the descriptors."""
        _flush_here()
        redirect.write_directly({stream.fd: stream.saved for stream in self._streams}, catch_up)
        for stream in self._streams:
            stream.take()
        self._taken = True
        threading.Thread(target=self._watch, args=(self._alive,), name="hf_monitor capture_fd", daemon=True).start()

    def end(self) -> None:
        """Give the descriptors back. In a forked child the pump is left alone: it is the parent's."""
        try:
            if self._taken:
                _flush_here()
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self._taken:
            for stream in self._streams:
                stream.give_back()
        try:
            self.ask("release")
        finally:
            self._pumping = False
            self._close()

    def _close(self) -> None:
        if self._taken:
            redirect.write_directly({}, catch_up)
        if not self._taken or self.pid != os.getpid():  # else the watching thread closes it
            os.close(self._alive)
        for stream in self._streams:
            stream.close()
        os.close(self._control)
        os.close(self._reply)

    def catch_up(self, seconds: float = _ORDER_SECONDS) -> None:
        """Wait until the pump has nothing left to do, or the time is over: then not again for a while."""
        if not self._pumping or self._impatient_until > (now := time.monotonic()):
            return
        ends = [stream.read_end for stream in self._streams]
        until, pause = now + seconds, 5e-5
        with contextlib.suppress(OSError, ValueError):  # ended by another thread meanwhile
            while _ready(ends, 0.0, select.POLLIN) or self._state[0]:
                if time.monotonic() > until:
                    self._impatient_until = time.monotonic() + 10 * seconds
                    return
                time.sleep(pause)
                pause = min(pause * 2, 2e-3)

    def _watch(self, alive: int) -> None:
        """Wait for the end of the pump. If it was killed: give the descriptors back and go on for the console."""
        released = os.read(alive, 1)
        os.close(alive)
        with _lock:
            if released or not self._pumping:
                return
            self._pumping = False
            for stream in self._streams:
                stream.give_back()
            pairs = {_high(stream.read_end): _high(stream.saved) for stream in self._streams}
        say(
            "hf_monitor: the process behind capture_fd was ended. What C code and subprocesses write is no longer "
            "copied to the log.",
            WARNING,
            beside_bars=False,
        )
        while pairs:  # children have these ends still
            for fd in _ready(list(pairs), None):
                data = b""
                with contextlib.suppress(OSError):
                    data = os.read(fd, 1 << 16)
                    os.write(pairs[fd], data)
                if not data:
                    os.close(fd)
                    os.close(pairs.pop(fd))


def _capturable(name: str, fd: int) -> bool:
    if getattr(sys, f"__{name}__", None) is None:  # there was none when Python started; it may be any file by now
        return False
    if getattr(getattr(sys, name, None), "watch_fd_thread", None) is not None:
        return False  # ipykernel brings it to its streams by itself, where it is seen
    try:
        return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return False


def _high(fd: int, *, close: bool = False) -> int:
    """Duplicate a descriptor, out of the way of those with a meaning."""
    copy = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    if close:
        os.close(fd)
    return copy


def _terminal_like(console: int) -> tuple[int, int]:
    master, slave = os.openpty()
    with contextlib.suppress(termios.error):
        settings = termios.tcgetattr(console)
        settings[tty.OFLAG] &= ~termios.OPOST  # the console itself makes \r\n of a newline
        termios.tcsetattr(slave, termios.TCSANOW, settings)
    copy_window_size(console, slave)
    return master, slave


def _ready(fds: list[int], seconds: float | None, events: int = ~0) -> list[int]:
    """Those that have something to read or, if that is among the events, are at their end."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, event in poll.poll(None if seconds is None else int(seconds * 1000)) if event & events]


def _flush_here() -> None:
    """Write what Python and the C library hold back of stdout: it belongs before what is done next."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        with contextlib.suppress(Exception):  # any kind of stream
            stream.flush()  # type: ignore[union-attr]
    library = ctypes.CDLL(None)
    for name in ("stdout", "__stdoutp"):
        with contextlib.suppress(ValueError):
            library.fflush(ctypes.c_void_p.in_dll(library, name))
            return


def _prepare() -> None:
    global _prepared
    if not _prepared:
        _prepared = True
        atexit.register(_at_exit)
        os.register_at_fork(after_in_child=_in_child)


def _at_exit() -> None:
    """Deliver all that there is by now; the pump stays for what comes after this."""
    if _capture is not None:
        _flush_here()
        _capture.catch_up(_ANSWER_SECONDS)


def _in_child() -> None:
    global _lock
    _lock = threading.RLock()
