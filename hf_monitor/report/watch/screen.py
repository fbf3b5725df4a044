"""The terminal of the live view: painted line by line where something changed, and left as it was found."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from types import FrameType, TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from hf_monitor.gpu.report_text import encodable

__all__ = ["Screen", "has_blocks", "is_live", "printed", "size_of"]

_BEGIN, _END = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # the alternate screen, without a cursor
_AGAIN = 10  # every so many paintings all lines: what was typed meanwhile stands between them
_ENDS = ("SIGTERM", "SIGHUP")


def is_live(file: TextIO | None) -> bool:
    """Say whether a file is a terminal on which lines can be painted anew."""
    return file is not None and file.isatty() and os.environ.get("TERM") != "dumb"


def has_blocks(file: TextIO | None) -> bool:
    """Say whether the signs of bars and curves can be written to a file."""
    signs = "█░▁▇×…°"
    return file is not None and encodable(signs, file) == signs


def size_of(file: TextIO | None) -> tuple[int, int]:
    """Give columns and lines of a terminal; 80 and 24 where it is none. ``COLUMNS`` and ``LINES`` say it better."""
    try:
        columns, rows = os.get_terminal_size(1 if file is None else file.fileno())
    except (OSError, ValueError, AttributeError):
        columns, rows = 0, 0
    said = [os.environ.get(name, "") for name in ("COLUMNS", "LINES")]
    found = [int(text) if text.isdecimal() and int(text) else 0 for text in said]
    return found[0] or columns or 80, found[1] or rows or 24


def console_for(file: TextIO) -> Console:
    """Give what writes colours as a terminal has them; none with ``NO_COLOR``."""
    return Console(file=file, force_terminal=is_live(file), highlight=False, markup=False, emoji=False, width=1000)


def printed(lines: Sequence[Text], file: TextIO) -> None:
    """Print a view once; in colour to a terminal only.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    console = console_for(file)
    file.write("".join(f"{_ansi(console, line, file)}\n" for line in lines))
    file.flush()


def _ansi(console: Console, line: Text, file: TextIO) -> str:
    line = line.copy()
    line.plain = encodable(line.plain, file)
    with console.capture() as captured:
        console.print(line, end="", soft_wrap=True)
    return captured.get().rstrip("\n")


class Screen:
    """The alternate screen of a terminal, while the view is live; use it in a ``with``.

    SIGTERM and SIGHUP end it in order, Ctrl-Z gives the terminal back until ``fg``.

    Parameters
    ----------
    file : text file
        A terminal.
    """

    def __init__(self, file: TextIO) -> None:
        self._file, self._console = file, console_for(file)
        self._painted: list[Text] = []
        self._ansi: list[str] = []
        self._size = (0, 0)
        self._n = 0
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> Screen:
        for name in (*_ENDS, "SIGTSTP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                self._handlers[number] = signal.signal(number, self._stop if name == "SIGTSTP" else _end)
        self._write(_BEGIN)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._write(_END)
        finally:
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def paint(self, lines: Sequence[Text]) -> None:
        """Show lines from the top; what is the same as before is not written again.

        Raises
        ------
        OSError
            If the terminal is gone.
        """
        size = size_of(self._file)
        anew = size != self._size
        found = []
        out = ["\x1b[2J"] if anew else []
        for row, line in enumerate(lines):
            same = row < len(self._painted) and _same(self._painted[row], line)
            found.append(self._ansi[row] if same else _ansi(self._console, line, self._file))
            if not same or anew or self._n % _AGAIN == 0:
                # Cleared before, not after: behind a line of full width the cursor still stands on its last sign.
                out.append(f"\x1b[{row + 1};1H\x1b[2K{found[-1]}")
        if len(lines) < len(self._painted) or self._n % _AGAIN == 0:
            out.append(f"\x1b[{len(lines) + 1};1H\x1b[J" if len(lines) < size[1] else "")
        self._painted, self._ansi, self._size = list(lines), found, size
        self._n += 1
        if out:
            self._write("".join([*out, "\x1b[H"]))

    def _write(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._write(_END)
        os.kill(os.getpid(), signal.SIGSTOP)
        self._write(_BEGIN)
        self._size = (0, 0)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _same(first: Text, second: Text) -> bool:
    return first.plain == second.plain and first.spans == second.spans and first.style == second.style
