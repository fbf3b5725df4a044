"""Rows of a run as anybody may have written them: what is a number in them."""

from __future__ import annotations

from typing import Any

__all__ = ["HUGE", "entries", "mapping", "number"]

HUGE = 1e15  # beyond any step, MiB or second; a float of it is exact


def number(value: Any, low: float = 0.0, high: float = HUGE) -> float | None:
    """Give a finite number within the bounds, else None: rows may hold anything."""
    kind = value.__class__  # of JSON, so no subclass but bool
    if kind is float:
        return value if low <= value <= high else None
    return float(value) if kind is int and low <= value <= high else None


def mapping(value: Any) -> dict[str, Any]:
    """Give a value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(value: Any) -> list[dict[str, Any]]:
    """Give a list of dicts, empty ones in the place of what is none; an empty list for anything else."""
    return [mapping(entry) for entry in value] if isinstance(value, list) else []
