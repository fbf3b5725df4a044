"""Whatever predictions come as (texts, labels, rows, a data frame, a run) -> a list of plain rows."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run.reader import Run, load_run

__all__ = [
    "CONFIDENCE_KEYS",
    "PREDICTION_KEYS",
    "REFERENCE_KEYS",
    "evaluations",
    "is_missing",
    "prediction_rows",
    "put",
    "run_name",
    "settle",
]

CONFIDENCE_KEYS = ("confidence", "probability")
#: Under which keys a row may hold its prediction; the later ones are those of transformers' pipelines.
PREDICTION_KEYS = ("prediction", "generated_text", "summary_text", "translation_text")
#: Under which keys a row may hold its references; those after the first two only where they are texts.
REFERENCE_KEYS = ("references", "reference", "ref", "summary", "target", "highlights", "labels")

_HINT = "Give texts, class labels, rows with 'prediction', a pandas.DataFrame of them, or a run folder."


def prediction_rows(source: Any, evaluation: str | None = None) -> tuple[list[dict[str, Any]], str, list[str]]:
    """Make rows of predictions, each a dict of its own.

    Parameters
    ----------
    source : object
        Texts or class labels (a list, an array, a Series), rows (mappings, dataclass instances, named tuples), a
        ``pandas.DataFrame``, a `Run`, or the path of a run folder.
    evaluation : str, optional
        Of a run: the name of the evaluation, as in ``predictions.jsonl``; the latest by default.

    Returns
    -------
    rows : list of dict
        A bare text or label is ``{"prediction": ...}``. Values are plain Python values.
    said : str
        Of a run: which evaluation, at which step. Otherwise empty.
    notes : list of str

    Raises
    ------
    InputError
        If it is none of these.
    NothingToDraw
        If there is not one prediction.
    RunFolderError
        If the path is no run folder.
    """
    if isinstance(source, str | os.PathLike):
        source = load_run(source)
    if isinstance(source, Run):
        return _from_run(source, evaluation)
    if evaluation is not None:
        raise InputError(
            f"evaluation={evaluation!r} names one of a run's evaluations, but the predictions are of type "
            f"{type(source).__name__}: leave it out, or pass a run folder."
        )
    if hasattr(source, "columns") and hasattr(source, "to_dict"):
        source = source.to_dict("records")
    elif hasattr(source, "tolist"):
        source = source.tolist()
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise InputError(f"predictions are of type {type(source).__name__}, not one entry a sample. {_HINT}")
    rows = [_row(item, position) for position, item in enumerate(source)]
    if not rows:
        raise NothingToDraw("there are no predictions: the list is empty")
    return rows, "", []


def evaluations(run: Run) -> list[str]:
    """Give the names of a run's evaluations that have predictions, in the order of their first one."""
    return list(dict.fromkeys(str(row.get("name", "eval")) for row in run.predictions))


def run_name(run: Run) -> str:
    """Name a run by its folder; FileLogging's own folder ``monitor`` says nothing, the one around it does."""
    folder = run.path.resolve()
    return folder.parent.name if folder.name == "monitor" else folder.name


def _from_run(run: Run, evaluation: str | None) -> tuple[list[dict[str, Any]], str, list[str]]:
    every = run.predictions
    names = evaluations(run)
    if not every:
        raise NothingToDraw(
            f"the run {str(run.path)!r} has no predictions yet; TextMetrics writes them at each evaluation"
        )
    if evaluation is not None and evaluation not in names:
        raise InputError(
            f"evaluation={evaluation!r} is not among the predictions of {str(run.path)!r}; there are "
            f"{', '.join(map(repr, names))}."
        )
    name = evaluation if evaluation is not None else str(every[-1].get("name", "eval"))
    rows = run.latest_predictions(name) or [row for row in every if str(row.get("name", "eval")) == name]
    step = rows[-1].get("weights_step", rows[-1].get("step"))
    if not step and not any(row.get("event") == "train_begin" for row in run.events):
        step = None  # nothing was trained here: the model came from elsewhere
    notes = []
    if broken := run.broken_lines.get("predictions.jsonl"):
        notes.append(f"{broken} broken line(s) of predictions.jsonl are skipped")
    sampled = rows[0].get("sampled")
    if isinstance(sampled, Mapping):
        notes.append(f"the run kept {sampled.get('rows')} of {sampled.get('of')} predictions (seeded sample)")
    return [dict(row) for row in rows], name if step is None else f"{name}, step {step}", notes


def _row(item: Any, position: int) -> dict[str, Any]:
    if isinstance(item, Mapping):
        row = {str(key): value for key, value in item.items()}
    elif dataclasses.is_dataclass(item) and not isinstance(item, type):
        row = {field.name: getattr(item, field.name) for field in dataclasses.fields(item)}
    elif hasattr(item, "_asdict"):
        row = dict(item._asdict())
    elif is_missing(item) or isinstance(item, str | int | float) or hasattr(item, "item"):
        row = {"prediction": item}
    else:
        raise InputError(f"predictions[{position}] is of type {type(item).__name__}. {_HINT}")
    return {key: value.item() if _is_scalar(value) else value for key, value in row.items()}


def _is_scalar(value: Any) -> bool:
    """Tell a scalar of numpy or torch."""
    return hasattr(value, "item") and getattr(value, "shape", None) == ()


def is_missing(value: Any) -> bool:
    """Tell what stands for "not there": None, NaN, and pandas' own signs of it."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def settle(rows: list[dict[str, Any]]) -> bool:
    """Find the prediction of each row, under whichever key it is; tell whether some are labels of a pipeline."""
    by_label = False
    for position, row in enumerate(rows):
        key = next((key for key in PREDICTION_KEYS if key in row), None)
        if key is None and "label" in row:  # as a pipeline for classification gives it
            by_label = True
            row["prediction"] = row.pop("label")
            if not any(key in row for key in CONFIDENCE_KEYS) and "score" in row:
                row["probability"] = row.pop("score")
        elif key is None and "text" in row:
            row["prediction"] = row.pop("text")
        elif key is None:
            raise InputError(
                f"row {position} of the predictions has no 'prediction', only {', '.join(map(repr, row)) or 'nothing'}."
            )
        else:
            row["prediction"] = row[key]
        if "text" in row:  # what the prediction was made of
            row.setdefault("input", row["text"])
    return by_label


def put(rows: list[dict[str, Any]], key: str, values: Any, what: str) -> None:
    """Put values of an argument (`what`) under a key of the rows, one entry a sample; they replace what is there.

    Raises
    ------
    InputError
        If they are not as many as the rows.
    """
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
