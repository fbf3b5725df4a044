"""The chart of batch sizes: what they make of throughput, memory and score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.batch_trials import BatchSeries, BatchTrial, limit_of, read_trials, series_of
from hf_monitor.charts.chart import Chart, Rows
from hf_monitor.charts.scales import number_axis
from hf_monitor.charts.style import finish, series_style
from hf_monitor.charts.sweep import Sweep, SweepRun
from hf_monitor.charts.sweep_columns import as_rows, is_batch_trial
from hf_monitor.charts.sweep_runs import named, read_runs
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["BatchSizeChart"]

_MOST_SERIES = 6
_NO_LIMIT = "how much memory could be taken is not recorded, so there is no line of the limit"
_CROSS: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 8, "markeredgewidth": 1.8}
_PANELS = {
    "throughput": "no step of a batch size was timed, and no training said its samples a second",
    "memory": "no peak of memory was measured (trials.jsonl of a batch plan has them)",
    "score": "there are no several runs with a batch size and a score",
}


class BatchSizeChart(Chart):
    """Throughput, peak memory and score against the batch size; what is not known is left out, and said.

    Throughput and memory are those of the steps that a batch plan tried (``trials.jsonl``), of one device; a size that
    did not fit is a cross. Score is that of whole runs, against the samples of one optimizer step.

    Parameters
    ----------
    series : list of BatchSeries
    sweep : Sweep or None
    limit_mib : float, optional
        Memory that could be taken.
    model_name : str, optional
    """

    def __init__(
        self,
        series: Sequence[BatchSeries],
        sweep: Sweep | None = None,
        limit_mib: float | None = None,
        model_name: str | None = None,
    ) -> None:
        super().__init__()
        self.series, self.limit_mib, self.model_name = list(series)[:_MOST_SERIES], limit_mib, model_name
        if len(series) > _MOST_SERIES:
            self.notes.append(f"{len(series) - _MOST_SERIES} of {len(series)} series of trials are not drawn: the last")
        runs = [] if sweep is None else [run for run in sweep.runs if run.effective_batch_size is not None]
        self.metric = "" if sweep is None else sweep.metric
        self.runs = runs if len(runs) > 1 else []
        self.timed_runs = [run for run in self.runs if run.samples_per_second is not None]
        there = {
            "throughput": bool(self.timed_runs) or any(each.speeds()[0] for each in self.series),
            "memory": any(each.peaks()[0] for each in self.series),
            "score": bool(self.runs),
        }
        self.panels = [name for name in _PANELS if there[name]]
        if not self.panels:
            raise NothingToDraw(
                "no step of a batch size was measured, and there are no several runs with a batch size and a score."
            )
        self.notes += [f"no panel of the {name}: {why}" for name, why in _PANELS.items() if name not in self.panels]
        if "memory" in self.panels and limit_mib is None:
            self.notes.append(_NO_LIMIT)

    @classmethod
    def from_rows(
        cls,
        rows: Rows = (),
        *,
        sweep: Sweep | None = None,
        limit_bytes: int | None = None,
        model_name: str | None = None,
    ) -> BatchSizeChart:
        """Take rows of ``trials.jsonl``, and runs with a score.

        Parameters
        ----------
        rows : iterable of mapping or DataFrame
            See :func:`hf_monitor.charts.batch_trials.read_trials`.
        sweep : Sweep, optional
        limit_bytes : int, optional
            Memory that could be taken, drawn as a line.
        model_name : str, optional

        Raises
        ------
        InputError
            If a row is no trial of a batch size.
        NothingToDraw
            If there is nothing at all.
        """
        trials = read_trials(as_rows(rows, "rows"))
        return cls(series_of(trials), sweep, None if limit_bytes is None else limit_bytes / 2**20, model_name)

    @classmethod
    def from_run(cls, runs: Any, *, sweep: Sweep | None = None, model_name: str | None = None) -> BatchSizeChart:
        """Take the trials of a run, or of several.

        Raises
        ------
        InputError, RunFolderError, NothingToDraw
            As :meth:`from_rows`, or if there is no such run.
        """
        found, notes = read_runs(runs)
        having = [(name, run) for name, run in zip(named(found), found, strict=True) if run.trials]
        trials: list[BatchTrial] = []
        lost = 0
        for name, run in having:
            rows = [row for row in run.trials if is_batch_trial(row)]
            lost += len(run.trials) - len(rows)
            trials += read_trials(rows, name if len(having) > 1 else None)
        limits = {limit_of(run) for _, run in having}
        chart = cls(series_of(trials), sweep, limits.pop() if len(limits) == 1 else None, model_name)
        if len(limits) > 1:
            different = "the runs could take different amounts of memory, so there is no line of the limit"
            chart.notes = [different if note == _NO_LIMIT else note for note in chart.notes]
        chart.notes += [f"{lost} rows of trials.jsonl are no trials of a batch size"] * bool(lost) + notes
        return chart

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each trial, and one for each run."""
        trials = [
            {
                "of": "trial",
                "series": each.name,
                "batch_size": trial.batch_size,
                "fits": trial.fits,
                "peak_mib": trial.peak_mib,
                "samples_per_second": trial.samples_per_second,
            }
            for each in self.series
            for trial in each.trials
        ]
        runs = [
            {
                "of": "run",
                "series": run.name,
                "batch_size": run.effective_batch_size,
                "samples_per_second": run.samples_per_second,
                "score": run.score,
                "metric": self.metric,
            }
            for run in self.runs
        ]
        return [*trials, *runs]

    def plot(self, ax: Axes | None = None) -> Axes | list[Axes]:
        """Draw the panels side by side; a single one is given as such."""
        n = len(self.panels)
        axes = self._axes(ax, (6.5, 9.0, 13.0)[n - 1], 4.4, n, n)
        for panel, each in zip(self.panels, axes, strict=True):
            {"throughput": self._throughput, "memory": self._memory, "score": self._score}[panel](each)
        if self.model_name is not None:
            title = f"{self.shown(self.model_name)}\n{axes[0].get_title(loc='left')}"
            axes[0].set_title(title, loc="left", fontsize=11)
        self._dress(axes)
        return axes if n > 1 else axes[0]

    def _throughput(self, ax: Axes) -> None:
        sizes: list[int] = []
        for index, each in enumerate(self.series):
            x, y = each.speeds()
            if x:
                self._line(ax, index, each, x, y)
                sizes += x
        if not sizes:
            self._runs(ax, "Throughput", [run.samples_per_second or 0.0 for run in self.timed_runs], self.timed_runs)
            ax.set_ylabel("samples/s of the whole training")
            ax.set_ylim(bottom=0.0)
            return
        n = sum(t.samples_per_second is not None and t.fits is not False for each in self.series for t in each.trials)
        self._crosses(ax, sizes, lambda trial: trial.fits is False)
        ax.set_ylim(bottom=0.0)
        self._finish(ax, f"Throughput, n = {n} step{'s' * (n != 1)}", "batch size (samples)", "samples/s", sizes)

    def _memory(self, ax: Axes) -> None:
        sizes: list[int] = []
        for index, each in enumerate(self.series):
            x, y = each.peaks()
            if x:
                self._line(ax, index, each, x, y)
                sizes += x
        measured = [t for each in self.series for t in each.trials if t.peak_mib is not None]
        over = [t for t in measured if t.fits is False]
        if over:
            ax.plot(
                [t.batch_size for t in over],
                [t.peak_mib or 0.0 for t in over],
                **_CROSS,
                color=self._ink(ax),
                zorder=4,
                label="above what may be taken",
            )
        self._crosses(ax, sizes, lambda trial: trial.fits is False and trial.peak_mib is None)
        if self.limit_mib is not None:
            label = f"limit {self.limit_mib:,.0f} MiB"
            ax.axhline(self.limit_mib, color=self._ink(ax), linestyle=(0, (6, 3)), label=label)
        ax.set_ylim(bottom=0.0)
        n = len(measured)
        self._finish(ax, f"Peak memory, n = {n} step{'s' * (n != 1)}", "batch size (samples)", "peak (MiB)", sizes)

    def _score(self, ax: Axes) -> None:
        self._runs(ax, "Score", [run.score for run in self.runs], self.runs)
        ax.set_ylabel(self.shown(self.metric))

    def _runs(self, ax: Axes, title: str, values: Sequence[float], runs: Sequence[SweepRun]) -> None:
        sizes = [run.effective_batch_size or 0 for run in runs]
        style = series_style(0)
        ax.scatter(sizes, values, s=28, color=style.colour, marker=style.marker, alpha=0.8, linewidths=0)
        self._finish(ax, f"{title}, n = {len(runs)} runs", "samples an optimizer step", "", sizes)

    def _line(self, ax: Axes, index: int, each: BatchSeries, x: Sequence[int], y: Sequence[float]) -> None:
        style = series_style(index)
        ax.plot(
            x,
            y,
            color=style.colour,
            linestyle=style.line,
            marker=style.marker,
            markersize=5,
            linewidth=1.5,
            label=self.shown(each.name, 44),
        )

    def _crosses(self, ax: Axes, sizes: list[int], failed: Callable[[BatchTrial], bool]) -> None:
        """Mark the sizes without a value, at the foot of the axes: a row and a colour for each series."""
        label = "does not fit"
        for index, each in enumerate(self.series):
            x = sorted({trial.batch_size for trial in each.trials if failed(trial)})
            if x:
                sizes += x
                place = ax.get_xaxis_transform()
                y = [0.04 + 0.05 * index] * len(x)
                ax.plot(x, y, transform=place, color=series_style(index).colour, label=label, **_CROSS)
                label = "_"  # once in the legend is enough

    @staticmethod
    def _finish(ax: Axes, title: str, xlabel: str, ylabel: str, sizes: Sequence[int]) -> None:
        number_axis(ax, sizes, logarithmic=max(sizes) >= 8 * min(sizes), most=8)
        finish(ax, title, xlabel, ylabel)
        _, labels = ax.get_legend_handles_labels()
        if len(labels) > 3:  # as finish() puts it, for axes half as wide
            columns = 2 if max(map(len, labels)) <= 18 else 1
            ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)
