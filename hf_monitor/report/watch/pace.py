"""How fast a training goes on, and when it will be done."""

from __future__ import annotations

import math
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
        self._pause: tuple[float, float] | None = None  # when the latest one since the last log was over; its step
        self._clean: deque[tuple[float, float]] = deque(maxlen=_LOGS)  # seconds, steps
        self._all: deque[tuple[float, float]] = deque(maxlen=_LOGS)
        self._pauses: deque[tuple[float, float]] = deque(maxlen=_PAUSES)  # step, seconds
        self._pauses_from = first_step

    def log(self, time: float, step: float) -> None:
        """Take a training log."""
        if self._last is None:
            self._restart(time, step)
            return
        seconds, steps = time - self._last[0], step - self._last[1]
        if steps <= 0:
            return
        if seconds > 0:
            self._all.append((seconds, steps))
            if not self._paused:
                self._clean.append((seconds, steps))
            elif self._pause is not None and self._pause[1] == self._last[1]:  # right after the log: known exactly
                paused = min(self._pause[0] - self._last[0], seconds)
                self._clean.append((seconds - paused, steps))
                self._keep(self._pause[1], paused)
            elif (pace := _rate(self._clean)) is not None:
                self._keep(self._pause[1] if self._pause else step, max(seconds - pace * steps, 0.0))
        self._restart(time, step)

    def _restart(self, time: float, step: float) -> None:
        self._last, self._paused, self._pause = (time, step), False, None

    def _keep(self, step: float, seconds: float) -> None:
        if len(self._pauses) == _PAUSES:
            self._pauses_from = self._pauses[0][0]
        self._pauses.append((step, seconds))

    def pause(self, time: float | None = None, step: float | None = None) -> None:
        """Say that there was an evaluation or a save: when it was over, and at which step."""
        self._paused = True
        if time is not None and step is not None and self._last is not None and time >= self._last[0]:
            self._pause = (time, max(step, self._last[1]))

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
        (time, step), pauses = self._last, list(self._pauses)
        if self._pause is not None:  # what comes begins after it
            pauses.append((self._pause[1], max(self._pause[0] - time - pace * (self._pause[1] - step), 0.0)))
            time, step = self._pause
        ahead = 0.0
        if self._clean and pauses:
            latest = pauses[-1][0]
            every = (latest - self._pauses_from) / len(pauses)
            if every > 0:
                number = math.floor((max_steps - latest) / every + 1e-9) - math.floor((step - latest) / every - 1e-9)
                number -= 1 if step == latest else 0
                ahead = max(number, 0) * sum(seconds for _, seconds in pauses) / len(pauses)
        return time + max(max_steps - step, 0.0) * pace + ahead


def _rate(spans: Iterable[tuple[float, float]]) -> float | None:
    found = list(spans)
    steps = sum(steps for _, steps in found)
    return sum(seconds for seconds, _ in found) / steps if steps else None
