"""The learning rate of a run over its steps, and what can be said of its course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

__all__ = ["Schedule", "equal_together"]


@dataclass
class Schedule:
    """The learning rate of one run over its steps.

    Attributes
    ----------
    name : str
    steps : list of int
        In order, each once.
    values : list of float
    """

    name: str
    steps: list[int]
    values: list[float]

    @property
    def peak(self) -> tuple[int, float]:
        """Step and value where the highest learning rate was recorded first."""
        value = max(self.values)
        return self.steps[self.values.index(value)], value

    @property
    def course(self) -> str:
        """What the highest value is, where the values tell: the last one while they rise, or the end of a warm-up.

        Of a warm-up values rise up to the highest and fall or stay level after it. As not every step is recorded, its
        end may lie a little beside it. A schedule with restarts has neither.
        """
        at = self.values.index(max(self.values))
        if at == 0:
            return ""
        if at == len(self.values) - 1:
            return "still rising at the last point"
        rises = all(one <= other for one, other in pairwise(self.values[: at + 1]))
        falls = all(one >= other for one, other in pairwise(self.values[at:]))
        return "at or near the end of warm-up" if rises and falls else ""

    def said(self) -> str:
        """Say the peak in words."""
        step, value = self.peak
        if len(set(self.values)) == 1:
            return f"{value:.4g} throughout"
        return f"highest {value:.4g} at step {step}" + (f", {self.course}" if self.course else "")


def equal_together(schedules: Sequence[Schedule]) -> list[tuple[Schedule, list[str]]]:
    """Give each different schedule once, with the names of the runs that had it."""
    found: dict[tuple[tuple[int, ...], tuple[float, ...]], tuple[Schedule, list[str]]] = {}
    for schedule in schedules:
        key = tuple(schedule.steps), tuple(schedule.values)
        found.setdefault(key, (schedule, []))[1].append(schedule.name)
    return list(found.values())
