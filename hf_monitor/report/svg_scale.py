"""Axes of the pictures: from numbers to places, and the ticks between."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Scale", "linear_ticks", "log_ticks", "tick_labels"]

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_ALIKE = 1e-9  # of the larger: closer values are one, since floats between them are few
_NOTHING = 1e-290  # below it, steps between ticks are no normal floats


def linear_ticks(low: float, high: float, most: int = 5, *, whole: bool = False) -> list[float]:
    """Choose round ticks (multiples of 1, 2, 2.5 or 5 times a power of ten) that cover a range.

    Parameters
    ----------
    low, high : float
        Finite, at most ``charts.scales.LARGEST`` in size, in any order. Values that are (nearly) equal get room around.
    most : int
        Steps between ticks, about; one more may be needed to cover the range.
    whole : bool
        Whole numbers only.

    Returns
    -------
    list of float
        Ascending, two at least; the first is not above `low`, the last not below `high`.
    """
    low, high = min(low, high), max(low, high)
    largest = max(abs(low), abs(high))
    if largest < _NOTHING:
        low, high = -1.0 if low < 0 else 0.0, 1.0
    elif high - low <= _ALIKE * largest:
        low, high = low - 0.1 * abs(low), high + 0.1 * abs(high)
    exponent = math.floor(math.log10((high - low) / most))
    step = next(step for step in _STEPS if step * 10.0**exponent >= 0.999 * (high - low) / most)
    if whole and step * 10.0**exponent < 1:
        step, exponent = 1.0, 0
    if whole and exponent == 0 and step == 2.5:
        step = 5.0
    size = step * 10.0**exponent
    first, last = math.floor(low / size), math.ceil(high / size)
    # A whole number divided by a power of ten is the float nearest to the decimal: 0.3, not 0.30000000000000004.
    ticks = [k * step * 10.0**exponent if exponent >= 0 else k * step / 10.0**-exponent for k in range(first, last + 1)]
    return [ticks[0] - size] * (ticks[0] > low) + ticks + [ticks[-1] + size] * (ticks[-1] < high)


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Choose powers of ten that cover a range above 0, with 2 and 5 times each where there are few.

    Parameters
    ----------
    low, high : float
        Above 0, `low` the smaller.
    most : int
        Ticks, about.

    Returns
    -------
    list of float
        Ascending, two at least, covering.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    first -= 10.0**first > low
    last += 10.0**last < high
    last += last == first
    if last - first <= 2:
        fine = [factor * 10.0**k for k in range(first, last + 1) for factor in (1.0, 2.0, 5.0)]
        start = max(k for k, tick in enumerate(fine) if tick <= low)
        end = min(k for k, tick in enumerate(fine) if tick >= high)
        return fine[start : max(end, start + 1) + 1]
    stride = -(-(last - first) // most)
    return [10.0**k for k in range(first, last + stride, stride)]


def tick_labels(ticks: list[float]) -> list[str]:
    """Write ticks, all alike and as short as tells them apart: ``0.25``, ``40k``, ``1.5M``, ``2e-5``."""
    largest = max(map(abs, ticks))
    apart = min((b - a for a, b in pairwise(ticks)), default=min(largest, 1.0))  # one alone: of its own size
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if unit <= largest < 1e13:
            thousand = 1e3 if sign == "k" else unit
            short = _fixed([tick / thousand for tick in ticks], apart / thousand, 2)
            if short is not None:
                return [label + sign if float(label) else "0" for label in short]
    if 1e-3 <= largest < 1e13:
        fixed = _fixed(ticks, apart, 8)
        if fixed is not None:
            return [f"{float(label):,.{len(label.partition('.')[2])}f}" for label in fixed]
    for digits in range(0, 16):
        labels = [f"{tick:.{digits}e}" for tick in ticks]
        if all(abs(float(label) - tick) <= 1e-3 * apart for label, tick in zip(labels, ticks, strict=True)):
            break
    return [_short(label) if float(label) else "0" for label in labels]


def _fixed(ticks: list[float], apart: float, most: int) -> list[str] | None:
    """Write them with as few digits after the point as tell them apart; None where `most` do not."""
    for digits in range(most + 1):
        labels = [f"{tick:.{digits}f}" for tick in ticks]
        if all(abs(float(label) - tick) <= 1e-3 * apart for label, tick in zip(labels, ticks, strict=True)):
            return [label.removeprefix("-") if not float(label) else label for label in labels]
    return None


def _short(label: str) -> str:
    mantissa, _, exponent = label.partition("e")
    return f"{mantissa}e{int(exponent)}"


@dataclass
class Scale:
    """An axis.

    Parameters
    ----------
    low, high : float
        Values at its ends.
    start, end : float
        Their places.
    ticks : list of float
    logarithmic : bool
    """

    low: float
    high: float
    start: float
    end: float
    ticks: list[float] = field(default_factory=list)
    logarithmic: bool = False

    def at(self, values: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Give the places of values."""
        array: npt.NDArray[Any] = np.asarray(values, dtype=np.float64)
        low, high = self.low, self.high
        if self.logarithmic:
            array, low, high = np.log10(array), math.log10(low), math.log10(high)
        return self.start + (array - low) / ((high - low) or 1.0) * (self.end - self.start)

    @property
    def labelled(self) -> list[tuple[float, str]]:
        """Place and label of each tick."""
        if not self.ticks:
            return []
        labels = [tick_labels([tick])[0] for tick in self.ticks] if self.logarithmic else tick_labels(self.ticks)
        return list(zip(self.at(self.ticks).tolist(), labels, strict=True))
