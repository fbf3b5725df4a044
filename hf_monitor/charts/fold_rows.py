"""Rows of fold results: which column is what, and whether its values can be right."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from hf_monitor.errors import InputError

__all__ = [
    "ABOVE_1",
    "FoldName",
    "brief",
    "check_scale",
    "fold_text",
    "folds_of",
    "is_frame",
    "main_columns",
    "missing_folds",
    "number_of",
    "records_of",
]

FoldName: TypeAlias = int | str

ABOVE_1 = 1 + 1e-6
"""Up to here a value is of the scale 0-1: a mean of float32 may be 1.0000001."""
_UNCLEAR = 1.5  # from 1 up to here, nobody can tell 0-1 gone wrong from a very bad percentage
_F1, _ACCURACY = {"f1", "f1_score"}, {"accuracy", "acc"}
_HELD_OUT = re.compile(r"^(eval|val|valid|validation|test)_")


def fold_text(fold: FoldName) -> str:
    """Name a fold: ``fold 3``, or its own name."""
    return f"fold {fold}" if isinstance(fold, int) else brief(fold)


def brief(text: str) -> str:
    """Shorten a name for a note or an error."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def is_frame(rows: Any) -> bool:
    """Tell a pandas DataFrame without importing pandas."""
    return hasattr(rows, "columns") and hasattr(rows, "to_dict")


def records_of(rows: Any) -> list[dict[str, Any]]:
    """Give the rows as dicts, checked to be a list of mappings or a DataFrame."""
    if is_frame(rows):
        if str(rows.index.name).casefold() == "fold" and not any(str(c).casefold() == "fold" for c in rows.columns):
            rows = rows.reset_index()
        if not rows.columns.is_unique:
            raise InputError(f"fold_results has columns of the same name: {list(map(str, rows.columns))}. Rename them.")
        rows = rows.to_dict("records")
    if isinstance(rows, Mapping | str | bytes) or not isinstance(rows, Iterable):
        raise InputError(f"the results of folds must be a list of mappings or a DataFrame, got {type(rows).__name__}.")
    records = []
    for position, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise InputError(
                f"fold_results[{position - 1}] is a {type(row).__name__}; it must be a mapping like "
                "{'fold': 1, 'f1': 0.81, 'accuracy': 0.84}, or all of them paths of run folders."
            )
        records.append({str(key): value for key, value in row.items()})
    return records


def number_of(value: Any) -> float | str | None:
    """Give a number, None where there is none, or a text that says what stands there instead."""
    if value is None or type(value).__name__ == "NAType":  # pandas.NA, without importing pandas
        return None
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # numpy scalars, tensors of one number
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        text = repr(value)
        return f"{brief(text)} ({type(value).__name__})"
    try:
        return float(value)
    except (OverflowError, ValueError):
        return math.inf


def folds_of(
    records: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> tuple[list[FoldName], list[str], str | None]:
    """Find the names of the folds, what to say about them, and the column that they stand in."""
    column = "fold" if "fold" in columns else next((c for c in columns if c.casefold() == "fold"), None)
    if column is None:
        return list(range(1, len(records) + 1)), ["rows without 'fold': numbered from 1"] if records else [], None
    folds: list[FoldName] = []
    for position, record in enumerate(records):
        value = record.get(column)
        number = number_of(value)
        if isinstance(value, str) and value.strip():
            name: FoldName = value.strip()
        elif isinstance(number, float) and math.isfinite(number) and number >= 0 and number == int(number):
            name = int(number)
        else:
            raise InputError(
                f"{column!r} of fold_results[{position}] must be a whole number from 0 on or a name, "
                f"got {brief(repr(value))}. Give every row its own, or leave {column!r} out of all of them."
            )
        if str(name) in map(str, folds):
            raise InputError(
                f"{fold_text(name)!r} is there twice in fold_results. Give each fold a name of its own; "
                "results of several models go into calls of their own."
            )
        folds.append(name)
    return folds, [], column


def missing_folds(records: Sequence[Mapping[str, Any]], folds: Sequence[FoldName]) -> list[str]:
    """Say where there are fewer folds than the rows' ``n_folds``, or where the rows do not agree about it."""
    found: dict[int, list[FoldName]] = {}
    for record, fold in zip(records, folds, strict=True):
        n = number_of(record.get("n_folds"))
        if isinstance(n, float) and 1 <= n < 2**31 and n.is_integer():
            found.setdefault(int(n), []).append(fold)
    if len(found) > 1:
        said = "; ".join(f"{n} in {_few(map(fold_text, names))}" for n, names in sorted(found.items()))
        return [f"the folds are not of one cross-validation: n_folds is {said}"]
    for n in found:
        if len(folds) < n:
            first = 0 if 0 in folds else 1
            numbers = set(range(first, n + first))
            lacking = sorted(numbers - set(folds)) if numbers.issuperset(folds) else []
            which = f": fold {_few(map(str, lacking))}" if lacking else ""
            return [f"{n - len(folds)} of {n} folds (n_folds) are missing{which}"]
    return []


def _few(texts: Iterable[str]) -> str:
    every = list(texts)
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")


def main_columns(columns: Sequence[str], notes: list[str]) -> Iterator[tuple[str, str]]:
    """Find which columns f1 and accuracy are."""
    for metric, accepted in (("f1", _F1), ("accuracy", _ACCURACY)):
        found = [c for c in columns if _HELD_OUT.sub("", c.strip().casefold().replace("-", "_")) in accepted]
        if metric in columns:
            yield metric, metric
        elif len(found) == 1:
            yield metric, found[0]
        elif found:
            notes.append(
                f"which of {', '.join(map(brief, found))} is {metric} is not clear; name one of them {metric!r}"
            )


def check_scale(column: str, folds: Sequence[FoldName], values: Sequence[float | None]) -> None:
    """Refuse values of f1 or accuracy that no scale has, or two scales in one."""
    there = [(value, fold) for fold, value in zip(folds, values, strict=True) if value is not None]
    for value, fold in there:
        if not 0 <= value <= 100:
            raise InputError(
                f"{column!r} of {fold_text(fold)} is {value:g}; it must lie between 0 and 1, or between 0 and 100. "
                "Give another metric a name of its own."
            )
    highest, where = max(there, default=(0.0, ""), key=lambda pair: pair[0])
    if ABOVE_1 < highest <= _UNCLEAR:
        raise InputError(
            f"{column!r} of {fold_text(where)} is {highest:g}, and none is higher: above 1, yet hardly a percentage. "
            "Give all values as 0-1 or all as 0-100, or another metric a name of its own."
        )
    above = [(value, fold) for value, fold in there if value > _UNCLEAR]
    below = [(value, fold) for value, fold in there if 0 < value <= 1]
    if above and below:
        raise InputError(
            f"{column!r} mixes two scales: {below[0][0]:g} in {fold_text(below[0][1])}, {above[0][0]:g} in "
            f"{fold_text(above[0][1])}. Give all values as 0-1 or all as 0-100; if they are percentages, divide by 100."
        )
