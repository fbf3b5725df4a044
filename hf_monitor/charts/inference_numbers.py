"""Statistics of the charts of inference: medians, tests and bins, by formulas that need no scipy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from hf_monitor.diagnosis.intervals import wilson

__all__ = [
    "FEW_FOR_INTERVAL",
    "Bin",
    "Estimate",
    "calibration_error",
    "equal_bins",
    "mean_estimate",
    "median_estimate",
    "paired_shares",
    "sign_test",
    "spearman",
    "student",
    "wilson",
]

#: Values below which a mean has no interval.
FEW_FOR_INTERVAL = 5
_NORMAL = 1.959964  # 97.5 % quantile
#: 97.5 % quantiles for 1 to 9 degrees of freedom (any table).
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)


class Estimate(NamedTuple):
    """A value with its 95 % interval; `low` and `high` are None where there are too few values for one."""

    value: float
    low: float | None
    high: float | None


class Bin(NamedTuple):
    """Samples of similar confidence.

    Attributes
    ----------
    low, high : float
        Smallest and largest confidence in it.
    n : int
    confidence : float
        Mean of the confidences.
    outcome : Estimate
        Mean of the outcomes (share of right ones, or mean score) with its 95 % interval.
    """

    low: float
    high: float
    n: int
    confidence: float
    outcome: Estimate


def student(degrees: int) -> float:
    """Give Student's 97.5 % quantile, right to 3 digits (Abramowitz & Stegun 26.7.5 from 10 degrees of freedom on)."""
    if degrees <= len(_STUDENT):
        return _STUDENT[degrees - 1]
    x, v = _NORMAL, float(degrees)
    return (
        x
        + (x**3 + x) / (4 * v)
        + (5 * x**5 + 16 * x**3 + 3 * x) / (96 * v**2)
        + (3 * x**7 + 19 * x**5 + 17 * x**3 - 15 * x) / (384 * v**3)
        + (79 * x**9 + 776 * x**7 + 1482 * x**5 - 1920 * x**3 - 945 * x) / (92160 * v**4)
    )


def mean_estimate(values: Sequence[float], lowest: float = -math.inf, highest: float = math.inf) -> Estimate:
    """Compute a mean with Student's 95 % interval, which ends where the values can be no more.

    Below 5 values there is no interval: by Student's law it would be wider than what is measured, and the law of so few
    values is not known.
    """
    n = len(values)
    mean = math.fsum(values) / n
    if n < FEW_FOR_INTERVAL:
        return Estimate(mean, None, None)
    half = student(n - 1) * math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)
    return Estimate(mean, min(mean, max(lowest, mean - half)), max(mean, min(highest, mean + half)))


def paired_shares(both: int, only_first: int, only_other: int, neither: int) -> Estimate:
    """Compute the difference of two shares of the same samples (other minus first) with its 95 % interval.

    Parameters
    ----------
    both, only_first, only_other, neither : int
        Samples in which both models are right, only one, none.

    References
    ----------
    Newcombe (1998), Improved confidence intervals for the difference between binomial proportions based on paired data.
    Statistics in Medicine 17, 2635-2650. Method 10: Wilson's intervals of both shares, with their correlation.
    """
    n = both + only_first + only_other + neither
    ours, theirs = both + only_first, both + only_other
    p, q = theirs / n, ours / n
    (p_low, p_high), (q_low, q_high) = wilson(theirs, n), wilson(ours, n)
    product = ours * (n - ours) * theirs * (n - theirs)
    covariance: float = both * neither - only_first * only_other
    if covariance > 0:
        covariance = max(covariance - n / 2, 0)
    phi = covariance / math.sqrt(product) if product else 0.0

    def arm(a: float, b: float) -> float:
        return math.sqrt(max(0.0, a * a - 2 * phi * a * b + b * b))

    low, high = p - q - arm(p - p_low, q_high - q), p - q + arm(p_high - p, q - q_low)
    return Estimate((only_other - only_first) / n, max(-1.0, low), min(1.0, high))


def median_estimate(values: Sequence[float]) -> Estimate:
    """Compute a median with a distribution-free interval of at least 95 %: order statistics by the binomial law.

    Below 6 values there is none (David & Nagaraja 2003, Order Statistics, 7.1). Above 1,000 the normal approximation
    finds the order statistics.
    """
    ordered = sorted(values)
    n = len(ordered)
    median = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    if n > 1000:
        below = math.floor(n / 2 - _NORMAL * math.sqrt(n) / 2)
    else:
        below, tail, limit = (
            0,
            1,
            (1 << n) // 40,
        )  # tail: ways to have at most `below` of n values under the true median
        while tail <= limit:
            below += 1
            tail += math.comb(n, below)
    if below < 1:
        return Estimate(median, None, None)
    return Estimate(median, ordered[below - 1], ordered[n - below])


def sign_test(wins: int, losses: int) -> float:
    """Compute the two-sided p value of a sign test (McNemar's exact test for right and wrong); ties are left out.

    Exact up to 1,000 differences, by the normal law with a continuity correction above.
    """
    n, fewer = wins + losses, min(wins, losses)
    if n > 1000:
        return min(1.0, math.erfc(max(0.0, n / 2 - fewer - 0.5) / math.sqrt(n / 4) / math.sqrt(2)))
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / (1 << n))


def _ranks(values: Sequence[float]) -> Any:
    import numpy as np

    _, inverse, counts = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def spearman(x: Sequence[float], y: Sequence[float]) -> Estimate | None:
    """Compute Spearman's rank correlation with its 95 % interval (Bonett & Wright 2000, Psychometrika 65, 23-28).

    Returns
    -------
    Estimate or None
        None where one of the two does not vary. No interval below 10 samples, nor for -1 and 1.
    """
    import numpy as np

    a, b = _ranks(x), _ranks(y)
    a, b = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    if spread == 0:
        return None
    rho = max(-1.0, min(1.0, float(np.dot(a, b)) / spread))
    if len(x) < 10 or abs(rho) > 1 - 1e-12:
        return Estimate(rho, None, None)
    half = _NORMAL * math.sqrt((1 + rho**2 / 2) / (len(x) - 3))
    return Estimate(rho, math.tanh(math.atanh(rho) - half), math.tanh(math.atanh(rho) + half))


def equal_bins(
    confidences: Sequence[float],
    outcomes: Sequence[float],
    *,
    share: bool,
    top: float | None = None,
    at_most: int = 10,
    at_least: int = 10,
) -> list[Bin]:
    """Cut samples into bins of (nearly) equal count by confidence; equal confidences are never parted.

    Parameters
    ----------
    confidences, outcomes : sequence of float
        Of each sample.
    share : bool
        True: outcomes are 0 or 1, and the interval is Wilson's. False: Student's.
    top : float, optional
        The outcomes lie between 0 and `top`, and so do Student's intervals.
    at_most : int
        Bins.
    at_least : int
        Samples a bin, where there are as many.

    Returns
    -------
    list of Bin
        In the order of confidence; empty without samples.
    """
    order = sorted(range(len(confidences)), key=lambda i: confidences[i])
    n = len(order)
    bins, start = [], 0
    for left in range(max(1, min(at_most, n // at_least)), 0, -1):
        end = start + round((n - start) / left)
        while 0 < end < n and confidences[order[end]] == confidences[order[end - 1]]:
            end += 1
        own = order[start:end]
        if own:
            x, y = [confidences[i] for i in own], [outcomes[i] for i in own]
            if share:
                right = round(math.fsum(y))
                outcome = Estimate(right / len(own), *wilson(right, len(own)))
            else:
                outcome = mean_estimate(y) if top is None else mean_estimate(y, 0.0, top)
            bins.append(Bin(x[0], x[-1], len(own), math.fsum(x) / len(own), outcome))
        start = end
    return bins


def calibration_error(bins: Sequence[Bin]) -> float:
    """Compute the expected calibration error: the mean of |share of right ones - confidence|, weighted by count.

    References
    ----------
    Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities using Bayesian binning. AAAI.
    Guo et al. (2017), On calibration of modern neural networks. ICML. (There with bins of equal width; with bins of
    equal count the estimate is less biased: Roelofs et al. 2022, AISTATS.)
    """
    n = sum(one.n for one in bins)
    return math.fsum(one.n * abs(one.outcome.value - one.confidence) for one in bins) / n
