"""F1 of the folds against their accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.fold_chart import FoldChart, needed
from hf_monitor.charts.fold_labels import place_labels
from hf_monitor.charts.fold_rows import FoldName, fold_text
from hf_monitor.charts.fold_statistics import correlations
from hf_monitor.charts.folds import FoldResults, FoldSeries
from hf_monitor.charts.style import finish, series_style
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FoldScatterChart"]

_MOST_LABELS = 12
_FEWEST_FOR_CORRELATION = 5


class FoldScatterChart(FoldChart):
    """F1 against accuracy, a point for each fold; correlations from five folds on.

    Parameters
    ----------
    folds, model_name, notes
        See :class:`FoldChart`.
    accuracy, f1 : FoldSeries
    points : sequence of (int, float, float)
        Position of the fold, accuracy, f1: of the folds that have both.
    correlation : tuple of float or None
        Pearson's and Spearman's.
    """

    def __init__(
        self,
        folds: Sequence[FoldName],
        accuracy: FoldSeries,
        f1: FoldSeries,
        points: Sequence[tuple[int, float, float]],
        correlation: tuple[float, float] | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(folds, **kwargs)
        self.accuracy, self.f1, self.points, self.correlation = accuracy, f1, list(points), correlation

    @classmethod
    def from_results(cls, results: FoldResults, *, model_name: object = None) -> Self:
        """Take the data from results that were read before."""
        f1, accuracy = needed(results, "f1"), needed(results, "accuracy")
        of = dict(f1.points)
        points = [(position, value, of[position]) for position, value in accuracy.points if position in of]
        if not points:
            raise NothingToDraw("no fold has both f1 and accuracy")
        notes = results.notes_on("f1", "accuracy")
        correlation = None
        if len(points) < _FEWEST_FOR_CORRELATION:
            notes.append(f"too few folds for a correlation: {len(points)}, from {_FEWEST_FOR_CORRELATION} on")
        else:
            correlation = correlations([p[1] for p in points], [p[2] for p in points])
            if correlation is None:
                notes.append("no correlation: f1 or accuracy is the same in all folds")
        chart = cls(results.folds, accuracy, f1, points, correlation, model_name=model_name, notes=notes)
        _, left_out = chart._labels()
        named = set(chart._labelled()) - set(left_out)
        nameless = [fold_text(results.folds[point[0]]) for i, point in enumerate(points) if i not in named]
        if nameless:
            more = f" and {len(nameless) - 8} more" if len(nameless) > 8 else ""
            chart.notes.append(f"for lack of room without a name: {', '.join(nameless[:8])}{more}")
        return chart

    def _labelled(self) -> list[int]:
        """Which points are named: all where they are few, else those at the ends."""
        if len(self.points) <= _MOST_LABELS:
            return list(range(len(self.points)))
        ends = []
        for k in (1, 2):
            values = [point[k] for point in self.points]
            ends += [values.index(min(values)), values.index(max(values))]
        return list(dict.fromkeys(ends))

    def _labels(self) -> tuple[list[tuple[str, tuple[int, float, float, str]]], list[int]]:
        at = [(accuracy, f1) for _, accuracy, f1 in self.points]
        names = {i: self.shown(self.folds[self.points[i][0]], 20) for i in self._labelled()}
        box = (*_padded([x for x, _ in at]), *_padded([y for _, y in at]))
        return place_labels(at, names, box, (6.3, 4.0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a figure of its own."""
        (ax,) = self._axes(ax, 7.5, 5.0)
        n = len(self.points)
        line = f"too few folds for a correlation (from {_FEWEST_FOR_CORRELATION} on)"
        if n >= _FEWEST_FOR_CORRELATION:
            line = "no correlation: one of them is the same in all folds"
        if self.correlation:
            line = f"Pearson r = {self.correlation[0]:.2f}, Spearman ρ = {self.correlation[1]:.2f}, n = {n}"
        title = self._headline("F1 against accuracy", n)
        finish(ax, f"{title}\n{line}", self.shown(self.accuracy.label), self.shown(self.f1.label))
        style = series_style(0)
        x, y = [p[1] for p in self.points], [p[2] for p in self.points]
        ax.plot(x, y, color=style.colour, marker=style.marker, linestyle="none", markersize=8, alpha=0.8)
        ax.set_xlim(*_padded(x))
        ax.set_ylim(*_padded(y))
        for text, (index, dx, dy, ha) in self._labels()[0]:
            ax.annotate(
                text,
                (x[index], y[index]),
                (dx, dy),
                textcoords="offset points",
                ha=ha,
                va="center",
                fontsize=9,
                in_layout=False,
            )
        self._dress([ax])
        return ax

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each fold that has both, and one for each correlation."""
        rows: list[dict[str, Any]] = [
            {"what": "fold", "fold": self.folds[position], self.accuracy.name: accuracy, self.f1.name: f1}
            for position, accuracy, f1 in self.points
        ]
        for what, value in zip(("Pearson r", "Spearman rho"), self.correlation or (), strict=False):
            rows.append({"what": what, "value": value, "n": len(self.points)})
        return rows


def _padded(values: Sequence[float]) -> tuple[float, float]:
    pad = 0.12 * (max(values) - min(values)) or 0.02 * max(abs(values[0]), 1.0)
    return min(values) - pad, max(values) + pad
