"""Python's own text on its way to the console while file descriptors 1 and 2 belong to ``capture_fd``."""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable

from hf_monitor.loggers.locks import usable

__all__ = ["Direct"]

_FULL = 8192  # bytes, as Python's own buffers


class Direct:
    """Write a stream's text to where its descriptor led before, with the stream's encoding and habits of flushing.

    Not a second :class:`io.TextIOWrapper`: its lock, if another thread holds it during a fork, would block the child
    for ever, and what was in its buffer would come twice.

    Parameters
    ----------
    stream : io.TextIOWrapper
        Whose text it is; may be reconfigured at any time.
    fd : int
        The console.
    catch_up : callable
        Called before each write: waits until what came before by other ways has been shown.
    """

    def __init__(self, stream: io.TextIOWrapper, fd: int, catch_up: Callable[[], None]) -> None:
        self._stream = stream
        self._fd = fd
        self._catch_up = catch_up
        self.reset()

    def reset(self) -> None:
        """Forget what is pending (in a forked child: it is the parent's)."""
        self._lock = threading.RLock()
        self._pending = b""

    def write(self, text: str) -> int:
        """Do what the stream's own method would do.

        Raises
        ------
        ValueError
            If the stream is closed, or cannot encode the text.
        OSError
            As the operating system says.
        """
        stream = self._stream
        if stream.closed:
            raise ValueError("I/O operation on closed file.")
        data = text.encode(stream.encoding, stream.errors or "strict")
        with usable(self._lock):
            self._pending += data
            ends = stream.line_buffering and ("\n" in text or "\r" in text)
            if ends or stream.write_through or len(self._pending) >= _FULL:
                self.flush()
        return len(text)

    def flush(self) -> None:
        """Write what is pending."""
        with usable(self._lock):
            if not self._pending:
                return
            with contextlib.suppress(ValueError):  # closed or detached
                self._stream.buffer.flush()  # bytes that were written to it came first
            self._catch_up()
            data, self._pending = self._pending, b""  # a signal handler may print while this is being written
            try:
                while data:
                    data = data[os.write(self._fd, data) :]
            except BaseException:
                self._pending = data + self._pending
                raise
