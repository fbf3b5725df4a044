"""Predictions, checked: what the four charts of inference are made of."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.charts.prediction_fields import (
    Label,
    as_confidence,
    as_flag,
    as_label,
    as_references,
    as_text,
    as_whole,
)
from hf_monitor.charts.prediction_metrics import is_known, known_tops, lower_is_better, read_scores
from hf_monitor.charts.prediction_rows import evaluations, is_missing, prediction_rows, put, run_name, settle
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run.reader import Run, load_run

__all__ = ["Predictions", "read_predictions"]


@dataclass
class Predictions:
    """Predictions of one model, an entry for each sample in every list.

    Attributes
    ----------
    predictions : list
        Texts, or class labels where `classes` is true.
    classes : bool
    positions : list of int
        Where the sample stood in what was given.
    n_given : int
        Samples given, those without a prediction too.
    indices : list of int or None
        The ``index`` of the rows; None unless all have one.
    inputs : list of (str or None)
    references : list of list of str
        Empty where a sample has none.
    labels : list
        True class labels; None where not known.
    confidences : list of (float or None)
        0 to 1: mean probability of the tokens of a text, or the probability of the class.
    n_tokens : list of (int or None)
    ended : list of (bool or None)
        False: the length limit ended the text.
    scores : dict of str to list of (float or None)
        Metric -> value of each sample; by the first one samples are sorted and compared.
    tops : dict of str to float
        Metric -> the upper end of its range (from 0), where it is known: 1 or 100.
    greater_is_better : bool or None
        Of the first metric; None: as its name says.
    name : str
        Of the model; may be empty.
    source : str
        Of a run: evaluation and step.
    folder : str
        Of a run: the name of its folder.
    evaluations : list of str
        Of a run: all that have predictions.
    notes : list of str
        What is missing.
    """

    predictions: list[Any]
    classes: bool
    positions: list[int]
    n_given: int
    indices: list[int] | None
    inputs: list[str | None]
    references: list[list[str]]
    labels: list[Label | None]
    confidences: list[float | None]
    n_tokens: list[int | None]
    ended: list[bool | None]
    scores: dict[str, list[float | None]]
    tops: dict[str, float] = field(default_factory=dict)
    greater_is_better: bool | None = None
    name: str = ""
    source: str = ""
    folder: str = ""
    evaluations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.predictions)

    def lower(self, metric: str) -> bool:
        """Whether a small value of `metric`, the first one, is the better one."""
        if self.greater_is_better is None or metric == "correct":
            return lower_is_better(metric)
        return not self.greater_is_better

    @property
    def short(self) -> str:
        """The name, or the run's folder, for notes and messages; may be empty."""
        name = self.name or self.folder
        return name if len(name) <= 40 else f"{name[:39]}…"

    @property
    def of(self) -> str:
        """What the titles say these are: ``"kobart, test, step 300"``; may be empty."""
        return ", ".join(part for part in (self.name, self.source) if part)


def read_predictions(
    source: Any,
    *,
    references: Sequence[Any] | None = None,
    inputs: Sequence[Any] | None = None,
    labels: Sequence[Any] | None = None,
    metrics: Sequence[str] | None = None,
    greater_is_better: bool | None = None,
    name: str | None = None,
    evaluation: str | None = None,
) -> Predictions:
    """Read and check predictions; nothing is scored here.

    Parameters
    ----------
    source : object
        See `hf_monitor.charts.prediction_rows.prediction_rows`. Of a row these are read: ``prediction`` (or
        ``generated_text``, ``summary_text``, ``translation_text``, else ``text``), ``references`` or ``reference``
        (else texts under ``ref``, ``summary``, ``target``, ``highlights``, ``labels``), ``input`` (or ``text``, where
        another key holds the prediction), ``index``, ``label`` (the true class), ``confidence`` or ``probability``,
        ``n_tokens``, ``ended``; other numbers are scores, except ids, lengths and counts. Where there is a ``label``
        and no prediction, as from a text-classification pipeline, ``label`` is the predicted class and ``score`` its
        probability.
    references, inputs, labels : sequence, optional
        One entry a sample, in the order of the predictions; they take the place of what the rows say. ``references``
        are texts that texts are compared with; true classes, named or numbered, are ``labels``.
    metrics : sequence of str, optional
        The scores to read, instead of all numbers that there are; by the first one samples are sorted. By default
        ``score``, ROUGE-L and other usual ones come first.
    greater_is_better : bool, optional
        Whether a large value of the first metric is a good one; by default its name tells (of losses, perplexity and
        error rates a small one).
    name : str, optional
        Of the model.
    evaluation : str, optional
        Of a run.

    Returns
    -------
    Predictions

    Raises
    ------
    InputError
        If a value cannot be what it should be; the message names the sample.
    NothingToDraw
        If there is not one prediction.
    """
    if greater_is_better is not None and not isinstance(greater_is_better, bool):
        raise InputError(f"greater_is_better={greater_is_better!r} must be True, False or None (by the metric's name).")
    if isinstance(source, str | os.PathLike):
        source = load_run(source)
    rows, said, notes = prediction_rows(source, evaluation)
    n_given = len(rows)
    by_label = settle(rows)
    for key, values in (("references", references), ("input", inputs), ("label", labels)):
        if values is not None:
            put(rows, key, values, "inputs" if key == "input" else "labels" if key == "label" else key)
    kept = [(position, row) for position, row in enumerate(rows) if not is_missing(row.get("prediction"))]
    if len(kept) < n_given:
        notes.append(f"{n_given - len(kept)} of {n_given} samples have no prediction and are left out")
    if not kept:
        raise NothingToDraw(f"none of the {n_given} samples has a prediction")
    predictions, true, classes = _predicted(kept, by_label)
    if classes and references is not None and all(label is None for label in true):
        raise InputError(
            f"the predictions are class labels (of type {type(predictions[0]).__name__}), and references= are texts to "
            "compare texts with: give the true classes as labels=[...]."
        )
    read = Predictions(
        predictions=predictions,
        classes=classes,
        positions=[position for position, _ in kept],
        n_given=n_given,
        indices=_indices(kept),
        inputs=[as_text(row.get("input"), "input", position) for position, row in kept],
        references=[as_references(row, position) for position, row in kept],
        labels=true,
        confidences=[as_confidence(row, position) for position, row in kept],
        n_tokens=[as_whole(row.get("n_tokens"), "n_tokens", position) for position, row in kept],
        ended=[as_flag(row.get("ended"), position) for position, row in kept],
        scores={},
        greater_is_better=greater_is_better,
        name="" if name is None else str(name),
        source=said,
        folder=run_name(source) if isinstance(source, Run) else "",
        evaluations=evaluations(source) if isinstance(source, Run) else [],
        notes=notes,
    )
    if not classes and _like_classes(read):
        notes.append(
            "predictions and references look like classes, and are compared as texts: labels=[...] are classes"
        )
    read.scores = read_scores(kept, metrics, notes)
    if classes and any(label is not None for label in true):
        right = [None if t is None else float(p == t) for p, t in zip(predictions, true, strict=True)]
        read.scores = {"correct": right, **read.scores}
    read.tops = known_tops(read.scores, ours=bool(said))
    if metrics is None and (first := next(iter(read.scores), None)) is not None and not is_known(first):
        notes.append(f"samples are sorted and compared by {first!r}; metrics=[...] names another score")
    return read


def _predicted(kept: list[tuple[int, dict[str, Any]]], by_label: bool) -> tuple[list[Any], list[Label | None], bool]:
    true = [None if is_missing(row.get("label")) else row["label"] for _, row in kept]
    given = [row["prediction"] for _, row in kept]
    texts = [isinstance(value, str) for value in given]
    if all(texts) and not by_label and all(label is None for label in true):
        return given, true, False
    if any(texts) and not all(texts):
        odd = texts.index(not texts[0])
        raise InputError(
            f"predictions[{kept[odd][0]}] is of type {type(given[odd]).__name__}, those before it are of type "
            f"{type(given[0]).__name__}: give texts, or class labels of one type."
        )
    predictions = [as_label(value, "prediction", position) for (position, _), value in zip(kept, given, strict=True)]
    labels = [
        None if value is None else as_label(value, "label", position)
        for (position, _), value in zip(kept, true, strict=True)
    ]
    for (position, _), label in zip(kept, labels, strict=True):
        if label is not None and isinstance(label, str) is not texts[0]:
            raise InputError(
                f"the label of sample {position} is of type {type(label).__name__}, the predictions are of type "
                f"{type(predictions[0]).__name__}: give both as numbers, or both as names."
            )
    return predictions, labels, True


def _like_classes(read: Predictions) -> bool:
    """Tell texts that may be names of classes: single words, a few of which come again and again on both sides."""
    true = {text for texts in read.references for text in texts}
    words = [*read.predictions, *true]
    few = 2 <= len(true) < len(read) and not true.isdisjoint(read.predictions)
    return few and len(set(read.predictions)) < len(read) and all(len(text.split()) == 1 for text in words)


def _indices(kept: list[tuple[int, dict[str, Any]]]) -> list[int] | None:
    if not all("index" in row for _, row in kept):
        return None
    found = []
    for position, row in kept:
        index = as_whole(row["index"], "index", position)
        if index is None:
            raise InputError(f"the index of sample {position} is {row['index']!r}: give whole numbers, or no index.")
        found.append(index)
    return found
