"""Wrapping texts to a width, by an upper bound of each character's width: no text runs out of a picture."""

from __future__ import annotations

import unicodedata

__all__ = ["text_width", "wrapped"]

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
