"""What a plot says to those who do not see it: a sentence with numbers, and its data in a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hf_monitor.report.svg_line import Points
from hf_monitor.report.words import number

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["rows_of", "said", "where"]

_MOST_SAID = 8
_LONGEST_NAME = 120
_WITH_UNIT = re.compile(r"^.*\((\S+)\)$")


class _Rows(NamedTuple):
    rows: list[tuple[object, ...]]
    n: int
    """Of all rows."""


def where(x: float, x_label: str) -> str:
    """Write a place on the x axis: ``"step 40"``, ``"3.5 min"`` of a label ``"time (min)"``."""
    shown = number(int(x) if float(x).is_integer() and abs(x) < 2**53 else x)
    unit = _WITH_UNIT.match(x_label)
    return f"{shown} {unit[1]}" if unit else f"{x_label} {shown}".strip()


def said(series: Sequence[tuple[str, Points]], x_label: str, lost: str = "no finite number") -> str:
    """Say from what to what each series goes, and where it is lowest and highest."""
    sentences = [_one(name, points, x_label, lost) for name, points in series[:_MOST_SAID]]
    more = len(series) - _MOST_SAID
    return "; ".join(sentences + [f"and {more} more"] * (more > 0))


def _one(name: str, points: Points, x_label: str, lost_words: str) -> str:
    name = name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…"
    xs, ys, lost = points
    gone = ""
    if len(lost):
        gone = f"{lost_words} at {len(lost)} point{'s' * (len(lost) > 1)}, first at {where(float(lost[0]), x_label)}"
    if not len(xs):
        return f"{name}: {gone or 'no points'}"
    if len(xs) == 1:
        found = f"{number(float(ys[0]))} at {where(float(xs[0]), x_label)} (1 point)"
    elif float(ys.min()) == float(ys.max()):
        ends = f"{where(float(xs[0]), x_label)} to {where(float(xs[-1]), x_label)}"
        found = f"{number(float(ys[0]))} throughout, from {ends} ({len(xs):,} points)"
    else:
        places = [f"from {number(float(ys[0]))} at {where(float(xs[0]), x_label)}"]
        places[0] += f" to {number(float(ys[-1]))} at {where(float(xs[-1]), x_label)}"
        for word, at in (("lowest", int(ys.argmin())), ("highest", int(ys.argmax()))):
            if ys[at] not in (ys[0], ys[-1]):
                places.append(f"{word} {number(float(ys[at]))} at {where(float(xs[at]), x_label)}")
        found = f"{', '.join(places)} ({len(xs):,} points)"
    return f"{name}: {found}" + (f"; {gone}" if gone else "")


def rows_of(series: Sequence[Points], most: int = 300) -> _Rows:
    """Join series by their x, a column each; of very many rows some are left.

    Parameters
    ----------
    series : sequence of Points
    most : int
        Rows, about. The first, last, lowest and highest point of each series stay; so do all of short series.

    Returns
    -------
    rows : list of tuple
        x and a value of each series: None where it has none there, NaN where it was no finite number.
    n : int
        How many there were.
    """
    columns = [_column(one) for one in series]
    every = np.unique(np.concatenate([xs for xs, _ in columns])) if columns else np.array([])
    chosen = every
    if len(every) > most:
        kept = [one.x[[0, int(one.y.argmin()), int(one.y.argmax()), -1]] for one in series if len(one.x)]
        kept += [one.lost[:1] for one in series]
        left = most - sum(map(len, kept))
        for xs, _ in sorted(columns, key=lambda column: len(column[0])):
            if len(xs) <= left / 2:
                kept.append(xs)
                left -= len(xs)
        kept.append(every[np.linspace(0, len(every) - 1, max(left, 2)).astype(int)])
        chosen = np.unique(np.concatenate(kept))
    cells: list[list[object]] = []
    for xs, ys in columns:
        at = np.searchsorted(xs, chosen, side="right") - 1  # of equal x the last
        there = [k >= 0 and xs[k] == x for k, x in zip(at.tolist(), chosen.tolist(), strict=True)]
        cells.append([float(ys[k]) if known else None for k, known in zip(at.tolist(), there, strict=True)])
    places = [int(x) if x.is_integer() and abs(x) < 2**53 else x for x in chosen.tolist()]
    return _Rows(list(zip(places, *cells, strict=True)), len(every))


def _column(one: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Join what can be drawn and what cannot, by x."""
    if not len(one.lost):
        return one.x, one.y
    xs = np.concatenate([one.x, one.lost])
    order = np.argsort(xs, kind="stable")
    return xs[order], np.concatenate([one.y, np.full(len(one.lost), np.nan)])[order]
