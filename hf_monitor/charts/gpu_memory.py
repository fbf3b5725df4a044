"""The chart of GPU memory over time, against what the card has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.chart import Chart, Rows
from hf_monitor.charts.memory_series import MemorySeries, memory_series
from hf_monitor.charts.style import finish, series_style
from hf_monitor.charts.sweep_columns import as_rows
from hf_monitor.charts.sweep_runs import read_runs
from hf_monitor.charts.thin import thin
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.thresholds import MEMORY_EDGE_SHARE
from hf_monitor.errors import InputError, NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["GpuMemoryChart"]

_MOST_SERIES = 6  # of which each looks different
_MOST_POINTS = 2000
_MARKED_UP_TO = 60
_UNITS = ((2 * 3600.0, 3600.0, "hours"), (120.0, 60.0, "minutes"), (0.0, 1.0, "seconds"))


class GpuMemoryChart(Chart):
    """Memory used over the time of recording, a line a GPU, with 95 % of its total and its highest sample.

    Where the cards have different totals, the line at 95 % looks as that of its card.
    Where no GPU was recorded it is the RAM of the machine and of the process, and the title says so. No line is drawn
    across a pause, nor from one attempt to the next; the time between these is taken out.

    Parameters
    ----------
    series : list of MemorySeries
        Not empty.
    begins : sequence of float
        Seconds at which a later attempt begins.
    model_name : str, optional
    """

    def __init__(
        self, series: Sequence[MemorySeries], begins: Sequence[float] = (), model_name: str | None = None
    ) -> None:
        super().__init__()
        # Of more cards than can be told apart the fullest are drawn.
        fullest = sorted(series, key=lambda one: -one.peak[1] / (one.total_mib or one.peak[1] or 1.0))[:_MOST_SERIES]
        self.series = [one for one in series if any(one is each for each in fullest)]
        self.begins, self.model_name = list(begins), model_name
        if len(series) > _MOST_SERIES:
            self.notes.append(f"{len(series) - _MOST_SERIES} of {len(series)} GPUs are not drawn: the least full")

    @classmethod
    def from_rows(cls, rows: Rows, *, model_name: str | None = None) -> GpuMemoryChart:
        """Take samples from rows of ``system.jsonl``.

        Parameters
        ----------
        rows : iterable of mapping or DataFrame
            ``kind`` (``gpu``, ``host``), ``time`` (seconds), ``attempt``, ``step``, ``gpu``, ``memory_used_mib``; the
            cards' totals in the row of the event ``sampler_begin``. In any order.
        model_name : str, optional

        Raises
        ------
        InputError
            If that is something else.
        NothingToDraw
            If there is no sample of memory.
        """
        # As a run gives them: rank by rank, the second attempt of the first rank would come before the first of others.
        return cls._of(sorted(as_rows(rows, "rows"), key=_time_of), model_name)

    @classmethod
    def from_run(cls, run: Any, *, model_name: str | None = None) -> GpuMemoryChart:
        """Take the samples of a run, of all its ranks and attempts.

        Raises
        ------
        InputError, RunFolderError, NothingToDraw
            As :meth:`from_rows`, or if there is no such run.
        """
        runs, _ = read_runs(run)
        if len(runs) != 1:
            raise InputError(f"GpuMemoryChart is of one run, got {len(runs)}: pass one of them.")
        return cls._of(runs[0].system, model_name)

    @classmethod
    def _of(cls, rows: Rows, model_name: str | None) -> GpuMemoryChart:
        series, begins, notes = memory_series(rows)
        if not series:
            why = f" ({'; '.join(notes)})" if notes else ""
            raise NothingToDraw(f"no memory was recorded{why}: attach() writes it to system.jsonl, or SystemSampler.")
        chart = cls(series, begins, model_name)
        chart.notes += notes
        return chart

    @property
    def of_gpus(self) -> bool:
        """Whether this is memory of GPUs; else RAM."""
        return self.series[0].name.startswith("GPU")

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each sample."""
        return [
            {
                "device": one.name,
                "what": one.what,
                "seconds": seconds,
                "mib": value,
                "total_mib": one.total_mib,
                "step": step,
                "attempt": attempt,
            }
            for one in self.series
            for seconds, value, step, attempt in zip(one.times_s, one.values_mib, one.steps, one.attempts, strict=True)
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the lines."""
        (ax,) = self._axes(ax, 9.0, 4.8)
        longest = max(one.times_s[-1] for one in self.series)
        unit_s, unit = next((seconds, name) for least, seconds, name in _UNITS if longest >= least)
        peaks, colours = [], []
        for index, one in enumerate(self.series):
            style = series_style(index)
            x, y = _broken(one, unit_s)
            ax.plot(
                x,
                y,
                color=style.colour,
                linestyle=style.line,
                linewidth=1.3,
                marker=style.marker if len(x) <= _MARKED_UP_TO else None,
                markersize=4,
                label=self._said(one),
            )
            peaks.append((one.peak[0] / unit_s, one.peak[1]))
            colours.append(style.colour)
        marks: dict[str, Any] = {"s": 90, "facecolors": "none", "edgecolors": colours, "linewidths": 1.5}
        ax.scatter([x for x, _ in peaks], [y for _, y in peaks], zorder=3, **marks)
        totals = self._totals()
        for total, (index, _) in totals.items():
            look: dict[str, Any] = {"color": self._ink(ax), "linestyle": (0, (6, 3)), "label": _edge(total)}
            if len(totals) > 1:  # each in the look of its card, whose label says what it is
                look = {"color": series_style(index).colour, "linestyle": series_style(index).line}
            ax.axhline(MEMORY_EDGE_SHARE * total, linewidth=1.2, **look)
        xlabel = f"{unit} of recording"
        if self.begins:
            top, n = ax.get_xaxis_transform(), len(self.begins)
            ax.vlines([begin / unit_s for begin in self.begins], 0, 1, transform=top, colors="#888888", linestyles=":")
            begin = "a later attempt begins" if n == 1 else f"{n} later attempts begin"
            xlabel += f" (dotted: {begin}; the time between is taken out)"
        ax.set_ylim(bottom=0.0)
        finish(ax, self._title(), xlabel, "memory used (MiB)", legend=True)
        self._dress([ax])
        return ax

    def _title(self) -> str:
        n = max(len(one.times_s) for one in self.series)
        samples = f"n = {n:,} sample{'s' * (n != 1)}"
        title = f"GPU memory, {samples}"
        if not self.of_gpus:
            title = f"No GPU was recorded: RAM, {samples}"
        elif len(self.series) > 1:
            title += " a GPU" if len({len(one.times_s) for one in self.series}) == 1 else " a GPU at most"
        return title if self.model_name is None else f"{self.shown(self.model_name)}\n{title}"

    def _totals(self) -> dict[float, tuple[int, str]]:
        """Give the different totals, each with the first series that has it: its number and its name."""
        found: dict[float, tuple[int, str]] = {}
        for index, one in enumerate(self.series):
            if one.total_mib is not None:
                found.setdefault(one.total_mib, (index, one.name))
        return found

    def _said(self, one: MemorySeries) -> str:
        _, value, step = one.peak
        share = "" if one.total_mib is None else f" ({100.0 * value / one.total_mib:.1f} %)"
        name = one.name if one.device is None else f"{one.name}, {self.shown(one.device, 30)}"
        torch = ", torch's allocator" if one.what == "torch_reserved_mib" else ""
        where = "" if step is None else f" at step {step}"
        label = f"{name}{torch}:\nhighest {value:,.0f} MiB{share}{where}"
        totals = self._totals()
        if one.total_mib is None or len(totals) < 2:
            return label
        whose = totals[one.total_mib][1]
        return f"{label}\nstraight line: {_edge(one.total_mib)}{'' if whose == one.name else f' (that of {whose})'}"


def _edge(total_mib: float) -> str:
    return f"{MEMORY_EDGE_SHARE:.0%} of {total_mib:,.0f} MiB".replace("%", " %")


def _time_of(row: Mapping[str, Any]) -> float:
    time = number(row.get("time"))
    return -1.0 if time is None else time  # what the cards have comes first


def _broken(one: MemorySeries, unit_s: float) -> tuple[Any, Any]:
    """Give the points to draw, with a NaN where the line is to break."""
    import numpy as np

    x, y = np.asarray(one.times_s) / unit_s, np.asarray(one.values_mib)
    kept = thin(x, y, _MOST_POINTS)
    stretch = np.asarray(one.stretches())[kept]
    breaks = np.flatnonzero(np.diff(stretch)) + 1
    return np.insert(x[kept], breaks, np.nan), np.insert(y[kept], breaks, np.nan)
