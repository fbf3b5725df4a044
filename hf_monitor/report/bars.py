"""Bars, histograms and the small curves of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.scales import LARGEST, is_drawable
from hf_monitor.charts.thin import thin
from hf_monitor.report.picture import Picture, Table
from hf_monitor.report.svg_frame import WIDTH, axes, canvas
from hf_monitor.report.svg_scale import Scale, linear_ticks
from hf_monitor.report.svg_text import cut, text, width
from hf_monitor.report.words import number

__all__ = ["bar_plot", "histogram", "sparkline"]

_MOST_BARS = 40
_ROW = 38.0
_SPARK_POINTS = 60
_SPARK_WIDTH, _SPARK_HEIGHT = 100.0, 24.0


def bar_plot(
    title: str,
    names: Sequence[str],
    values: Sequence[float | None],
    *,
    value_label: str = "",
    alt: str = "",
    intervals: Sequence[tuple[float, float] | None] = (),
    name_label: str = "",
) -> Picture:
    """Draw a horizontal bar for each name, which stands above it with its value.

    Parameters
    ----------
    title : str
    names : sequence of str
    values : sequence of float or None
        None and what is not finite have no bar; the value is said.
    value_label : str
        What the values are, with their unit.
    alt : str
        By default the values.
    intervals : sequence of (float, float) or None
        Of each value, drawn as a thin line over its bar.
    name_label : str
        Head of the column of names.

    Returns
    -------
    Picture
    """
    shown = list(zip(names, values, strict=True))[:_MOST_BARS]
    spans = [*intervals, *([None] * len(names))]
    ends = [value for _, value in shown if value is not None and is_drawable(value)]
    ends += [end for span in spans for end in span or () if is_drawable(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    scale = Scale(low, high if high > low else 1.0, 2.0, WIDTH - 6.0)
    zero = float(scale.at([0.0])[0])
    parts, top = [], 0.0
    if value_label:
        parts.append(text(cut(value_label, WIDTH), 0, 14))
        top = 20.0
    for index, (name, value) in enumerate(shown):
        y = top + index * _ROW
        span = spans[index]
        said = "not known" if value is None else number(value)
        said += "" if span is None else f" [{number(span[0])}, {number(span[1])}]"
        parts.append(text(cut(name, WIDTH - width(said) - 16), 0, y + 14))
        parts.append(text(said, WIDTH, y + 14, "end"))
        parts.append(Markup('<path class="grid" d="M2 {:.1f}H{:.1f}"/>').format(y + 25, WIDTH - 6))
        if value is not None and is_drawable(value):
            at = float(scale.at([value])[0])
            box = Markup('<rect class="bar" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="12"/>').format(
                min(at, zero), y + 19, max(abs(at - zero), 1.0)
            )
            parts.append(Markup('<g class="s0">{}</g>').format(box))
        if span is not None and is_drawable(span[0]) and is_drawable(span[1]):
            a, b = scale.at(list(span)).tolist()
            d = f"M{a:.1f} {y + 25:.1f}H{b:.1f}M{a:.1f} {y + 21:.1f}v8M{b:.1f} {y + 21:.1f}v8"
            parts.append(Markup('<path class="interval" d="{}"/>').format(d))
    if low < 0:
        foot = top + len(shown) * _ROW - 4
        parts.append(Markup('<path class="axis" d="M{:.1f} {:.1f}V{:.1f}"/>').format(zero, top + 16, foot))
    alt = alt or f"{title}: " + "; ".join(f"{cut(name, 400)} {number(value) or 'not known'}" for name, value in shown)
    head = [name_label or "name", value_label or "value"]
    rows: list[tuple[object, ...]] = list(zip(names, values, strict=True))
    if any(span is not None for span in intervals):
        head += ["from", "to"]
        rows = [(*row, *(span or (None, None))) for row, span in zip(rows, spans, strict=False)]
    more = len(names) - len(shown)
    notes = [f"{more} more bars are not drawn; the table has them."] if more > 0 else []
    return Picture(title, alt, canvas(parts, top + max(len(shown), 1) * _ROW, alt), Table(head, rows), notes)


def histogram(
    title: str,
    values: Sequence[float],
    *,
    x_label: str = "",
    y_label: str = "number",
    alt: str = "",
    n_bins: int | None = None,
    x_range: tuple[float, float] | None = None,
) -> Picture:
    """Draw how often values are how large.

    Parameters
    ----------
    title : str
    values : sequence of float
        Those that are not finite are counted in a note.
    x_label, y_label, alt : str
        The sentence is made of the data by default: how many, median, quartiles, ends.
    n_bins : int, optional
        By default about the square root of their number, 5 to 30, with round edges.
    x_range : (float, float), optional
        What the axis covers at least: (0, 100) of scores.

    Returns
    -------
    Picture
    """
    every = np.asarray(values, dtype=np.float64)
    kept = every[np.abs(every) <= LARGEST]
    ends = [*kept[[int(kept.argmin()), int(kept.argmax())]].tolist()] if len(kept) else []
    ends += list(x_range or ()) or ([] if ends else [0.0, 1.0])
    most = n_bins or min(max(math.isqrt(len(kept)), 5), 30)
    edges = linear_ticks(min(ends), max(ends), most)
    counts = np.histogram(kept, edges)[0].tolist()
    tall = linear_ticks(0.0, max([*counts, 1]), 4, whole=True)
    y = Scale(0.0, tall[-1], 200.0, 22.0, tall)
    left = 14 + max(width(label) for _, label in y.labelled)
    ticks = linear_ticks(edges[0], edges[-1], 5)
    x = Scale(edges[0], edges[-1], left, WIDTH - 12, [tick for tick in ticks if edges[0] <= tick <= edges[-1]])
    parts = [text(cut(y_label, WIDTH), 0, 14), *axes(x, y, x_label)]
    places, tops = x.at(edges).tolist(), y.at(counts).tolist()
    bars = "".join(
        f"M{a + 0.7:.1f} {y.start:.1f}V{top:.1f}H{b - 0.7:.1f}V{y.start:.1f}z"
        for a, b, top, count in zip(places[:-1], places[1:], tops, counts, strict=True)
        if count
    )
    parts.append(Markup('<g class="s0"><path class="bar" d="{}"/></g>').format(bars))
    if not alt:
        alt = f"{title}: {len(kept):,} values"
        if len(kept):
            low, first, middle, third, high = (float(v) for v in np.percentile(kept, [0, 25, 50, 75, 100]))
            alt += f", median {number(middle)}, half of them from {number(first)} to {number(third)}, "
            alt += f"lowest {number(low)}, highest {number(high)}"
    lost = len(every) - len(kept)
    notes = [f"{lost:,} of {len(every):,} values are no finite number."] if lost else []
    rows = [(a, b, count) for a, b, count in zip(edges[:-1], edges[1:], counts, strict=True)]
    table = Table(["from", "up to", y_label or "number"], rows)
    return Picture(title, alt, canvas(parts, y.start + (40 if x_label else 24), alt), table, notes)


def sparkline(values: Sequence[float], *, label: str = "", index: int = 0) -> Markup:
    """Draw a curve small enough for the cell of a table.

    Parameters
    ----------
    values : sequence of float
        Equally far apart; those that are not finite leave a gap.
    label : str
        What it shows, for those who do not see it; from where to where is added.
    index : int
        Its colour.

    Returns
    -------
    Markup
        Empty where there is no finite value.
    """
    every = np.asarray(values, dtype=np.float64)
    kept = np.flatnonzero(np.abs(every) <= LARGEST)
    if not len(kept):
        return Markup("")
    chosen = kept[thin(kept, every[kept], _SPARK_POINTS)]
    low, high = float(every[kept].min()), float(every[kept].max())
    x = Scale(0.0, max(len(every) - 1.0, 1.0), 3.0, _SPARK_WIDTH - 4.0)
    y = Scale(low, high, _SPARK_HEIGHT - 3.0, 3.0)
    xs, ys = x.at(chosen).tolist(), y.at(every[chosen]).tolist()
    if low == high:
        ys = [_SPARK_HEIGHT / 2] * len(ys)
    gone = np.flatnonzero(~(np.abs(every) <= LARGEST))
    before = np.searchsorted(gone, chosen).tolist()
    line = "".join(
        f"{'M' if k == 0 or before[k] != before[k - 1] else 'L'}{a:.1f} {b:.1f}"
        for k, (a, b) in enumerate(zip(xs, ys, strict=True))
    )
    ends = f"from {number(float(every[kept[0]]))} to {number(float(every[kept[-1]]))}"
    said = f"{cut(label, 1e5)}: {ends}" if label else ends
    return Markup(
        # In a notebook there is no style sheet: a line in the colour of the text, and no shape filled with black.
        '<svg class="spark" viewBox="0 0 {:.0f} {:.0f}" width="{:.0f}" fill="none" stroke="currentColor" role="img"'
        ' aria-label="{}"><g class="s{}"><path d="{}"/>'
        '<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="2.5" fill="currentColor" stroke="none"/></g></svg>'
    ).format(_SPARK_WIDTH, _SPARK_HEIGHT, _SPARK_WIDTH, said, index % 8, line, xs[-1], ys[-1])
