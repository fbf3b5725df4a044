"""What passes on its way to the console becomes lines of a log file; and what each thread is doing meanwhile."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from hf_monitor.loggers.console import bars_live, drawn_again, say
from hf_monitor.loggers.levels import WARNING, LevelGuess
from hf_monitor.loggers.lines import LineAssembler
from hf_monitor.loggers.locks import usable
from hf_monitor.loggers.log_file import LogFile

__all__ = ["Doing", "LineSink", "Tap", "complain", "exclusively", "local", "renew_lock"]

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


class Doing:
    """What a thread is doing."""

    __slots__ = ("draining", "feeding", "logging", "masking", "passing", "queue", "skip")

    def __init__(self) -> None:
        self.logging = 0  # depth of logging calls whose records are written as such
        self.skip: LogFile | None = None  # a logger is showing its own message on the console
        self.passing: tuple[str, ...] = ()  # texts on their way to the console, outermost first
        self.feeding = False
        self.draining = False
        self.queue: list[tuple[Tap, str]] = []
        self.masking = False  # inside a user's mask


class _Local(threading.local):
    """What this thread is doing: an object of its own, since access to a thread's locals costs more than all in it."""

    def __init__(self) -> None:
        self.doing = Doing()


local = _Local()
_lock = threading.RLock()
_complained = False


def exclusively() -> threading.RLock:
    """Return the lock of everything that redirects: another one after a fork."""
    return usable(_lock)


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
        self._printable = ""  # the one of these that was looked through last
        self._guess = LevelGuess()

    def feed(self, text: str, doing: Doing) -> None:
        """Take text; whatever goes wrong stays here.

        Text that arrives while this thread is already feeding (from a signal handler, from a mask that prints) waits
        until that is done; what it causes in turn is dropped, or it would never end.
        """
        if doing.feeding:
            if not doing.draining:
                doing.queue.append((self, text))
            return
        if not (text.isprintable() and self._holds(text)):
            self._guarded(doing, self._feed, text)

    def _holds(self, text: str) -> bool:
        """Keep the first piece of a line, print()'s way: nothing can be said of it before its newline."""
        thread = threading.get_ident()
        with usable(_lock):
            if thread in self._pending or self._assembler.mid_escape or len(text) > _MAX_PENDING:
                return False
            self._printable = text
            # one step, because a signal handler may print here too
            return self._pending.setdefault(thread, text) is text

    def _guarded(self, doing: Doing, action: Callable[..., None], *arguments: Any) -> None:
        doing.feeding = True
        try:
            with usable(_lock):
                action(*arguments)
                doing.draining = True
                while doing.queue:
                    tap, later = doing.queue.pop(0)
                    tap._feed(later)
        except Exception as error:  # noqa: BLE001 - a print of the user's must not fail because of its copy
            complain(error)
        finally:
            doing.draining = doing.feeding = False
            doing.queue.clear()

    def flush(self, *, final: bool) -> None:
        """Write the present state of progress displays; if `final`, everything that is pending."""
        doing = local.doing
        if not doing.feeding:
            self._guarded(doing, self._finish if final else self._write_snapshot)

    def _write_snapshot(self) -> None:
        self._write(self._assembler.snapshot())

    def _finish(self) -> None:
        pending, self._pending = self._pending, {}
        for text in pending.values():
            if self._assembler.on_progress and bars_live():
                self._write(self._assembler.finish())
            self._write(self._assembler.feed(text + "\n"))
        self._write(self._assembler.finish())

    def _feed(self, text: str) -> None:
        assembler, thread = self._assembler, threading.get_ident()
        pending = self._pending.pop(thread, "")
        if text == "\n" and not pending.startswith(_TRACEBACK):
            known = pending is self._printable or pending.isprintable()
            if known and (plain := assembler.plain_line(pending)) is not None:
                self._write(plain)
                return
        if "\x1b" in text:
            text = _COLORS.sub("", text)
        text, now = pending + text, time.monotonic()
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
            if self.file.echoes and self.source == "stdout" and self._is_echo(line):
                continue
            number = self._guess(line)
            for sink in self.sinks:
                if sink.accepts(number):
                    sink.put_line(number, self.source, line)
                    break

    def _is_echo(self, line: str) -> bool:
        echoes, now = self.file.echoes, time.monotonic()
        for echo in tuple(echoes):
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
