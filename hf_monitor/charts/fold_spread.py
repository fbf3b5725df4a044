"""Charts of all folds together: how the metrics are distributed, and their statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.fold_chart import (
    FoldChart,
    beyond,
    cut_interval,
    limits,
    mean_rows,
    nothing,
    number,
    put_names,
    span,
)
from hf_monitor.charts.fold_rows import FoldName, brief
from hf_monitor.charts.fold_statistics import jitter
from hf_monitor.charts.folds import FoldResults, FoldSeries
from hf_monitor.charts.style import finish, series_style, tick_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FoldDistributionChart", "FoldStatisticsChart"]

_MANY = 20  # from so many folds on, quartiles say more than single points
_MOST_PANELS = 6
_MOST_IN_DISTRIBUTION, _MOST_IN_STATISTICS = 6, 12


class _Panels(FoldChart):
    """A panel for each scale: what goes from 0 to 1 shares none with losses or percentages.

    Parameters
    ----------
    folds, model_name, notes
        See :class:`FoldChart`.
    panels : mapping of str to list of FoldSeries
        Label of the axis -> metrics.
    """

    _most = 0

    def __init__(self, folds: Sequence[FoldName], panels: Mapping[str, Sequence[FoldSeries]], **kwargs: Any) -> None:
        super().__init__(folds, **kwargs)
        self.panels = {label: list(series) for label, series in panels.items()}

    @classmethod
    def from_results(cls, results: FoldResults, *, model_name: object = None) -> Self:
        """Take the data from results that were read before."""
        groups = cls._chosen(results)
        if not groups:
            raise nothing(results, "f1' or 'accuracy")
        notes: list[str] = []
        left_out = [series for group in groups[_MOST_PANELS:] for series in group]
        panels = {}
        for group in groups[:_MOST_PANELS]:
            left_out += group[cls._most :]
            kept = group[: cls._most]
            panels[kept[0].panel if len(kept) > 1 else kept[0].label] = kept
            limits(kept, notes)
        drawn = [series for kept in panels.values() for series in kept]
        notes = results.notes_on(*(series.metric for series in drawn)) + notes
        if left_out:
            notes.append(f"left out, there are too many: {', '.join(brief(series.name) for series in left_out)}")
        if any(series.summary.n == 1 for series in drawn):
            notes.append(
                "one value: no interval and no sd (" + ", ".join(brief(s.name) for s in drawn if s.summary.n == 1) + ")"
            )
        notes += cls._not_drawn(results)
        return cls(results.folds, panels, model_name=model_name, notes=notes)

    @classmethod
    def _chosen(cls, results: FoldResults) -> list[list[FoldSeries]]:
        return list(results.panels().values())

    @classmethod
    def _not_drawn(cls, results: FoldResults) -> list[str]:
        return [f"no metrics, not drawn: {', '.join(results.ignored)}"] if results.ignored else []

    def _meanings(self) -> list[str]:
        every = [series for group in self.panels.values() for series in group]
        said = [f"{self.shown(s.name, 20)}: {self.shown(s.meaning)}" for s in every if s.meaning]
        return ["; ".join(said)] if said else []

    def _most_n(self) -> int:
        return max(series.summary.n for group in self.panels.values() for series in group)


class FoldDistributionChart(_Panels):
    """How the scores of the folds are distributed: all points with mean and 95 % t interval, from 20 on with a box."""

    _most = _MOST_IN_DISTRIBUTION

    @classmethod
    def _chosen(cls, results: FoldResults) -> list[list[FoldSeries]]:
        return [group for scale, group in results.panels().items() if scale in ("0-1", "0-100")]

    @classmethod
    def _not_drawn(cls, results: FoldResults) -> list[str]:
        return []  # it shows scores only, and does not promise more

    def plot(self, ax: Axes | None = None) -> Axes | list[Axes]:
        """Draw into `ax`, or into a figure of its own: a list of axes where there are several scales."""
        axes = self._axes(ax, 5.0 + 2.5 * len(self.panels), 4.5, len(self.panels), len(self.panels))
        boxes = cut = False
        for index, (axis, (label, group)) in enumerate(zip(axes, self.panels.items(), strict=True)):
            title = self._headline("distribution over the folds", self._most_n()) if index == 0 else ""
            finish(axis, title, "", self.shown(label, 28))
            for place, series in enumerate(group):
                boxes |= self._draw(axis, place, series)
            means = [(place + 0.3, s) for place, s in enumerate(group) if s.summary.interval]
            if means:
                ends, x, ink = [cut_interval(s) for _, s in means], [place for place, _ in means], self._ink(axis)
                axis.vlines(x, [low for low, _ in ends], [high for _, high in ends], color=ink, linewidth=1.5)
                y = [s.summary.mean for _, s in means]
                axis.plot(x, y, color=ink, marker="_", markersize=12, linestyle="none")
                cut |= _arrows(axis, [(s, place) for place, s in means], ink, upright=True)
            names = [f"{self.shown(series.name, 18)}\nn = {series.summary.n}" for series in group]
            put_names(axis.xaxis, range(len(group)), names, 430.0 if len(axes) == 1 else 290.0)
            axis.set_xlim(-0.6, len(group) - 0.4)
            axis.set_ylim(*limits(group, []))
            axis.grid(visible=False, axis="x")
        key = "point: a fold" + ("; box: quartiles, whiskers: lowest and highest" if boxes else "")
        key += "; line: mean with 95 % t interval" if self._most_n() > 1 else ""
        key += " (arrow: goes on)" if cut else ""
        axes[0].set_xlabel("\n".join([key, *self._meanings()]), loc="left", fontsize=9)
        self._dress(axes)
        return axes if len(axes) > 1 else axes[0]

    def _draw(self, ax: Axes, place: int, series: FoldSeries) -> bool:
        style, values = series_style(place), series.values
        x = [place + offset for offset in jitter(len(values), 0.3)]
        many = len(values) >= _MANY
        if many:
            line = {"color": self._ink(ax), "linewidth": 1.0}
            ax.boxplot(
                [values],
                positions=[place],
                widths=0.4,
                whis=(0, 100),  # every fold is drawn as a point anyway
                showfliers=False,
                manage_ticks=False,
                medianprops=line,
                boxprops=line,
                whiskerprops=line,
                capprops=line,
            )
        ax.plot(x, values, color=style.colour, marker=style.marker, linestyle="none", alpha=0.5 if many else 0.85)
        return many

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each fold and metric, and for each mean with its interval."""
        group = [series for group in self.panels.values() for series in group]
        return [row for series in group for row in self._fold_rows(series) + mean_rows(series)]


class FoldStatisticsChart(_Panels):
    """Mean with 95 % t interval, sd, median, lowest and highest of every metric."""

    _most = _MOST_IN_STATISTICS

    def plot(self, ax: Axes | None = None) -> Axes | list[Axes]:
        """Draw into `ax`, or into a figure of its own: a list of axes where there are several scales."""
        heights = [0.9 + 0.6 * len(group) for group in self.panels.values()]
        n = len(heights)
        axes = self._axes(ax, 9.0, max(sum(heights) / n, 2.4 / n), n, 1)
        place = axes[0].get_subplotspec()
        if n > 1 and place is not None:
            place.get_gridspec().set_height_ratios(heights)
        for index, (axis, (label, group)) in enumerate(zip(axes, self.panels.items(), strict=True)):
            title = self._headline("statistics over the folds", self._most_n()) if index == 0 else ""
            last = index == n - 1
            key = "thin: lowest to highest, thick: 95 % t interval of the mean, point: mean, stroke: median"
            if any(any(beyond(series)) for every in self.panels.values() for series in every):
                key += ", arrow: interval goes on"
            lines = [self.shown(label, 60), *([key, *self._meanings()] if last else [])]
            finish(axis, title, "\n".join(lines), "")
            self._draw(axis, group)
        self._dress(axes)
        return axes if n > 1 else axes[0]

    def _draw(self, ax: Axes, group: Sequence[FoldSeries]) -> None:
        style, found, ink = series_style(0), [series.summary for series in group], self._ink(ax)
        y = list(range(len(group)))
        ax.hlines(y, [s.lowest for s in found], [s.highest for s in found], color=ink, linewidth=1.0)
        known = [(series, row) for row, series in enumerate(group) if series.summary.interval]
        ends = [cut_interval(series) for series, _ in known]
        ax.hlines(
            *([row for _, row in known], [low for low, _ in ends], [high for _, high in ends]),
            color=style.colour,
            linewidth=5.0,
            alpha=0.5,
        )
        _arrows(ax, known, style.colour, upright=False)
        ax.plot([s.mean for s in found], y, color=style.colour, marker=style.marker, linestyle="none", markersize=7)
        ax.plot([s.median for s in found], y, color=ink, marker="|", linestyle="none", markersize=12)
        for row, s in zip(y, found, strict=True):
            text = f"mean {number(s.mean)} {span(s.interval)}   sd {'-' if s.sd is None else number(s.sd)}   "
            text += f"median {number(s.median)}   min {number(s.lowest)}   max {number(s.highest)}   n = {s.n}"
            ax.text(0.01, row - 0.3, text, transform=ax.get_yaxis_transform(), fontsize=8, va="center", in_layout=False)
        tick_labels(ax.yaxis, y, [self.shown(series.name, 20) for series in group])
        ax.set_ylim(len(group) - 0.5, -0.65)
        ax.set_xlim(*limits(group, []))
        ax.grid(visible=False, axis="y")

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each metric: n, mean, sd, median, lowest, highest, interval."""
        rows = []
        for series in (series for group in self.panels.values() for series in group):
            s = series.summary
            low, high = s.interval or (None, None)
            rows.append(
                {"metric": series.name, "n": s.n, "mean": s.mean, "sd": s.sd, "median": s.median}
                | {"lowest": s.lowest, "highest": s.highest, "interval_low": low, "interval_high": high}
            )
        return rows


def _arrows(ax: Axes, places: Sequence[tuple[FoldSeries, float]], colour: Any, *, upright: bool) -> bool:
    """Mark the intervals that go on beyond what is drawn of them; tell whether there are any."""
    found = False
    for side, marker in enumerate("v^" if upright else "<>"):
        ends = [(place, cut_interval(series)[side]) for series, place in places if beyond(series)[side]]
        if ends:
            found = True
            along, value = [place for place, _ in ends], [end for _, end in ends]
            x, y = (along, value) if upright else (value, along)
            ax.plot(x, y, color=colour, marker=marker, markersize=7, linestyle="none")
    return found
