"""One line of a plot: fewer points for the same picture, breaks, markers, and crosses for what is no number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.scales import LARGEST
from hf_monitor.charts.thin import thin
from hf_monitor.report.svg_scale import Scale

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Points", "dashes", "draw_line", "marker", "means_of", "points_of"]

_SHOWN = 800
_MEANS = 160
_MARKED = 60  # points up to which each has its marker
_NOISY = 0.02  # of the whole range: what the values of one mean differ, on average
_DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 2 1 2 1 2", "1 4", "10 2 4 2")
# Around 0 0, about 7 wide: circle, square, triangle, diamond, downward triangle, plus, cross, bar.
_MARKERS = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "m-2.8-2.8h5.6v5.6h-5.6z",
    "m0-3.8l3.6 6.4h-7.2z",
    "m0-4l4 4l-4 4l-4-4z",
    "m0 3.8l3.6-6.4h-7.2z",
    "m-1.2-3.6h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4v-2.4h2.4z",
    "m-3.6-2l1.6-1.6l2 2l2-2l1.6 1.6l-2 2l2 2l-1.6 1.6l-2-2l-2 2l-1.6-1.6l2-2z",
    "m-1.2-4h2.4v8h-2.4z",
)


class Points(NamedTuple):
    """The points of a series, sorted by x: those that can be drawn, and the x of those that cannot."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    lost: npt.NDArray[np.float64]


def points_of(x: Sequence[float], y: Sequence[float]) -> Points:
    """Sort out the points of a series; those without an x that can be drawn are left out."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    n = min(len(xs), len(ys))
    placed = np.abs(xs[:n]) <= LARGEST
    xs, ys = xs[:n][placed], ys[:n][placed]
    if len(xs) > 1 and np.any(np.diff(xs) < 0):
        order = np.argsort(xs, kind="stable")
        xs, ys = xs[order], ys[order]
    kept = np.abs(ys) <= LARGEST
    return Points(xs[kept], ys[kept], xs[~kept])


def dashes(index: int) -> Markup:
    """Give the attribute of the dashes of series number `index`; after eight, colours come again with other dashes."""
    found = _DASHES[(index + index // 8) % 8]
    return Markup(' stroke-dasharray="{}"').format(found) if found else Markup("")


def marker(index: int) -> str:
    """Give the path of the marker of series number `index`, around the current point."""
    return _MARKERS[(index + index // 8) % 8]


def means_of(points: Points) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int] | None:
    """Give means of neighbouring points, and of how many, where there are many and they scatter; else None."""
    n = len(points.x)
    if n <= _SHOWN:
        return None
    size = -(-n // _MEANS)
    starts = np.arange(0, n, size)
    spread = np.maximum.reduceat(points.y, starts) - np.minimum.reduceat(points.y, starts)
    span = float(points.y.max() - points.y.min())
    if not float(np.median(spread)) > _NOISY * span:
        return None
    counts = np.diff(np.append(starts, n))
    return np.add.reduceat(points.x, starts) / counts, np.add.reduceat(points.y, starts) / counts, size


def draw_line(points: Points, index: int, x: Scale, y: Scale, breaks: Sequence[float] = ()) -> Markup:
    """Draw a series.

    Parameters
    ----------
    points : Points
    index : int
        Number of the series: its colour, dashes and marker.
    x, y : Scale
    breaks : sequence of float
        At an x of these the line is not joined.

    Returns
    -------
    Markup
        A group with the class ``s0`` ... ``s7``.
    """
    parts = []
    cuts = np.sort(np.asarray(breaks, dtype=np.float64))
    kept = thin(points.x, points.y, _SHOWN)
    xs, ys = points.x[kept], points.y[kept]
    means = means_of(points)
    if means is not None:
        parts.append(_strokes(xs, ys, x, y, cuts, Markup(' class="all"')))
        xs, ys, _ = means
    parts.append(_strokes(xs, ys, x, y, cuts, dashes(index)))
    if 1 < len(xs) <= _MARKED:
        shape = marker(index)
        places = zip(x.at(xs).tolist(), y.at(ys).tolist(), strict=True)
        parts.append(
            Markup('<path class="dot" d="{}"/>').format("".join(f"M{a:.1f} {b:.1f}{shape}" for a, b in places))
        )
    if len(points.lost):
        places_x = np.unique(np.round(x.at(points.lost), 0))
        foot = y.start - 5.0  # within the axes, where it keeps its step in view
        crosses = "".join(f"M{a - 3:.0f} {foot - 3:.0f}l6 6m0-6l-6 6" for a in places_x.tolist())
        parts.append(Markup('<path class="lost" d="{}"/>').format(crosses))
    return Markup('<g class="s{}">{}</g>').format(index % 8, Markup("").join(parts))


def _strokes(
    xs: npt.NDArray[np.float64],
    ys: npt.NDArray[np.float64],
    x: Scale,
    y: Scale,
    cuts: npt.NDArray[Any],
    attributes: Markup,
) -> Markup:
    """Draw the stretches between the breaks; a point on its own is a dot."""
    places_x, places_y = x.at(xs).tolist(), y.at(ys).tolist()
    stretch = np.searchsorted(cuts, xs, side="right")
    ends = [0, *(np.flatnonzero(np.diff(stretch)) + 1).tolist(), len(xs)]
    path, dots = [], []
    for start, end in pairwise(ends):
        if end - start == 1:
            dots.append(f"M{places_x[start]:.1f} {places_y[start]:.1f}{_MARKERS[0]}")
        elif end > start:
            pairs = zip(places_x[start:end], places_y[start:end], strict=True)
            path.append("M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in pairs))
    found = [Markup('<path{} d="{}"/>').format(attributes, "".join(path))] if path else []
    return Markup("").join(found + ([Markup('<path class="dot" d="{}"/>').format("".join(dots))] if dots else []))
