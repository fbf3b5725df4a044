"""The chart of what the score depends on; of too few runs it shows the scores themselves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.permutation import (
    FEWEST,
    SHUFFLES,
    SPLITS,
    Importance,
    is_logarithmic,
    permutation_importance_of,
)
from hf_monitor.charts.scales import number_axis
from hf_monitor.charts.style import finish, series_style, tick_labels
from hf_monitor.charts.sweep import Sweep
from hf_monitor.charts.sweep_columns import as_rows
from hf_monitor.charts.sweep_runs import read_runs
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["HyperparameterImportanceChart"]

_MOST_BARS = 12
_MOST_PANELS = 6
_MOST_TEXTS = 8
_RUNS_EACH = 10


class HyperparameterImportanceChart(Chart):
    """Influence of hyperparameters on the score of several runs.

    From ten configurations on: permutation importances on held-out runs, with their spread and the held-out R² of the
    model that they come from (see :func:`hf_monitor.charts.permutation.permutation_importance_of`). Of fewer, or where
    there is nothing to compare, the score of each run against each hyperparameter.

    Parameters
    ----------
    sweep : Sweep
    importance : Importance or None
        None: the scores are drawn.
    why_not : str
        Why there are no importances, in words.
    model_name : str, optional
    """

    def __init__(
        self, sweep: Sweep, importance: Importance | None, why_not: str = "", model_name: str | None = None
    ) -> None:
        super().__init__()
        self.sweep, self.importance, self.why_not, self.model_name = sweep, importance, why_not, model_name
        self.notes += sweep.notes
        if sweep.constant:
            self.notes.append(f"the same in all runs, so left out: {_some(sweep.constant)}")
        if why_not:
            self.notes.append(why_not)
        if importance is not None:
            self._note(importance)
        self._panels: list[str] = []
        if importance is None:
            by_values = sorted(sweep.varied, key=lambda name: (-len(set(map(str, sweep.varied[name]))), name))
            self._panels = by_values[:_MOST_PANELS]
            if by_values[_MOST_PANELS:]:
                self.notes.append(f"not drawn, fewer values than the others: {_some(by_values[_MOST_PANELS:])}")

    def _note(self, importance: Importance) -> None:
        if importance.mean_r2 <= 0:
            self.notes.append(
                f"held-out R² = {importance.mean_r2:.2f}: the model predicts no better than the mean, so the "
                "importances mean nothing"
            )
        n_names = len(importance.names)
        if importance.n_configurations < _RUNS_EACH * n_names:
            self.notes.append(
                f"{importance.n_configurations} configurations for {n_names} hyperparameters: ten for each are usual "
                "(Loeppky et al. 2009)"
            )
        together = [name for name in importance.names if " = " in name]
        if together:
            self.notes.append(f"always changed together, so shown as one: {_some(together)}")
        if n_names > _MOST_BARS:
            self.notes.append(f"not drawn, the least important: {_some(importance.names[_MOST_BARS:])}")

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[Mapping[str, Any]],
        *,
        metric: str | None = None,
        greater_is_better: bool | None = None,
        model_name: str | None = None,
    ) -> HyperparameterImportanceChart:
        """Take runs from a table, one a row (Optuna's ``study.trials_dataframe()``, or the study itself).

        Parameters
        ----------
        rows, metric, greater_is_better
            See :meth:`hf_monitor.charts.sweep.Sweep.from_rows`.
        model_name : str, optional

        Raises
        ------
        InputError, NothingToDraw
            As there; `NothingToDraw` too where all runs have the same hyperparameters.
        """
        found = as_rows(rows, "rows")
        return cls.from_sweep(Sweep.from_rows(found, metric=metric, greater_is_better=greater_is_better), model_name)

    @classmethod
    def from_run(
        cls,
        runs: Any,
        *,
        metric: str | None = None,
        greater_is_better: bool | None = None,
        model_name: str | None = None,
    ) -> HyperparameterImportanceChart:
        """Take several runs: their folders, or the folder that they lie in.

        Raises
        ------
        InputError, RunFolderError, NothingToDraw
            As :meth:`from_rows`, or if there is no such run.
        """
        found, notes = read_runs(runs)
        sweep = Sweep.from_runs(found, metric=metric, greater_is_better=greater_is_better)
        sweep.notes += notes
        return cls.from_sweep(sweep, model_name)

    @classmethod
    def from_sweep(cls, sweep: Sweep, model_name: str | None = None) -> HyperparameterImportanceChart:
        """Compute the importances of a sweep.

        Raises
        ------
        NothingToDraw
            If there is one run, or all runs have the same hyperparameters.
        """
        n_runs, varied = len(sweep.runs), sweep.varied
        if n_runs < 2:
            raise NothingToDraw("there is one run with a score: what it depends on needs several that differ.")
        if not varied:
            raise NothingToDraw(
                f"all {n_runs} runs have the same hyperparameters (seeds are repeats, not hyperparameters)."
            )
        n_configurations = max(sweep.configurations) + 1
        why_not = ""
        if n_configurations < FEWEST:
            why_not = f"too few runs for importances: {n_configurations} configurations, at least {FEWEST} are needed"
        elif len({run.score for run in sweep.runs}) == 1:
            why_not = "no importances: all scores are equal"
        elif len(varied) == 1:
            why_not = "no importances: only one hyperparameter differs"
        return cls(sweep, None if why_not else permutation_importance_of(sweep), why_not, model_name)

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each hyperparameter; of too few runs one for each of them and each run."""
        if self.importance is None:
            return [
                {
                    "hyperparameter": name,
                    "value": value,
                    "score": run.score,
                    "metric": self.sweep.metric,
                    "run": run.name,
                }
                for name in self._panels
                for value, run in zip(self.sweep.varied[name], self.sweep.runs, strict=True)
            ]
        found = self.importance
        return [
            {
                "hyperparameter": name,
                "importance": mean,
                "lowest": min(values),
                "highest": max(values),
                "held_out_r2": found.mean_r2,
                "metric": self.sweep.metric,
                "n_runs": found.n_runs,
            }
            for name, mean, values in zip(found.names, found.means, found.values, strict=True)
        ]

    def plot(self, ax: Axes | None = None) -> Axes | list[Axes]:
        """Draw bars of the importances, or the scores: a list of axes then."""
        if self.importance is not None:
            return self._plot_bars(ax, self.importance)
        n = len(self._panels)
        axes = self._axes(ax, 5.0 if n == 1 else 9.0, 3.6, n, 1 if n == 1 else 2)
        for panel, (each, name) in enumerate(zip(axes, self._panels, strict=True)):
            self._plot_scores(each, name, first=panel == 0)
        self._dress(axes)
        return axes

    def _plot_bars(self, ax: Axes | None, found: Importance) -> Axes:
        names, means, values = found.names[:_MOST_BARS], found.means[:_MOST_BARS], found.values[:_MOST_BARS]
        (ax,) = self._axes(ax, 8.0, 1.9 + 0.42 * len(names))
        meaningless = found.mean_r2 <= 0
        style = series_style(0)
        spread = [
            [mean - min(each) for mean, each in zip(means, values, strict=True)],
            [max(each) - mean for mean, each in zip(means, values, strict=True)],
        ]
        places = list(range(len(names)))
        ax.barh(
            places,
            means,
            0.62,
            xerr=spread,
            color="#BBBBBB" if meaningless else style.colour,
            hatch="//" if meaningless else "",
            edgecolor="white",
            error_kw={"capsize": 3, "elinewidth": 1.2, "ecolor": self._ink(ax)},
        )
        ax.invert_yaxis()
        ax.axvline(0.0, color=self._ink(ax), linewidth=0.8)
        tick_labels(ax.yaxis, places, [self.shown(name, 28) for name in names])
        title = self._titled(f"Influence on {self.shown(self.sweep.metric)}, n = {found.n_runs} runs")
        r2 = f"held-out R² = {found.mean_r2:.2f} ({min(found.r2):.2f} to {max(found.r2):.2f} over {SPLITS} splits)"
        if meaningless:
            r2 += "\nno better than the mean: these importances mean nothing"
        finish(
            ax,
            f"{title}\nPermutation importance (scikit-learn) on held-out runs\n{r2}",
            f"drop of held-out R² when shuffled\n(mean; whiskers: lowest and highest of {SPLITS * SHUFFLES})",
            "",
        )
        self._dress([ax])
        return ax

    def _plot_scores(self, ax: Axes, name: str, *, first: bool) -> None:
        values, scores = self.sweep.varied[name], [run.score for run in self.sweep.runs]
        style = series_style(0)
        numbers = [
            value
            for value in values
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        ]
        if len(numbers) == len(values):
            x: Sequence[float] = numbers
            number_axis(ax, numbers, logarithmic=is_logarithmic(numbers), most=5)
        else:
            others = sorted({self._text(value) for value in values if value not in numbers})
            texts = list(dict.fromkeys([*map(self._text, sorted(numbers)), *others]))
            x = [texts.index(self._text(value)) for value in values]
            step = -(-len(texts) // _MOST_TEXTS)
            limit = max(6, 44 // min(len(texts), _MOST_TEXTS))
            tick_labels(ax.xaxis, range(0, len(texts), step), [self.shown(text, limit) for text in texts[::step]])
            ax.set_xlim(-0.5, len(texts) - 0.5)
        ax.scatter(x, scores, s=28, color=style.colour, marker=style.marker, alpha=0.8, linewidths=0)
        title = f"n = {len(scores)} runs"
        if first:
            title = self._titled(f"{self._short_reason}\n{title}")
        finish(ax, title, self.shown(name), self.shown(self.sweep.metric))

    @property
    def _short_reason(self) -> str:
        if max(self.sweep.configurations) + 1 < FEWEST:
            return f"Too few runs for importances (at least {FEWEST})"
        return f"{self.why_not[:1].upper()}{self.why_not[1:]}"

    @staticmethod
    def _text(value: Any) -> str:
        if value is None:
            return "not set"
        return f"{value:.6g}" if isinstance(value, float) else str(value)

    def _titled(self, title: str) -> str:
        return title if self.model_name is None else f"{self.shown(self.model_name, 30)}\n{title}"


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = [name if len(name) <= 60 else f"{name[:59]}…" for name in names[:most]]
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
