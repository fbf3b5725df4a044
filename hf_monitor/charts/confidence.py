"""How sure a model was of its predictions, and whether that means anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from hf_monitor.charts.distribution import FEW, Distribution, few_ticks
from hf_monitor.charts.inference_numbers import Bin, Estimate, calibration_error, equal_bins, spearman
from hf_monitor.charts.prediction_chart import PredictionChart, thinned
from hf_monitor.charts.prediction_metrics import metric_label
from hf_monitor.charts.prediction_scores import primary_metric
from hf_monitor.charts.predictions import Predictions
from hf_monitor.charts.style import finish, series_style
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ConfidenceChart"]

MAX_POINTS = 2000
FEW_FOR_CORRELATION = 10
FEW_FOR_ECE = 20


class ConfidenceChart(PredictionChart):
    """How sure the model was, and whether that means anything: calibration for classes, correlation for texts.

    Attributes
    ----------
    of : str
    confidences : Distribution
        From 0 to 1: of texts the mean probability of their tokens, of classes the probability of the class.
    classes : bool
    bins : list of Bin
        Of (nearly) equal count; empty without labels and scores.
    ece : float or None
        Expected calibration error over `bins`, which are of equal count and not, as in Guo et al. (2017), of equal
        width; for classes, from 20 samples on.
    rho : Estimate or None
        Spearman's rank correlation of confidence and score; for texts, from 10 samples on.
    points : list of (float, float)
        Confidence and score of samples; at most 2,000, evenly chosen.
    metric : str
    n : int
        Samples with a confidence and an outcome.
    """

    title = "Confidence"
    _where: ClassVar[str] = (
        "no prediction has a confidence: hf_monitor.predict_texts gives it (mean probability of the tokens), or rows "
        "with 'confidence' or 'probability'"
    )

    def __init__(
        self,
        of: str,
        confidences: Distribution,
        classes: bool,
        bins: Sequence[Bin] = (),
        ece: float | None = None,
        rho: Estimate | None = None,
        points: Sequence[tuple[float, float]] = (),
        metric: str = "",
        n: int = 0,
    ) -> None:
        super().__init__()
        self.of, self.confidences, self.classes, self.metric, self.n = of, confidences, classes, metric, n
        self.bins, self.ece, self.rho, self.points = list(bins), ece, rho, list(points)

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Compute distribution and bins."""
        known = [value for value in predictions.confidences if value is not None]
        if not known:
            raise NothingToDraw(cls._where)
        distribution = Distribution.of({"confidence": known}, top=1.0)
        chart = cls(predictions.of, distribution, predictions.classes)
        chart.notes = list(predictions.notes)
        if len(known) < len(predictions):
            chart.notes.append(f"{len(predictions) - len(known)} of {len(predictions)} samples have no confidence")
        metric = "correct" if predictions.classes else primary_metric(predictions)
        if metric is None or metric not in predictions.scores:
            chart.notes.append("no labels and no scores: whether the confidence means anything is not shown")
            return chart
        pairs = [
            (confidence, value)
            for confidence, value in zip(predictions.confidences, predictions.scores[metric], strict=True)
            if confidence is not None and value is not None
        ]
        chart.n = len(pairs)
        if not pairs:
            chart.notes.append(f"no sample has both a confidence and {metric}")
            return chart
        x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        top = predictions.tops.get(metric)
        chart.bins = equal_bins(x, y, share=predictions.classes, top=top)
        chart.metric = metric_label(metric, top)
        if predictions.classes:
            chart.ece = calibration_error(chart.bins) if len(pairs) >= FEW_FOR_ECE else None
            return chart
        chart.points = [pairs[place] for place in thinned(len(pairs), MAX_POINTS)]
        if len(chart.points) < len(pairs):
            chart.notes.append(f"{len(chart.points)} of {len(pairs)} samples are drawn as points; bins are of all")
        if len(pairs) >= FEW_FOR_CORRELATION:
            chart.rho = spearman(x, y)
        return chart

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own."""
        axes = self._axes(ax, 11.0 if self.bins else 8.0, 4.2, 2 if self.bins else 1)
        what = "probability of the predicted class" if self.classes else "mean probability of a text's tokens"
        self.confidences.draw(axes[0], self._title("Confidence", self.of, 40), what)
        axes[0].set_xlim(-0.02, 1.02)
        if self.bins:
            self._plot_bins(axes[1], what)
        self._dress(axes)
        return axes

    def _plot_bins(self, ax: Axes, what: str) -> None:
        look = series_style(1)
        if self.points:
            dots = series_style(0)
            x, y = zip(*self.points, strict=True)
            size, alpha = (30, 0.8) if self.n < FEW else (10, 0.35)
            ax.scatter(x, y, s=size, color=dots.colour, marker=dots.marker, alpha=alpha, linewidths=0, label="samples")
        below, above = [], []
        for one in self.bins:
            value, low, high = one.outcome
            below.append(0.0 if low is None else max(0.0, value - low))
            above.append(0.0 if high is None else max(0.0, high - value))
        kind = "Wilson" if self.classes else "t"
        interval = f", 95 % {kind} interval" if any(one.outcome.low is not None for one in self.bins) else ""
        few, many = min(one.n for one in self.bins), max(one.n for one in self.bins)
        count = f"{few}" if few == many else f"{few} to {many}"
        ax.errorbar(
            [one.confidence for one in self.bins],
            [one.outcome.value for one in self.bins],
            yerr=[below, above],
            color=look.colour,
            marker=look.marker,
            linestyle="none" if self.classes else look.line,
            capsize=3,
            label=f"bins of {count} samples{interval}",
        )
        few_ticks(ax)
        if self.classes:
            ax.plot([0, 1], [0, 1], color="0.4", linestyle=":", label="perfectly calibrated")
            ax.set_xlim(-0.02, 1.02)
            ax.set_ylim(-0.02, 1.02)
            title = f"Calibration: too few samples for an ECE (n = {self.n})"
            if self.ece is not None:
                title = f"Calibration: ECE {self.ece:.3f} (bins of equal count, n = {self.n})"
            finish(ax, title, what, "share of right predictions", legend=True)
            return
        if self.rho is not None:
            title = f"Spearman's rho {self.rho.value:.2f}"
            if self.rho.low is not None:
                title += f", 95 % {self.rho.low:.2f} to {self.rho.high:.2f}"
            title += f" (n = {self.n})"
        elif self.n < FEW_FOR_CORRELATION:
            title = f"Too few samples for a correlation (n = {self.n})"
        else:
            title = f"No correlation: one of the two does not vary (n = {self.n})"
        finish(ax, title, what, self.shown(self.metric))
        low, high = ax.get_ylim()
        ax.set_ylim(low, high + 0.2 * (high - low))  # room for the legend
        ax.legend(frameon=False, fontsize=9, loc="upper left")

    def table(self) -> list[dict[str, Any]]:
        """Give medians, bars, points and bins as rows."""
        rows = self.confidences.table("confidence")
        rows += [
            {
                "panel": "calibration" if self.classes else f"{self.metric} by confidence",
                "what": "bin",
                "n": one.n,
                "from": one.low,
                "to": one.high,
                "confidence": one.confidence,
                "value": one.outcome.value,
                "low": one.outcome.low,
                "high": one.outcome.high,
            }
            for one in self.bins
        ]
        summary = {"ece": self.ece, "spearman": None if self.rho is None else self.rho.value}
        rows += [
            {"panel": "summary", "what": what, "n": self.n, "value": v} for what, v in summary.items() if v is not None
        ]
        return rows + [{"panel": "samples", "what": "point", "confidence": x, "value": y} for x, y in self.points]
