"""What the charts of predictions share: how they are made, and how scores are named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.prediction_scores import add_scores
from hf_monitor.charts.predictions import Predictions, read_predictions

__all__ = ["PredictionChart", "metric_label", "thinned", "top_of"]

_HUNDRED = ("rouge1", "rouge2", "rougeL", "rougeLsum", "score", "bleu", "chrf")


class PredictionChart(Chart):
    """What the charts of predictions share: how they are made."""

    @classmethod
    def from_predictions(cls, predictions: Predictions) -> Self:
        """Compute the chart from checked predictions."""
        raise NotImplementedError

    @classmethod
    def from_rows(
        cls,
        rows: Any,
        *,
        references: Sequence[Any] | None = None,
        inputs: Sequence[Any] | None = None,
        labels: Sequence[Any] | None = None,
        metrics: Sequence[str] | None = None,
        model_name: str | None = None,
        **choices: Any,
    ) -> Self:
        """Compute the chart from texts, class labels, rows or a data frame.

        Parameters
        ----------
        rows, references, inputs, labels, metrics
            See `hf_monitor.charts.predictions.read_predictions`.
        model_name : str, optional
            For the titles.
        **choices
            Of the chart itself, see its ``from_predictions``.

        Raises
        ------
        InputError
            If a value cannot be what it should be.
        NothingToDraw
            If what the chart needs is not there.
        """
        predictions = read_predictions(
            rows, references=references, inputs=inputs, labels=labels, metrics=metrics, name=model_name
        )
        add_scores(predictions, metrics)
        make: Callable[..., Self] = cls.from_predictions
        return make(predictions, **choices)

    @classmethod
    def from_run(
        cls,
        run: Any,
        *,
        evaluation: str | None = None,
        metrics: Sequence[str] | None = None,
        model_name: str | None = None,
        **choices: Any,
    ) -> Self:
        """Compute the chart from the predictions of a run (a `Run` or its folder), finished or not.

        Parameters
        ----------
        run : Run or path-like
        evaluation : str, optional
            ``"eval"``, ``"test"`` ...; the latest by default.
        metrics, model_name, **choices
            As for `from_rows`.
        """
        predictions = read_predictions(run, metrics=metrics, name=model_name, evaluation=evaluation)
        add_scores(predictions, metrics)
        make: Callable[..., Self] = cls.from_predictions
        return make(predictions, **choices)


def metric_label(metric: str, values: Sequence[float]) -> str:
    """Name a score for an axis, with its range where it is known."""
    if metric in _HUNDRED and values and max(values) > 1:
        return f"{metric} (0-100)"
    return metric


def top_of(metric: str, values: Sequence[float]) -> float | None:
    """Give the upper end of the range of a score, where it is plain: 1 or 100; None where not."""
    if not values or min(values) < 0:
        return None
    if max(values) <= 1:
        return 1.0
    return 100.0 if metric in _HUNDRED and max(values) <= 100 + 1e-6 else None


def thinned(n: int, at_most: int) -> list[int]:
    """Choose evenly spaced places."""
    return list(range(n)) if n <= at_most else [k * n // at_most for k in range(at_most)]
