"""StepClock: how the time of a training is spent, from the events that a callback hears."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

__all__ = ["StepClock"]


class StepClock:
    """Tells the time within steps from that between them, and there the wait for data from all else.

    The Trainer fetches the batches of a step, of all its micro-batches, before ``on_step_begin``. Where somebody tells
    of each fetch (:func:`hf_monitor.attach` does), these are the wait for data, and the start of the data loader at an
    epoch's begin. Else it is what lies between the last event after ``on_step_end`` (a log, an evaluation, a
    checkpoint, an epoch's end or begin) and the next ``on_step_begin``: the fetch, and whatever other callbacks do
    there. What is before the first step (or after a resume skips batches) is start-up, and in neither.

    Times are the host's. A GPU may still compute when a step ends for the host; since the Trainer looks at every loss
    (``logging_nan_inf_filter``, on by default), the two are at most a backward pass apart.

    Parameters
    ----------
    clock : callable
        Seconds.

    Attributes
    ----------
    hears_fetches : bool
        Whether :meth:`fetch_begin` and :meth:`fetch_end` are called.
    """

    __slots__ = (
        *("_begun", "_clock", "_epoch", "_fetch", "_fetched", "_mark", "hears_fetches"),
        *("n_samples", "n_tokens", "other", "step", "step_max", "steps", "wait"),
    )

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._mark = -1.0  # since when something else than a step goes on; negative: nothing is known of it
        self._begun = self._epoch = self._fetch = -1.0
        self._fetched = 0.0
        self.hears_fetches = False
        self.start_window()

    def start_window(self) -> None:
        """Forget what was counted."""
        self.steps = self.n_samples = self.n_tokens = 0
        self.step = self.step_max = self.wait = self.other = 0.0

    def step_begin(self) -> None:
        """Hear that the batches of a step are there."""
        now = self._clock()
        if self._mark >= 0:
            gap = now - self._mark
            wait = min(gap, self._fetched) if self.hears_fetches else gap
            self.wait += wait
            self.other += gap - wait
        self._fetched, self._epoch = 0.0, -1.0
        self._begun = now

    def step_end(self) -> None:
        """Hear that a step is done."""
        now = self._clock()
        if self._begun >= 0:
            spent = now - self._begun
            self.step += spent
            self.steps += 1
            if spent > self.step_max:
                self.step_max = spent
        self._mark, self._begun = now, -1.0

    def other_end(self) -> None:
        """Hear that something else than training and fetching has ended: logging, an evaluation, a checkpoint."""
        if self._mark >= 0 and self._begun < 0:  # within a step it is the user's own, and part of it
            now = self._clock()
            self.other += now - self._mark
            self._mark = now

    def epoch_begin(self) -> None:
        """Hear that an epoch begins: the data loader starts next."""
        self.other_end()
        self._epoch = self._clock()

    def fetch_begin(self) -> None:
        """Hear that a batch is fetched."""
        self._fetch = now = self._clock()
        if self._epoch >= 0:
            self._fetched += now - self._epoch
            self._epoch = -1.0

    def fetch_end(self) -> None:
        """Hear that it is there."""
        self._fetched += self._clock() - self._fetch

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
