"""The process that stands between file descriptors 1 and 2 and the console while ``capture_fd`` is on.

A process of its own, in a session of its own, so that the last words of code that aborts, or is killed with its whole
process group, still reach console and log. It ends when nobody holds the other end of its pipes any more. It needs the
standard library and this package's loggers, nothing else.
"""

from __future__ import annotations

import codecs
import contextlib
import mmap
import os
import pickle
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

from hf_monitor.loggers.file_logger import Logger
from hf_monitor.loggers.tap import Tap, local

__all__ = ["STATE_BYTES", "copy_window_size", "main", "receive", "send"]

STATE_BYTES = mmap.PAGESIZE
_CHUNK = 1 << 16  # bytes, as much as a pipe holds
_PATIENCE = 64  # chunks that are passed on before a command is obeyed, however much a busy child writes
_WINDOW_MS = 500  # how often the window's size is looked at


def send(fd: int, message: object) -> None:
    """Send one object through a pipe."""
    data = pickle.dumps(message)
    data = len(data).to_bytes(4, "big") + data
    while data:
        data = data[os.write(fd, data) :]


def receive(fd: int) -> Any:
    """Receive what :func:`send` sent.

    Raises
    ------
    EOFError
        If the other side is gone.
    """
    return pickle.loads(_read(fd, int.from_bytes(_read(fd, 4), "big")))


def _read(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(fd, size - len(data))
        if not piece:
            raise EOFError("the other side is gone")
        data += piece
    return data


def copy_window_size(source: int, target: int) -> None:
    """Give one terminal the size of another."""
    import fcntl
    import termios

    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        if fcntl.ioctl(target, termios.TIOCGWINSZ, bytes(8)) != size:
            fcntl.ioctl(target, termios.TIOCSWINSZ, size)


class _Source:
    """One of the two descriptors: what is written to it, where that is shown, and which logs get it."""

    def __init__(self, name: str, fd: int, console: int) -> None:
        self.name = name
        self.fd = fd
        self.terminal = os.isatty(fd)
        self.taps: list[Tap] = []
        self._console = console
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def pass_on(self) -> bool:
        """Take what is there to console and logs; False at the end of it all."""
        try:
            data = os.read(self.fd, _CHUNK)
        except OSError:  # how a terminal says that nobody is left
            data = b""
        self._show(data)
        text = self._decoder.decode(data, final=not data)
        for tap in self.taps if text else ():
            tap.feed(text, local.doing)
        return bool(data)

    def _show(self, data: bytes) -> None:
        while data and self._console >= 0:
            try:
                data = data[os.write(self._console, data) :]
            except BlockingIOError:
                select.select([], [self._console], [], 1.0)
            except OSError:  # the console is gone: the logs are not
                self._console = -1

    def finish(self) -> None:
        for tap in self.taps:
            tap.flush(final=True)

    def follow_window(self) -> None:
        if self.terminal and self._console >= 0:
            copy_window_size(self._console, self.fd)


class _Pump:
    def __init__(self, sources: list[_Source], state: mmap.mmap, alive: int) -> None:
        self._sources = {source.fd: source for source in sources}
        self._state = state
        self._alive = alive
        self._loggers: dict[int, Logger] = {}
        self._poll = select.poll()
        for fd in (*self._sources, 0):
            self._poll.register(fd, select.POLLIN)

    def run(self) -> None:
        wait = _WINDOW_MS if any(source.terminal for source in self._sources.values()) else None
        while self._sources:
            ready = self._poll.poll(wait)
            self._pass_on(ready)
            if any(fd == 0 for fd, _ in ready):
                self._listen()
            for source in self._sources.values():
                source.follow_window()

    def _pass_on(self, ready: list[tuple[int, int]]) -> bool:
        self._state[0] = 1  # before the pipe gets empty by our reading: who sees 0 after that knows it is all out
        found = False
        for fd, _ in ready:
            source = self._sources.get(fd)
            if source is None:
                continue
            found = True
            if not source.pass_on():
                source.finish()
                self._poll.unregister(fd)
                del self._sources[fd]
        self._state[0] = 0
        return found

    def _listen(self) -> None:
        try:
            number, name, *arguments = receive(0)
        except EOFError:  # the process that started us is gone; its children may still have something to say
            self._poll.unregister(0)
            return
        for _ in range(_PATIENCE):
            if not self._pass_on(self._poll.poll(0)):
                break
        commands: dict[str, Callable[..., None]] = {
            "add": self._add,
            "mask": self._mask,
            "remove": self._remove,
            "flush": self._flush,
            "release": self._release,
        }
        try:
            commands[name](*arguments)
            answer: str | None = None
        except Exception as error:  # noqa: BLE001 - a mask of any kind is loaded here; whoever asked is told
            answer = f"{type(error).__name__}: {error}"
        with contextlib.suppress(OSError):
            send(1, (number, answer))

    def _add(self, key: int, settings: dict[str, Any], mask: bytes) -> None:
        interval = settings["progress_interval_seconds"]
        logger = Logger(print_also=False, mask=pickle.loads(mask), **settings)
        self._loggers[key] = logger
        for source in self._sources.values():
            tap = next((tap for tap in source.taps if tap.file is logger.file), None)
            if tap is None:
                tap = Tap(source.name, logger.file, interval)
                source.taps.append(tap)
            tap.sinks = (*tap.sinks, logger)

    def _mask(self, key: int, mask: bytes) -> None:
        self._loggers[key].mask = pickle.loads(mask)

    def _remove(self, key: int) -> None:
        logger = self._loggers.pop(key)
        for source in self._sources.values():
            for tap in [tap for tap in source.taps if logger in tap.sinks]:
                if len(tap.sinks) == 1:
                    tap.flush(final=True)
                    source.taps.remove(tap)
                tap.sinks = tuple(other for other in tap.sinks if other is not logger)

    def _flush(self, key: int) -> None:
        for source in self._sources.values():
            for tap in source.taps:
                if self._loggers[key] in tap.sinks:
                    tap.flush(final=False)

    def _release(self) -> None:
        for key in list(self._loggers):
            self._remove(key)
        with contextlib.suppress(OSError):
            os.write(self._alive, b"x")  # nobody needs to take over when we end


def main(arguments: list[str]) -> None:
    """Pump until nobody writes any more.

    Parameters
    ----------
    arguments : list of str
        Descriptors: of the state shared with the process that started this one, of the pipe that tells whether this one
        lives, then a name and two descriptors (pipe or terminal to read, console) for each source.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"):  # meant for those whose words are still to be delivered
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    state, alive, *rest = arguments
    sys.path.extend(receive(0))  # where a mask's module is to be found
    sources = [_Source(rest[i], int(rest[i + 1]), int(rest[i + 2])) for i in range(0, len(rest), 3)]
    os.chdir("/")
    _Pump(sources, mmap.mmap(int(state), STATE_BYTES), int(alive)).run()
