"""The same samples by several models: a score of each against the first one's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.comparing import Compared, compare, first_model, read_models
from hf_monitor.charts.distribution import few_ticks
from hf_monitor.charts.prediction_chart import PredictionChart, thinned
from hf_monitor.charts.prediction_metrics import metric_label
from hf_monitor.charts.prediction_scores import add_scores, no_scores, primary_metric
from hf_monitor.charts.predictions import Predictions, read_predictions
from hf_monitor.charts.style import finish, series_style, tick_labels
from hf_monitor.charts.text_layout import short_names, text_width, wrapped
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
    top : float or None
        The upper end of the metric's range, where it is known.
    compared : list of Compared
        Each other model against the first; at most 12.
    """

    title = "Models on the same samples"

    def __init__(
        self, first: str, metric: str, compared: Sequence[Compared], lower: bool = False, top: float | None = None
    ) -> None:
        super().__init__()
        self.first, self.metric, self.compared = first, metric, list(compared)
        self.lower, self.top = lower, top

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
            raise NothingToDraw(no_scores(predictions))
        name = predictions.name or predictions.folder
        if not name or name in [other.name for other in others]:  # two runs of one folder's name
            name = "the first model"
        chart = cls(name, metric, (), predictions.lower(metric), predictions.tops.get(metric))
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
            why = "; ".join(["", *chart.notes[len(predictions.notes) :]])[:300]
            raise NothingToDraw(f"there is no other model with a sample in common that has {metric}{why}")
        return chart

    @classmethod
    def from_rows(cls, rows: Any = None, *, models: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """Compute the chart from the predictions of one model and of others.

        Parameters
        ----------
        rows : object, optional
            In any form, a run folder too; without them the first of `models` is the first model.
        models : mapping of str to object
            Name -> predictions of another model.
        **options
            ``references``, ``inputs``, ``labels``, ``metrics``, ``greater_is_better``, ``evaluation`` and
            ``model_name`` as for the other charts.
        """
        metrics, greater = options.get("metrics"), options.pop("greater_is_better", None)
        rows, models, name = first_model(rows, models, options.pop("model_name", None))
        predictions = read_predictions(rows, name=name, greater_is_better=greater, **options)
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

    def _names(self, limit: int) -> list[str]:
        """Shorten the names so that they stay apart: the first model, then the others."""
        names = [self.first, *(row.name for row in self.compared)]
        drawn = [self.shown(name, limit) for name in short_names(names, limit)]
        if len(set(drawn)) < len(set(names)):  # what no font has was written out and cut
            drawn = [self.shown(f"{number}. {name}", limit) for number, name in enumerate(drawn, start=1)]
        return drawn

    def _plot_pair(self, ax: Axes | None, pair: Compared) -> list[Axes]:
        graded = not pair.binary
        axes = self._axes(ax, 11.0 if graded else 8.0, 4.6 if graded else 3.6, 2 if graded else 1)
        first, other = self._names(22)
        n = len(pair.pairs)
        if graded:
            self._plot_scores(axes[0], pair, first, other)
            bars = [(f"{other}\nbetter", pair.wins), ("equal", pair.ties), (f"{first}\nbetter", pair.losses)]
        else:
            both = pair.pairs.count((pair.good, pair.good))
            best = "right" if self.metric == "correct" else f"{self.shown(self.metric, 18)} {pair.good:g}"
            bars = [
                (f"both {best}", both),
                (f"only {other}\n{best}", pair.wins),
                (f"only {first}\n{best}", pair.losses),
                (f"neither {best}", pair.ties - both),
            ]
        look = series_style(1)
        places = [-float(place) for place in range(len(bars))]
        axes[-1].barh(places, [n for _, n in bars], height=0.6, color=look.colour, hatch=look.hatch, edgecolor="white")
        labels = [f"{name}: {n}" for name, n in bars]
        tick_labels(axes[-1].yaxis, places, labels)
        mean, test = pair.mean, "sign test" if graded else "McNemar's exact test"
        lines = [f"{'Accuracy differs by' if self.metric == 'correct' else 'Mean difference'} {mean.value:+.3g}"]
        if mean.low is not None:
            interval = "t interval" if graded else "interval of paired shares"
            lines.append(f"95 % {interval} {mean.low:+.3g} to {mean.high:+.3g}")
        lines += [f"{other} minus {first}", f"{test} p = {pair.p:.2g}"]
        # The title begins at the axes, and these begin behind the names.
        names = max(text_width(line) for label in labels for line in label.split("\n"))
        room = _width(axes[-1]) if ax is not None else (5.5 if graded else 8.0) - 10 / 72 * names - 0.4
        title = [part for line in lines for part in wrapped(line, max(12.0, room * 72 / 11), 3)]
        finish(axes[-1], "\n".join(title), f"samples, of n = {n}", "", integer_x=True)
        few_ticks(axes[-1], "x")
        return axes

    def _plot_scores(self, ax: Axes, pair: Compared, first: str, other: str) -> None:
        metric = self.shown(metric_label(self.metric, self.top), 24)
        n = len(pair.pairs)
        look = series_style(0)
        drawn = [pair.pairs[place] for place in thinned(n, MAX_POINTS)]
        x, y = zip(*drawn, strict=True)
        low, high = min(min(x), min(y)), max(max(x), max(y))
        ax.scatter(x, y, s=16, color=look.colour, marker=look.marker, alpha=0.5, linewidths=0)
        ax.plot([low, high], [low, high], color="0.4", linestyle=":", label="equal")
        number = f"n = {n}" if len(drawn) == n else f"{len(drawn)} of n = {n} drawn"
        finish(ax, f"The same samples by both models, {number}", f"{metric}, {first}", f"{metric}, {other}")
        few_ticks(ax)

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
        label = "mean"
        if any(mean.low is not None for mean in means):
            label += ", 95 % interval of paired shares" if rows[0].binary else ", 95 % t interval"
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
            label=label,
        )
        ax.axvline(0, color="0.4", linestyle=":")
        first, *others = self._names(30)
        names = [
            f"{name}\nn = {len(row.pairs)}: {row.wins} better, {row.ties} equal, {row.losses} worse"
            for name, row in zip(others, rows, strict=True)
        ]
        tick_labels(ax.yaxis, places, names, fontsize=8.5)
        better = "lower" if self.lower else "higher"
        metric = self.shown(metric_label(self.metric, self.top), 30)
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


def _width(ax: Axes) -> float:
    """Give the width of axes in inches."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes have a figure
    return float(figure.get_size_inches()[0] * ax.get_position().width)
