"""The chart of GPU memory over time, against what the card has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.chart import Chart, Rows
from hf_monitor.charts.memory_series import MemorySeries, memory_series
from hf_monitor.charts.style import finish, series_style
from hf_monitor.charts.sweep_columns import as_rows
from hf_monitor.charts.sweep_runs import read_runs
from hf_monitor.charts.thin import thin
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
            cards' totals in the row of the event ``sampler_begin``.
        model_name : str, optional

        Raises
        ------
        InputError
            If that is something else.
        NothingToDraw
            If there is no sample of memory.
        """
        return cls._of(as_rows(rows, "rows"), model_name)

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
        for total in sorted({one.total_mib for one in self.series if one.total_mib is not None}):
            edge = MEMORY_EDGE_SHARE * total
            label = f"{MEMORY_EDGE_SHARE:.0%} of {total:,.0f} MiB".replace("%", " %")
            ax.axhline(edge, color="#333333", linestyle=(0, (6, 3)), linewidth=1.2, label=label)
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

    def _said(self, one: MemorySeries) -> str:
        _, value, step = one.peak
        share = "" if one.total_mib is None else f" ({100.0 * value / one.total_mib:.1f} %)"
        name = one.name if one.device is None else f"{one.name}, {self.shown(one.device, 30)}"
        torch = ", torch's allocator" if one.what == "torch_reserved_mib" else ""
        where = "" if step is None else f" at step {step}"
        return f"{name}{torch}:\nhighest {value:,.0f} MiB{share}{where}"


def _broken(one: MemorySeries, unit_s: float) -> tuple[Any, Any]:
    """Give the points to draw, with a NaN where the line is to break."""
    import numpy as np

    x, y = np.asarray(one.times_s) / unit_s, np.asarray(one.values_mib)
    kept = thin(x, y, _MOST_POINTS)
    stretch = np.asarray(one.stretches())[kept]
    breaks = np.flatnonzero(np.diff(stretch)) + 1
    return np.insert(x[kept], breaks, np.nan), np.insert(y[kept], breaks, np.nan)
