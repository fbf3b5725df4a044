"""Where overfitting begins: the step after which the validation loss rises while the training loss still falls."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hf_monitor.diagnosis.thresholds import (
    OVERFITTING_EVALUATIONS,
    OVERFITTING_NOISE,
    OVERFITTING_RISE,
    OVERFITTING_TREND,
    OVERFITTING_TREND_FROM_FIRST,
)

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["OverfittingOnset", "overfitting_onset", "scatter", "trend"]

_NORMAL = 1.4826  # median absolute deviation -> standard deviation
_LONGEST = 500  # values between which pairs are counted


class OverfittingOnset(NamedTuple):
    """Where it begins, with the evidence.

    Attributes
    ----------
    step : int
        Of the lowest validation loss: the checkpoint to go back to.
    lowest, last : float
        Validation loss there, and its mean over the later half of the evaluations that follow (two at least).
    train_before, train_last : float
        Mean training loss of the interval up to `step`, and of the last interval between evaluations.
    n_after : int
        Evaluations after `step`.
    is_first : bool
        Whether `step` is that of the first evaluation: then it may have begun before.
    """

    step: int
    lowest: float
    last: float
    train_before: float
    train_last: float
    n_after: int
    is_first: bool


def overfitting_onset(
    train_steps: npt.ArrayLike,
    train_losses: npt.ArrayLike,
    eval_steps: npt.ArrayLike,
    eval_losses: npt.ArrayLike,
) -> OverfittingOnset | None:
    """Find where overfitting begins (Prechelt 1998, "Early Stopping - But When?": generalization loss).

    Parameters
    ----------
    train_steps, train_losses : array-like, shape (n,)
        Training loss as it was (not multiplied by accumulation), steps ascending.
    eval_steps, eval_losses : array-like, shape (m,)
        Validation loss of one set, steps ascending. Values that are not finite are left out in both.

    Returns
    -------
    OverfittingOnset or None
        None without enough evaluations after the lowest one (``OVERFITTING_EVALUATIONS``), if the rise is within
        ``OVERFITTING_RISE`` or within what the lowest of evaluations that only scatter is below the others, if there is
        no upward trend after the lowest (``OVERFITTING_TREND``), or if the training loss does not fall meanwhile.
    """
    x, train = _finite(train_steps, train_losses)
    steps, losses = _finite(eval_steps, eval_losses)
    if len(train) < 2 or len(losses) <= OVERFITTING_EVALUATIONS:
        return None
    best = int(np.argmin(losses))
    after = losses[best + 1 :]
    if len(after) < OVERFITTING_EVALUATIONS:
        return None
    lowest, last = float(losses[best]), float(np.mean(after[-max(2, (len(after) + 1) // 2) :]))
    # The lowest of m that scatter is sqrt(2 ln m) deviations below.
    chance = scatter(losses) * (math.sqrt(2 * math.log(len(losses))) + OVERFITTING_NOISE)
    least = OVERFITTING_TREND if best else OVERFITTING_TREND_FROM_FIRST
    if last - lowest <= max(OVERFITTING_RISE * abs(lowest), chance) or trend(after) < least:
        return None
    step = int(steps[best])
    before = train[(x > (steps[best - 1] if best else -math.inf)) & (x <= step)]
    end = train[x > steps[-2]]
    if not len(before) or not len(end) or not float(np.mean(end)) < float(np.mean(before)):
        return None
    return OverfittingOnset(step, lowest, last, float(np.mean(before)), float(np.mean(end)), len(after), best == 0)


def scatter(values: npt.NDArray[np.float64]) -> float:
    """Estimate the standard deviation of three values or more about a smooth curve.

    Their second differences hold little of the curve.
    """
    return _NORMAL * float(np.median(np.abs(np.diff(values, 2)))) / math.sqrt(6)


def trend(values: npt.NDArray[np.float64]) -> float:
    """Kendall's tau of values against their order: 1 where each is above all before it."""
    n = len(values)
    if n > _LONGEST:
        values = values[np.linspace(0, n - 1, _LONGEST).astype(int)]
    earlier, later = np.triu_indices(len(values), 1)
    return float(np.mean(np.sign(values[later] - values[earlier])))


def _finite(steps: npt.ArrayLike, values: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    kept = np.isfinite(y)
    return x[kept], y[kept]
