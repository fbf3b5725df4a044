"""Which numbers can be drawn; axes of hyperparameters and batch sizes, whose ticks are the values tried."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LARGEST", "is_drawable", "number_axis", "tick_values"]

LARGEST = 1e150
"""Numbers beyond it count as not finite: their squares are beyond a float, and matplotlib's ticks overflow."""


def is_drawable(value: float) -> bool:
    """Tell a number that can be computed with and drawn: neither NaN nor infinite, nor beyond ``LARGEST``."""
    return -LARGEST <= value <= LARGEST


def tick_values(values: Sequence[float], most: int, *, logarithmic: bool) -> list[float]:
    """Choose ticks among values, so far apart that `most` of them would fill the axis.

    Parameters
    ----------
    values : sequence of float
        Finite; above 0 where `logarithmic`.
    most : int
    logarithmic : bool

    Returns
    -------
    list of float
        In order; the lowest and the highest are among them.
    """
    where = {value: math.log(value) if logarithmic else value for value in sorted(set(values))}
    ordered = list(where)
    gap = (where[ordered[-1]] - where[ordered[0]]) / most
    kept = ordered[:1]
    for value in ordered[1:-1]:
        if where[value] - where[kept[-1]] >= gap and where[ordered[-1]] - where[value] >= gap:
            kept.append(value)
    return kept + ordered[-1:] if len(ordered) > 1 else kept


def number_axis(ax: Axes, values: Sequence[float], *, logarithmic: bool, most: int = 6) -> None:
    """Set scale and ticks of the x axis for values that were tried.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    values : sequence of float
        Finite, not empty; above 0 where `logarithmic`.
    logarithmic : bool
    most : int
        Ticks.
    """
    from matplotlib.ticker import NullLocator

    if logarithmic:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    ticks = tick_values(values, most, logarithmic=logarithmic)
    ax.set_xticks(ticks, labels=[f"{tick:.3g}" if tick % 1 else f"{tick:.12g}" for tick in ticks])
