"""How predictions are distributed: lengths and scores of texts, counts of classes."""

from __future__ import annotations

import unicodedata
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.distribution import Distribution
from hf_monitor.charts.inference_numbers import Estimate, wilson
from hf_monitor.charts.prediction_chart import PredictionChart, thinned
from hf_monitor.charts.prediction_metrics import metric_label
from hf_monitor.charts.prediction_scores import primary_metric
from hf_monitor.charts.predictions import Predictions
from hf_monitor.charts.style import finish, series_style, tick_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PredictionDistributionChart"]

MAX_CLASSES = 20


class PredictionDistributionChart(PredictionChart):
    """Lengths and scores of texts, or how often each class was predicted.

    Attributes
    ----------
    of : str
        Model, evaluation and step; may be empty.
    unit : str
        Of the lengths: ``"words"``, or ``"characters"`` (without blanks) where some texts are Korean, or of a script
        without blanks (Japanese, Chinese, Thai ...).
    lengths : Distribution or None
        ``predictions`` and, where there are any, ``references`` (of several their mean).
    scores : Distribution or None
    metric : str
        Which score it is; as it stands on the axis.
    classes : dict of str to tuple of (int, int or None)
        Class -> how often predicted, how often true (None where no label is known).
    accuracy : Estimate or None
        Share of right classes, with Wilson's 95 % interval.
    n : int
        Predictions.
    """

    title = "Prediction distribution"

    def __init__(
        self,
        of: str = "",
        unit: str = "words",
        lengths: Distribution | None = None,
        scores: Distribution | None = None,
        metric: str = "",
        classes: dict[str, tuple[int, int | None]] | None = None,
        accuracy: Estimate | None = None,
        n: int = 0,
        n_labelled: int = 0,
    ) -> None:
        super().__init__()
        self.of, self.unit, self.lengths, self.scores, self.metric = of, unit, lengths, scores, metric
        self.classes = classes or {}
        self.accuracy, self.n, self.n_labelled = accuracy, n, n_labelled

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Compute lengths, scores or counts."""
        n = len(predictions)
        if predictions.classes:
            right = [value for value in predictions.scores.get("correct", ()) if value is not None]
            accuracy = None
            if right:
                accuracy = Estimate(sum(right) / len(right), *wilson(round(sum(right)), len(right)))
            chart = cls(predictions.of, accuracy=accuracy, n=n, n_labelled=len(right))
            chart.classes = _class_counts(predictions)
            chart.notes = list(predictions.notes)
            if right and len(right) < n:
                chart.notes.append(f"{n - len(right)} of {n} samples have no label")
            return chart
        unit = _unit(predictions)
        measure = _count_words if unit == "words" else _count_characters
        lengths = Distribution.of(
            {
                "predictions": [float(measure(text)) for text in predictions.predictions],
                "references": [sum(map(measure, texts)) / len(texts) for texts in predictions.references if texts],
            },
            whole=True,
        )
        chart = cls(predictions.of, unit, lengths, n=n)
        chart.notes = list(predictions.notes)
        metric = primary_metric(predictions)
        if metric is None:
            chart.notes.append("no scores: neither the rows have any, nor are there references")
        else:
            values = [value for value in predictions.scores[metric] if value is not None]
            top = predictions.tops.get(metric)
            chart.scores = Distribution.of({metric: values}, top=top)
            chart.metric = metric_label(metric, top)
            if len(values) < n:
                chart.notes.append(f"{metric}: {n - len(values)} of {n} samples have no value")
        return chart

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own."""
        if self.classes:
            return self._plot_classes(ax)
        axes = self._axes(ax, 8.0 if self.scores is None else 11.0, 4.2, 1 if self.scores is None else 2)
        assert self.lengths is not None
        kind = "words" if self.unit == "words" else "characters, without blanks"
        self.lengths.draw(axes[0], self._title("Length of texts", self.of, 36), f"length in {kind}")
        if self.scores is not None:
            self.scores.draw(axes[1], "Score of each sample", self.shown(self.metric), shown=self.shown, first=2)
        self._dress(axes)
        return axes

    def _plot_classes(self, ax: Axes | None) -> list[Axes]:
        names = list(self.classes)
        axes = self._axes(ax, 8.0, min(max(3.0, 1.6 + 0.34 * len(names)), 9.0))
        (ax,) = axes
        labelled = self.n_labelled > 0
        thick = 0.4 if labelled else 0.7
        places = [-float(place) for place in range(len(names))]
        for index, (series, n) in enumerate((("predicted", self.n), ("true", self.n_labelled))[: 1 + labelled]):
            look = series_style(index)
            ax.barh(
                [place + (thick / 2 - thick * index if labelled else 0) for place in places],
                [float(self.classes[name][index] or 0) for name in names],
                height=thick,
                color=look.colour,
                hatch=look.hatch,
                edgecolor="white",
                label=f"{series} (n = {n})",
            )
        tick_labels(ax.yaxis, places, [self.shown(name, 24) for name in names])
        title = self._title("Predicted classes", self.of, 36)
        if self.accuracy is not None:
            a = self.accuracy
            title += f"\naccuracy {a.value:.3f} (95 % Wilson interval {a.low:.3f} to {a.high:.3f})"
        finish(ax, title, "samples", "", integer_x=True)
        ax.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
        ax.set_ylim(-len(names) + 0.4, 0.6 + 0.1 * len(names) ** 0.5 + 0.5)  # room for the legend above the bars
        self._dress(axes)
        return axes

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each class, or medians, bars and points of lengths and scores."""
        if self.classes:
            return [{"class": name, "predicted": p, "true": t} for name, (p, t) in self.classes.items()]
        rows = self.lengths.table(f"length in {self.unit}") if self.lengths is not None else []
        return rows + (self.scores.table(self.metric) if self.scores is not None else [])


def _class_counts(predictions: Predictions) -> dict[str, tuple[int, int | None]]:
    predicted = Counter(predictions.predictions)
    true = Counter(label for label in predictions.labels if label is not None)
    names = list(dict.fromkeys([*predicted, *true]))
    whole = all(isinstance(name, int) for name in names)
    often = sorted(names, key=lambda name: (-max(true[name], predicted[name]), name if whole else str(name)))
    kept = often[:MAX_CLASSES] if len(often) > MAX_CLASSES + 1 else often
    if whole:
        kept = sorted(kept)
    counts = {str(name): (predicted[name], true[name] if true else None) for name in kept}
    if rest := often[len(kept) :]:
        others = f"({len(rest)} other classes)"
        counts[others] = (
            sum(predicted[name] for name in rest),
            sum(true[name] for name in rest) if true else None,
        )
    return counts


def _count_words(text: str) -> int:
    return len(text.split())


def _count_characters(text: str) -> int:
    return len("".join(unicodedata.normalize("NFC", text).split()))


def _unit(predictions: Predictions) -> str:
    """Words in English; characters as soon as some texts are Korean, where a word holds a phrase, or have no blanks.

    1,000 texts tell.
    """
    from hf_monitor.metrics.language import judge_language
    from hf_monitor.metrics.text_errors import without_blanks

    places = thinned(len(predictions), 1000)
    texts = [[predictions.predictions[i], *predictions.references[i]] for i in places]
    if judge_language(texts) != "en" or any(without_blanks(" ".join(own)) for own in texts):
        return "characters"
    return "words"
