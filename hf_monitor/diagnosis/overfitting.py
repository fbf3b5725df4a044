"""Where overfitting begins: the step after which the validation loss rises while the training loss still falls."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hf_monitor.diagnosis.thresholds import OVERFITTING_EVALUATIONS, OVERFITTING_NOISE, OVERFITTING_RISE

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["OverfittingOnset", "overfitting_onset"]


class OverfittingOnset(NamedTuple):
    """Where it begins, with the evidence.

    Attributes
    ----------
    step : int
        Of the lowest validation loss: the checkpoint to go back to.
    lowest, last : float
        Validation loss there, and the mean of the last two evaluations.
    train_before, train_last : float
        Mean training loss of the interval up to `step`, and of the last interval between evaluations.
    n_after : int
        Evaluations after `step`.
    """

    step: int
    lowest: float
    last: float
    train_before: float
    train_last: float
    n_after: int


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
        ``OVERFITTING_RISE`` or within the noise of the evaluations, or if the training loss does not fall meanwhile.
    """
    x, train = _finite(train_steps, train_losses)
    steps, losses = _finite(eval_steps, eval_losses)
    if len(train) < 2 or len(losses) <= OVERFITTING_EVALUATIONS:
        return None
    best = int(np.argmin(losses))
    after = losses[best + 1 :]
    if len(after) < OVERFITTING_EVALUATIONS or best == 0:  # lowest at the start: nothing was learnt, another finding
        return None
    lowest, last = float(losses[best]), float(np.mean(after[-2:]))
    changes = np.diff(losses[best:])  # their median is the trend, what is around it the noise
    noise = float(np.median(np.abs(changes - np.median(changes))))
    if last - lowest <= max(OVERFITTING_RISE * abs(lowest), OVERFITTING_NOISE * noise):
        return None
    step = int(steps[best])
    before = train[(x > steps[best - 1]) & (x <= step)]
    end = train[x > steps[-2]]
    if not len(before) or not len(end) or not float(np.mean(end)) < float(np.mean(before)):
        return None
    return OverfittingOnset(step, lowest, last, float(np.mean(before)), float(np.mean(end)), len(after))


def _finite(steps: npt.ArrayLike, values: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(steps, dtype=np.float64), np.asarray(values, dtype=np.float64)
    kept = np.isfinite(y)
    return x[kept], y[kept]
