"""What a picture of a page is made from, and what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup

__all__ = ["Level", "Mark", "Picture", "Series", "Table"]


class Series(NamedTuple):
    """One line of a plot: its points, ascending in x; values that are not finite are crosses at the foot."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    breaks: Sequence[float] = ()
    """At these x the line is not joined: pauses, attempts."""


class Mark(NamedTuple):
    """A vertical line with a word: where an alert came, an attempt began, the best evaluation was."""

    x: float
    label: str
    kind: str = ""
    """``""``, ``"good"``, ``"warn"`` or ``"bad"``: its colour."""


class Level(NamedTuple):
    """A horizontal line, named in the legend: the memory that a card has."""

    y: float
    label: str


@dataclass(frozen=True)
class Table:
    """The data of a picture, or any table: shown by the macro ``table``; cells are numbers, texts or None."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A picture with its words: shown by the macro ``picture``."""

    title: str
    alt: str
    """What the picture shows, in a sentence with numbers, for those who do not see it."""
    svg: Markup
    table: Table
    notes: list[str] = field(default_factory=list)
