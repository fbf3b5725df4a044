"""Rows of a run as anybody may have written them: what is a number in them, and of which steps they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_monitor.diagnosis.thresholds import MIN_SAMPLES, MIN_SECONDS
from hf_monitor.diagnosis.wording import of_samples

__all__ = ["entries", "mapping", "number", "numbers", "steps_of", "too_few"]

_Row = Mapping[str, Any]
_HUGE = 1e15  # beyond any step, MiB or second; a float of it is exact


def number(value: Any, low: float = 0.0, high: float = _HUGE) -> float | None:
    """Give a finite number within the bounds, else None: rows may hold anything."""
    if (type(value) is float or type(value) is int) and low <= value <= high:  # of JSON, so no subclass but bool
        return float(value)
    return None


def numbers(rows: Iterable[_Row], key: str, high: float = _HUGE) -> list[float]:
    """Give the numbers (0 to `high`) that rows have under a key, in order; without those that have none."""
    # As `number` says, written out: half a million samples are read a dozen times.
    return [
        value for row in rows if (type(value := row.get(key)) is float or type(value) is int) and 0.0 <= value <= high
    ]


def mapping(value: Any) -> dict[str, Any]:
    """Give a value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[dict[str, Any]]:
    """Give a list of dicts, empty ones in the place of what is none; an empty list for anything else."""
    return [mapping(entry) for entry in value] if isinstance(value, list) else []


def steps_of(rows: Sequence[_Row]) -> tuple[int, int] | None:
    """Give the first and the last step of rows; None where they name none."""
    ends = _ends(rows, "step")
    return None if ends is None else (int(ends[0]), int(ends[1]))


def _ends(rows: Sequence[_Row], key: str) -> tuple[float, float] | None:
    """Give the first and the last number under a key that grows from row to row."""
    first = next((found for row in rows if (found := number(row.get(key))) is not None), None)
    last = next((found for row in reversed(rows) if (found := number(row.get(key))) is not None), None)
    return None if first is None or last is None else (min(first, last), max(first, last))


def too_few(rows: Sequence[_Row], n: int) -> str:
    """Say why `n` readings of these rows are too few; empty where they are enough."""
    if n < MIN_SAMPLES:
        return f"{of_samples(n)} of the training after the warm-up; {MIN_SAMPLES} are needed."
    times = _ends(rows, "time")
    seconds = 0.0 if times is None else times[1] - times[0]
    if seconds < MIN_SECONDS:
        return f"the samples span {seconds:.0f} s of training; {MIN_SECONDS:.0f} s are needed."
    return ""
