"""Rows that somebody else wrote: whether step, time, kind ... are what hf_monitor writes there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["has_known_form"]

_NUMBERS = ("step", "time", "attempt", "resumed_attempt")
_TEXTS = ("kind", "event", "name", "rule", "signals", "type", "message", "traceback")
_RARE = frozenset({"resumed_attempt", *_TEXTS}) - {"kind"}
_HUGE = 1e15


def has_known_form(row: Mapping[str, Any]) -> bool:
    """Tell whether rows can be sorted and grouped by what this one says of itself; its metrics may be anything."""
    step, time, attempt = row.get("step"), row.get("time"), row.get("attempt")
    if (  # nearly all rows are such, so that this is what reading them costs
        time.__class__ is float
        and step.__class__ is attempt.__class__ is int
        and row.get("kind").__class__ is str
        and 0 <= step < _HUGE
        and 0 <= time < _HUGE
        and 0 <= attempt < _HUGE
        and row.keys().isdisjoint(_RARE)
    ):
        return True
    for name in _NUMBERS:
        value = row.get(name)
        if value is None:
            if name in row and name != "resumed_attempt":
                return False
        elif not (value.__class__ is int or (value.__class__ is float and name == "time")) or not 0 <= value <= _HUGE:
            return False
    return all(row.get(name) is None or isinstance(row[name], str) for name in _TEXTS)
