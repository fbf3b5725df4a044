"""What stands around the lines of a plot: legend, words of the marks, grid and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.report.svg_line import dashes, marker
from hf_monitor.report.svg_scale import Scale
from hf_monitor.report.svg_text import FONT_SIZE, cut, text, width

__all__ = ["WIDTH", "Entry", "axes", "canvas", "legend", "marked"]

WIDTH = 440.0
"""Of the view box."""
_SWATCH = 30.0
_LINE = 19.0
_MOST_ENTRIES = 16
_MOST_MARKS = 40
_SMALL = 13.0


class Entry(NamedTuple):
    """A line of the legend; `number` None: a level, drawn in the colour of the text."""

    name: str
    number: int | None
    with_marker: bool = False


def canvas(parts: Sequence[Markup], height: float, alt: str) -> Markup:
    """Put a picture together."""
    return Markup('<svg class="plot" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, cut(alt, 1e9), Markup("").join(parts)
    )


def legend(entries: Sequence[Entry], top: float) -> tuple[list[Markup], float]:
    """Write the legend above the axes, in as many lines as it needs; give it and where it ends."""
    parts: list[Markup] = []
    at, line = 0.0, top + _LINE - 5
    shown = list(entries[:_MOST_ENTRIES])
    for entry in shown:
        name = cut(entry.name, WIDTH - _SWATCH)
        room = _SWATCH + width(name)
        if at and at + room > WIDTH:
            at, line = 0.0, line + _LINE
        y = line - FONT_SIZE / 3
        if entry.number is None:
            parts.append(Markup('<path class="level" d="M{:.1f} {:.1f}h24"/>').format(at, y))
        else:
            dot = Markup('<path class="dot" d="M{:.1f} {:.1f}{}"/>').format(at + 12, y, marker(entry.number))
            parts.append(
                Markup('<g class="s{}"><path d="M{:.1f} {:.1f}h24"{}/>{}</g>').format(
                    entry.number % 8, at, y, dashes(entry.number), dot if entry.with_marker else Markup("")
                )
            )
        parts.append(text(name, at + _SWATCH - 2, line))
        at += room + 12
    if len(entries) > len(shown):
        parts.append(text(f"and {len(entries) - len(shown)} more, in the table", 0, line + _LINE))
        line += _LINE
    return parts, line + 5 if entries else top


def marked(
    marks: Sequence[tuple[float, str, str]], x: Scale, top: float, most_lines: int = 3
) -> tuple[list[Markup], list[Markup], float, list[str]]:
    """Place the words of marks above the axes so that none lies on another.

    Parameters
    ----------
    marks : sequence of (float, str, str)
        Value, label, kind (a class); without a label it is a line only.
    x : Scale
    top : float
    most_lines : int

    Returns
    -------
    labels, lines : list of Markup
        The lines have a ``{bottom}`` to be filled in.
    float
        Where the words end.
    list of str
        Words that had no room.
    """
    labels: list[Markup] = []
    lines: list[Markup] = []
    rows: list[list[tuple[float, float]]] = []
    unplaced: list[str] = []
    placed: list[tuple[float, int]] = []
    for value, name, kind in marks[:_MOST_MARKS]:
        if not name:
            continue
        at = float(x.at([value])[0])
        shown = cut(name, 0.5 * WIDTH, _SMALL)
        long = width(shown, _SMALL)
        # To the right of its line where there is room, else to the left.
        start = at if at + long <= WIDTH else max(at - long, 0.0)
        row = next(
            (k for k, row in enumerate(rows) if all(start > e + 5 or start + long < s - 5 for s, e in row)), None
        )
        if row is None and len(rows) < most_lines:
            rows.append([])
            row = len(rows) - 1
        if row is None:
            unplaced.append(name)
            continue
        rows[row].append((start, start + long))
        placed.append((at, row))
        labels.append(text(shown, start, top + (row + 1) * 15 - 3, kind=f"word {kind}".strip()))
    bottom = top + 15 * len(rows)
    rows_of = dict(placed)
    for value, _, kind in marks[:_MOST_MARKS]:
        at = float(x.at([value])[0])
        begin = top + (rows_of[at] + 1) * 15 if at in rows_of else bottom
        lines.append(Markup('<path class="mark {}" d="M{:.1f} {:.1f}V').format(kind, at, begin))
    unplaced += [name for _, name, _ in marks[_MOST_MARKS:] if name]
    return labels, lines, bottom, unplaced


def axes(x: Scale, y: Scale, x_label: str) -> list[Markup]:
    """Draw grid, axes and what stands at their ticks; `y` begins at the foot."""
    parts = []
    grid = "".join(f"M{x.start:.1f} {at:.1f}H{x.end:.1f}" for at, _ in y.labelled)
    parts.append(Markup('<path class="grid" d="{}"/>').format(grid))
    parts += [text(label, x.start - 6, at + FONT_SIZE / 3, "end") for at, label in y.labelled]
    ticks, end = [], -1.0
    for at, label in x.labelled:
        long = width(label)
        middle = min(max(at, long / 2), WIDTH - long / 2)
        if middle - long / 2 > end + 6:
            parts.append(text(label, middle, y.start + 18, "middle"))
            ticks.append(f"M{at:.1f} {y.start:.1f}v4")
            end = middle + long / 2
    parts.append(
        Markup('<path class="axis" d="M{:.1f} {:.1f}H{:.1f}{}"/>').format(x.start, y.start, x.end, "".join(ticks))
    )
    if x_label:
        parts.append(text(cut(x_label, x.end - x.start), x.end, y.start + 34, "end"))
    return parts
