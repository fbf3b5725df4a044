"""What was logged in an experiment: curves, counts, and the step of what is logged without one."""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hf_monitor.notebook.direction import direction
from hf_monitor.notebook.scene import Bar
from hf_monitor.notebook.summary import Row
from hf_monitor.report.watch.curve import Curve
from hf_monitor.report.watch.pace import Pace
from hf_monitor.report.watch.state import State
from hf_monitor.report.words import duration, number

__all__ = ["Tally"]

_METRICS = 64
"""Whose curves are kept: what somebody logs under ever new names must not fill the memory, nor the notebook."""
_COUNTED = 10_000  # names beyond those


class Tally:
    """Takes values. Whoever shares it among threads has the lock.

    Parameters
    ----------
    config : mapping
    total_steps : int, optional

    Attributes
    ----------
    state : State
        Its curves have the values in bounded memory.
    """

    def __init__(self, config: Mapping[str, Any], total_steps: int | None) -> None:
        self.state = State({"arguments": config})
        self.state.max_steps = total_steps
        self._view = State()
        self._step = 0  # of what was logged last
        self._next: dict[str, int] = {}  # after the last of each metric
        self._went_back = ""
        self._counts: Counter[str] = Counter()
        self._beyond: set[str] = set()
        self._from_zero = False

    def step_for(self, names: Iterable[str]) -> int:
        """Give the step of values that came without one: that of what was logged last, or the next that is free."""
        return max(self._step, *(self._next.get(name, 0) for name in names))

    def take(self, step: int, row: Mapping[str, float], now: float) -> None:
        """Take the values of a step; a step that was there already goes on from there, as a loop that is run again."""
        # Not through State.feed, which leaves out what a Trainer logs beside metrics: "epoch", "train_time".
        state = self.state
        again = False
        self._step = step
        for name, value in row.items():
            self._next[name] = step + 1
            curve = self._curve(name)
            if curve is None:
                continue
            if curve.last is not None and step <= curve.last[0]:
                again = True
                if step < curve.last[0] and not self._went_back:
                    self._went_back = (
                        f"{name}: the step went back from {number(curve.last[0])} to {number(step)}, and the curve "
                        "goes on from there; count on over the epochs to see all of it."
                    )
            try:
                curve.add(step, float(value))
            except OverflowError:  # an integer beyond any float
                curve.add(step, math.inf if value > 0 else -math.inf)
            self._counts[name] += 1
        if again:
            state.step = max((curve.last[0] for curve in state.curves.values() if curve.last), default=step)
            state.pace = Pace(step)
        if state.step is None:
            self._from_zero = step == 0
        if again or state.step is None or step > state.step:
            state.step = max(state.step or 0, step)
            state.pace.log(now, step)
        state.last_time = now

    def _curve(self, name: str) -> Curve | None:
        curves = self.state.curves
        found = curves.get(name)
        if found is None and len(curves) < _METRICS:
            found = curves[name] = Curve()
        elif found is None and len(self._beyond) < _COUNTED:
            self._beyond.add(name)
        return found

    @property
    def step(self) -> int:
        """The largest so far."""
        return int(self.state.step or 0)

    def view(self) -> State:
        """Give a state that does not change while it is drawn: the same one each time, as it knows what was drawn."""
        self._view.__dict__.update(self.state.__dict__)
        self._view.curves = {name: copy.copy(curve) for name, curve in self.state.curves.items()}
        for curve in self._view.curves.values():
            curve.points = list(curve.points)
        return self._view

    def notes(self) -> list[str]:
        """Say what is not shown."""
        notes = [self._went_back] if self._went_back else []
        if self._beyond:
            notes.append(f"{len(self._beyond):,} more metrics are not shown, as more than {_METRICS} were logged.")
        return notes

    def bars(self, goes_on: bool) -> Iterator[Bar]:
        """Give the bar of the steps, where it is known how many there will be."""
        state = self.state
        if state.max_steps is None:
            return
        done = 0.0 if state.step is None else state.step + self._from_zero
        end = state.end_at if goes_on and done < state.max_steps else None
        left = f"{duration(max(end - time.time(), 0.0))} left" if end is not None else ""
        yield Bar("step", done, state.max_steps, left)

    def summary(self) -> list[Row]:
        """Give a row for each metric."""
        rows = []
        for name, curve in self.state.curves.items():
            if curve.last is not None:
                greater = direction(name, self.state.facts["arguments"])
                best, at = (None if greater is None else curve.best(greater)) or (None, None)
                rows.append(Row(name, curve.last[1], curve.last[0], best, at, self._counts[name]))
        return rows
