"""Confidence intervals (95 %) for means and shares of samples that resemble their neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hf_monitor.diagnosis.thresholds import BLOCKS, FAR, LONG_SAMPLES

__all__ = ["Interval", "mean_interval", "share_interval", "wilson"]

_NORMAL = 1.959964  # 97.5 % quantile
#: Student's 97.5 % quantile for 1 to 9 degrees of freedom (any statistics table; scipy.stats.t.ppf(0.975, k)).
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)


class Interval(NamedTuple):
    """An estimate of a share or a mean, and how far it may be off.

    Attributes
    ----------
    value : float
        What this training had, as far as it was seen.
    low, high : float
        95 % confidence interval of what such a training has: by the spread from block to block.
    n : int
        How many values the estimate is made of.
    seen_low, seen_high : float
        95 % confidence interval of what this very training had: by the moments that were not looked at. The value
        itself where nothing was left out.
    long : bool
        Whether it was looked at for long enough to tell what it had from what it happened to have.
    """

    value: float
    low: float
    high: float
    n: int
    seen_low: float
    seen_high: float
    long: bool

    def above(self, threshold: float) -> bool:
        """Whether it was above, and either steadily or for long and by far (``FAR`` times)."""
        far = self.long and self.value >= FAR * threshold
        return self.seen_low > threshold and (self.low > threshold or far)

    def below(self, threshold: float) -> bool:
        """Whether it was below, and either steadily or for long and by far (a ``FAR``-th)."""
        far = self.long and self.value <= threshold / FAR
        return self.seen_high < threshold and (self.high < threshold or far)


def mean_interval(values: Sequence[float], weights: Sequence[float] | None = None) -> Interval:
    """Estimate a (weighted) mean by batch means.

    Consecutive values are joined into up to ``BLOCKS`` blocks of equal count, long enough that their means hardly
    resemble each other; the interval is Student's over the blocks (ratio estimator where they weigh differently).

    Parameters
    ----------
    values : sequence of float
        At least one, in the order of time.
    weights : sequence of float, optional
        Positive, one a value: seconds of a window that was measured as a whole. Without weights the values are samples.

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
    long = weights is not None or n >= LONG_SAMPLES
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
        return Interval(mean, -math.inf, math.inf, n, mean, mean, long)
    squares = math.fsum((value - mean * weight) ** 2 for value, weight in sums) / (n_blocks - 1)
    half = _STUDENT[n_blocks - 2] * math.sqrt(squares / n_blocks) / (total / n_blocks)
    return Interval(mean, mean - half, mean + half, n, mean, mean, long)


def wilson(count: int, n: int) -> tuple[float, float]:
    """Compute Wilson's score interval of a share of independent draws (Wilson, 1927; JASA 22, 209-212).

    It ends at exactly 0 where `count` is 0, and at exactly 1 where it is `n`: rounding never puts the share outside.
    """
    z2 = _NORMAL**2
    share = count / n
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _NORMAL / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return 0.0 if count == 0 else max(0.0, middle - half), 1.0 if count == n else min(1.0, middle + half)


def share_interval(flags: Sequence[bool]) -> Interval:
    """Estimate the share of true values among moments that were looked at.

    Of this training Wilson's interval tells, which takes the samples for independent draws: where spells last for
    seconds, evenly spaced samples err by less than those (Cochran 1977, Sampling Techniques, chapter 8). Of such a
    training the blocks tell, which allow for a spell that happens to be there or not.

    Parameters
    ----------
    flags : sequence of bool
        At least one, in the order of time.
    """
    low, high = wilson(sum(flags), len(flags))
    blocks = mean_interval(flags)
    return blocks._replace(
        low=max(0.0, min(low, blocks.low)), high=min(1.0, max(high, blocks.high)), seen_low=low, seen_high=high
    )
