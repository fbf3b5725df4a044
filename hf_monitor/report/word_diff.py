"""Which words two texts share, in order, and which only one of them has."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hf_monitor.report.text_units import graphemes, is_hangul, words

__all__ = ["MAX_CHARACTERS", "MAX_WORDS", "Diff", "Piece", "diff_texts"]

#: What is compared of a text; what follows becomes a gap.
MAX_WORDS, MAX_CHARACTERS = 2000, 10_000

#: Particles that are the same though the noun before them is another one (not all there are: the usual ones).
_PARTICLES = frozenset(
    (
        *"은는이가을를에의와과로도만나랑께",
        *(
            "으로",
            "에서",
            "에게",
            "한테",
            "까지",
            "부터",
            "보다",
            "처럼",
            "마다",
            "밖에",
            "이나",
            "이랑",
            "하고",
            "라고",
        ),
        *("에는", "에도", "과는", "와는", "로는", "에서는", "에게는", "에게서", "으로는", "까지는", "이라고"),
    )
)


class Piece(NamedTuple):
    """A stretch of a text: ``"same"``, ``"differs"``, or ``"gap"`` where so many characters are left out."""

    text: str
    kind: str = "same"
    left_out: int = 0


class Diff(NamedTuple):
    """Two texts as pieces, and the share of their words (0 to 1) that they have in common."""

    left: list[Piece]
    right: list[Piece]
    shared: float


def diff_texts(left: str, right: str) -> Diff:
    """Compare two texts word by word, by a longest common subsequence of their words.

    Blanks are kept and not compared; texts in NFD are compared as in NFC. Where two Korean words take each other's
    place and begin alike, or end with the same particle, only what differs of them is marked: 목요일에 and 목요일부터
    differ in 에 and 부터, 모자를 and 시계를 in 모자 and 시계. Of ``#Person1#`` and ``Person1`` only the signs
    differ: the text scores count no signs.

    Parameters
    ----------
    left, right : str
        Of each the first 2,000 words (at most 10,000 characters) are compared.

    Returns
    -------
    Diff
        Pieces of each side; but for a ``"gap"`` at the end they are the text.

    Notes
    -----
    The table of the subsequence is one whole number of Python for each word (Hyyrö 2004, "Bit-parallel LCS-length
    computation revisited"): a few milliseconds for 2,000 words, whatever they are. ``difflib`` needs seconds where a
    model repeats itself.

    Examples
    --------
    >>> [(piece.text, piece.kind) for piece in diff_texts("a red hat", "a grey hat").left]
    [('a ', 'same'), ('red', 'differs'), (' hat', 'same')]
    """
    one, other = _Side(left), _Side(right)
    pairs = _common(one.keys, other.keys)
    for i, j in pairs:
        one.parts[i], other.parts[j] = _with_signs(one.said[i], other.said[j]), _with_signs(other.said[j], one.said[i])
    ends = [(-1, -1), *pairs, (len(one.keys), len(other.keys))]
    for (i, j), (next_i, next_j) in pairwise(ends):
        _look_closer(one, range(i + 1, next_i), other, range(j + 1, next_j))
    n = len(one.keys) + len(other.keys)
    whole = sum(len(one.parts[i]) == len(other.parts[j]) == 1 for i, j in pairs)
    return Diff(one.pieces(), other.pieces(), 2 * whole / n if n else 1.0)


class _Side:
    """A text: its words without the blanks, and each word's pieces so far."""

    def __init__(self, text: str) -> None:
        self.units = words(text[:MAX_CHARACTERS])
        places = [place for place, unit in enumerate(self.units) if not unit.isspace()]
        if len(places) > MAX_WORDS:
            self.units, places = self.units[: places[MAX_WORDS]], places[:MAX_WORDS]
        self.rest = len(text) - sum(map(len, self.units))
        self.said = [self.units[place] for place in places]
        self.keys = [unicodedata.normalize("NFC", unit.strip("#") or unit) for unit in self.said]
        self.parts = [[Piece(unit, "differs")] for unit in self.said]

    def pieces(self) -> list[Piece]:
        """Put the blanks back, and neighbours of one kind together."""
        flat: list[Piece] = []
        parts = iter(self.parts)
        for unit in self.units:
            flat += [Piece(unit, "blank")] if unit.isspace() else next(parts)
        for place, piece in enumerate(flat):
            if piece.kind == "blank":
                around = [flat[near].kind for near in (place - 1, place + 1) if 0 <= near < len(flat)]
                flat[place] = Piece(piece.text, "differs" if around == ["differs", "differs"] else "same")
        joined: list[Piece] = []
        for piece in flat:
            if joined and joined[-1].kind == piece.kind:
                joined[-1] = Piece(joined[-1].text + piece.text, piece.kind)
            else:
                joined.append(piece)
        if self.rest:
            joined.append(Piece("", "gap", self.rest))
        return joined


def _with_signs(said: str, other: str) -> list[Piece]:
    """Mark of a word that both have the signs that the other lacks: of ``#Person2#``, against ``Person2``, both."""
    core = said.strip("#")
    if "#" not in said or not core or said.count("#") == other.count("#"):
        return [Piece(said)]
    begin, _, end = said.partition(core)
    return [piece for piece in (Piece(begin, "differs"), Piece(core), Piece(end, "differs")) if piece.text]


def _common(one: Sequence[str], other: Sequence[str]) -> list[tuple[int, int]]:
    """Give the places of a longest common subsequence, ascending; equal beginnings and ends are part of it."""
    short = min(len(one), len(other))
    begin = 0
    while begin < short and one[begin] == other[begin]:
        begin += 1
    end = 0
    while end < short - begin and one[-1 - end] == other[-1 - end]:
        end += 1
    a, b = one[begin : len(one) - end], other[begin : len(other) - end]
    where: dict[str, int] = {}
    for i, key in enumerate(a):
        where[key] = where.get(key, 0) | 1 << i
    full = (1 << len(a)) - 1
    state, table = full, []
    for key in b:
        met = state & where.get(key, 0)
        state = ((state + met) | (state - met)) & full
        table.append(state)
    pairs = [(len(one) - k, len(other) - k) for k in range(1, end + 1)]
    i, j = len(a), len(b)
    while i and j:
        if table[j - 1] >> (i - 1) & 1:
            i -= 1
        elif j > 1 and not table[j - 2] >> (i - 1) & 1:
            j -= 1
        else:
            i, j = i - 1, j - 1
            pairs.append((begin + i, begin + j))
    return [*((k, k) for k in range(begin)), *reversed(pairs)]


def _look_closer(one: _Side, ours: range, other: _Side, theirs: range) -> None:
    """Of Korean words that take each other's place mark only what differs."""
    left = [i for i in ours if is_hangul(one.said[i])]
    right = [j for j in theirs if is_hangul(other.said[j])]
    if len(left) == len(right):
        pairs = list(zip(left, right, strict=True))
    else:  # which belongs to which is told by how they begin
        pairs, start = [], 0
        for i in left:
            met = [k for k in range(start, len(right)) if one.keys[i][:2] == other.keys[right[k]][:2]][:1]
            pairs += [(i, right[k]) for k in met]
            start = met[0] + 1 if met else start
    for i, j in pairs:
        one.parts[i], other.parts[j] = _split(one.said[i], other.said[j])


def _split(one: str, other: str) -> tuple[list[Piece], list[Piece]]:
    a, b = graphemes(one), graphemes(other)
    keys = [[unicodedata.normalize("NFC", part) for part in side] for side in (a, b)]
    short = min(len(a), len(b))
    begin = next((k for k in range(short) if keys[0][k] != keys[1][k]), short)
    rests = {"".join(side[begin:]) for side in keys}
    if begin >= 2 or (begin == 1 and rests <= _PARTICLES | {""}):
        return _cut(a, begin, ("same", "differs")), _cut(b, begin, ("same", "differs"))
    for end in (3, 2, 1):
        if end < short and keys[0][-end:] == keys[1][-end:] and "".join(keys[0][-end:]) in _PARTICLES:
            return _cut(a, len(a) - end, ("differs", "same")), _cut(b, len(b) - end, ("differs", "same"))
    return [Piece(one, "differs")], [Piece(other, "differs")]


def _cut(parts: list[str], place: int, kinds: tuple[str, str]) -> list[Piece]:
    texts = "".join(parts[:place]), "".join(parts[place:])
    return [Piece(text, kind) for text, kind in zip(texts, kinds, strict=True) if text]
