"""Every number that a rule over rows decides by, with its reason; ``docs/alerts.md`` shows them as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["AlertThresholds", "thresholds_of"]


def _limit(default: float, why: str) -> Any:
    """Make a field that knows its reason: a source, or what was measured."""
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """Thresholds of the rules, each named ``<rule>_<what>``; ``describe()`` gives their reasons.

    Raises
    ------
    InputError
        If a value is not a finite number of at least 0.
    """

    # nan, divergence, learning rate, gradient, plateau, overfitting, scores (rules7)

    # texts: collapse, overlap (texts7)

    # time and machine (time7)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"the threshold {one.name!r} must be a finite number of at least 0, got {value!r}.")

    def describe(self) -> dict[str, tuple[float, str]]:
        """Give name -> (value, reason)."""
        return {one.name: (getattr(self, one.name), one.metadata["why"]) for one in fields(self)}


def thresholds_of(given: AlertThresholds | Mapping[str, float] | None) -> AlertThresholds:
    """Make thresholds of what a user gives: nothing, some by name, or all.

    Raises
    ------
    InputError
        If a name is not one of them, or a value no finite number of at least 0.
    """
    if given is None or isinstance(given, AlertThresholds):
        return given or AlertThresholds()
    if not isinstance(given, Mapping):
        raise InputError(
            f"thresholds must be a dict of names and numbers, or AlertThresholds, got {type(given).__name__}."
        )
    known = [one.name for one in fields(AlertThresholds)]
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"there is no threshold {unknown[0]!r}. There are: {', '.join(known)}.")
    return AlertThresholds(**given)
