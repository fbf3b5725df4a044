"""StepClock: how the time of a training is spent, from the events that a callback hears."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ["StepClock"]


class StepClock:
    """Tells the time within steps from that between them, and there the wait for data from logging and the like.

    The Trainer fetches the batches of a step, of all its micro-batches, before ``on_step_begin``. From ``on_step_end``
    to the next ``on_step_begin`` it logs, evaluates and saves, each followed by its event, and then fetches: what comes
    after the last such event is the wait for data. What is before the first step (or after a resume skips batches) is
    start-up, and in neither.

    Times are the host's. A GPU may still compute when a step ends for the host; since the Trainer looks at every loss
    (``logging_nan_inf_filter``, on by default), the two are at most a backward pass apart.

    Parameters
    ----------
    clock : callable
        Seconds.

    Attributes
    ----------
    heard_at : float
        When the last event came.
    """

    __slots__ = ("_begun", "_clock", "_mark", "heard_at", "n_samples", "n_tokens", "other", "step", "step_max", "steps", "wait")

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._mark = -1.0  # since when the wait for data goes on; negative: nothing is known of it
        self._begun = -1.0
        self.heard_at = clock()
        self.start_window()

    def start_window(self) -> None:
        """Forget what was counted."""
        self.steps = self.n_samples = self.n_tokens = 0
        self.step = self.step_max = self.wait = self.other = 0.0

    def step_begin(self) -> None:
        """Hear that the batches of a step are there."""
        now = self._clock()
        if self._mark >= 0:
            self.wait += now - self._mark
        self._begun = self.heard_at = now

    def step_end(self) -> None:
        """Hear that a step is done."""
        now = self._clock()
        if self._begun >= 0:
            spent = now - self._begun
            self.step += spent
            self.steps += 1
            if spent > self.step_max:
                self.step_max = spent
        self._mark, self._begun, self.heard_at = now, -1.0, now

    def other_end(self) -> None:
        """Hear that something else than training and fetching has ended: logging, an evaluation, a checkpoint."""
        if self._mark >= 0 and self._begun < 0:  # within a step it is the user's own, and part of it
            now = self._clock()
            self.other += now - self._mark
            self._mark = self.heard_at = now

    def window(self, processes: int = 1) -> dict[str, float]:
        """Give what was counted since the last call, and begin anew; empty where no step ended.

        Parameters
        ----------
        processes : int
            How many train at once; samples and tokens of this one stand for all.

        Returns
        -------
        dict
            ``steps``; ``seconds`` (steps and waits); ``step_seconds``, ``data_wait_seconds`` (means of a step),
            ``step_seconds_max``; ``data_wait_share`` (0 to 1, of ``seconds``); ``other_seconds``; where counted,
            ``samples_per_second`` and ``tokens_per_second``.
        """
        if not self.steps:
            return {}
        seconds = max(self.step + self.wait, 1e-9)
        found = {
            "steps": self.steps,
            "seconds": round(seconds, 6),
            "step_seconds": round(self.step / self.steps, 6),
            "step_seconds_max": round(self.step_max, 6),
            "data_wait_seconds": round(self.wait / self.steps, 6),
            "data_wait_share": round(self.wait / seconds, 4),
            "other_seconds": round(self.other, 6),
        }
        if self.n_samples:
            found["samples_per_second"] = round(self.n_samples * processes / seconds, 3)
        if self.n_tokens:
            found["tokens_per_second"] = round(self.n_tokens * processes / seconds, 1)
        self.start_window()
        return found
