"""The samples of one model, sorted by their score, and what the other metrics say of the same samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.distribution import FEW, few_ticks, readable
from hf_monitor.charts.prediction_chart import PredictionChart, thinned
from hf_monitor.charts.prediction_metrics import metric_label
from hf_monitor.charts.prediction_scores import no_scores, primary_metric
from hf_monitor.charts.predictions import Predictions
from hf_monitor.charts.style import finish, series_style, tick_labels
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["SampleRankingChart"]

MAX_POINTS = 3000
MAX_COLUMNS = 400
MAX_METRICS = 6


class SampleRankingChart(PredictionChart):
    """Samples of one model sorted by their score, with a strip for each metric.

    Attributes
    ----------
    of : str
        Model, evaluation and step; may be empty.
    metric : str
        By which samples are sorted.
    sorted_scores : dict of str to list of (float or None)
        Metric -> values of the samples, the best first. At most 6 metrics.
    order : list of int
        Index (or place) of these samples.
    tops : dict of str to float
        Metric -> the upper end of its range, from 0, where it is known.
    """

    title = "Samples by score"

    def __init__(
        self,
        of: str,
        metric: str,
        sorted_scores: dict[str, list[float | None]],
        order: list[int],
        tops: dict[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.of, self.metric, self.sorted_scores, self.order = of, metric, sorted_scores, order
        self.tops = tops or {}

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Sort the samples.

        Raises
        ------
        NothingToDraw
            If there are no scores.
        """
        metric = primary_metric(predictions)
        if metric is None:
            raise NothingToDraw(no_scores(predictions))
        if predictions.classes and len(predictions.scores) == 1:
            raise NothingToDraw("classes of one model are right or wrong: give models={name: predictions} to compare")
        scores = predictions.scores[metric]
        sign = 1 if predictions.lower(metric) else -1
        known = [(sign * value, place) for place, value in enumerate(scores) if value is not None]
        places = [place for _, place in sorted(known)]
        keys = predictions.positions if predictions.indices is None else predictions.indices
        columns = dict(predictions.scores)
        if columns.get("rougeLsum") == columns.get("rougeL"):  # texts of one line: the same strip twice
            columns.pop("rougeL" if metric == "rougeLsum" else "rougeLsum", None)
        drawn = {name: [values[place] for place in places] for name, values in list(columns.items())[:MAX_METRICS]}
        chart = cls(predictions.of, metric, drawn, [keys[place] for place in places], predictions.tops)
        chart.notes = list(predictions.notes)
        if len(places) < len(scores):
            chart.notes.append(f"{metric}: {len(scores) - len(places)} of {len(scores)} samples have no value")
        if len(columns) > MAX_METRICS:
            chart.notes.append(f"the first {MAX_METRICS} of {len(columns)} metrics are drawn")
        return chart

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own."""
        several = len(self.sorted_scores) > 1
        axes = self._axes(ax, 9.0, 3.2 if several else 4.5, 2 if several else 1, 1)
        values = [value for value in self.sorted_scores[self.metric] if value is not None]
        n = len(values)
        places = thinned(n, MAX_POINTS)
        places = places if places[-1] == n - 1 else [*places, n - 1]  # the worst one stays
        look = series_style(0)
        axes[0].plot(
            [place + 1 for place in places],
            [values[place] for place in places],
            color=look.colour,
            linestyle=look.line,
            marker=look.marker if n < FEW else None,
        )
        top = self.tops.get(self.metric)
        label = self.shown(metric_label(self.metric, top))
        title = self._title(f"Samples sorted by {self.shown(self.metric)}, n = {n}", self.of, 40)
        finish(axes[0], title, "sample, best first", label, integer_x=True)
        few_ticks(axes[0])
        if top is not None:
            axes[0].set_ylim(-0.03 * top, 1.03 * top)
        axes[0].set_xlim(0.5, n + 0.5)
        if several:
            self._plot_strips(axes[1], n)
        self._dress(axes)
        return axes

    def strips(self) -> tuple[list[list[float]], list[tuple[float, float]]]:
        """Compute the strips: for each metric up to 400 means of neighbouring samples, 0 to 1 within its range.

        Returns
        -------
        strips : list of list of float
            NaN where no sample of a block has a value.
        ranges : list of (float, float)
            What 0 and 1 stand for: the range of the metric where it is known (0 to 100), else its extremes.
        """
        import numpy as np

        n = len(self.order)
        blocks = min(n, MAX_COLUMNS)
        starts = [k * n // blocks for k in range(blocks)]
        strips, ranges = [], []
        for name, column in self.sorted_scores.items():
            known = [value for value in column if value is not None]
            top = self.tops.get(name)
            low, high = (0.0, top) if top is not None else (min(known, default=0.0), max(known, default=0.0))
            data = np.array([np.nan if value is None else value for value in column], dtype=float)
            there = np.add.reduceat(~np.isnan(data), starts, dtype=float)
            sums = np.add.reduceat(np.nan_to_num(data), starts)
            means = np.divide(sums, there, out=np.full(blocks, np.nan), where=there > 0)
            strips.append([float(value) for value in (means - low) / ((high - low) or 1.0)])
            ranges.append((low, high))
        return strips, ranges

    def _plot_strips(self, ax: Axes, n: int) -> None:
        import matplotlib as mpl

        strips, ranges = self.strips()
        ax.imshow(
            strips,
            aspect="auto",
            interpolation="nearest",
            cmap=mpl.colormaps["cividis"].with_extremes(bad="0.8"),
            vmin=0,
            vmax=1,
            extent=(0.5, n + 0.5, len(strips) - 0.5, -0.5),
        )
        names = [
            f"{self.shown(name, 18)}\n{readable(low)} to {readable(high)}"
            for name, (low, high) in zip(self.sorted_scores, ranges, strict=True)
        ]
        tick_labels(ax.yaxis, list(range(len(names))), names, fontsize=8)
        title = "All metrics of the same samples (dark: low, bright: high end of its range, grey: missing)"
        xlabel = "sample, in the same order"
        if n > MAX_COLUMNS:
            xlabel += f" ({MAX_COLUMNS} columns, each the mean of neighbours)"
        finish(ax, title, xlabel, "", integer_x=True)
        few_ticks(ax, "x")
        ax.grid(visible=False)

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each sample."""
        names = list(self.sorted_scores)
        columns = zip(*self.sorted_scores.values(), strict=True)
        return [
            {"rank": rank, "sample": sample, **dict(zip(names, values, strict=True))}
            for rank, (sample, values) in enumerate(zip(self.order, columns, strict=True), start=1)
        ]
