"""The log of a training, for people: one file of timestamped lines, beside the console."""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from json.encoder import encode_basestring as quoted
from pathlib import Path
from time import localtime, monotonic, strftime, time
from types import TracebackType
from typing import Any, Literal, Self

from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.loggers import records, redirect
from hf_monitor.loggers.console import say
from hf_monitor.loggers.levels import ERROR, INFO, NUMBERS, TAGS, WARNING, level_number
from hf_monitor.loggers.lines import UNCLEAN, clean_text
from hf_monitor.loggers.log_file import refuse_if_hopeless, shared_log_file
from hf_monitor.loggers.tap import Doing, local

__all__ = ["Logger"]

_ECHO_SECONDS = 1.0
_OWN_SOURCES = ("log", "stdout", "stderr")


class Logger:
    """Write timestamped lines to a file, and optionally everything that the program shows on the console.

    Parameters
    ----------
    log_path : path-like
        Folders on the way are made. The file is opened at the first line.
    print_also : bool
        Whether :meth:`write` shows its message on the console too (warnings and errors on stderr, errors red if that is
        a terminal and ``NO_COLOR`` is unset). Redirected output reaches the console in any case.
    level : str
        ``"DEBUG"``, ``"INFO"``, ``"WARNING"``, ``"ERROR"`` or ``"CRITICAL"``: what is below goes nowhere. Output of the
        console counts as INFO unless a line shows another level.
    json_lines : bool
        One JSON object a line with ``time`` (seconds since 1970), ``level``, ``source`` (``"log"``, ``"stdout"``,
        ``"stderr"`` or the name of a :mod:`logging` logger) and ``message``, instead of text.
    mode : {"a", "w"}
        Whether an existing file is appended to or, at the first line, emptied.
    progress_interval_seconds : float
        While output is redirected, a progress bar gives at most one line in this time, and its final state.
    capture_logging : bool
        Whether, while output is redirected, records of the :mod:`logging` module are written with their own level and
        name, whatever handlers there are. Otherwise what handlers print is copied as any other output.
    mask : callable, optional
        ``(str) -> str``, applied to each text before it reaches the file: to hide secrets.
    on_trouble : callable, optional
        ``(OSError) -> None``, called instead of the report on stderr.
    capture_fd : bool
        Whether, while output is redirected, the file also gets what does not pass Python's streams: text that C code or
        subprocesses write to file descriptors 1 and 2, down to the last words of a process that aborts. Linux and
        macOS. Both descriptors then lead through a small process (12 MB, about 0.1 s to start, 20 microseconds for each
        line that Python prints) that ends by itself after the last one who writes to them; programs that draw on the
        whole screen are not for it. The mask is sent to that process, so it must be picklable. With mode ``"w"`` the
        file is emptied by :meth:`start_redirect`.

    Raises
    ------
    InputError
        For an unknown `level` or `mode`, or where `capture_fd` cannot be had.
    RunFolderError
        If the file cannot be written; here if that is plain to see, else from the first :meth:`write` or from
        :meth:`start_redirect`. Once a line has been written, nothing here raises any more because of the file: lines
        wait in memory until it works again, which is reported once on stderr; where they are too many (8 MiB) the
        oldest are dropped, which is noted in the file.

    Examples
    --------
    >>> with Logger("logs/train.log") as logger:   # doctest: +SKIP
    ...     logger.write("training begins")
    ...     trainer.train()
    """

    def __init__(
        self,
        log_path: str | os.PathLike[str],
        print_also: bool = True,
        *,
        level: str = "INFO",
        json_lines: bool = False,
        mode: Literal["a", "w"] = "a",
        progress_interval_seconds: float = 5.0,
        capture_logging: bool = True,
        mask: Callable[[str], str] | None = None,
        on_trouble: Callable[[OSError], None] | None = None,
        capture_fd: bool = False,
    ) -> None:
        if mode not in ("a", "w"):
            raise InputError(f"Logger's mode is 'a' (append) or 'w' (begin an empty file), not {mode!r}.")
        self.print_also = print_also
        self.json_lines = json_lines
        self.progress_interval_seconds = progress_interval_seconds
        self.capture_logging = capture_logging
        self.mask = mask
        self.on_trouble = on_trouble
        self.capture_fd = capture_fd
        self.file = shared_log_file(log_path)
        self._threshold = level_number(level)
        if capture_fd:
            self._check_capture()
        self._truncate = mode == "w"
        self._second = (0, "")
        self._depth = 0
        self._catch_up: Callable[[], None] | None = None  # set once descriptors were captured
        if reason := refuse_if_hopeless(self.file.path):
            raise self._refusal(reason)

    @property
    def path(self) -> Path:
        """The log file, absolute."""
        return self.file.path

    def __repr__(self) -> str:
        return f"Logger({str(self.path)!r}, print_also={self.print_also})"

    def write(self, message: object, level: str | int = "INFO") -> None:
        """Write a message; each of its lines gets the time.

        Parameters
        ----------
        message : object
            Anything with a text.
        level : str or int

        Raises
        ------
        InputError
            For an unknown level.
        RunFolderError
            If the very first line cannot be written.
        """
        number = NUMBERS.get(level) if isinstance(level, str) else None
        if number is None:
            number = level_number(level)
        if number < self._threshold:
            return
        text = message if isinstance(message, str) else str(message)
        try:
            self._append(number, "log", text)
        except OSError as error:
            if not self.file.proven:
                self.file.waiting.clear()
                raise self._refusal(error.strerror or str(error)) from error
            self._report(error)
        if self.print_also:
            self._show(text, number)

    def debug(self, message: object) -> None:
        """Write a message of level DEBUG."""
        self.write(message, "DEBUG")

    def info(self, message: object) -> None:
        """Write a message of level INFO."""
        self.write(message, "INFO")

    def warning(self, message: object) -> None:
        """Write a message of level WARNING."""
        self.write(message, "WARNING")

    def error(self, message: object) -> None:
        """Write a message of level ERROR."""
        self.write(message, "ERROR")

    def start_redirect(self) -> None:
        """Copy stdout, stderr and the records of :mod:`logging` to the file, until :meth:`stop_redirect`.

        Calls nest: as many stops as starts end it. However many there are, and however many loggers share the file, a
        line is written once.

        Raises
        ------
        RunFolderError
            If the file cannot be opened.
        InputError
            If the process that `capture_fd` needs cannot be started, or cannot load the mask.
        """
        try:
            self.file.open()
        except OSError as error:
            if not self.file.proven:
                raise self._refusal(error.strerror or str(error)) from error
        redirect.attach(self)
        if self.capture_fd:
            self._capture()
        self._depth += 1
        if self.capture_logging:
            records.attach_records(self)

    def stop_redirect(self) -> None:
        """End what :meth:`start_redirect` began; the last one leaves the streams as they were found."""
        if self._depth == 0:
            return
        self._depth -= 1
        if self._depth == 0:
            records.detach_records(self)
            if self.capture_fd:
                from hf_monitor.loggers.fd_capture import detach_fds

                detach_fds(self)
            redirect.detach(self)

    def expect_echo(self, predicate: Callable[[str], bool]) -> None:
        """Keep the next line of stdout for which `predicate` holds, if it comes within a second, out of the file.

        For output that repeats, in another form, what :meth:`write` has just said. The console shows it as always.
        """
        self.file.echoes.append((monotonic() + _ECHO_SECONDS, predicate))

    def flush(self) -> None:
        """Write the present state of progress bars, and what the file has refused. All else is in it already."""
        redirect.flush(self, final=False)
        self.file.forget_if_gone()
        try:
            self.file.flush()
        except OSError as error:
            self._report(error)

    def announce(self, message: str) -> None:
        """Write a message, and show it on the console whatever `print_also` says."""
        self.put_text(INFO, "log", message)
        self._show(message, INFO)
        if self._depth and self.capture_fd:
            from hf_monitor.loggers.fd_capture import flush_fds

            flush_fds(self)

    def close(self) -> None:
        """End redirection, however often started, and close the file. A later :meth:`write` opens it again."""
        self._depth = min(self._depth, 1)
        self.stop_redirect()
        self.file.close()

    def __enter__(self) -> Self:
        self.start_redirect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        redirect.flush(self, final=True)  # first what came first
        if isinstance(error, SystemExit):  # no failure of the code: where it came from tells nothing
            if error.code:
                told = f"the program ends with exit code {error.code:d}" if isinstance(error.code, int) else error.code
                self.put_text(ERROR, "log", str(told))
        elif error is not None:
            self.put_text(ERROR, "log", "".join(traceback.format_exception(kind, error, trace)).rstrip("\n"))
        self.close()

    def _check_capture(self) -> None:
        if sys.platform == "win32":
            raise InputError("Logger(capture_fd=True) works on Linux and macOS, not on Windows. Leave capture_fd out.")
        try:
            pickle.dumps(self.mask)
        except Exception as error:  # any object, any error
            raise InputError(
                f"Logger(capture_fd=True) sends the mask to another process, and {self.mask!r} cannot be pickled "
                f"({error}). Define it with def or class at the top of a module, or leave capture_fd out."
            ) from error

    def _capture(self) -> None:
        from hf_monitor.loggers import fd_capture  # what it needs is not there on Windows

        try:
            if self._truncate:
                self.file.truncate()
                self._truncate = False
            fd_capture.attach_fds(self)
        except BaseException as error:
            if not self._depth:
                redirect.detach(self)
            if isinstance(error, OSError) and not isinstance(error, RunFolderError):
                raise self._refusal(error.strerror or str(error)) from error
            raise
        self._catch_up = fd_capture.catch_up
        if self._depth == 0 and (told := getattr(self.mask, "when_it_learns", None)) is not None:
            told(self._renew_mask)

    def _renew_mask(self) -> None:
        from hf_monitor.loggers import fd_capture

        fd_capture.renew_mask(self)

    def pump_settings(self) -> tuple[dict[str, Any], bytes]:
        """Arguments for a logger of the same kind in another process, and the pickled mask."""
        settings = {
            "log_path": str(self.path),
            "level": self._threshold,
            "json_lines": self.json_lines,
            "progress_interval_seconds": self.progress_interval_seconds,
        }
        return settings, pickle.dumps(self.mask)

    def accepts(self, number: int) -> bool:
        """Whether lines of this level are written."""
        return number >= self._threshold

    def put_text(self, number: int, source: str, text: str) -> None:
        """Write a text to the file only. Never raises: for what others have written."""
        if number < self._threshold:
            return
        try:
            self._append(number, source, text)
        except OSError as error:
            self._report(error)

    put_line = put_text

    def _append(self, number: int, source: str, text: str) -> None:
        if self._truncate:
            self.file.truncate()
            self._truncate = False
        if self.mask is not None:
            doing = local.doing
            if doing.masking:  # the mask itself has something to say: that would never end
                return
            if not text.isprintable() and UNCLEAN.search(text):  # colours within a secret would hide it from the mask
                text = "\n".join(clean_text(text))
            text = self._masked(self.mask, text, doing)
        if self._catch_up is not None:
            self._catch_up()
        self.file.append(self._format(number, source, text))

    def _format(self, number: int, source: str, text: str) -> bytes:
        now = time()
        if source not in _OWN_SOURCES and not self.json_lines and not text.startswith(f"{source}: "):
            text = f"{source}: {text}"
        unclean = not text.isprintable() and UNCLEAN.search(text) is not None
        second = int(now)
        known, stamp = self._second
        if second != known:  # what takes longer is done once a second
            stamp = strftime("%Y-%m-%d %H:%M:%S", localtime(second))
            self._second = (second, stamp)
            self.file.forget_if_gone()
        if self.json_lines:
            message = quoted("\n".join(clean_text(text)) if unclean else text)
            level = TAGS[number].rstrip()
            return f'{{"time":{now:.6f},"level":"{level}","source":{quoted(source)},"message":{message}}}\n'.encode(
                errors="backslashreplace"
            )
        head = f"{stamp},{int((now - second) * 1000):03d} {TAGS[number]}"
        if unclean:
            return "".join([f"{head}{line}".rstrip() + "\n" for line in clean_text(text)]).encode()
        return f"{head}{text}\n".encode()

    @staticmethod
    def _masked(mask: Callable[[str], object], text: str, doing: Doing) -> str:
        doing.masking = True
        try:
            masked = mask(text)
        except Exception as error:  # noqa: BLE001 - any function may come here; unmasked text must not
            masked = error
        finally:
            doing.masking = False
        if isinstance(masked, str):
            return masked
        return f"(a text of {len(text)} characters is withheld, because mask failed: {type(masked).__name__})"

    def _show(self, text: str, number: int, *, beside_bars: bool = True) -> None:
        before, local.doing.skip = local.doing.skip, self.file
        try:
            say(text, number, beside_bars=beside_bars)
        finally:
            local.doing.skip = before

    def _report(self, error: OSError) -> None:
        """Say that lines are not in the file."""
        file = self.file
        reason = error.strerror or str(error)
        file.apology = lambda: self._format(WARNING, "log", f"({file.waiting.lost} lines are missing here: {reason})")
        if self.on_trouble is not None:
            self.on_trouble(error)
        elif not file.reported:
            file.reported = True
            message = f"hf_monitor: cannot write to {file.path}: {reason}. Lines wait in memory until it works again."
            self._show(message, WARNING, beside_bars=False)

    def _refusal(self, reason: str) -> RunFolderError:
        return RunFolderError(
            f"The log file {self.file.path} cannot be written: {reason}. "
            "Give Logger a path in a folder that you may write to."
        )
