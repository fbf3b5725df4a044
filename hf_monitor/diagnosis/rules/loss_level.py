"""LossLevel: how high a loss is now and was at its lowest, and how much it scatters; values come one by one."""

from __future__ import annotations

from collections import deque

__all__ = ["LossLevel"]

_WINDOW = 5  # logs of a median: two spikes among them do not move it
_HORIZON = 1.0  # logs that the slow mean remembers at least
_SHARE = 0.05  # of all logs so far that it remembers later on
_SD_OF_SECOND_DIFFERENCE = 0.5117  # E|x'' | = 0.7979 sqrt(6) sd of normal values
_CLIP = 5.0  # deviations: a single leap says little about the scatter
_FIRST = 3  # logs whose median is the start


class LossLevel:
    """Level, lowest level and scatter of a loss.

    Attributes
    ----------
    n : int
        Logs so far.
    level : float
        Median of the last five.
    slow : float
        Exponential mean of the levels over the last twentieth of all logs: of so many its lowest value is no lucky one.
    start : float
        Median of the first three logs.
    best, best_step, best_rate : float, int, float or None
        Lowest of the slow means, when that was, and the learning rate in that row.
    noise : float
        Standard deviation of single logs about a straight line (from second differences, leaps cut off).
    """

    __slots__ = ("_recent", "best", "best_rate", "best_step", "level", "n", "noise", "slow", "start")

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_WINDOW)
        self.n = self.best_step = 0
        self.level = self.slow = self.start = self.best = self.noise = 0.0
        self.best_rate: float | None = None

    def look(self, loss: float) -> float:
        """Take a finite loss; gives the new level."""
        self.n += 1
        recent = self._recent
        recent.append(loss)
        self.level = level = sorted(recent)[len(recent) // 2]
        if self.n <= _FIRST:
            self.start = level
        return level

    def learn(self, step: int, rate: float | None) -> bool:
        """Let what was looked at last count as the usual course: for the slow mean, its lowest, and the scatter.

        Returns
        -------
        bool
            Whether this is a new lowest level.
        """
        n, recent = self.n, self._recent
        horizon = _SHARE * n
        if n >= _FIRST:
            noise = self.noise
            bend = abs(recent[-1] - 2.0 * recent[-2] + recent[-3]) * _SD_OF_SECOND_DIFFERENCE
            if n > _WINDOW and bend > _CLIP * noise:
                bend = _CLIP * noise if noise else bend
            self.noise = noise + (bend - noise) / (min(n - 2, 10.0) if horizon < 10.0 else horizon)
        if n <= _WINDOW:  # a median of so few may be one lucky log
            self.slow = self.best = self.level
            self.best_step, self.best_rate = step, rate
            return True
        slow = self.slow
        self.slow = slow = slow + (self.level - slow) / (horizon if horizon > _HORIZON else _HORIZON)
        if slow < self.best:
            self.best, self.best_step, self.best_rate = slow, step, rate
            return True
        return False

    @property
    def highest(self) -> float:
        """Highest of the single losses that the level is the median of."""
        return max(self._recent)

    def rebase(self) -> None:
        """Begin anew from the present level: what came before is no measure of what comes."""
        self.start = max(self.start, self.level)
        self.slow = self.best = self.level
