"""What passes on its way to the console becomes lines of a log file; and what each thread is doing meanwhile."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Protocol

from hf_monitor.loggers.console import bars_live, drawn_again, say
from hf_monitor.loggers.levels import WARNING, LevelGuess
from hf_monitor.loggers.lines import LineAssembler
from hf_monitor.loggers.log_file import LogFile

__all__ = ["LineSink", "Tap", "complain", "exclusively", "local", "renew_lock"]

_COLORS = re.compile("\x1b\\[[0-9;:]*m")
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but newline and tab
_TRACEBACK = "Traceback (most recent call last)"
_MAX_PENDING = 1 << 16  # characters without a newline


class LineSink(Protocol):
    """What a tap needs of a logger."""

    file: LogFile
    progress_interval_seconds: float
    capture_logging: bool

    def accepts(self, number: int) -> bool:
        """Whether lines of this level are wanted."""

    def put_line(self, number: int, source: str, line: str) -> None:
        """Write one clean line to the file; never raises."""


class _Local(threading.local):
    """What this thread is doing."""

    def __init__(self) -> None:
        self.logging = 0  # depth of logging calls whose records are written as such
        self.skip: LogFile | None = None  # a logger is showing its own message on the console
        self.passing: tuple[str, ...] = ()  # texts on their way to the console, outermost first
        self.feeding = False
        self.draining = False
        self.queue: list[tuple[Tap, str]] = []
        self.masking = False  # inside a user's mask


local = _Local()
_lock = threading.RLock()
_complained = False


def exclusively() -> threading.RLock:
    """Return the lock of everything that redirects: another one after a fork."""
    return _lock


def renew_lock() -> None:
    """In a forked child: the lock may be held by a thread that does not exist here."""
    global _lock
    _lock = threading.RLock()


class Tap:
    """Turn the text of one source into lines for one log file.

    Parameters
    ----------
    source : str
        ``"stdout"`` or ``"stderr"``.
    file : LogFile
    interval_seconds : float
        At most one line of a progress display in this time.
    """

    def __init__(self, source: str, file: LogFile, interval_seconds: float) -> None:
        self.source = source
        self.file = file
        self.sinks: tuple[LineSink, ...] = ()
        self._interval_seconds = interval_seconds
        self.reset()

    def reset(self) -> None:
        """Forget all that is pending (in a forked child: it is the parent's)."""
        self._assembler = LineAssembler(self._interval_seconds, drawn_again)
        self._pending: dict[int, str] = {}
        self._guess = LevelGuess()

    def feed(self, text: str) -> None:
        """Take text; whatever goes wrong stays here.

        Text that arrives while this thread is already feeding (from a signal handler, from a mask that prints) waits
        until that is done; what it causes in turn is dropped, or it would never end.
        """
        if local.feeding:
            if not local.draining:
                local.queue.append((self, text))
            return
        self._guarded(lambda: self._feed(text))

    def _guarded(self, action: Callable[[], None]) -> None:
        local.feeding = True
        try:
            with _lock:
                action()
                local.draining = True
                while local.queue:
                    tap, later = local.queue.pop(0)
                    tap._feed(later)
        except Exception as error:  # noqa: BLE001 - a print of the user's must not fail because of its copy
            complain(error)
        finally:
            local.draining = local.feeding = False
            local.queue.clear()

    def flush(self, *, final: bool) -> None:
        """Write the present state of progress displays; if `final`, everything that is pending."""
        if not local.feeding:
            self._guarded(self._finish if final else lambda: self._write(self._assembler.snapshot()))

    def _finish(self) -> None:
        pending, self._pending = self._pending, {}
        for text in pending.values():
            if self._assembler.on_progress and bars_live():
                self._write(self._assembler.finish())
            self._write(self._assembler.feed(text + "\n"))
        self._write(self._assembler.finish())

    def _feed(self, text: str) -> None:
        now = time.monotonic()
        assembler, thread = self._assembler, threading.get_ident()
        pending = self._pending.pop(thread, "")
        if "\x1b" in text:
            text = _COLORS.sub("", text)
        text = pending + text
        if assembler.mid_escape or _CONTROL.search(text):
            self._write(assembler.feed(text, now))
            return
        # Plain text waits, thread by thread, until its line is complete: threads mix by lines, not by pieces of lines.
        head, newline, tail = text.rpartition("\n")
        if len(tail) > _MAX_PENDING:
            head, newline, tail = text, "\n", ""
        if tail:
            self._pending[thread] = tail
        if newline:
            if head.startswith(_TRACEBACK):
                self._write(assembler.finish())  # bars end here, most likely
            elif head and assembler.on_progress and bars_live():
                assembler.drop_row()  # a message into the middle of a bar, which tqdm will draw again
            self._write(assembler.feed(head + newline, now))

    def _write(self, lines: list[str]) -> None:
        for line in lines:
            number = self._guess(line)
            if self.source == "stdout" and self.file.echoes and self._is_echo(line):
                continue
            for sink in self.sinks:
                if sink.accepts(number):
                    sink.put_line(number, self.source, line)
                    break

    def _is_echo(self, line: str) -> bool:
        echoes, now = self.file.echoes, time.monotonic()
        for echo in list(echoes):
            until, predicate = echo
            try:
                found = until >= now and predicate(line)
            except Exception as error:  # noqa: BLE001 - a predicate of any kind; the line itself is not to be lost
                found, until = False, 0.0
                complain(error)
            if found or until < now:
                echoes.remove(echo)
            if found:
                return True
        return False


def complain(error: BaseException) -> None:
    """Report, once in a process, a failure of ours where others must not see one."""
    global _complained
    if not _complained:
        _complained = True
        say(f"hf_monitor: console output could not be copied to the log: {error!r}", WARNING, beside_bars=False)
