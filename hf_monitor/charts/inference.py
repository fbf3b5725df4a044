"""``create_inference_visualizations``: four pictures of what a model predicted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.comparing import first_model, read_models
from hf_monitor.charts.confidence import ConfidenceChart
from hf_monitor.charts.error_cases import ErrorCasesChart, check_max_errors
from hf_monitor.charts.model_comparison import ModelComparisonChart
from hf_monitor.charts.pictures import Pictures, save_charts
from hf_monitor.charts.prediction_distribution import PredictionDistributionChart
from hf_monitor.charts.prediction_scores import add_scores
from hf_monitor.charts.predictions import read_predictions
from hf_monitor.charts.sample_ranking import SampleRankingChart
from hf_monitor.errors import NothingToDraw

__all__ = ["create_inference_visualizations"]

_NAMES = (
    "01_prediction_distribution.png",
    "02_confidence.png",
    "03_sample_comparison.png",
    "04_error_cases.png",
)


def create_inference_visualizations(
    predictions: Any = None,
    *,
    references: Sequence[Any] | None = None,
    inputs: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    models: Mapping[str, Any] | None = None,
    metrics: Sequence[str] | None = None,
    greater_is_better: bool | None = None,
    model_name: str | None = None,
    evaluation: str | None = None,
    output_dir: str | os.PathLike[str] = "plots/inference",
    max_errors: int = 4,
) -> Pictures:
    """Draw what a model predicted: distribution, confidence, samples compared, error cases.

    Parameters
    ----------
    predictions : object, optional
        Texts, class labels, rows (``prediction``, ``references``, ``input``, ``label``, ``confidence``, scores ...),
        what ``predict_texts`` gives, a ``pandas.DataFrame``, a `Run`, or a run folder, of a crashed run too. Without
        them the first of `models` is the first model.
    references : sequence, optional
        Per sample a text or a list of texts; true classes, named or numbered, are `labels`. Where the rows have no
        scores, ROUGE is computed from them (of more than 2,000 samples for a seeded sample).
    inputs : sequence of str, optional
        What was to be summarized; without it nothing counts as copied.
    labels : sequence, optional
        True classes; then the predictions are class labels.
    models : mapping of str to object, optional
        Name -> predictions of other models for the same samples, in any of these forms. They are matched by ``index``,
        else by the input, else by their order; samples of one index with different inputs are not taken for the same.
    metrics : sequence of str, optional
        The scores to use, the one to sort and compare by first; by default all numbers in the rows except ids, lengths
        and counts, ``score``, ROUGE-L and other usual ones first.
    greater_is_better : bool, optional
        Of the score to sort and compare by; by default its name tells: of losses, perplexity and error rates a small
        value is the better one.
    model_name : str, optional
        For the titles; where models are compared, a run's folder names it by default.
    evaluation : str, optional
        Of a run: ``"eval"``, ``"test"`` ...; the latest by default.
    output_dir : path-like
        Made when missing; pictures of these names are replaced.
    max_errors : int
        Error cases to show with their texts, 1 to 20: the worst one, one of each kind of error, then the next worst.

    Returns
    -------
    Pictures
        Paths of ``01_prediction_distribution.png``, ``02_confidence.png``, ``03_sample_comparison.png`` and
        ``04_error_cases.png``, as far as there is something to draw; ``left_out`` says of which there is not, and why.

    Raises
    ------
    InputError
        If a value cannot be what it should be; nothing is drawn then.
    RunFolderError
        If a path is no run folder.

    Examples
    --------
    >>> pictures = create_inference_visualizations("runs/kobart", evaluation="test")  # doctest: +SKIP
    >>> pictures = create_inference_visualizations(
    ...     ["summary one", "summary two"], references=["reference one", "reference two"]
    ... )  # doctest: +SKIP
    """
    check_max_errors(max_errors)
    predictions, models, model_name = first_model(predictions, models, model_name)
    given: dict[str, Any] = {
        "references": references,
        "inputs": inputs,
        "labels": labels,
        "metrics": metrics,
        "evaluation": evaluation,
    }
    try:
        read = read_predictions(predictions, name=model_name, greater_is_better=greater_is_better, **given)
    except NothingToDraw as reason:
        said = str(reason)

        def nothing() -> Chart:
            raise NothingToDraw(said)

        return save_charts([(name, nothing) for name in _NAMES], output_dir)
    add_scores(read, metrics)
    others = read_models(models, read, **given)

    def compared() -> Chart:
        return (
            ModelComparisonChart.from_predictions(read, others=others)
            if others
            else SampleRankingChart.from_predictions(read)
        )

    makers = (
        lambda: PredictionDistributionChart.from_predictions(read),
        lambda: ConfidenceChart.from_predictions(read),
        compared,
        lambda: ErrorCasesChart.from_predictions(read, max_errors=max_errors),
    )
    return save_charts(list(zip(_NAMES, makers, strict=True)), output_dir)
