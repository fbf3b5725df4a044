"""Fitting texts to a width: lines wrapped so that none runs out of a picture, names cut so that they stay apart."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from hf_monitor.charts.fonts import text_columns

__all__ = ["cut_middle", "short_names", "text_width", "wrapped"]

# Widths in em, each the widest of its group in DejaVu Sans (Hangul and Han: in the Korean fonts), so that a line is
# never longer than it was taken for. tests/charts/test_inference_charts.py holds them against the fonts.
_NARROW = frozenset("!|'.,:;ijlIftr()[]/\\ \u00a0·‘’")
_NARROW_EM, _LETTER_EM, _CAPITAL_EM, _WIDE_EM, _OTHER_EM = 0.43, 0.66, 0.84, 1.03, 1.7
_LETTER = frozenset("“”–")
_CAPITAL = frozenset("+<=>~#^&→←")
_WIDE = frozenset("mwWM@%…—")


def _em(character: str) -> float:
    if character in _NARROW:
        return _NARROW_EM
    if character in _CAPITAL or "A" <= character <= "Z":
        return _WIDE_EM if character in _WIDE else _CAPITAL_EM
    if character in _WIDE or unicodedata.east_asian_width(character) in "WF":
        return _WIDE_EM
    if character < "\x7f" or character in _LETTER:
        return _LETTER_EM
    base = unicodedata.normalize("NFD", character)[0]
    return _em(base) + 0.1 if base < "\x7f" else _OTHER_EM  # an accent, or what is not known better


def text_width(text: str) -> float:
    """Give an upper bound of a line's width, in em (multiply by the font size). Korean is twice as wide as Latin.

    Parameters
    ----------
    text : str

    Returns
    -------
    float
    """
    return sum(map(_em, text))


def wrapped(text: str, width: float, max_lines: int) -> list[str]:
    """Cut a text into lines, at blanks where there are any; what does not fit ends with an ellipsis.

    Parameters
    ----------
    text : str
        One line, as :meth:`Chart.shown` gives it.
    width : float
        Of a line, in em; at least that of two characters.
    max_lines : int

    Returns
    -------
    list of str
        At least one line.
    """
    lines: list[str] = []
    rest = text.strip()
    while rest and len(lines) < max_lines:
        end, used = 0, 0.0
        while end < len(rest) and (used + _em(rest[end]) <= width or end < 1):
            used += _em(rest[end])
            end += 1
        if end < len(rest) and len(lines) == max_lines - 1:
            while end > 1 and text_width(rest[:end]) + _WIDE_EM > width:
                end -= 1
            return [*lines, rest[:end].rstrip() + "…"]
        blank = rest.rfind(" ", 0, end + 1)
        if end < len(rest) and blank > 0.5 * end:  # a longer word than half a line is cut
            end = blank
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines or [""]


def cut_middle(text: str, limit: int, tail: float = 0.5) -> str:
    """Shorten a text to `limit` columns by its middle: head and end tell more of a name or a path.

    Parameters
    ----------
    text : str
    limit : int
        Columns, see `hf_monitor.charts.fonts.text_columns`.
    tail : float
        Share of the columns that the end of the text gets.
    """
    text = text if len(text) <= 20_000 else f"{text[:1000]}…{text[-1000:]}"
    if text_columns(text) <= limit:
        return text
    end = max(0, int(tail * (limit - 1)))
    return _start(text, limit - 1 - end) + "…" + _start(text[::-1], end)[::-1]


def _start(text: str, columns: int) -> str:
    end = 0
    while end < len(text) and (columns := columns - text_columns(text[end])) >= 0:
        end += 1
    return text[:end]


def short_names(names: Sequence[str], limit: int) -> list[str]:
    """Shorten names to `limit` columns so that different ones stay different.

    Names that fit stay as they are. Otherwise what all begin with is left out, up to the last ``/``, ``-``, ``_``,
    ``.`` or blank of it, and names that are still too long lose their middle; a number in front is the last resort.

    Parameters
    ----------
    names : sequence of str
    limit : int

    Returns
    -------
    list of str
    """
    different = len(set(names))
    if all(text_columns(name) <= limit for name in names):
        return list(names)
    low, high = min(names), max(names)  # what these two begin with alike, all do
    alike = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    drop = 1 + max(low.rfind(mark, 0, alike) for mark in "/-_. ") if different > 1 else 0
    rests = [f"…{name[drop:]}" for name in names] if drop > 1 else list(names)
    for candidates in (names, rests):
        for tail in (0.5, 0.75, 0.25):
            short = [cut_middle(name, limit, tail) for name in candidates]
            if len(set(short)) == different:
                return short
    return [cut_middle(f"{number}. {name}", limit) for number, name in enumerate(rests, start=1)]
