"""Several models on the same samples: read, matched, scored alike; paired differences, wins and losses."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.charts.inference_numbers import Estimate, mean_estimate, paired_shares, sign_test
from hf_monitor.charts.prediction_metrics import is_graded
from hf_monitor.charts.prediction_rows import evaluations
from hf_monitor.charts.prediction_scores import add_scores, match, primary_metric
from hf_monitor.charts.predictions import Predictions, read_predictions
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run.reader import Run, load_run

__all__ = ["Compared", "compare", "first_model", "read_models"]

_TIE = 1e-9


@dataclass
class Compared:
    """Another model against the first, on the samples that both have.

    Attributes
    ----------
    name : str
        Of the other model.
    pairs : list of (float, float)
        Score of the first and of the other model, for each sample.
    wins, ties, losses : int
        Samples in which the other model is better, equal, worse.
    p : float
        Two-sided sign test of wins against losses.
    mean : Estimate
        Mean of the differences, other minus first, with Student's 95 % interval (from 5 pairs on); of right and wrong
        Newcombe's for paired shares.
    binary : bool
        Every score is 0 or 1: right or wrong, and not graded.
    good : float
        Which of the two is the better one; only where `binary` is true.
    quantiles : tuple of float
        5, 25, 50, 75 and 95 % of the differences.
    notes : list of str
    """

    name: str
    pairs: list[tuple[float, float]]
    wins: int = 0
    ties: int = 0
    losses: int = 0
    p: float = 1.0
    mean: Estimate = field(default_factory=lambda: Estimate(0.0, None, None))
    quantiles: tuple[float, ...] = ()
    binary: bool = False
    good: float = 1.0
    notes: list[str] = field(default_factory=list)

    @property
    def differences(self) -> list[float]:
        """Other minus first."""
        return [b - a for a, b in self.pairs]


def compare(first: Predictions, other: Predictions, metric: str) -> Compared:
    """Match the samples of two models and compare their scores; `pairs` is empty where there is nothing in common.

    Parameters
    ----------
    first, other : Predictions
    metric : str
        A small value is the better one where `first.lower` says so.

    Raises
    ------
    InputError
        If the samples cannot be matched.
    """
    import numpy as np

    matched = match(first, other)
    ours, theirs = first.scores.get(metric), other.scores.get(metric)
    found = Compared(other.name, [])
    if ours is not None and theirs is not None:
        for i, j in matched.pairs:
            a, b = ours[i], theirs[j]
            if a is not None and b is not None:
                found.pairs.append((a, b))
    if matched.only_first or matched.only_other:
        found.notes.append(
            f"{other.short}: matched by {matched.by}; {matched.only_first} samples only of "
            f"{first.short or 'the first model'} and {matched.only_other} only of {other.short} are left out"
        )
    if matched.other_inputs:
        found.notes.append(
            f"{other.short}: {matched.other_inputs} samples of one {matched.by} have different inputs, so they are not "
            "the same; they are matched by their inputs, or left out"
        )
    if without := len(matched.pairs) - len(found.pairs):
        found.notes.append(f"{other.short}: {without} of {len(matched.pairs)} matched samples lack {metric}")
    if not found.pairs:
        return found
    differences = found.differences
    lower, top = first.lower(metric), first.tops.get(metric)
    sign = -1 if lower else 1
    found.wins = sum(sign * difference > _TIE for difference in differences)
    found.losses = sum(sign * difference < -_TIE for difference in differences)
    found.ties = len(differences) - found.wins - found.losses
    found.p = sign_test(found.wins, found.losses)
    only_ones = {value for pair in found.pairs for value in pair} <= {0.0, 1.0}
    found.binary = metric == "correct" or (only_ones and top != 100 and not is_graded(metric))
    if found.binary:
        found.good = 0.0 if lower else 1.0
        ones = [found.pairs.count(pair) for pair in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.0, 0.0))]
        found.mean = paired_shares(*ones)
    else:
        found.mean = mean_estimate(differences) if top is None else mean_estimate(differences, -top, top)
    found.quantiles = tuple(float(q) for q in np.quantile(differences, [0.05, 0.25, 0.5, 0.75, 0.95]))
    return found


def first_model(predictions: Any, models: Mapping[str, Any] | None, name: str | None) -> tuple[Any, Any, str | None]:
    """Give predictions, other models and name: without predictions the first of `models` is the first model.

    Raises
    ------
    InputError
        If there are neither predictions nor models.
    """
    if predictions is not None:
        return predictions, models, name
    if not isinstance(models, Mapping) or not models:
        raise InputError(
            "there are no predictions: give texts, class labels, rows or a run folder, or models={name: predictions}."
        )
    (first, source), *others = models.items()
    return source, dict(others), str(first) if name is None else name


def read_models(
    models: Mapping[str, Any] | None,
    first: Predictions,
    *,
    references: Sequence[Any] | None = None,
    inputs: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    metrics: Sequence[str] | None = None,
    evaluation: str | None = None,
) -> list[Predictions]:
    """Read the predictions of other models, and score the samples that the first one has scores of.

    Parameters
    ----------
    models : mapping of str to object, or None
        Name of a model -> predictions in any form; a model without any is left out and said in the first one's notes.
    first : Predictions
        Scored already. Where a sample of another model has no reference or label, the first one's is taken.
    references, inputs, labels, metrics
        As for the first model; they are put to the other ones too, runs excepted.
    evaluation : str, optional
        For runs; by default the one that was taken of the first run.

    Raises
    ------
    InputError
        If it is no mapping, a value is wrong, samples cannot be matched, or texts are to be compared with classes.
    """
    if models is None:
        return []
    if not isinstance(models, Mapping):
        raise InputError(f"models is of type {type(models).__name__}: give a mapping, {{name: predictions}}.")
    others = []
    for name, source in models.items():
        try:
            if str(name) == first.name:
                raise InputError("the first model has the same name (model_name=): give each a name of its own.")
            if isinstance(source, Run | str | os.PathLike):
                run = source if isinstance(source, Run) else load_run(source)
                same = _same_evaluation(run, first) if evaluation is None else evaluation
                other = read_predictions(run, metrics=metrics, name=str(name), evaluation=same)
            else:
                own = labels if labels is not None else _labels_for(source, first)
                other = read_predictions(
                    source, references=references, inputs=inputs, labels=own, metrics=metrics, name=str(name)
                )
            if other.classes is not first.classes:
                kinds = ("texts", "class labels")
                raise InputError(
                    f"it predicts {kinds[other.classes]}, the first one {kinds[first.classes]}: give one kind."
                )
            _score_like(other, first, metrics)
        except NothingToDraw as reason:
            first.notes.append(f"{str(name)[:40]}: {reason}")
        except InputError as error:
            raise InputError(f"model {str(name)[:40]!r}: {error}") from error
        else:
            others.append(other)
    return others


def _same_evaluation(run: Run, first: Predictions) -> str | None:
    """Take the evaluation that was taken of the first run: the latest may be of another set of samples.

    Raises
    ------
    InputError
        If the run has others, and not this one.
    """
    if not first.evaluations:
        return None
    taken, there = first.source.split(", step ")[0], evaluations(run)
    if not there or taken in there:
        return taken
    both = [name for name in there if name in first.evaluations]
    do = f"evaluation={both[0]!r} takes one that both have" if both else "they have none of one name"
    raise InputError(
        f"of the first run the latest evaluation was taken, {taken!r}; {str(run.path)!r} has only "
        f"{', '.join(map(repr, there))}: {do}."
    )


def _labels_for(source: Any, first: Predictions) -> list[Any] | None:
    """Give the first model's labels to labels of another one, bare or of a pipeline, that are as many."""
    if hasattr(source, "tolist"):  # an array, a Series
        source = source.tolist()
    if not first.classes or not isinstance(source, Sequence) or len(source) != first.n_given:
        return None
    if any(isinstance(item, Mapping) and ("label" not in item or "prediction" in item) for item in source):
        return None
    labels: list[Any] = [None] * first.n_given
    for position, label in zip(first.positions, first.labels, strict=True):
        labels[position] = label
    return labels


def _score_like(other: Predictions, first: Predictions, metrics: Sequence[str] | None) -> None:
    pairs = match(first, other).pairs
    metric = primary_metric(first)
    scored = first.scores[metric] if metric is not None else []
    only = []
    for i, j in pairs:
        if not other.references[j]:
            other.references[j] = first.references[i]
        if scored and scored[i] is not None:
            only.append(other.positions[j])
    add_scores(other, metrics, only)
