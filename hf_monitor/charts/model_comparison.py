"""The same samples by several models: a score of each against the first one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.comparing import Compared, compare, read_models
from hf_monitor.charts.distribution import few_ticks
from hf_monitor.charts.prediction_chart import PredictionChart, metric_label, thinned
from hf_monitor.charts.prediction_scores import add_scores, lower_is_better, primary_metric
from hf_monitor.charts.predictions import Predictions, read_predictions
from hf_monitor.charts.style import finish, series_style, tick_labels
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ModelComparisonChart"]

MAX_POINTS = 3000
MAX_MODELS = 12


class ModelComparisonChart(PredictionChart):
    """The same samples by several models.

    Two models: their scores against each other, wins and losses. More: how each differs from the first.

    Attributes
    ----------
    first : str
        Name of the first model.
    metric : str
        By which they are compared.
    lower : bool
        Whether a small value of it is the better one.
    compared : list of Compared
        Each other model against the first; at most 12.
    """

    title = "Models on the same samples"

    def __init__(self, first: str, metric: str, compared: Sequence[Compared]) -> None:
        super().__init__()
        self.first, self.metric, self.compared = first, metric, list(compared)
        self.lower = lower_is_better(metric)

    @classmethod
    def from_predictions(cls, predictions: Predictions, *, others: Sequence[Predictions] = ()) -> Self:
        """Compare with other models, scored already (`hf_monitor.charts.comparing.read_models`).

        Raises
        ------
        NothingToDraw
            If there is nothing to compare.
        InputError
            If samples cannot be matched.
        """
        metric = primary_metric(predictions)
        if metric is None:
            what = "labels" if predictions.classes else "scores or references"
            raise NothingToDraw(f"samples are compared by their scores, and the predictions have no {what}")
        chart = cls(predictions.name or "the first model", metric, ())
        chart.notes = list(predictions.notes)
        for other in others[:MAX_MODELS]:
            found = compare(predictions, other, metric)
            chart.notes += [*(f"{other.short}: {note}" for note in other.notes), *found.notes]
            if found.pairs:
                chart.compared.append(found)
            else:
                chart.notes.append(f"{other.short}: no sample in common that has {metric}")
        if len(others) > MAX_MODELS:
            chart.notes.append(f"the first {MAX_MODELS} of {len(others)} models are compared")
        if not chart.compared:
            raise NothingToDraw(f"there is no other model with a sample in common that has {metric}")
        return chart

    @classmethod
    def from_rows(cls, rows: Any, *, models: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Compute the chart from the predictions of one model and of others.

        Parameters
        ----------
        rows : object
            In any form, a run folder too.
        models : mapping of str to object
            Name -> predictions of another model.
        **options
            ``references``, ``inputs``, ``labels``, ``metrics``, ``evaluation``, ``model_name`` as for the other charts.
        """
        metrics = options.get("metrics")
        predictions = read_predictions(rows, name=options.pop("model_name", None), **options)
        add_scores(predictions, metrics)
        return cls.from_predictions(predictions, others=read_models(models, predictions, **options))

    @classmethod
    def from_run(cls, run: Any, **options: Any) -> Self:
        """Compute the chart from the predictions of a run and of other models, see `from_rows`."""
        return cls.from_rows(run, **options)

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own."""
        axes = self._plot_pair(ax, self.compared[0]) if len(self.compared) == 1 else self._plot_models(ax)
        self._dress(axes)
        return axes

    def _plot_pair(self, ax: Axes | None, pair: Compared) -> list[Axes]:
        graded = len({value for both in pair.pairs for value in both}) > 2
        axes = self._axes(ax, 11.0 if graded else 8.0, 4.6 if graded else 3.6, 2 if graded else 1)
        first, other = self.shown(self.first, 22), self.shown(pair.name, 22)
        metric = self.shown(metric_label(self.metric, [a for a, _ in pair.pairs]), 24)
        n = len(pair.pairs)
        if graded:
            look = series_style(0)
            drawn = [pair.pairs[place] for place in thinned(n, MAX_POINTS)]
            x, y = zip(*drawn, strict=True)
            low, high = min(min(x), min(y)), max(max(x), max(y))
            axes[0].scatter(x, y, s=16, color=look.colour, marker=look.marker, alpha=0.5, linewidths=0)
            axes[0].plot([low, high], [low, high], color="0.4", linestyle=":", label="equal")
            number = f"n = {n}" if len(drawn) == n else f"{len(drawn)} of n = {n} drawn"
            finish(axes[0], f"The same samples by both models, {number}", f"{metric}, {first}", f"{metric}, {other}")
            bars = [(f"{other}\nbetter", pair.wins), ("equal", pair.ties), (f"{first}\nbetter", pair.losses)]
        else:
            top = max(value for both in pair.pairs for value in both)
            right = sum(a == b == top for a, b in pair.pairs)
            best = "right" if self.metric == "correct" else f"{top:g}"
            bars = [
                (f"both {best}", right),
                (f"only {other}\n{best}", pair.wins),
                (f"only {first}\n{best}", pair.losses),
            ]
            bars.append((f"neither {best}", pair.ties - right))
        look = series_style(1)
        places = [-float(place) for place in range(len(bars))]
        axes[-1].barh(places, [n for _, n in bars], height=0.6, color=look.colour, hatch=look.hatch, edgecolor="white")
        tick_labels(axes[-1].yaxis, places, [f"{name}: {n}" for name, n in bars])
        mean, test = pair.mean, "sign test" if graded else "McNemar's exact test"
        title = f"{'Accuracy differs by' if self.metric == 'correct' else 'Mean difference'} {mean.value:+.3g}"
        if mean.low is not None:
            title += f" (95 % t interval {mean.low:+.3g} to {mean.high:+.3g})"
        title += f"\n{other} minus {first}; {test} p = {pair.p:.2g}"
        finish(axes[-1], title, f"samples, of n = {n}", "", integer_x=True)
        few_ticks(axes[-1], "x")
        if graded:
            few_ticks(axes[0])
        return axes

    def _plot_models(self, ax: Axes | None) -> list[Axes]:
        from matplotlib.collections import LineCollection

        rows = self.compared
        axes = self._axes(ax, 9.5, 2.2 + 0.5 * len(rows))
        (ax,) = axes
        places = [-float(place) for place in range(len(rows))]
        outer = [[(row.quantiles[0], y), (row.quantiles[4], y)] for row, y in zip(rows, places, strict=True)]
        inner = [[(row.quantiles[1], y), (row.quantiles[3], y)] for row, y in zip(rows, places, strict=True)]
        look, above = series_style(0), series_style(1)
        ax.add_collection(LineCollection(outer, colors=look.colour, linewidths=1.2, label="5 to 95 % of samples"))
        ax.add_collection(LineCollection(inner, colors=look.colour, linewidths=7, alpha=0.5, label="middle half"))
        means = [row.mean for row in rows]
        ax.errorbar(
            [mean.value for mean in means],
            places,
            xerr=[
                [0.0 if mean.low is None else mean.value - mean.low for mean in means],
                [0.0 if mean.high is None else mean.high - mean.value for mean in means],
            ],
            fmt=above.marker,
            color=above.colour,
            capsize=4,
            label="mean, 95 % t interval",
        )
        ax.axvline(0, color="0.4", linestyle=":")
        names = [
            f"{self.shown(row.name, 24)}\nn = {len(row.pairs)}: {row.wins} better, {row.ties} equal, {row.losses} worse"
            for row in rows
        ]
        tick_labels(ax.yaxis, places, names, fontsize=8.5)
        better = "lower" if self.lower else "higher"
        metric = self.shown(metric_label(self.metric, [a for a, _ in rows[0].pairs]), 30)
        first = self.shown(self.first, 30)
        finish(
            ax, f"Paired differences to {first} on the same samples", f"difference of {metric}; {better} is better", ""
        )
        ax.legend(frameon=False, fontsize=9, loc="upper center", ncols=3)
        ax.set_ylim(-len(rows) + 0.4, 1.2)  # room for the legend above
        return axes

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each other model, and one for each of its pairs."""
        rows: list[dict[str, Any]] = []
        for one in self.compared:
            rows.append(
                {
                    "what": "model",
                    "model": one.name,
                    "n": len(one.pairs),
                    "wins": one.wins,
                    "ties": one.ties,
                    "losses": one.losses,
                    "p": one.p,
                    "mean": one.mean.value,
                    "low": one.mean.low,
                    "high": one.mean.high,
                }
            )
            rows.extend({"what": "pair", "model": one.name, "first": a, "other": b} for a, b in one.pairs)
        return rows
