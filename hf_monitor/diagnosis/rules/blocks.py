"""Blocks: the mean of a series and how sure it is, in a state that does not grow."""

from __future__ import annotations

from hf_monitor.diagnosis.intervals import Interval, mean_interval
from hf_monitor.diagnosis.thresholds import BLOCKS

__all__ = ["Blocks"]


class Blocks:
    """Sums of consecutive values in blocks of equal count; when there are too many, two become one.

    The blocks grow with the series, so that their means hardly resemble each other, as in
    :func:`hf_monitor.diagnosis.intervals.mean_interval`, which then gives the interval.

    Attributes
    ----------
    n : int
        Values in complete blocks.
    """

    __slots__ = ("_count", "_done", "_per_block", "_sum", "_weight", "n")

    def __init__(self) -> None:
        self.n = 0
        self._done: list[tuple[float, float]] = []
        self._per_block = 1
        self._count = 0
        self._sum = self._weight = 0.0

    def add(self, value: float, weight: float) -> bool:
        """Take the next value with its weight (above 0), and say whether a block is complete with it."""
        self._sum += value * weight
        self._weight += weight
        self._count += 1
        if self._count < self._per_block:
            return False
        done = self._done
        done.append((self._sum, self._weight))
        self.n += self._count
        self._sum = self._weight = 0.0
        self._count = 0
        if len(done) == 2 * BLOCKS:
            pairs = zip(done[::2], done[1::2], strict=True)
            self._done = [(one[0] + two[0], one[1] + two[1]) for one, two in pairs]
            self._per_block *= 2
        return True

    def interval(self) -> Interval | None:
        """Give the mean of the complete blocks and its interval; None before the first.

        It is never called "long": who asks again and again would some day meet a spell and take it for the whole.
        """
        if not self._done:
            return None
        found = mean_interval([total / weight for total, weight in self._done], [weight for _, weight in self._done])
        return found._replace(n=self.n, long=False)

    def lowest(self) -> float:
        """Give the lower end of the interval if blocks count alike: one that weighs ten times the others is one."""
        return mean_interval([total / weight for total, weight in self._done]).low
