"""Single values of a prediction's row, checked: a wrong one is an error that names the sample."""

from __future__ import annotations

from typing import Any, TypeAlias

from hf_monitor.charts.prediction_rows import CONFIDENCE_KEYS, REFERENCE_KEYS, is_missing
from hf_monitor.errors import InputError

__all__ = ["Label", "as_confidence", "as_flag", "as_label", "as_references", "as_text", "as_whole"]

Label: TypeAlias = str | int | bool


def _cut(value: Any) -> str:
    """Write a value for a message: a text in quotes, a number without."""
    return repr(value[:40]) if isinstance(value, str) else repr(value)[:40]


def as_label(value: Any, what: str, position: int) -> Label:
    """Give a class label: a name or a whole number."""
    if isinstance(value, str | int):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise InputError(
        f"the {what} of sample {position} is {_cut(value)} ({type(value).__name__}): a class label is a name or "
        "a whole number (of probabilities the argmax)."
    )


def as_whole(value: Any, what: str, position: int) -> int | None:
    """Give a whole number from 0 on; None where it is missing."""
    if is_missing(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != value // 1:
        raise InputError(f"{what} of sample {position} is {_cut(value)}: it must be a whole number from 0 on.")
    return int(value)


def as_flag(value: Any, position: int) -> bool | None:
    """Give true or false; None where it is missing."""
    if is_missing(value):
        return None
    if not isinstance(value, bool | int | float) or value not in (0, 1):
        raise InputError(f"ended of sample {position} is {_cut(value)}: it must be true, false or missing.")
    return bool(value)


def as_text(value: Any, what: str, position: int) -> str | None:
    """Give a text; None where it is missing."""
    if is_missing(value):
        return None
    if not isinstance(value, str):
        raise InputError(f"the {what} of sample {position} is of type {type(value).__name__}: it must be a text.")
    return value


def _is_text(value: Any) -> bool:
    texts = value if isinstance(value, list | tuple) else [value]
    return bool(texts) and all(isinstance(text, str) for text in texts)


def as_references(row: dict[str, Any], position: int) -> list[str]:
    """Give the references of a row, under whichever key they are; empty ones are left out."""
    entry: Any = row.get("references", row.get("reference"))
    if "references" not in row and "reference" not in row:  # other keys may hold something else: token ids, a number
        entry = next((row[key] for key in REFERENCE_KEYS if _is_text(row.get(key))), None)
    if hasattr(entry, "tolist"):
        entry = entry.tolist()
    if is_missing(entry) or isinstance(entry, str):
        entry = [entry]
    if not isinstance(entry, list | tuple):
        raise InputError(
            f"the references of sample {position} are of type {type(entry).__name__}: give a text or a list of texts; "
            "true classes are given as labels=[...]."
        )
    texts = [as_text(text, "reference", position) for text in entry]
    return [text for text in texts if text is not None and text.strip()]


def as_confidence(row: dict[str, Any], position: int) -> float | None:
    """Give the confidence of a row, 0 to 1; None where it is missing."""
    key = next((key for key in CONFIDENCE_KEYS if not is_missing(row.get(key))), None)
    if key is None:
        return None
    value = row[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e-6 <= value <= 1 + 1e-6:
        raise InputError(
            f"the {key} of sample {position} is {_cut(value)}: it must be a number from 0 to 1 (a probability, "
            "no logarithm and no percentage)."
        )
    return min(max(float(value), 0.0), 1.0)
