"""The chart of learning-rate schedules, as they were recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.chart import Chart, Rows
from hf_monitor.charts.curves import history_rows
from hf_monitor.charts.fold_rows import brief
from hf_monitor.charts.scales import LARGEST
from hf_monitor.charts.schedule import Schedule, equal_together
from hf_monitor.charts.style import finish, series_style
from hf_monitor.charts.sweep_columns import amount, as_rows
from hf_monitor.charts.sweep_runs import named, read_runs
from hf_monitor.charts.thin import thin
from hf_monitor.errors import NothingToDraw
from hf_monitor.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LearningRateChart", "Schedule"]

_MOST_NAMED = 6
_MOST_POINTS = 2000
_MARKED_UP_TO = 60
_DECADE = 10.0
_KINDS = (None, "train", "log")
_STEPS = 2**53  # what a float still counts


class LearningRateChart(Chart):
    """Learning rate over steps, a line a run; the highest value recorded is marked.

    Runs with the same values share a line. Logarithmic where a good part of it is less than a tenth of the highest.
    Above six runs all are thin grey lines, and only the best run is named.

    Parameters
    ----------
    schedules : list of Schedule
    best : str, optional
        Name of the run with the best score.
    model_name : str, optional
    """

    def __init__(self, schedules: Sequence[Schedule], best: str | None = None, model_name: str | None = None) -> None:
        super().__init__()
        self.schedules, self.best, self.model_name = list(schedules), best, model_name
        values = sorted(value for schedule in self.schedules for value in schedule.values if value > 0)
        self.logarithmic = bool(values) and values[-1] >= _DECADE * values[len(values) // 4]
        zeros = sum(value <= 0 for schedule in self.schedules for value in schedule.values)
        if self.logarithmic and zeros:
            self.notes.append(f"{zeros} learning rate{'s' * (zeros > 1)} of 0 cannot be drawn on a logarithmic axis")
        for _, names in equal_together(self.schedules) if len(self.schedules) <= _MOST_NAMED else ():
            if len(names) > 2:  # more than the legend names
                self.notes.append(f"the same learning rates, so one line: {_some(names)}")
        if len(self.schedules) > _MOST_NAMED and best not in {schedule.name for schedule in self.schedules}:
            self.notes.append(f"{len(self.schedules)} runs, of which none is known to be the best: none is named")

    @classmethod
    def from_rows(
        cls, rows: Rows | Mapping[str, Rows], *, best: str | None = None, model_name: str | None = None
    ) -> LearningRateChart:
        """Take schedules from rows with ``step`` and ``learning_rate``.

        Parameters
        ----------
        rows : iterable of mapping, DataFrame, or mapping of name to these
            ``trainer.state.log_history`` or ``load_run(...).metrics``; of several runs under their names. An empty cell
            of a DataFrame is a value that is not there.
        best : str, optional
            Which of them is the best.
        model_name : str, optional

        Raises
        ------
        InputError
            If a learning rate or a step is not a number, or below 0.
        NothingToDraw
            If there is no learning rate.
        """
        named_rows: Mapping[str, Any] = {"learning rate": rows}
        if isinstance(rows, Mapping) and "log_history" not in rows:  # which trainer_state.json has
            named_rows = rows
        return cls._of(
            [(name, as_rows(history_rows(each), "rows")) for name, each in named_rows.items()], best, model_name
        )

    @classmethod
    def from_run(cls, runs: Any, *, best: str | None = None, model_name: str | None = None) -> LearningRateChart:
        """Take the schedule of a run, or those of several; steps that a resume did again count as they were last.

        Raises
        ------
        InputError, RunFolderError, NothingToDraw
            As :meth:`from_rows`, or if there is no such run.
        """
        found, notes = read_runs(runs)
        chart = cls._of(list(zip(_names(found), (run.metrics for run in found), strict=True)), best, model_name)
        chart.notes += notes
        return chart

    @classmethod
    def _of(cls, named_rows: Sequence[tuple[str, Rows]], best: str | None, model_name: str | None) -> LearningRateChart:
        schedules, without, lost = [], [], 0
        for name, rows in named_rows:
            by_step: dict[int, float] = {}
            for number, row in enumerate(rows):
                value = row.get("learning_rate")
                kind = row.get("kind")
                if value is None or not (kind in _KINDS or kind != kind):  # NaN: an empty cell of a table
                    continue
                step = row.get("step")
                if type(value) is float and 0.0 <= value <= LARGEST and type(step) is int and 0 <= step < _STEPS:
                    by_step[step] = value  # as nearly all are, a million of them
                    continue
                rate, step = amount(value, "learning_rate", number), amount(step, "step", number)
                if rate is None or step is None or step >= _STEPS:
                    lost += 1
                else:
                    by_step[int(step)] = rate
            if by_step:
                steps = sorted(by_step)
                schedules.append(Schedule(name, steps, [by_step[step] for step in steps]))
            else:
                without.append(name)
        if not schedules:
            raise NothingToDraw(
                "no learning rate was recorded: rows with step and learning_rate are needed (logging_steps)."
            )
        chart = cls(schedules, best, model_name)
        if without:
            chart.notes.append(f"no learning rate was recorded of {_some(without)}")
        if lost:
            chart.notes.append(f"{lost} row{'s' * (lost > 1)} without a finite learning rate or a step")
        return chart

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each step of each run."""
        return [
            {"run": schedule.name, "step": step, "learning_rate": value}
            for schedule in self.schedules
            for step, value in zip(schedule.steps, schedule.values, strict=True)
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the lines."""
        (ax,) = self._axes(ax, 8.0, 4.5)
        if len(self.schedules) > _MOST_NAMED:
            self._plot_many(ax)
        else:
            self._plot_named(ax)
        if self.logarithmic:
            ax.set_yscale("log")
        n = len(self.schedules)
        title = "Learning rate" + (f" of {n} runs" if n > 1 else "")
        if self.model_name is not None:
            title = f"{self.shown(self.model_name)}\n{title}"
        finish(ax, title, "step", "learning rate", legend=True, integer_x=True)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
        if not self.logarithmic:
            ax.set_ylim(bottom=0.0)
        if n > _MOST_NAMED:  # there is no empty place among so many lines
            ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2)
        self._dress([ax])
        return ax

    def _plot_named(self, ax: Axes) -> None:
        peaks, colours = [], []
        for index, (schedule, names) in enumerate(equal_together(self.schedules)):
            style = series_style(index)
            steps, values = self._drawn(schedule)
            label = schedule.said() if len(self.schedules) == 1 else f"{self._label(names)}\n{schedule.said()}"
            ax.plot(
                steps,
                values,
                color=style.colour,
                linestyle=style.line,
                marker=style.marker if len(steps) <= _MARKED_UP_TO else None,
                markersize=4,
                linewidth=1.5,
                label=label,
            )
            if len(set(schedule.values)) > 1:
                peaks.append(schedule.peak)
                colours.append(style.colour)
        if peaks:
            ax.scatter(
                [x for x, _ in peaks],
                [y for _, y in peaks],
                s=90,
                facecolors="none",
                edgecolors=colours,
                linewidths=1.5,
                zorder=3,
            )

    def _plot_many(self, ax: Axes) -> None:
        from matplotlib.collections import LineCollection

        best = next((schedule for schedule in self.schedules if schedule.name == self.best), None)
        others = [list(zip(*self._drawn(schedule), strict=True)) for schedule in self.schedules if schedule is not best]
        label = f"{len(others)} {'other ' * (best is not None)}runs"
        ax.add_collection(LineCollection(others, colors="#999999", linewidths=0.8, alpha=0.6, label=label))
        ax.autoscale_view()
        if best is not None:
            style = series_style(0)
            ax.plot(
                *self._drawn(best),
                color=style.colour,
                linewidth=2.0,
                label=f"best run: {self.shown(best.name, 30)}\n{best.said()}",
            )
            if len(set(best.values)) > 1:
                ax.scatter(*best.peak, s=90, facecolors="none", edgecolors=style.colour, linewidths=1.5, zorder=3)

    def _drawn(self, schedule: Schedule) -> tuple[list[int], list[float]]:
        import numpy as np

        steps, values = np.asarray(schedule.steps, dtype=float), np.asarray(schedule.values, dtype=float)
        if self.logarithmic:
            steps, values = steps[values > 0], values[values > 0]
        kept = thin(steps, values, _MOST_POINTS)
        return steps[kept].astype(int).tolist(), values[kept].tolist()

    def _label(self, names: Sequence[str]) -> str:
        # The best run comes first, so that it is among those named.
        ordered = sorted(names, key=lambda name: name != self.best)
        shown = [self.shown(name, 24) + (" (best)" if name == self.best else "") for name in ordered[:2]]
        return " = ".join(shown) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(brief, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def _names(runs: Sequence[Run]) -> list[str]:
    return ["learning rate"] if len(runs) == 1 else named(runs)
