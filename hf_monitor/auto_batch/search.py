"""Find the largest size whose peak is within a limit, with few measurements and hardly one that is too large.

The peak of a step is the largest of several sums of tensors, each of which grows in a straight line with the batch: it
is convex. So the line through two measured sizes is a floor for all larger ones, and a ceiling between the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from hf_monitor.auto_batch.convex import ConvexPeaks

__all__ = ["Found", "search"]

_EXACT_UP_TO = 50
_TOLERANCE = 0.02  # above that: within 2 %
_LEAST_DOUBT = 0.01  # of what an estimate says that more samples take, however right it was so far
_SAMPLES = 3  # times the answer, at most, where it is not a matter of being exact


@dataclass(slots=True)
class Found:
    """Where a search ended.

    Attributes
    ----------
    size : int
        The largest measured one within the limit; 0 if there is none.
    too_large : int
        The smallest size known, or inferred, not to be within the limit; one more than the maximum where all are.
    at_most_wrong_by : int
        By how much the true answer may be larger.
    """

    size: int
    too_large: int
    at_most_wrong_by: int


@dataclass(slots=True)
class _Curve:
    """What is known of peak against size."""

    limit: int
    maximum: int
    estimate: Callable[[int], float] | None
    noise: int
    first: int = 1
    peaks: dict[int, int] = field(default_factory=dict)  # measured, also above the limit
    lowest_failed: int | None = None  # the smallest size that ran out of memory: its peak is not known

    @property
    def low(self) -> int:
        return max((size for size, peak in self.peaks.items() if peak <= self.limit), default=0)

    @property
    def high(self) -> int:
        over = [size for size, peak in self.peaks.items() if peak > self.limit and size > self.low]
        return min([*over, self.lowest_failed or self.maximum + 1, self.maximum + 1])

    def floor(self, size: int) -> float | None:
        """Give the least that a size above the measured ones takes; None where nothing is known."""
        low = self.low
        if self.estimate is not None:
            if not self.peaks:
                return self.estimate(size)
            near = low or min(self.peaks)
            return self.peaks[near] + self.estimate(size) - self.estimate(near) + self._drift(near) * (size - near)
        below = [known for known in self.peaks if self.first <= known < low]
        if not below:
            return None
        # Not from a close neighbour, where an allocator's steps are taken for a slope.
        other = max((known for known in below if known <= 0.75 * low), default=max(below))
        return self.peaks[low] + (self.peaks[low] - self.peaks[other]) / (low - other) * (size - low)

    def _drift(self, near: int) -> float:
        """Give how much faster than the estimate the measured peak grows, in bytes a sample."""
        if self.estimate is None:
            return 0.0
        others = [known for known in self.peaks if self.first <= known <= 0.75 * near]
        if not others:
            return 0.0
        other = max(others)
        errors = [self.peaks[size] - self.estimate(size) for size in (near, other)]
        return (errors[0] - errors[1]) / (near - other)

    def largest_by_floor(self) -> int | None:
        """Give the largest size that may still be within the limit."""
        low, high = self.low, self.high
        if self.floor(low + 1) is None:
            return None
        # In few steps: each may be a step on fake tensors. A size below `low` fits, whatever the line says of it.
        line = ConvexPeaks(lambda size: self.floor(size) or 0)
        return max(low, line.largest(self.limit, high - 1))

    def largest_by_ceiling(self) -> int:
        """Give the largest size that is sure to be within the limit, by the line between two measured ones."""
        low, high = self.low, self.high
        if low < self.first or high not in self.peaks:
            return low
        slope = (self.peaks[high] - self.peaks[low]) / (high - low)
        return min(high - 1, low + int((self.limit - self.peaks[low]) / slope)) if slope > 0 else low

    def largest_by_excess(self) -> int:
        """Give the size that the nearest one measured above the limit leads down to, by the slopes of the estimate.

        By the chord to the largest that fits, too, which is sure where the curve is convex: the larger of the two.
        """
        high = self.high
        if self.estimate is None or high not in self.peaks:
            return high - 1
        slope = self.estimate(high) - self.estimate(high - 1)
        if slope <= 0:
            return high - 1
        # Less what an allocator's steps may have added: above 50, where 2 % will do, nobody looks above again.
        excess = max(1, self.peaks[high] - self.limit - self.noise)
        return max(self.largest_by_ceiling(), high - math.ceil(excess / slope))

    def is_sure_not_to_fit(self, size: int) -> bool:
        if size >= self.high:
            return True
        floor = self.floor(size)
        if floor is None:
            return False
        near = self.low or size
        doubt = float(self.noise)
        if self.estimate is not None and self.low:  # as if all that it is wrong by, and as much again, came by samples
            wrong = abs(self.peaks[near] - self.estimate(near))
            known, more = self.estimate(near), self.estimate(size) - self.estimate(near)
            growth = known - self.estimate(1)
            share = more / growth if growth > 0 else 0.0
            # Or as if it were wrong by a factor, which also counts where the curve bends upwards behind `near`.
            factor = more / known if known > 0 else 0.0
            doubt += 1 + max(2 * wrong * max(share, (size - near) / near, factor), _LEAST_DOUBT * more)
        return floor - doubt > self.limit


def search(
    measure: Callable[[int], int | None],
    *,
    limit: int,
    maximum: int,
    estimate: Callable[[int], float] | None = None,
    trust_estimate: bool = True,
    noise: int = 0,
    first: int = 1,
) -> Found:
    """Find the largest size whose peak is within a limit.

    Parameters
    ----------
    measure : callable
        From a size to its peak in bytes; None where the device ran out of memory.
    limit : int
        Bytes.
    maximum : int
        The largest size to look at.
    estimate : callable, optional
        From a size to what its peak should be, in bytes.
    trust_estimate : bool
        Whether the first size measured may be the one that the estimate leads to; otherwise a quarter of it is first.
    noise : int
        By how many bytes a peak may be off: the steps of an allocator.
    first : int
        The first size on the curve: 2 where a single sample is not a part of what two or more are.

    Returns
    -------
    Found
        Exact up to 50, within 2 % above; as exact as the curve is convex where it was not measured.
    """
    curve = _Curve(limit, maximum, estimate, noise, first)
    samples = 0
    widths: list[int] = []  # of what is left between a size that fits and one that does not
    while True:
        low, high = curve.low, curve.high
        if high <= maximum:
            widths.append(high - low)
        if high - low <= 1 or (low and curve.is_sure_not_to_fit(low + 1)):
            return Found(low, low + 1, 0)
        size = _next_size(curve, trust_estimate)
        if (
            estimate is None and len(widths) > 1 and widths[-1] > 0.75 * widths[-2]
        ):  # lines lead on one by one at a bend
            size = (low + high) // 2
        if low >= _EXACT_UP_TO:
            bound = curve.largest_by_floor()
            within = min(high - 1, bound) if bound is not None else high - 1
            # An estimate that was wrong may be wrong of the next sizes, too.
            while (
                low < within < high - 1
                and within <= low * (1 + _TOLERANCE)
                and not curve.is_sure_not_to_fit(within + 1)
            ):
                within += 1
            if within <= low * (1 + _TOLERANCE) and (within <= low or samples + size > _SAMPLES * low):
                return Found(low, within + 1, within - low)
        peak = measure(size)
        samples += size
        if peak is None:
            curve.lowest_failed = min(size, curve.lowest_failed or size)
        else:
            curve.peaks[size] = peak


def _next_size(curve: _Curve, trust_estimate: bool) -> int:
    """Choose the size to measure next, between the largest that fits and the smallest that does not."""
    low, high = curve.low, curve.high
    bound = curve.largest_by_floor()
    if bound is None:  # nothing to draw a line through
        size = 2 * low if low else 1
    elif bound <= low:
        size = low + 1
    elif curve.estimate is not None:
        size = bound if curve.peaks or trust_estimate else max(1, bound // 4)
        size = min(size, curve.largest_by_excess())  # an estimate that was too low would come down one by one
    elif (sure := curve.largest_by_ceiling()) > low:
        size = sure
    else:  # a line leads too far where the curve still bends: half of the way first, unless it is not far
        size = bound if bound <= 2 * low else min(max(2 * low, bound // 2), 4 * low)
    if high == curve.lowest_failed and size >= high - 1:  # it led there before, and too far
        size = (low + high) // 2
    return min(max(size, low + 1), high - 1)
