"""What the charts of predictions share: how they are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.prediction_scores import add_scores
from hf_monitor.charts.predictions import Predictions, read_predictions
from hf_monitor.charts.text_layout import cut_middle

__all__ = ["PredictionChart", "thinned"]


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
        greater_is_better: bool | None = None,
        model_name: str | None = None,
        **choices: Any,
    ) -> Self:
        """Compute the chart from texts, class labels, rows or a data frame.

        Parameters
        ----------
        rows, references, inputs, labels, metrics, greater_is_better
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
            rows,
            references=references,
            inputs=inputs,
            labels=labels,
            metrics=metrics,
            greater_is_better=greater_is_better,
            name=model_name,
        )
        return cls._made(predictions, metrics, choices)

    @classmethod
    def from_run(
        cls,
        run: Any,
        *,
        evaluation: str | None = None,
        metrics: Sequence[str] | None = None,
        greater_is_better: bool | None = None,
        model_name: str | None = None,
        **choices: Any,
    ) -> Self:
        """Compute the chart from the predictions of a run (a `Run` or its folder), finished or not.

        Parameters
        ----------
        run : Run or path-like
        evaluation : str, optional
            ``"eval"``, ``"test"`` ...; the latest by default.
        metrics, greater_is_better, model_name, **choices
            As for `from_rows`.
        """
        predictions = read_predictions(
            run, metrics=metrics, greater_is_better=greater_is_better, name=model_name, evaluation=evaluation
        )
        return cls._made(predictions, metrics, choices)

    @classmethod
    def _made(cls, predictions: Predictions, metrics: Sequence[str] | None, choices: dict[str, Any]) -> Self:
        add_scores(predictions, metrics)
        make: Callable[..., Self] = cls.from_predictions
        return make(predictions, **choices)

    def _title(self, what: str, of: str, limit: int) -> str:
        """Add model, evaluation and step to a title; of a long name the middle is left out, not the step."""
        return f"{what} · {self.shown(cut_middle(of, limit, 0.6), limit + 8)}" if of else what


def thinned(n: int, at_most: int) -> list[int]:
    """Choose evenly spaced places."""
    return list(range(n)) if n <= at_most else [k * n // at_most for k in range(at_most)]
