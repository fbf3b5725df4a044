"""What the charts of the folds of a cross-validation share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.fold_rows import FoldName, brief, fold_text
from hf_monitor.charts.folds import FoldResults, FoldSeries
from hf_monitor.charts.style import tick_labels
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "FoldChart",
    "beyond",
    "cut_interval",
    "goes_on",
    "limits",
    "mean_rows",
    "needed",
    "nothing",
    "number",
    "put_names",
    "span",
    "width_of",
]

_MOST_TICKS = 13
_TOPS = {"0-1": 1.0, "0-100": 100.0}


class FoldChart(Chart):
    """What the charts of folds share: where their data comes from.

    Parameters
    ----------
    folds : sequence of int or str
        All folds, also those that lack a value.
    model_name : object, optional
        Stands in the title.
    notes : sequence of str
    """

    def __init__(self, folds: Sequence[FoldName], *, model_name: object = None, notes: Sequence[str] = ()) -> None:
        super().__init__()
        self.folds, self.model_name, self.notes = list(folds), model_name, list(notes)

    @classmethod
    def from_rows(cls, rows: Any, *, model_name: object = None) -> Self:
        """Take the data from a list of mappings or a DataFrame (``fold``, ``f1``, ``accuracy``, further metrics).

        Raises
        ------
        InputError
            See :meth:`FoldResults.from_rows`; `NothingToDraw` where what the chart shows is not in them.
        """
        return cls.from_results(FoldResults.from_rows(rows), model_name=model_name)

    @classmethod
    def from_run(cls, runs: Any, *, model_name: object = None) -> Self:
        """Take the data from run folders: one parent folder, or a list of folders or Runs.

        Raises
        ------
        RunFolderError
            If a folder is not there or holds no run; `NothingToDraw` where what the chart shows is not in them.
        """
        return cls.from_results(FoldResults.from_runs(runs), model_name=model_name)

    @classmethod
    def from_results(cls, results: FoldResults, *, model_name: object = None) -> Self:
        """Take the data from results that were read before.

        Raises
        ------
        NothingToDraw
        """
        raise NotImplementedError

    def _headline(self, what: str, n: int) -> str:
        of = "" if n == len(self.folds) else f" of {len(self.folds)}"
        said = f"{what} (n = {n}{of} fold{'' if of == '' and n == 1 else 's'})"
        if self.model_name is None:
            return said
        model = self.shown(self.model_name, 40)
        return f"{model}{chr(10) if width_of(model + said) > 60 else ': '}{said}"

    def _name(self, position: int) -> str:
        return self.shown(fold_text(self.folds[position]), 20)

    def _fold_axis(self, ax: Axes) -> None:
        ax.grid(visible=False, axis="x")
        step = math.ceil(len(self.folds) / _MOST_TICKS)
        positions = range(0, len(self.folds), step)
        put_names(ax.xaxis, positions, [self.shown(self.folds[position], 16) for position in positions], 400.0)
        ax.set_xlim(-0.6, len(self.folds) - 0.4)

    def _fold_rows(self, series: FoldSeries) -> list[dict[str, Any]]:
        return [
            {"what": "fold", "metric": series.name, "fold": self.folds[position], "value": value}
            for position, value in series.points
        ]


def width_of(text: str) -> float:
    """Estimate how wide a text is, in Latin letters; a Korean one is nearly as wide as two."""
    return sum(1.0 if ord(character) < 0x1100 else 1.8 for character in text)


def put_names(axis: Axis, positions: Sequence[float], names: Sequence[str], room: float) -> None:
    """Put names on a horizontal axis of about `room` points, slanting where they would lie on one another."""
    widest = max(width_of(line) for name in names for line in name.split("\n"))
    slanting: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    tick_labels(axis, positions, names, **(slanting if 6.4 * widest + 3 > room / len(names) else {}))


def number(value: float) -> str:
    """Write a value so that those of one scale have as many decimals."""
    size = abs(value)
    if 0 < size < 0.01:
        return f"{value:.2g}"
    return f"{value:.3f}" if size < 10 else f"{value:.2f}" if size < 1e4 else f"{value:.4g}"


def span(interval: tuple[float, float] | None) -> str:
    """Write an interval."""
    return "no interval" if interval is None else f"[{number(interval[0])}, {number(interval[1])}]"


def limits(series: Sequence[FoldSeries], notes: list[str]) -> tuple[float, float]:
    """Give the limits of an axis: all values and intervals, within what the scale allows."""
    ends = [end for s in series for end in (*s.values, *(s.summary.interval or ()))]
    low, high = min(ends), max(ends)
    top = _TOPS.get(series[0].scale)
    if top is not None and (low < 0 or high > top):
        low, high = max(low, 0.0), min(high, top)
        note = f"the 95 % t interval reaches beyond the possible values and is cut at 0 and {top:g} in the picture"
        if note not in notes:
            notes.append(note)
    pad = 0.1 * (high - low) or (0.02 * top if top else 0.1 * abs(high) or 1.0)
    return low - pad, high + pad


def cut_interval(series: FoldSeries) -> tuple[float, float]:
    """Give what can be drawn of the interval of a mean: what the scale allows."""
    low, high = series.summary.interval or (series.summary.mean, series.summary.mean)
    top = _TOPS.get(series.scale)
    return (low, high) if top is None else (max(low, 0.0), min(high, top))


def beyond(series: FoldSeries) -> tuple[bool, bool]:
    """Tell whether the interval goes on below, and above what is drawn of it."""
    low, high = series.summary.interval or (0.0, 0.0)
    top = _TOPS.get(series.scale)
    return (False, False) if top is None else (low < 0, high > top)


def goes_on(series: FoldSeries) -> str:
    """Say, for a legend, where the interval goes on beyond what is drawn of it."""
    below, above = beyond(series)
    ends = ["below 0"] * below + [f"above {_TOPS.get(series.scale, 1.0):g}"] * above
    return f"\n(goes on {' and '.join(ends)})" if ends else ""


def mean_rows(series: FoldSeries) -> list[dict[str, Any]]:
    """Give the mean as a row of a table."""
    s = series.summary
    low, high = s.interval or (None, None)
    row = {"what": "mean", "metric": series.name, "value": s.mean, "interval_low": low, "interval_high": high, "n": s.n}
    return [row] if s.n > 1 else []


def needed(results: FoldResults, metric: str) -> FoldSeries:
    """Give a metric that a chart cannot do without; `NothingToDraw` where no fold has it."""
    found = results.series(metric)
    if found is None:
        raise nothing(results, metric)
    return found


def nothing(results: FoldResults, metric: str) -> NothingToDraw:
    """Say that a metric is missing, and what there is."""
    if not results.folds:
        return NothingToDraw("; ".join(["there are no folds", *results.notes]))
    there = ", ".join(map(brief, list(results.names.values())[:8])) or "none"
    return NothingToDraw("; ".join([f"no fold has a value of {metric!r} (metrics there: {there})", *results.notes]))
