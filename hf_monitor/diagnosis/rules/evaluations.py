"""Evaluations: the values of one evaluation set, kept in a bounded list, with the training loss between them."""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["Evaluations", "RunningMean"]

_LONGEST = 200  # evaluations that are kept: then every second one is left out


class RunningMean:
    """Sum and number of the training losses so far: the mean between two moments is a difference of them."""

    __slots__ = ("n", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self.n = 0

    def add(self, loss: float) -> None:
        """Take a finite loss."""
        self.total += loss
        self.n += 1


class Evaluations:
    """What evaluations of one set gave, in their order.

    Attributes
    ----------
    steps : list of int
    values, others : list of float
        What is watched, and what belongs to it (a score's loss).
    """

    __slots__ = ("_counts", "_totals", "n", "others", "steps", "values")

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.values: list[float] = []
        self.others: list[float] = []
        self._totals: list[float] = []
        self._counts: list[int] = []
        self.n = 0

    def add(self, step: int, value: float, training: RunningMean, other: float = 0.0, *, keep: int = 0) -> None:
        """Take an evaluation; what is at index `keep` stays, the others are thinned where they are too many."""
        if self.steps and step <= self.steps[-1]:  # evaluated anew (a resume, a user's own call): the latter counts
            first = bisect_left(self.steps, step)
            self._keep(list(range(first)))
        self.n += 1
        self.steps.append(step)
        self.values.append(value)
        self.others.append(other)
        self._totals.append(training.total)
        self._counts.append(training.n)
        if len(self.steps) > _LONGEST:
            self._keep([k for k in range(len(self.steps)) if k % 2 == 0 or k == keep])

    def _keep(self, kept: list[int]) -> None:
        self.steps = [self.steps[k] for k in kept]
        self.values = [self.values[k] for k in kept]
        self.others = [self.others[k] for k in kept]
        self._totals = [self._totals[k] for k in kept]
        self._counts = [self._counts[k] for k in kept]

    def training_before(self, index: int, *, not_before: int = -1) -> float | None:
        """Give the mean training loss of the interval that ends with an evaluation.

        Where nothing was logged in it, the interval is made longer, but not to before the evaluation `not_before`.
        """
        for earlier in range(index - 1, not_before - 1, -1):
            before = self._counts[earlier] if earlier >= 0 else 0
            if self._counts[index] > before:
                total = self._totals[earlier] if earlier >= 0 else 0.0
                return (self._totals[index] - total) / (self._counts[index] - before)
        return None
