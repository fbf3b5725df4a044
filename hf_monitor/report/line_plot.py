"""Lines over a common x: curves of a training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.scales import LARGEST
from hf_monitor.report.picture import Level, Mark, Picture, Series, Table
from hf_monitor.report.plot_data import rows_of, said, where
from hf_monitor.report.svg_frame import WIDTH, Entry, axes, canvas, legend, marked
from hf_monitor.report.svg_line import Points, draw_line, means_of, points_of
from hf_monitor.report.svg_scale import Scale, linear_ticks, log_ticks, tick_labels
from hf_monitor.report.svg_text import cut, text, width

__all__ = ["line_plot"]

_PLOT_HEIGHT = 190.0
_SPIKE = 100.0  # times the median: then a linear axis shows nothing but the spike (as charts.history has it)
_LEAST = 1e-200  # below it a power of ten may be no normal float
_MARKED = 60
_LONGEST_NAME = 200
_WHOLE = ("step", "epoch", "batch size", "index")


def line_plot(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str = "step",
    y_label: str = "",
    alt: str = "",
    marks: Sequence[Mark] = (),
    y_range: tuple[float, float] | None = None,
    levels: Sequence[Level] = (),
    source: str = "",
    lost: str = "no finite number",
    logarithmic_x: bool = False,
    height: float = _PLOT_HEIGHT,
) -> Picture:
    """Draw lines over a common x.

    Of a long line about 800 points are left, those that make the same picture (:func:`hf_monitor.charts.thin.thin`);
    where they scatter they are pale, under a line of means. Where a spike would flatten the rest the axis is
    logarithmic, and says so.

    Parameters
    ----------
    title : str
    series : sequence of Series
        Number n has the colour n modulo 8, with dashes and a marker of its own.
    x_label : str
        ``"step"``; a unit in brackets: ``"time (min)"``.
    y_label : str
    alt : str
        By default it is made of the data: from what to what, lowest and highest and where.
    marks : sequence of Mark
        Words that have no room are in the notes.
    y_range : (float, float), optional
        Values that the axis reaches at least: (0, 100) of percent.
    levels : sequence of Level
    source : str
        Where all rows of a thinned table are: ``"metrics.jsonl"``.
    lost : str
        What a value is that is not finite: ``"did not fit"``.
    logarithmic_x : bool
        For batch sizes, whose ticks are then the values.
    height : float
        Of the axes; the whole picture is 440 wide.

    Returns
    -------
    Picture
        Of nothing an empty one.
    """
    found = [points_of(one.x, one.y) for one in series]
    x = _x_scale(found, marks, x_label, logarithmic_x)
    levels = [level for level in levels if abs(level.y) <= LARGEST]
    y = _y_scale(found, levels, y_range)
    label = "" if y_label.lower() == title.lower() else y_label
    label += (" (log scale)" if label else "log scale") * y.logarithmic
    thinned = [means for points in found if (means := means_of(points)) is not None]
    entries = [Entry(one.name, k, len(p.x) <= _MARKED) for k, (one, p) in enumerate(zip(series, found, strict=True))]
    entries = (entries if len(entries) > 1 else []) + [Entry(level.label, None) for level in levels]

    x.start = 14 + max((width(tick) for _, tick in y.labelled), default=0.0)
    x.end = WIDTH - 12
    parts, top = legend(entries, 0.0)
    if label:
        parts.append(text(cut(label, WIDTH), 0, top + 14))
        top += 18
    drawable = sorted(mark for mark in marks if x.low <= mark.x <= x.high)
    labels, lines, top, unplaced = marked(drawable, x, top)
    y.end = top + 8
    y.start = y.end + height
    parts += [*labels, *axes(x, y, x_label)]
    for level in levels:
        at = float(y.at([level.y])[0])
        parts.append(Markup('<path class="level" d="M{:.1f} {:.1f}H{:.1f}"/>').format(x.start, at, x.end))
    parts += [Markup('{}{:.1f}"/>').format(line, y.start) for line in lines]
    parts += [draw_line(p, k, x, y, one.breaks) for k, (one, p) in enumerate(zip(series, found, strict=True))]

    names = [cut(one.name, _LONGEST_NAME * 7.0) for one in series]
    alt = alt or f"{title}: {said(list(zip(names, found, strict=True)), x_label, lost) or 'no data'}"
    rows, n = rows_of(found)
    notes = _notes(names, found, thinned, unplaced, x_label, lost)
    table_note = ""
    if len(rows) < n:
        table_note = f"{len(rows):,} of {n:,} rows, evenly thinned; lowest and highest values are among them."
        table_note += f" All are in {source}." if source else ""
    heads = names if len(names) != 1 or not y_label else [y_label]
    table = Table([x_label, *heads], rows, table_note)
    return Picture(title, alt, canvas(parts, y.start + (40 if x_label else 24), alt), table, notes)


def _notes(
    names: Sequence[str],
    found: Sequence[Points],
    thinned: Sequence[tuple[object, object, int]],
    unplaced: Sequence[str],
    x_label: str,
    lost: str,
) -> list[str]:
    notes = []
    if thinned:
        sizes = sorted({size for _, _, size in thinned})
        of = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
        notes.append(f"The line is of means of {of} values; pale: all values.")
    for name, points in zip(names, found, strict=True):
        if n := len(points.lost):
            times = f"at {n:,} points, first at" if n > 1 else "at"
            notes.append(f"Crosses at the foot: {name}: {lost} {times} {where(points.lost[0], x_label)}.")
    if unplaced:
        some = ", ".join(dict.fromkeys(cut(name, 200) for name in unplaced[:6]))
        notes.append(f"Also marked: {some}" + (f" and {len(unplaced) - 6} more" if len(unplaced) > 6 else "") + ".")
    return notes


def _x_scale(found: Sequence[Points], marks: Sequence[Mark], x_label: str, logarithmic: bool) -> Scale:
    ends = [float(v) for p in found for xs in (p.x, p.lost) if len(xs) for v in (xs[0], xs[-1])]
    ends += [] if ends else [mark.x for mark in marks if abs(mark.x) <= LARGEST]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if logarithmic and low > 0:
        ticks = sorted({float(v) for p in found for xs in (p.x, p.lost) for v in xs})
        return Scale(low / 1.15, high * 1.15, 0, 0, ticks[:: -(-len(ticks) // 8)], True)
    ticks = linear_ticks(low, high, 5, whole=x_label in _WHOLE)
    if low == high:
        return Scale(ticks[0], ticks[-1], 0, 0, ticks)
    while sum(low <= tick <= high for tick in ticks) > 3 and _crowded([t for t in ticks if low <= t <= high]):
        ticks = ticks[::2]
    return Scale(low, high, 0, 0, [tick for tick in ticks if low <= tick <= high])


def _crowded(ticks: list[float]) -> bool:
    return sum(width(label) + 12 for label in tick_labels(ticks)) > 0.75 * WIDTH


def _y_scale(found: Sequence[Points], levels: Sequence[Level], y_range: tuple[float, float] | None) -> Scale:
    ys = np.concatenate([p.y for p in found]) if found else np.array([])
    ends = [level.y for level in levels] + (list(y_range) if y_range else [])
    if len(ys):
        ends += [float(ys.min()), float(ys.max())]
    low, high = (min(ends), max(ends)) if ends else (0.0, 1.0)
    if not ends:
        return Scale(0.0, 1.0, 0, 0)
    spike = len(ys) and high > _SPIKE * float(np.median(ys))
    if spike and low > _LEAST and y_range is None and not levels:
        ticks = log_ticks(low, high)
        return Scale(ticks[0], ticks[-1], 0, 0, ticks, True)
    ticks = linear_ticks(low, high, 4)
    return Scale(ticks[0], ticks[-1], 0, 0, ticks)
