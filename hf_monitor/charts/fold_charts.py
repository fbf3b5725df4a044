"""Charts of the folds one by one: f1 and accuracy of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.fold_chart import (
    FoldChart,
    cut_interval,
    goes_on,
    limits,
    mean_rows,
    needed,
    nothing,
    number,
    span,
)
from hf_monitor.charts.fold_rows import FoldName, brief
from hf_monitor.charts.folds import FoldResults, FoldSeries
from hf_monitor.charts.style import finish, series_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FoldAccuracyChart", "FoldF1Chart"]

_MOST_SERIES = 6  # as many as there are looks
_MOST_NUMBERS = 10


class FoldF1Chart(FoldChart):
    """F1 of each fold, with the mean and its 95 % t interval; best and worst are marked.

    Parameters
    ----------
    folds, model_name, notes
        See :class:`FoldChart`.
    f1 : FoldSeries

    Examples
    --------
    >>> rows = [{"fold": 1, "f1": 0.81}, {"fold": 2, "f1": 0.85}]
    >>> chart = FoldF1Chart.from_rows(rows, model_name="KoBART")
    >>> round(chart.f1.summary.mean, 3)
    0.83
    >>> chart.plot().get_title(loc="left")
    'KoBART: F1 per fold (n = 2 folds)'
    """

    def __init__(self, folds: Sequence[FoldName], f1: FoldSeries, **kwargs: Any) -> None:
        super().__init__(folds, **kwargs)
        self.f1 = f1

    @classmethod
    def from_results(cls, results: FoldResults, *, model_name: object = None) -> Self:
        """Take the data from results that were read before."""
        f1 = needed(results, "f1")
        notes = results.notes_on("f1")
        if f1.summary.n == 1:
            notes.append("one fold: no mean and no interval")
        elif f1.summary.sd == 0:
            notes.append("f1 is the same in all folds: no best and no worst")
        limits([f1], notes)
        return cls(results.folds, f1, model_name=model_name, notes=notes)

    def marked(self) -> list[tuple[str, int, float, int]]:
        """Give best and worst: which, position of the fold (the first of equals), value, how many are equal."""
        values = self.f1.values
        found = []
        for which, value in (("best", max(values)), ("worst", min(values))):
            position = next(position for position, v in self.f1.points if v == value)
            found.append((which, position, value, values.count(value)))
        return found if min(values) < max(values) else []

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a figure of its own."""
        (ax,) = self._axes(ax, 9.0, 4.5)
        style, summary = series_style(0), self.f1.summary
        finish(ax, self._headline("F1 per fold", summary.n), "fold", self.shown(self.f1.label, 36))
        if summary.interval:
            band = f"95 % t interval of the mean\n{span(summary.interval)}{goes_on(self.f1)}"
            ax.axhspan(*cut_interval(self.f1), color=style.colour, alpha=0.15, linewidth=0, label=band)
            ax.axhline(
                summary.mean, color=style.colour, linestyle="--", linewidth=1.2, label=f"mean {number(summary.mean)}"
            )
        x = [position for position, _ in self.f1.points]
        ax.plot(
            x, self.f1.values, color=style.colour, marker=style.marker, linestyle="none", markersize=6, label="fold"
        )
        for index, (which, position, value, equals) in enumerate(self.marked(), start=1):
            look = series_style(index + 1)
            more = f" and {equals - 1} more" if equals > 1 else ""
            ax.plot(
                [position],
                [value],
                color=look.colour,
                marker="^" if which == "best" else "v",
                linestyle="none",
                markersize=14,
                label=f"{which}: {self._name(position)}{more}, {number(value)}",
            )
        if len(x) <= _MOST_NUMBERS:
            for position, value in self.f1.points:  # away from the line of the mean
                dy, va = (9, "bottom") if value >= summary.mean else (-9, "top")
                ax.annotate(
                    number(value),
                    (position, value),
                    (0, dy),
                    textcoords="offset points",
                    ha="center",
                    va=va,
                    fontsize=9,
                    in_layout=False,  # within the axes; the layout would measure each of them twice
                )
        self._fold_axis(ax)
        ax.set_ylim(*limits([self.f1], []))
        _legend(ax)
        self._dress([ax])
        return ax

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each fold, for the mean with its interval, for best and worst."""
        marked = [
            {"what": which, "metric": self.f1.name, "fold": self.folds[position], "value": value}
            for which, position, value, _ in self.marked()
        ]
        return self._fold_rows(self.f1) + mean_rows(self.f1) + marked


class FoldAccuracyChart(FoldChart):
    """Accuracy of each fold against its mean, beside the other accuracies that the folds have (of the training, say).

    Parameters
    ----------
    folds, model_name, notes
        See :class:`FoldChart`.
    accuracies : sequence of FoldSeries
        The accuracy first; all of one scale.
    """

    def __init__(self, folds: Sequence[FoldName], accuracies: Sequence[FoldSeries], **kwargs: Any) -> None:
        super().__init__(folds, **kwargs)
        self.accuracies = list(accuracies)

    @classmethod
    def from_results(cls, results: FoldResults, *, model_name: object = None) -> Self:
        """Take the data from results that were read before."""
        found = [s for s in results.all_series() if s.metric == "accuracy" or "accuracy" in s.metric.casefold()]
        if not found:
            raise nothing(results, "accuracy")
        kept = [series for series in found if series.scale == found[0].scale]
        notes = results.notes_on(*(series.metric for series in kept))
        notes += [f"{brief(s.name)} is left out: it has another scale" for s in found if s not in kept]
        notes += [
            f"{brief(s.name)} is left out: there are {len(kept)}, {_MOST_SERIES} are drawn" for s in kept[_MOST_SERIES:]
        ]
        kept = kept[:_MOST_SERIES]
        notes += [f"{brief(s.name)}: one fold, no mean and no interval" for s in kept if s.summary.n == 1]
        limits(kept, notes)
        return cls(results.folds, kept, model_name=model_name, notes=notes)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a figure of its own."""
        (ax,) = self._axes(ax, 9.0, 4.5)
        first = self.accuracies[0]
        several = len(self.accuracies) > 1
        ylabel = "accuracy" + (" (as given, 0-100)" if first.scale == "0-100" else "") if several else first.label
        finish(ax, self._headline("accuracy per fold", first.summary.n), "fold", self.shown(ylabel, 36))
        for index, series in enumerate(self.accuracies):
            style = series_style(index)
            # Beside one another, so that equal values do not cover one another.
            x = [position + 0.12 * (index - (len(self.accuracies) - 1) / 2) for position, _ in series.points]
            s = series.summary
            name = self.shown(series.meaning or series.name, 32)
            if s.n > 1:
                name += f"\nmean {number(s.mean)}, 95 % t interval\n{span(s.interval)}{goes_on(series)}"
                ax.axhline(s.mean, color=style.colour, linestyle=style.line, linewidth=1.0)
                ax.vlines(x, s.mean, series.values, color=style.colour, linewidth=1.5, alpha=0.6)
            ax.plot(
                x, series.values, color=style.colour, marker=style.marker, linestyle="none", markersize=7, label=name
            )
            if index == 0 and s.interval:
                ax.axhspan(*cut_interval(series), color=style.colour, alpha=0.12, linewidth=0)
        self._fold_axis(ax)
        ax.set_ylim(*limits(self.accuracies, []))
        _legend(ax)
        self._dress([ax])
        return ax

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each fold and accuracy, and for each mean with its interval."""
        return [row for series in self.accuracies for row in self._fold_rows(series) + mean_rows(series)]


def _legend(ax: Axes) -> None:
    """Beside the axes, where it lies on nothing, however long the names of the folds are."""
    ax.legend(
        frameon=False, fontsize=9, markerscale=0.7, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.0
    )
