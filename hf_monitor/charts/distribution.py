"""One panel: how values are distributed, as bars, or as points where there are few."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from hf_monitor.charts.inference_numbers import Estimate, median_estimate
from hf_monitor.charts.style import finish, series_style, tick_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FEW", "Distribution", "few_ticks", "readable"]

#: Below this number of values they are drawn as points.
FEW = 20
_BINS = 30


def few_ticks(ax: Axes, axis: Literal["both", "x", "y"] = "both") -> None:
    """Have about five ticks: they are a third of the time that a panel takes, and more say no more."""
    ax.locator_params(axis=axis, nbins=5)


def readable(value: float, digits: int = 3) -> str:
    """Write a number with some digits, and a large one whole, without a power of ten (up to a thousand million)."""
    return f"{value:,.0f}" if 999.5 <= abs(value) < 1e9 else f"{value:.{digits}g}"


@dataclass
class Distribution:
    """Values of one or several series, ready to draw.

    Attributes
    ----------
    values : dict of str to list of float
        Series -> its values, in the order given.
    medians : dict of str to Estimate
    edges : list of float
        Of the bars, the same for all series; empty where the values are drawn as points.
    counts : dict of str to list of int
        Values between the edges.
    beyond : int
        Values above the last edge; they are counted in the last bar.
    largest : float
        The largest value of all.
    whole : bool
        The values are whole numbers from 0 on, and so are the ticks.
    """

    values: dict[str, list[float]]
    medians: dict[str, Estimate]
    edges: list[float]
    counts: dict[str, list[int]]
    beyond: int
    largest: float
    whole: bool = False

    @classmethod
    def of(
        cls, series: Mapping[str, Sequence[float]], *, whole: bool = False, top: float | None = None
    ) -> Distribution:
        """Compute medians and bars.

        Parameters
        ----------
        series : mapping of str to sequence of float
            Finite values; empty series are left out, one at least has values.
        whole : bool
            The values are whole numbers, and so are the bars and the ticks.
        top : float, optional
            The values lie between 0 and `top`: 20 bars. By default as many as the values ask for.
        """
        values = {name: list(own) for name, own in series.items() if own}
        every = [value for own in values.values() for value in own]
        found = cls(values, {name: median_estimate(own) for name, own in values.items()}, [], {}, 0, max(every), whole)
        if max(map(len, values.values())) >= FEW:
            found._count(every, whole, top)
        return found

    def _count(self, every: list[float], whole: bool, top: float | None) -> None:
        import numpy as np

        if top is not None:
            edges = np.linspace(0, top, 21)
        else:
            data = np.asarray(every, dtype=float)
            last, low = float(data.max()), float(data.min())
            if whole:  # one text of 10,000 words would make one bar of all the others
                most = math.ceil(1.5 * float(np.quantile(data, 0.99)))
                if last > 1.5 * most:
                    last, self.beyond = float(most), int((data > most).sum())
            width = self._width(data[data <= last], last - low)
            if whole:
                width = max(1, round(width))
                edges = np.arange(low - 0.5, last + 0.5 + width, width)
            else:
                low, last = (low, last) if last > low else (low - 0.5, low + 0.5)
                edges = np.linspace(low, last, max(1, round((last - low) / width)) + 1)
        self.edges = [float(edge) for edge in edges]
        for name, own in self.values.items():
            counts, _ = np.histogram(np.minimum(own, self.edges[-1]), self.edges)
            self.counts[name] = [int(count) for count in counts]

    @staticmethod
    def _width(data: Any, span: float) -> float:
        """Freedman & Diaconis (1981): 2 IQR / n^(1/3), for 5 to 30 bars."""
        import numpy as np

        low, high = np.quantile(data, [0.25, 0.75])
        width = 2 * float(high - low) / len(data) ** (1 / 3)
        return min(max(width, span / _BINS), span / 5) if span > 0 else 1.0

    def draw(self, ax: Axes, title: str, xlabel: str, *, shown: Callable[[str], str] = str, first: int = 0) -> None:
        """Draw into axes; `shown` makes the names fit to draw, `first` is the number of the first series' style."""
        names = list(self.values)
        if not self.edges:
            self._draw_points(ax, names, shown, first)
            finish(ax, title, f"{xlabel}; line: median, 95 % interval from 6 on", "", integer_x=self.whole)
            few_ticks(ax, "x")
            self._widen(ax)
            return
        for index, name in enumerate(names):
            look = series_style(index + first)
            median = self.medians[name].value
            off = ", right of the axis" if median > self.edges[-1] else ""
            ax.stairs(
                self.counts[name],
                self.edges,
                fill=index == 0,
                alpha=0.55 if index == 0 else None,
                color=look.colour,
                linestyle=look.line,
                linewidth=1.8,
                label=f"{shown(name)} (n = {len(self.values[name])}, median {readable(median)}{off})",
            )
        room = 1.12 + 0.1 * len(names)  # of the highest bar; above it the legend, which lies on none
        inside = [index for index, name in enumerate(names) if self.medians[name].value <= self.edges[-1]]
        ax.vlines(
            [self.medians[names[index]].value for index in inside],
            0,
            1 / room,
            colors=[series_style(index + first).colour for index in inside],
            linestyles=[series_style(index + first).line for index in inside],  # type: ignore[arg-type]
            transform=ax.get_xaxis_transform(),
        )
        if self.beyond:
            xlabel += f"\n(in the last bar also {self.beyond} above it, up to {self.largest:,g})"
        finish(ax, title, xlabel, "samples", legend=True, integer_x=self.whole)
        few_ticks(ax)
        self._widen(ax)
        ax.locator_params(axis="y", integer=True)
        ax.set_ylim(0, max(max(counts) for counts in self.counts.values()) * room)

    def _widen(self, ax: Axes) -> None:
        """Let whole numbers that hardly differ have their neighbours on the axis, and no parts of them."""
        low = min(min(own) for own in self.values.values())
        if self.whole and self.largest - low < 4:
            ax.set_xlim(low - 2.5, self.largest + 2.5) if low >= 2 else ax.set_xlim(-0.6, self.largest + 2.5)

    def _draw_points(self, ax: Axes, names: list[str], shown: Callable[[str], str], first: int) -> None:
        for index, name in enumerate(names):
            look = series_style(index + first)
            y = -float(index)
            seen: Counter[float] = Counter()
            above = min(0.07, 0.6 / max(Counter(self.values[name]).values()))
            heights = []
            for value in self.values[name]:  # equal values stand above each other
                heights.append(y + above * seen[value])
                seen[value] += 1
            ax.scatter(self.values[name], heights, s=30, color=look.colour, marker=look.marker, alpha=0.8)
            middle = self.medians[name]
            if middle.low is None or middle.high is None:  # a bar of no width would say that the median is exact
                ax.plot([middle.value], [y - 0.18], "|", markersize=14, color=look.colour)
                continue
            ax.errorbar(
                [middle.value],
                [y - 0.18],
                xerr=[[middle.value - middle.low], [middle.high - middle.value]],
                fmt="|",
                markersize=14,
                capsize=4,
                color=look.colour,
            )
        labels = [f"{shown(name)}\nn = {len(self.values[name])}" for name in names]
        tick_labels(ax.yaxis, [-float(index) for index in range(len(names))], labels)
        ax.set_ylim(-len(names) + 0.3, 1.0)

    def table(self, panel: str) -> list[dict[str, Any]]:
        """Give medians, and the bars or the points, as rows."""
        rows: list[dict[str, Any]] = []
        for name, own in self.values.items():
            middle = self.medians[name]
            head = {"panel": panel, "series": name}
            rows.append(
                {**head, "what": "median", "n": len(own), "value": middle.value, "low": middle.low, "high": middle.high}
            )
            if self.edges:
                bars = zip(self.edges[:-1], self.edges[1:], self.counts[name], strict=True)
                rows.extend({**head, "what": "bar", "n": n, "low": low, "high": high} for low, high, n in bars)
            else:
                rows.extend({**head, "what": "point", "value": value} for value in own)
        return rows
