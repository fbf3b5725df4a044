"""From what a program sends to a terminal to the lines of a log file. Pure: no stream, no file, no clock."""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["UNCLEAN", "LineAssembler", "clean_text"]

# Everything that must not stand in a log line: control characters (C0, DEL, C1), the two Unicode line separators, at
# which str.splitlines() would break the line, and lone surrogates, which no UTF-8 file can hold.
UNCLEAN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# One escape sequence: OSC/DCS/SOS/PM/APC up to its end (or the line's, if it never comes), CSI, and the short ones.
_ESCAPE = (
    "\x1b[\\]PX^_][^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\\\|\x9c|\\Z|(?=[\r\n])|(?=\x1b[^\\\\]))"
    "|\x1b\\[[0-?]*[ -/]*[@-~]"
    "|\x1b[ -/]+[0-~]"
    "|\x1b[0-OQ-WYZ\\\\`-~]"
)
_TOKEN = re.compile(f"[^\x00-\x1f\x7f-\x9f]+|(?:{_ESCAPE})|[\x00-\x1f\x7f-\x9f]")
# The beginning of an escape sequence whose end has not arrived yet.
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[ -/]*|[\\]PX^_][^\x07\x1b\x9c\r\n]*\x1b?)\\Z")
_ESCAPES = re.compile(_ESCAPE)
_CSI = re.compile("\x1b\\[([0-9]*)[0-9;]*([A-Z])\\Z", re.IGNORECASE)

_MAX_ROWS = 40  # how far up a progress display may reach
_MAX_ESCAPE = 4096  # characters; longer than any real sequence
_MAX_ROW = 1 << 20  # characters without a newline before a line is cut


def clean_text(text: str) -> list[str]:
    r"""Cut a message into lines without control characters, as a terminal would show them.

    Parameters
    ----------
    text : str
        May hold newlines, ``\r``, tabs, escape sequences.

    Returns
    -------
    list of str
        At least one line; empty lines are kept.
    """
    lines = []
    for piece in _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n"):
        # of what was drawn over itself, the last state
        line = next((part for part in reversed(piece.split("\r")) if part.strip()), "") if "\r" in piece else piece
        lines.append(_scrub(line))
    return lines


def _scrub(line: str) -> str:
    if UNCLEAN.search(line) is None:
        return line
    return UNCLEAN.sub(_substitute, line.expandtabs())


def _substitute(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0xA0:
        return ""
    return " " if code < 0x3000 else f"\\u{code:04x}"


class _Row:
    """One line of the little screen that the assembler keeps."""

    __slots__ = ("bar", "carriage", "overdrawn", "returned", "text", "touched", "written")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.text = ""
        self.written: str | None = None  # what the log has of this row
        self.overdrawn = False  # a progress display: drawn over itself
        self.returned = False  # the cursor came up to it again
        self.bar = False  # a bar that was left and is to be drawn again
        self.carriage = False  # text that follows draws over what was there
        self.touched = False  # got text since the cursor came here


class LineAssembler:
    r"""Assemble log lines from text that was meant for a terminal.

    It keeps the last few rows of a screen, because that is what ``\r``, cursor-up and erasing act on. A row without
    such things is a line as soon as its newline comes. A row that is drawn over itself (a progress display) becomes a
    line at most once every `interval_seconds`, and once more when it is left for good. Blank lines are left out.

    Parameters
    ----------
    interval_seconds : float
    drawn_again : callable, optional
        ``(str) -> bool``: whether a progress display with this text will be drawn again. tqdm leaves a bar with a
        newline both when it is finished and on the way to a nested bar; the text alone does not tell which.

    Notes
    -----
    How the text is cut into :meth:`feed` calls does not change the lines, except for the times of progress lines.
    """

    def __init__(self, interval_seconds: float = 5.0, drawn_again: Callable[[str], bool] | None = None) -> None:
        self.interval_seconds = interval_seconds
        self._drawn_again = drawn_again or (lambda _: False)
        self._rows = [_Row()]
        self._row = 0
        self._column = 0
        self._escape = ""
        self._rising = False
        self._displays = False  # whether a row may be overdrawn: most of the time there is none to look for
        self._nested = False  # there were bars to be drawn again
        self._since: float | None = None  # when displays were last written, or began
        self._counting = False
        self._gone = 0.0  # when the last display went away
        self._lines: list[str] = []

    @property
    def mid_escape(self) -> bool:
        """Whether the text so far ends within an escape sequence."""
        return bool(self._escape)

    @property
    def on_progress(self) -> bool:
        """Whether the cursor stands in a progress display that is shown right now."""
        row = self._rows[self._row]
        return row.overdrawn and not row.carriage and bool(row.text.strip())

    def drop_row(self) -> None:
        """Forget the row under the cursor and those below: other text goes here, and bars will be drawn below it."""
        del self._rows[self._row + 1 :]
        self._rows[self._row].clear()
        self._column = 0

    def feed(self, text: str, now: float = 0.0) -> list[str]:
        """Take text and return the lines that are complete by now.

        Parameters
        ----------
        text : str
        now : float
            Seconds of a monotonic clock.
        """
        if self._escape:
            text, self._escape = self._escape + text, ""
        if "\x1b" in text and (unfinished := _UNFINISHED.search(text)) and len(unfinished[0]) < _MAX_ESCAPE:
            text, self._escape = text[: unfinished.start()], unfinished[0]
        for token in _TOKEN.findall(text):
            if token >= " " and not "\x7f" <= token[0] <= "\x9f":
                self._settle_risen()
                self._put(token)
            else:
                self._control(token)
        self._snapshot(now)
        return self._take()

    def snapshot(self) -> list[str]:
        """Return the present state of each progress display that the log does not have yet."""
        for row in self._rows:
            if row.overdrawn:
                self._line(row)
        return self._take()

    def finish(self) -> list[str]:
        """Return everything that is still pending and begin anew."""
        self._settle_all()
        self._escape = ""
        return self._take()

    def plain_line(self, line: str) -> list[str] | None:
        r"""Do what ``feed(line + "\n")`` would do, if there is nothing in the way that makes it difficult.

        Most lines are of that kind, and it takes a third of the time.

        Parameters
        ----------
        line : str
            Printable, as :meth:`str.isprintable` says.

        Returns
        -------
        list of str or None
            The lines that are complete by now; None where nothing was done.
        """
        rows, number = self._rows, self._row
        row = rows[number]
        if self._displays or self._escape or self._rising or self._column or number + 1 < len(rows):
            return None
        if row.text or row.written or row.carriage:
            return None
        row.text = line
        if line:
            row.touched = True
        self._down()
        if not (line := line.rstrip()):
            return []
        row.written = line
        return [line]

    def _take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def _put(self, text: str) -> None:
        row = self._rows[self._row]
        if self._column == 0 and row.text and not row.touched:
            row.text = ""  # what an earlier display left on this row is no part of a new line
            row.overdrawn = row.overdrawn and (row.carriage or row.returned)
        if row.carriage:
            row.overdrawn = self._displays = True
            row.carriage = False
        row.touched = True
        column, old = self._column, row.text
        if column >= len(old):
            row.text = old.ljust(column) + text
        else:
            row.text = old[:column] + text + old[column + len(text) :]
        self._column = column + len(text)
        if len(row.text) > _MAX_ROW:
            self._newline()

    def _control(self, token: str) -> None:
        up = _CSI.match(token) if len(token) > 1 else None
        if up is not None and up[2] in "AF":
            self._rise(int(up[1] or 1), home=up[2] == "F")
            return
        self._settle_risen()
        if token == "\n":
            self._newline()
        elif token == "\r":
            self._carriage_return()
        elif token == "\b":
            self._column = max(self._column - 1, 0)
            self._rows[self._row].carriage = True
        elif token == "\t":
            self._put(" " * (8 - self._column % 8))
        elif up is not None:
            self._command(up[2], up[1])

    def _command(self, letter: str, number: str) -> None:
        row, count = self._rows[self._row], int(number or 1)
        if letter == "K":
            if number in ("", "0"):
                row.text = row.text[: self._column]
            elif number == "1":
                row.text = " " * self._column + row.text[self._column :]
            else:
                row.text = ""
        elif letter == "J" and number in ("", "0"):
            row.text = row.text[: self._column]
            for below in self._rows[self._row + 1 :]:
                below.text = ""
        elif letter in "JHf":  # another screen begins
            self._settle_all()
        elif letter == "C":
            self._column = min(self._column + count, _MAX_ESCAPE)
        elif letter == "D":
            self._column = max(self._column - count, 0)
            row.carriage = True
        elif letter == "G":
            self._column = min(count, _MAX_ESCAPE) - 1
            row.carriage = True
        elif letter in "BE":
            for _ in range(min(count, _MAX_ROWS)):
                self._down()
            if letter == "E":
                self._column = 0

    def _carriage_return(self) -> None:
        row = self._rows[self._row]
        if row.touched and row.text.strip():
            self._settle_above(returned=False)
        if row.text and not row.text.strip():
            row.clear()  # wiped with spaces, as tqdm does before a message: what follows is a line of its own
        else:
            row.carriage = True
        self._column = 0

    def _newline(self) -> None:
        row = self._rows[self._row]
        if row.touched and row.text.strip():
            fresh = not row.overdrawn and self._row == len(self._rows) - 1
            self._settle_above(returned=fresh)
        row.carriage = False
        if not row.overdrawn:
            self._line(row)
        elif row.touched and self._drawn_again(row.text):
            row.bar = self._nested = True
        elif row.touched:
            if self._nested:  # a nested bar is closed, and none is below: there are only its old places
                self._nested = False
                row.bar = True
                del self._rows[self._row + 1 :]
            if row.bar or not row.returned:
                self._settle(row)
        self._down()
        self._column = 0

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._rows):
            if self._row < _MAX_ROWS:
                self._rows.append(_Row())
            else:
                row = self._rows.pop(0)
                if row.overdrawn:
                    self._settle(row)
                row.clear()
                self._rows.append(row)
                self._row -= 1
        self._rows[self._row].touched = False

    def _rise(self, count: int, *, home: bool) -> None:
        row = self._rows[self._row]
        if row.carriage and not row.text:
            row.returned = True  # wiped on the way up, as rich does with all of its rows: it will be drawn again
        for _ in range(min(count, self._row)):
            self._row -= 1
            row = self._rows[self._row]
            row.touched = False
            if row.text.strip():
                row.overdrawn = row.returned = self._displays = True
        if home:
            self._column = 0
        self._rising = True

    def _settle_risen(self) -> None:
        """Rows above the highest one that the cursor came back to are final."""
        if self._rising:
            self._rising = False
            for row in self._rows[: self._row]:
                self._settle(row)

    def _settle_above(self, *, returned: bool) -> None:
        for row in self._rows[: self._row] if self._displays else ():
            if row.overdrawn and (returned or row.bar or not row.returned):
                self._settle(row)

    def _settle_all(self) -> None:
        for row in self._rows:
            self._line(row)
        self._rows, self._row, self._column = [_Row()], 0, 0
        self._rising = self._displays = self._nested = False
        self._since, self._counting = None, False

    def _settle(self, row: _Row) -> None:
        if row.overdrawn:
            self._line(row)
            row.overdrawn = row.returned = row.bar = False

    def _line(self, row: _Row) -> None:
        text = _scrub(row.text.rstrip())
        if text and text != row.written:
            row.written = text
            self._lines.append(text)

    def _snapshot(self, now: float) -> None:
        if not self._displays:
            return
        self._displays = any(row.overdrawn for row in self._rows)
        if not self._displays:
            self._counting, self._gone = False, now
            return
        if not self._counting:
            self._counting = True
            # a display that was only pushed aside by a message keeps its clock, or many messages would hide it for ever
            if self._since is None or now - self._gone >= self.interval_seconds:
                self._since = now
        if self._since is not None and now - self._since >= self.interval_seconds:
            self._since = now
            for row in self._rows:
                if row.overdrawn:
                    self._line(row)
