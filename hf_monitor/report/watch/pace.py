"""How fast a training goes on, and when it will be done."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

__all__ = ["Pace"]

_LOGS, _PAUSES = 50, 8


class Pace:
    """Seconds a step, of the latest logs of an attempt; evaluations and saves are counted apart.

    The time from one log to the next belongs to its steps, unless there was an evaluation or a save in between: what
    is more than the steps themselves then counts as a pause. The steps that are left take the recent pace, and pauses
    as long and as often as the latest ones. The time before the first log (start-up, compilation) counts for nothing.

    Parameters
    ----------
    first_step : float
        After which step the attempt began.
    """

    def __init__(self, first_step: float = 0.0) -> None:
        self._last: tuple[float, float] | None = None
        self._paused = False
        self._clean: deque[tuple[float, float]] = deque(maxlen=_LOGS)  # seconds, steps
        self._all: deque[tuple[float, float]] = deque(maxlen=_LOGS)
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_PAUSES)  # step, seconds
        self._pauses_from = first_step

    def log(self, time: float, step: float) -> None:
        """Take a training log."""
        if self._last is None:
            self._last, self._paused = (time, step), False
            return
        seconds, steps = time - self._last[0], step - self._last[1]
        if steps <= 0:
            return
        if seconds > 0:
            self._all.append((seconds, steps))
            if not self._paused:
                self._clean.append((seconds, steps))
            elif (pace := _rate(self._clean)) is not None:
                if len(self._pauses) == _PAUSES:
                    self._pauses_from = self._pauses[0][0]
                self._pauses.append((step, max(seconds - pace * steps, 0.0)))
        self._last, self._paused = (time, step), False

    def pause(self) -> None:
        """Say that there was an evaluation or a save."""
        self._paused = True

    @property
    def seconds_per_step(self) -> float | None:
        """Without pauses, where there were logs without any between them; None before the second log."""
        found = _rate(self._clean)
        return _rate(self._all) if found is None else found

    def end_at(self, max_steps: float) -> float | None:
        """Give the moment of the last step, in the time of the logs; None where it cannot be said."""
        pace = self.seconds_per_step
        if pace is None or self._last is None or max_steps <= 0:
            return None
        time, step = self._last
        rest = max(max_steps - step, 0.0)
        pauses = 0.0
        if self._clean and self._pauses:
            spanned = self._pauses[-1][0] - self._pauses_from
            pauses = rest * sum(seconds for _, seconds in self._pauses) / spanned if spanned > 0 else 0.0
        return time + rest * pace + pauses


def _rate(spans: Iterable[tuple[float, float]]) -> float | None:
    found = list(spans)
    steps = sum(steps for _, steps in found)
    return sum(seconds for seconds, _ in found) / steps if steps else None
