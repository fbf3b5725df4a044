"""Predictions, checked: what the four charts of inference are made of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.charts.prediction_fields import (
    CONFIDENCE_KEYS,
    Label,
    as_confidence,
    as_flag,
    as_label,
    as_references,
    as_text,
    as_whole,
)
from hf_monitor.charts.prediction_rows import is_missing, prediction_rows
from hf_monitor.errors import InputError, NothingToDraw

__all__ = ["Predictions", "read_predictions"]

#: Under which keys a row may hold its prediction; the later ones are those of transformers' pipelines.
_PREDICTION = ("prediction", "text", "generated_text", "summary_text", "translation_text")
#: What is a number in a row, but no score of the sample.
_NO_METRIC = {"index", "id", "idx", "step", "weights_step", "time", "attempt", "epoch", "rank", "n_tokens", "ended"}
_NO_METRIC |= {"standalone", "label", "labels", "sampled", *CONFIDENCE_KEYS, *_PREDICTION}


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
        Metric -> value of each sample.
    name : str
        Of the model; may be empty.
    source : str
        Of a run: evaluation and step.
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
    name: str = ""
    source: str = ""
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.predictions)

    @property
    def short(self) -> str:
        """The name for notes and messages."""
        return self.name if len(self.name) <= 40 else f"{self.name[:39]}…"

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
    name: str | None = None,
    evaluation: str | None = None,
) -> Predictions:
    """Read and check predictions; nothing is scored here.

    Parameters
    ----------
    source : object
        See `hf_monitor.charts.prediction_rows.prediction_rows`. Of a row these are read: ``prediction`` (or ``text``,
        ``generated_text``, ``summary_text``), ``references`` or ``reference``, ``input``, ``index``, ``label`` (the
        true class), ``confidence`` or ``probability``, ``n_tokens``, ``ended``; other numbers are scores. Where there
        is a ``label`` and no prediction, as from a text-classification pipeline, ``label`` is the prediction and
        ``score`` its probability.
    references, inputs, labels : sequence, optional
        One entry a sample, in the order of the predictions; they take the place of what the rows say.
    metrics : sequence of str, optional
        The scores to read, instead of all numbers that there are.
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
    rows, said, notes = prediction_rows(source, evaluation)
    n_given = len(rows)
    for key, values in (("references", references), ("input", inputs), ("label", labels)):
        if values is not None:
            _put(rows, key, values, "inputs" if key == "input" else "labels" if key == "label" else key)
    _settle(rows, labelled=labels is not None)
    kept = [(position, row) for position, row in enumerate(rows) if not is_missing(row.get("prediction"))]
    if len(kept) < n_given:
        notes.append(f"{n_given - len(kept)} of {n_given} samples have no prediction and are left out")
    if not kept:
        raise NothingToDraw(f"none of the {n_given} samples has a prediction")
    predictions, true, classes = _predicted(kept)
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
        name="" if name is None else str(name),
        source=said,
        notes=notes,
    )
    read.scores = _scores(kept, metrics, notes)
    if classes and any(label is not None for label in true):
        right = [None if t is None else float(p == t) for p, t in zip(predictions, true, strict=True)]
        read.scores = {"correct": right, **read.scores}
    return read


def _put(rows: list[dict[str, Any]], key: str, values: Any, what: str) -> None:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"{what} must have one entry a sample, got {type(values).__name__}.")
    values = list(values)
    if len(values) != len(rows):
        raise InputError(
            f"there are {len(rows)} predictions and {len(values)} {what}: they must be equally many and in one order."
        )
    for row, value in zip(rows, values, strict=True):
        row[key] = value


def _settle(rows: list[dict[str, Any]], labelled: bool) -> None:
    """Find the prediction of each row, under whichever key it is."""
    for position, row in enumerate(rows):
        if "prediction" not in row and "label" in row and not labelled:  # as a pipeline for classification gives it
            row["prediction"] = row.pop("label")
            if not any(key in row for key in CONFIDENCE_KEYS) and "score" in row:
                row["probability"] = row.pop("score")
            row.setdefault("input", row.get("text"))
            continue
        key = next((key for key in _PREDICTION if key in row), None)
        if key is None:
            raise InputError(
                f"row {position} of the predictions has no 'prediction', only {', '.join(map(repr, row)) or 'nothing'}."
            )
        row["prediction"] = row[key]


def _predicted(kept: list[tuple[int, dict[str, Any]]]) -> tuple[list[Any], list[Label | None], bool]:
    true = [None if is_missing(row.get("label")) else row["label"] for _, row in kept]
    given = [row["prediction"] for _, row in kept]
    texts = [isinstance(value, str) for value in given]
    if all(texts) and all(label is None for label in true):
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


def _scores(
    kept: list[tuple[int, dict[str, Any]]], metrics: Sequence[str] | None, notes: list[str]
) -> dict[str, list[float | None]]:
    if isinstance(metrics, str):
        raise InputError(f"metrics={metrics!r} is one text: give a list of names, [{metrics!r}].")
    names = list(metrics) if metrics is not None else _metric_names(kept)
    scores: dict[str, list[float | None]] = {}
    for name in names:
        column: list[float | None] = []
        odd = 0
        for position, row in kept:
            value = row.get(name)
            if is_missing(value) or (isinstance(value, float) and math.isinf(value)):
                odd += value is not None
                column.append(None)
            elif isinstance(value, bool | int | float):
                column.append(float(value))
            else:
                raise InputError(
                    f"{name} of sample {position} is {str(value)[:40]!r} ({type(value).__name__}): a score is a number."
                )
        if odd:
            notes.append(f"{name}: {odd} value(s) that are not finite are left out")
        if any(value is not None for value in column):
            scores[name] = column
    return scores


def _metric_names(kept: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Keys under which some row holds a number, the mean ``score`` first."""
    names: dict[str, None] = {}
    for _, row in kept:
        for key, value in row.items():
            if key in names or not isinstance(value, int | float) or isinstance(value, bool) or is_missing(value):
                continue  # the NaN that stands for a missing text in a data frame, too
            names[key] = None
    return sorted((name for name in names if name not in _NO_METRIC), key=lambda name: name != "score")
