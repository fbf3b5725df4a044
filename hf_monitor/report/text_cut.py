"""Texts made short enough for a page: around what differs, never within a character, saying how much is left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import escape

from hf_monitor.report.text_units import graphemes
from hf_monitor.report.word_diff import Piece

__all__ = ["bytes_of", "fair_limit", "shorten", "shown"]

#: Bytes of the tags around a piece that is marked.
_TAGS = 40
#: Characters kept on each side of what differs, where a text is too long.
_AROUND = 60
#: Control characters, which HTML forbids, as the signs that Unicode has for them; lone halves of surrogate pairs.
_SIGNS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
_SIGNS |= {code: "\ufffd" for code in [*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF] if code != 0x85}


def shown(text: str) -> str:
    r"""Write a text as HTML can hold it: ``\r\n`` as a line's end, control characters as signs (``␀``)."""
    return text.replace("\r\n", "\n").translate(_SIGNS)


def bytes_of(pieces: Iterable[Piece]) -> int:
    """Count the bytes that pieces take in a page: escaped, in UTF-8, with their tags."""
    return sum(len(str(escape(one.text)).encode("utf-8")) + (_TAGS if one.kind != "same" else 0) for one in pieces)


def fair_limit(sizes: Sequence[int], total: int) -> int:
    """Find the limit for each so that all together are at most `total`: short ones leave their room to long ones.

    Examples
    --------
    >>> fair_limit([10, 100, 100], 110)
    50
    """
    left, limit = total, max(sizes, default=0)
    for place, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - place)
        if size > share:
            return share
        left -= size
    return limit


def shorten(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    """Shorten a text to about `limit` bytes: first in long stretches that are the same, then at the end.

    Parameters
    ----------
    pieces : sequence of Piece
    limit : int
        Bytes, as :func:`bytes_of` counts them.

    Returns
    -------
    list of Piece
        A piece of kind ``"gap"`` says how many characters are left out in its place.
    """
    if bytes_of(pieces) <= limit:
        return list(pieces)
    kept: list[Piece] = []
    for place, piece in enumerate(pieces):
        kept += _ends_of(piece, place == 0, place == len(pieces) - 1) if len(pieces) > 1 else [piece]
    room = max(limit - _TAGS, 0)
    short: list[Piece] = []
    for piece in kept:
        if (size := bytes_of([piece])) > room:
            begin = _fitting(piece, room)
            short += [Piece(begin, piece.kind)] if begin else []
            return [*short, Piece("", "gap", _length(pieces) - _length(short))]
        room -= size
        short.append(piece)
    return short


def _length(pieces: Sequence[Piece]) -> int:
    return sum(len(piece.text) + piece.left_out for piece in pieces)


def _ends_of(piece: Piece, first: bool, last: bool) -> list[Piece]:
    """Leave of a long stretch that is the same what lies near to what differs."""
    if piece.kind != "same" or len(piece.text) <= 3 * _AROUND:
        return [piece]
    parts = graphemes(piece.text)
    begin, end = "".join(parts[:_AROUND]), "" if last else "".join(parts[-_AROUND:])
    begin = "" if first and end else begin
    gap = Piece("", "gap", len(piece.text) - len(begin) - len(end))
    return [one for one in (Piece(begin), gap, Piece(end)) if one.text or one.left_out]


def _fitting(piece: Piece, room: int) -> str:
    """Give as many whole characters of a piece as there is room for."""
    room -= _TAGS if piece.kind != "same" else 0
    begin = []
    for part in graphemes(piece.text[: max(room, 0)]):  # a character takes at least a byte
        room -= len(str(escape(part)).encode("utf-8"))
        if room < 0:
            break
        begin.append(part)
    return "".join(begin)
