"""Fewer points for the same picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["thin"]


def thin(
    x: npt.NDArray[np.floating | np.integer], y: npt.NDArray[np.floating], limit: int = 4000
) -> npt.NDArray[np.intp]:
    """Choose the points of a curve that a picture can show: of each bucket the first, lowest, highest and last.

    With at least one bucket a pixel column, the line through them is the line through all (M4: Jugel et al. 2014,
    "M4: A Visualization-Oriented Time Series Data Aggregation", PVLDB 7(10)).

    Parameters
    ----------
    x : ndarray, shape (n,)
        In ascending order.
    y : ndarray, shape (n,)
        Without NaN.
    limit : int
        Points that may be left, at least 4; up to so many, all are taken.

    Returns
    -------
    ndarray of int, shape (m,), m <= max(limit, 4)
        Indices, ascending. The lowest and the highest value, the first and the last point are among them.
    """
    import numpy as np

    n = len(y)
    if n <= limit:
        return np.arange(n)
    n_buckets = max(limit // 4, 1)
    # Buckets are equally wide in x, as pixel columns are; some may be empty.
    span = float(x[-1]) - float(x[0])
    edges = np.linspace(float(x[0]), float(x[-1]), n_buckets + 1)[1:-1]
    starts = np.concatenate([[0], np.searchsorted(x, edges)]) if span > 0 else np.array([0])
    starts = np.unique(starts[starts < n])
    ends = np.append(starts[1:], n)
    extremes = [
        index
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        for index in (start + int(y[start:end].argmin()), start + int(y[start:end].argmax()))
    ]
    return np.unique(np.concatenate([starts, ends - 1, extremes]))
