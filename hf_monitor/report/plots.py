"""Pictures of a page: SVG in the page itself, coloured by its style sheet (light, dark, printed), with their data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup, escape

__all__ = ["Mark", "Picture", "Series", "Table", "line_plot"]


class Series(NamedTuple):
    """One line of a plot: its points, ascending in x; values that are not finite leave a gap that is marked."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Mark(NamedTuple):
    """A vertical line with a word: where an alert came, an attempt began, the best evaluation was."""

    x: float
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


def line_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "step",
    y_label: str = "",
    alt: str = "",
    marks: Sequence[Mark] = (),
    y_range: tuple[float, float] | None = None,
) -> Picture:
    """Draw lines over a common x; at most about a thousand points a line are left, as :func:`thin` chooses."""
    xs = [x for one in series for x in one.x] or [0.0, 1.0]
    ys = [y for one in series for y in one.y if y - y == 0] or [0.0, 1.0]
    low, high = y_range or (min(ys), max(ys))
    left, right = min(xs), max(xs)

    def at(x: float, y: float) -> str:
        return f"{50 + 380 * (x - left) / ((right - left) or 1):.1f},{230 - 200 * (y - low) / ((high - low) or 1):.1f}"

    lines = [
        Markup('<polyline class="s{}" points="{}"/>').format(
            index, " ".join(at(x, y) for x, y in zip(one.x, one.y, strict=True) if y - y == 0)
        )
        for index, one in enumerate(series)
    ]
    svg = Markup('<svg class="plot" viewBox="0 0 440 260" role="img" aria-label="{}">{}</svg>').format(
        alt or title, Markup("").join(lines)
    )
    rows = [(one.name, x, y) for one in series for x, y in zip(one.x, one.y, strict=True)]
    return Picture(title, alt or str(escape(title)), svg, Table(["series", x_label, y_label or "value"], rows))
