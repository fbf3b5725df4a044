"""Confidence intervals (95 %) for means and shares of samples that resemble their neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hf_monitor.diagnosis.thresholds import BLOCKS

__all__ = ["Interval", "mean_interval", "share_interval", "wilson"]

_NORMAL = 1.959964  # 97.5 % quantile
#: Student's 97.5 % quantile for 1 to 9 degrees of freedom (any statistics table; scipy.stats.t.ppf(0.975, k)).
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)


class Interval(NamedTuple):
    """An estimate, the bounds of its 95 % confidence interval, and how many values it is made of."""

    value: float
    low: float
    high: float
    n: int

    def above(self, threshold: float) -> bool:
        """Whether the whole interval is above."""
        return self.low > threshold

    def below(self, threshold: float) -> bool:
        """Whether the whole interval is below."""
        return self.high < threshold


def mean_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> Interval:
    """Estimate a (weighted) mean by batch means.

    Consecutive values are joined into up to ``BLOCKS`` blocks of equal count, long enough that their means hardly
    resemble each other; the interval is Student's over the blocks (ratio estimator where they weigh differently).

    Parameters
    ----------
    values : sequence of float
        At least one, in the order of time.
    weights : sequence of float, optional
        Positive, one a value: seconds, say.

    Returns
    -------
    Interval
        From minus to plus infinity where there is only one value.

    References
    ----------
    Schmeiser (1982), Batch size effects in the analysis of simulation output. Operations Research 30 (3).
    """
    n = len(values)
    n_blocks = min(BLOCKS, n)
    bounds = [k * n // n_blocks for k in range(n_blocks + 1)]
    pairs = list(pairwise(bounds))
    if weights is None:
        sums = [(math.fsum(values[a:b]), float(b - a)) for a, b in pairs]
    else:
        products = [value * weight for value, weight in zip(values, weights, strict=True)]
        sums = [(math.fsum(products[a:b]), math.fsum(weights[a:b])) for a, b in pairs]
    total = math.fsum(weight for _, weight in sums)
    mean = math.fsum(value for value, _ in sums) / total
    if n_blocks == 1:
        return Interval(mean, -math.inf, math.inf, n)
    squares = math.fsum((value - mean * weight) ** 2 for value, weight in sums) / (n_blocks - 1)
    half = _STUDENT[n_blocks - 2] * math.sqrt(squares / n_blocks) / (total / n_blocks)
    return Interval(mean, mean - half, mean + half, n)


def wilson(count: int, n: int) -> tuple[float, float]:
    """Compute Wilson's score interval of a share of independent draws (Wilson, 1927; JASA 22, 209-212)."""
    z2 = _NORMAL**2
    share = count / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_interval(flags: Sequence[bool]) -> Interval:
    """Estimate the share of true values: what Wilson's interval and that of the blocks cover together.

    Wilson's alone takes samples for independent and would be too narrow for spells; blocks alone give a width of 0
    where all samples are alike.

    Parameters
    ----------
    flags : sequence of bool
        At least one, in the order of time.
    """
    low, high = wilson(sum(flags), len(flags))
    share, blocks_low, blocks_high, n = mean_interval(flags)
    return Interval(share, max(0.0, min(low, blocks_low)), min(1.0, max(high, blocks_high)), n)
