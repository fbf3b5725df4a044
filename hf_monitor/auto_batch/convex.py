"""The largest size within a limit, of a quantity that is convex in the size."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["ConvexPeaks"]

_STRAIGHT = 1e-4
"""Three peaks lie on one line where none between them can be further off than this part of itself."""


class ConvexPeaks:
    """Peaks by batch size, measured when needed, each once.

    The bytes alive at any one moment of a step are a constant plus so many a sample; their peak over all moments is
    therefore convex and piecewise linear in the size.

    Parameters
    ----------
    measure : callable
        From a size to its peak.
    """

    def __init__(self, measure: Callable[[int], float]) -> None:
        self._measure = measure
        self.measured: dict[int, float] = {}

    def at(self, size: int) -> float:
        """Measure the peak of a size, or remember it."""
        if size not in self.measured:
            self.measured[size] = self._measure(size)
        return self.measured[size]

    def near(self, size: int) -> float:
        """Give a peak by the line that it lies on, where three measured ones around it lie on one; else measure it."""
        if size in self.measured:
            return self.measured[size]
        below = sorted(known for known in self.measured if known < size)
        above = sorted(known for known in self.measured if known > size)
        for around in (below[-2:] + above[:1], below[-1:] + above[:2]):
            if len(around) < 3:
                continue
            one, two, three = around
            first, second, third = (self.measured[known] for known in around)
            share = (two - one) / (three - one)
            off = abs(first + (third - first) * share - second)
            if off <= _STRAIGHT * second * min(share, 1 - share):  # what it is off elsewhere, at the most, being convex
                return first + (third - first) * (size - one) / (three - one)
        return self.at(size)

    def largest(self, limit: int, maximum: int) -> int:
        """Find the largest size whose peak is within a limit.

        Where the chord between a size that fits and one that does not crosses the limit, a size fits; where the line
        through two that fit crosses it, the next one does not. The two meet after a few steps.

        Parameters
        ----------
        limit : int
        maximum : int
            The largest size to look at.

        Returns
        -------
        int
            From 0, where not even 1 fits, to ``maximum``. Its peak is within the limit, that of the next one is not.
        """
        if maximum < 1 or self.near(1) > limit:
            return 0
        if self.near(maximum) <= limit:
            return maximum
        fits, too_large = 1, maximum
        while too_large - fits > 1:
            low, high = self.near(fits), self.near(too_large)
            crossing = fits + int((too_large - fits) * (limit - low) / (high - low))
            middle = min(max(crossing, fits + 1), too_large - 1)
            at_middle = self.near(middle)
            if at_middle > limit:
                too_large = middle
                continue
            a_sample = (at_middle - low) / (middle - fits)
            fits = middle
            bound = fits + int((limit - at_middle) / a_sample) + 1 if a_sample > 0 else too_large
            if bound >= too_large:
                continue
            if self.near(bound) > limit:
                too_large = bound
            else:
                fits = bound
        return fits
