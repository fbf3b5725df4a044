"""A number over the steps, kept in bounded memory however long the training is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Curve", "Point", "sparkline"]

_MOST = 1024  # points; four times what the widest terminal shows
_BLOCKS, _ASCII_BLOCKS = "▁▂▃▄▅▆▇█", "_.-~=+*#"
_GAP, _BROKEN, _ASCII_BROKEN = " ", "×", "!"


class Point(NamedTuple):
    """One logged value, or several neighbours as one."""

    step: float
    """Of the last of them."""
    total: float
    """Sum of the finite ones."""
    n: int
    """How many of them are finite."""
    low: tuple[float, float]
    """The lowest finite value, and its step; infinite where there is none."""
    high: tuple[float, float]
    """The highest."""
    broken: bool
    """Whether any was NaN or infinite."""


class Curve:
    """The values of one metric in the order of steps.

    Values are kept as they are up to 1024; then neighbours are joined, two by two: mean, lowest and highest value stay
    exact, which step they were at, too.

    Attributes
    ----------
    last, before : (float, float) or None
        Step and value of the last log, and of the one of an earlier step before it.
    """

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.last: tuple[float, float] | None = None
        self.before: tuple[float, float] | None = None
        self._per_point = 1  # values that are joined to one
        self._open = 0  # of the last point

    def add(self, step: float, value: float) -> None:
        """Add a value; one of a step that was there already takes the place of what came from there on."""
        if self.last is not None and step <= self.last[0]:
            self.cut(step - 1)
        finite = math.isfinite(value)
        one = Point(
            step,
            value if finite else 0.0,
            int(finite),
            (value, step) if finite else (math.inf, step),
            (value, step) if finite else (-math.inf, step),
            not finite,
        )
        if self._open and self._open < self._per_point:
            self.points[-1] = _joined(self.points[-1], one)
            self._open += 1
        else:
            self.points.append(one)
            self._open = 1
        if len(self.points) > _MOST:
            self._thin()
        self.before, self.last = self.last, (step, value)

    def _thin(self) -> None:
        pairs = zip(self.points[0:-1:2], self.points[1::2], strict=False)
        left = self.points[-1:] if len(self.points) % 2 else []
        self.points = [_joined(first, second) for first, second in pairs] + left
        self._per_point *= 2

    def cut(self, step: float) -> None:
        """Forget what came after a step (to within one point)."""
        while self.points and self.points[-1].step > step:
            self.points.pop()
        self._open = 0
        ends = [(point.step, point.total / point.n if point.n else math.nan) for point in self.points[-2:]]
        self.last = ends[-1] if ends else None
        self.before = ends[0] if len(ends) == 2 else None

    def up_to(self, step: float) -> Curve:
        """Give a curve of its own with what is there up to a step, and after the beginning."""
        found = Curve()
        found.points = [point for point in self.points if point.step > 0]
        found._per_point = self._per_point
        found.cut(step)
        return found

    def best(self, greater_is_better: bool) -> tuple[float, float] | None:
        """Give the best finite value and its step, the first of equals; None where there is none."""
        found = [point.high if greater_is_better else point.low for point in self.points if point.n]
        if not found:
            return None
        value, step = (max if greater_is_better else min)(found, key=lambda pair: pair[0])
        return value, step


def _joined(first: Point, second: Point) -> Point:
    return Point(
        second.step,
        first.total + second.total,
        first.n + second.n,
        first.low if first.low[0] <= second.low[0] else second.low,
        first.high if first.high[0] >= second.high[0] else second.high,
        first.broken or second.broken,
    )


def sparkline(points: Sequence[Point], width: int, *, blocks: bool = True) -> str:
    """Draw points as one line of characters, from the first step to the last.

    Parameters
    ----------
    points : sequence of Point
    width : int
        Columns. Where there are fewer points than that, the line is as long as there are points.
    blocks : bool
        With the blocks of Unicode; False for a terminal that has none.

    Returns
    -------
    str
        A column is the mean of its values; ``×`` (``!``) where one of them was NaN or infinite.
    """
    if not points or width < 1:
        return ""
    signs, broken = (_BLOCKS, _BROKEN) if blocks else (_ASCII_BLOCKS, _ASCII_BROKEN)
    first, last = points[0].step, points[-1].step
    columns: list[list[Point]] = [[] for _ in range(min(width, len(points)))]
    for index, point in enumerate(points):
        # By step where steps differ, so that a line that was logged more densely for a while is not stretched.
        share = (point.step - first) / (last - first) if last > first else index / max(len(points) - 1, 1)
        columns[min(int(share * len(columns)), len(columns) - 1)].append(point)
    means = [_mean(column) for column in columns]
    finite = [mean for mean in means if mean is not None]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    line = []
    for column, mean in zip(columns, means, strict=True):
        if any(point.broken for point in column):
            line.append(broken)
        elif mean is None:
            line.append(line[-1] if line and line[-1] != broken else _GAP)  # nothing was logged there
        else:
            # Halves first: the difference of two huge values is more than a float holds.
            share = (mean / 2 - low / 2) / (high / 2 - low / 2) if high / 2 > low / 2 else 0.5
            line.append(signs[min(int(share * len(signs)), len(signs) - 1)])
    return "".join(line)


def _mean(points: Sequence[Point]) -> float | None:
    n = sum(point.n for point in points)
    mean = sum(point.total / n for point in points) if n else math.nan
    return mean if math.isfinite(mean) else None
