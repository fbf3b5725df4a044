"""Confidence intervals by resampling samples, seeded."""

from __future__ import annotations

from collections.abc import Sequence

from hf_monitor.metrics.bleu import bleu_from_statistics

__all__ = ["percentile_intervals"]

#: Resamples drawn at once: bounds the memory to this times the number of samples.
_AT_ONCE = 64


def percentile_intervals(
    per_sample: Sequence[dict[str, float]],
    bleu_statistics: Sequence[Sequence[int]],
    confidence: float,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Compute percentile bootstrap intervals (Efron, 1979) of the means over samples and of corpus BLEU.

    Parameters
    ----------
    per_sample
        Scores of each sample, 0 to 100.
    bleu_statistics
        Per sample sacrebleu's ten counts; summed over a resample they give its BLEU.
    confidence
        For example 0.95.
    resamples
        Number of resamples.
    seed
        The same seed gives the same intervals.

    Returns
    -------
    dict of str to tuple of float
        Name -> (low, high), 0 to 100, with ``bleu``.
    """
    import numpy as np

    keys = list(per_sample[0])
    table = np.array([[row[key] for key in keys] for row in per_sample], dtype=np.float64)
    counts = np.array(bleu_statistics, dtype=np.int64)
    generator = np.random.default_rng(seed)
    means = np.empty((resamples, len(keys)))
    bleu = np.empty(resamples)
    for start in range(0, resamples, _AT_ONCE):
        size = min(_AT_ONCE, resamples - start)
        draws = generator.integers(0, len(table), size=(size, len(table)))
        for offset, draw in enumerate(draws):
            means[start + offset] = table[draw].mean(axis=0)
            bleu[start + offset] = bleu_from_statistics(counts[draw].sum(axis=0).tolist())
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    low, high = np.quantile(means, tails, axis=0)
    intervals = {key: (float(low[k]), float(high[k])) for k, key in enumerate(keys)}
    bleu_low, bleu_high = np.quantile(bleu, tails)
    intervals["bleu"] = (float(bleu_low), float(bleu_high))
    return intervals
