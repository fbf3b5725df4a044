"""What the parts of the live view share: how wide it is, what is left out first, bars, lines wrapped by columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.text import Text

__all__ = ["WIDE", "Look", "Part", "bar", "wrapped"]

WIDE = 76
"""Columns from which on a metric and its curve stand on one line."""


class Look(NamedTuple):
    """How things are shown."""

    width: int = 80
    """Columns."""
    height: int | None = None
    """Lines; None for as many as there are."""
    blocks: bool = True
    """Whether the terminal has signs beyond ASCII."""
    metrics: Sequence[str] = ()
    """The metrics to show; those that say most where empty."""


class Part(NamedTuple):
    """Lines that belong together."""

    rank: int
    """The highest are left out first."""
    lines: list[Text]


def bar(share: float, size: int, look: Look, style: str = "green") -> Text:
    """Draw a share (0 to 1) as a bar of so many cells."""
    full, empty, left, right = ("█", "░", "", "") if look.blocks else ("#", ".", "[", "]")
    n = math.floor(share * size)
    return Text.assemble(left, (full * n, style), (empty * (size - n), "dim"), right)


def wrapped(text: str, width: int) -> list[str]:
    """Wrap by columns: a Korean sign has two."""
    found, line = [], ""
    for word in text.split(" "):
        while cell_len(word) > width:  # no word of any language is wider than a terminal; a hostile one is cut
            if line:
                found.append(line)
                line = ""
            piece = _cut(word, width)
            found.append(piece)
            word = word[len(piece) :]
        if line and cell_len(line) + 1 + cell_len(word) > width:
            found.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*found, line] if line else found


def _cut(word: str, width: int) -> str:
    for end in range(len(word), 0, -1):
        if cell_len(word[:end]) <= width:
            return word[:end]
    return word[:1]
