"""Fewer points of a long curve, without losing its extremes."""

from __future__ import annotations

from typing import Any

__all__ = ["thin"]


def thin(x: Any, y: Any, limit: int) -> Any:
    """Choose points of a curve so that its picture stays the same: of each stretch the lowest and the highest.

    Parameters
    ----------
    x, y : array-like of float
        Of the same length, in the order drawn; finite.
    limit : int
        About so many points are kept; all where there are no more than that.

    Returns
    -------
    numpy.ndarray of int
        Indices that grow; the first and the last point are among them, and so are the lowest and the highest.
    """
    import numpy as np

    values = np.asarray(y, dtype=float)
    n = len(values)
    if n <= max(limit, 4):
        return np.arange(n)
    buckets = max(1, (limit - 2) // 2)
    size = -(-n // buckets)
    padded = np.concatenate([values, np.full(size * buckets - n, values[-1])]).reshape(buckets, size)
    starts = np.arange(buckets) * size
    kept = np.concatenate([[0, n - 1], starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)])
    return np.unique(np.minimum(kept, n - 1))
