"""Whether a difference is more than chance: tests for few runs, for folds, and for the samples of two runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["LEVEL", "MIN_SAMPLES", "Difference95", "folds", "holm", "one_and_many", "resampled", "welch"]

LEVEL = 0.05
"""Largest p, after the correction for many comparisons, at which a difference is called clear."""
MIN_SAMPLES = 20
"""Samples below which two runs are not compared by their samples: the bootstrap then finds too much."""
_RESAMPLES = 10_000
_AT_ONCE = 4_000_000  # numbers drawn at once


class Difference95(NamedTuple):
    """A difference with its 95 % interval and two-sided p value; None where the values do not tell."""

    value: float
    low: float | None
    high: float | None
    p: float | None


def _by_student(value: float, error: float, degrees: float) -> Difference95:
    from scipy.special import stdtr, stdtrit

    if error <= 1e-9 * max(abs(value), 1e-300):  # no spread at all: how much chance makes is not known
        return Difference95(value, None, None, 1.0 if value == 0 else None)
    half = float(stdtrit(degrees, 0.975)) * error
    return Difference95(value, value - half, value + half, float(2 * stdtr(degrees, -abs(value) / error)))


def welch(first: Sequence[float], other: Sequence[float]) -> Difference95:
    """Compare the means of two groups of runs, each of 2 or more, whose spreads may differ.

    References
    ----------
    Welch (1947), The generalization of Student's problem when several different population variances are involved.
    Biometrika 34, 28-35. For seeds of trainings: Colas, Sigaud and Oudeyer (2018), How many random seeds?,
    arXiv:1806.08295, who find its false positives nearest to the nominal level.

    Examples
    --------
    >>> found = welch([41.0, 42.0, 43.0], [31.0, 32.0, 33.0])
    >>> round(found.value, 1), round(found.low, 1), round(found.high, 1), round(found.p, 4)
    (10.0, 7.7, 12.3, 0.0003)
    """
    a, b = statistics.variance(first) / len(first), statistics.variance(other) / len(other)
    below = a * a / (len(first) - 1) + b * b / (len(other) - 1)
    degrees = (a + b) ** 2 / below if below > 0 else 1.0
    return _by_student(statistics.fmean(first) - statistics.fmean(other), math.sqrt(a + b), degrees)


def one_and_many(one: float, many: Sequence[float]) -> Difference95:
    """Compare a single run with a group of 2 or more, taking its chance to be that of the group.

    References
    ----------
    Crawford and Howell (1998), Comparing an individual's test score against norms derived from small samples. The
    Clinical Neuropsychologist 12, 482-486.
    """
    error = statistics.stdev(many) * math.sqrt(1 + 1 / len(many))
    return _by_student(one - statistics.fmean(many), error, len(many) - 1)


def folds(differences: Sequence[float], n_folds: int) -> Difference95:
    """Compare two settings by their differences on the same folds, 2 or more.

    Folds share training data, so that a plain paired t test finds too much: the variance is corrected by the share of
    samples that are held out.

    References
    ----------
    Nadeau and Bengio (2003), Inference for the generalization error. Machine Learning 52, 239-281. For the folds of a
    cross-validation: Bouckaert and Frank (2004), PAKDD.
    """
    n = len(differences)
    error = statistics.stdev(differences) * math.sqrt(1 / n + 1 / (max(n_folds, n, 2) - 1))
    return _by_student(statistics.fmean(differences), error, n - 1)


def resampled(differences: Sequence[float], *, seed: int = 0) -> Difference95:
    """Compare two runs by the differences of their scores on the same samples.

    The interval is that of the percentiles of the mean over resampled samples; p is of the mean over its bootstrap
    standard error, by Student's law. Both are about other texts of the same kind, not about another seed.

    References
    ----------
    Koehn (2004), Statistical significance tests for machine translation evaluation. EMNLP. Efron and Tibshirani (1993),
    An introduction to the bootstrap, chapters 6 and 13.
    """
    import numpy as np

    values = np.asarray(differences, dtype=np.float64)
    n = len(values)
    generator = np.random.default_rng(seed)
    means = np.empty(_RESAMPLES)
    block = max(1, _AT_ONCE // n)
    for start in range(0, _RESAMPLES, block):
        size = min(block, _RESAMPLES - start)
        means[start : start + size] = values[generator.integers(0, n, size=(size, n))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    error = float(means.std()) * math.sqrt(n / (n - 1))
    found = _by_student(float(values.mean()), error, n - 1)
    return found if found.low is None else Difference95(found.value, float(low), float(high), found.p)


def holm(ps: Sequence[float | None], n_comparisons: int) -> list[float | None]:
    """Correct p values for many comparisons; `n_comparisons` may be more than there are p values.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 65-70.

    Examples
    --------
    >>> holm([0.01, None, 0.04], 3)
    [0.03, None, 0.08]
    """
    order = sorted((p, place) for place, p in enumerate(ps) if p is not None)
    found: list[float | None] = [None] * len(ps)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * max(1, n_comparisons - rank)))
        found[place] = highest
    return found
