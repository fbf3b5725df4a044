"""What is computed from the values of the folds: mean with its interval, correlations."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Summary", "correlations", "jitter", "summarize"]


class Summary(NamedTuple):
    """What the values of some folds are like.

    Attributes
    ----------
    n : int
        Folds that have a value.
    mean, median, lowest, highest : float
    sd : float or None
        Of the sample (divided by n - 1); None for one fold.
    interval : tuple of float or None
        95 % interval of the mean by Student's t with n - 1 degrees of freedom; None for one fold. Folds share training
        data and are not independent, so it is somewhat too narrow (Bengio & Grandvalet, JMLR 5, 2004).
    """

    n: int
    mean: float
    sd: float | None
    median: float
    lowest: float
    highest: float
    interval: tuple[float, float] | None


def summarize(values: Sequence[float]) -> Summary:
    """Summarize at least one value, all of them finite.

    Examples
    --------
    >>> found = summarize([0.8, 0.9])
    >>> [round(x, 3) for x in (found.mean, found.sd, *found.interval)]
    [0.85, 0.071, 0.215, 1.485]
    """
    n, mean = len(values), statistics.mean(values)
    sd = interval = None
    if n > 1:
        from scipy.special import stdtrit

        sd = statistics.stdev(values)
        half = float(stdtrit(n - 1, 0.975)) * sd / math.sqrt(n)
        interval = (mean - half, mean + half)
    return Summary(n, mean, sd, statistics.median(values), min(values), max(values), interval)


def correlations(left: Sequence[float], right: Sequence[float]) -> tuple[float, float] | None:
    """Give Pearson's and Spearman's correlation; None where one side has no variance, so that there is none.

    Spearman's is Pearson's of the ranks, equal values sharing the mean of theirs.
    """
    if len(set(left)) < 2 or len(set(right)) < 2:
        return None
    try:
        ranks = statistics.correlation(_ranks(left), _ranks(right))
        return statistics.correlation(left, right), ranks
    except statistics.StatisticsError:  # values so close that their variance is 0 in floating point
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]


def jitter(n: int, width: float) -> list[float]:
    """Give `n` offsets within ±width/2 that keep neighbours apart: multiples of the golden ratio, no chance in it."""
    if n == 1:
        return [0.0]
    return [width * ((index * 0.6180339887498949 + 0.5) % 1.0 - 0.5) for index in range(n)]
