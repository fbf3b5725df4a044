"""Line: a straight line through values that come one by one."""

from __future__ import annotations

from math import sqrt

__all__ = ["Line"]


class Line:
    """Least squares from running sums (Welford 1962, Technometrics 4 (3), for the sums about the mean).

    Attributes
    ----------
    n : int
    mean : float
        Of the values.
    """

    __slots__ = ("_cross", "_first", "_last", "_squares_x", "_squares_y", "_x", "mean", "n")

    def __init__(self) -> None:
        self.n = 0
        self.mean = self._x = self._cross = self._squares_x = self._squares_y = self._first = self._last = 0.0

    def add(self, x: float, value: float) -> None:
        """Take a value at `x`; both are finite."""
        self.n += 1
        if self.n == 1:
            self._first = x
        self._last = x
        dx, dy = x - self._x, value - self.mean
        self._x += dx / self.n
        self.mean += dy / self.n
        self._squares_x += dx * (x - self._x)
        self._squares_y += dy * (value - self.mean)
        self._cross += dx * (value - self.mean)

    def change(self) -> tuple[float, float]:
        """Give by how much the line rises from the first value to the last, and its standard error."""
        if self.n < 3 or self._squares_x <= 0.0:
            return 0.0, float("inf")
        slope = self._cross / self._squares_x
        left = max(0.0, self._squares_y - slope * self._cross) / (self.n - 2)
        width = self._last - self._first
        return slope * width, sqrt(left / self._squares_x) * abs(width)
