"""BestEvaluation: what the evaluations say of the weights, where a training loss rises."""

from __future__ import annotations

from math import inf, isfinite

from hf_monitor.diagnosis.rules.base import Row, eval_values
from hf_monitor.diagnosis.rules.evaluations import RunningMean

__all__ = ["BestEvaluation"]

_MOST_SETS = 100
_STILL = 0.95  # of the training loss before, and when the evaluation was lowest: below that it has fallen
_GAP = 0.7  # of the evaluation's loss: a training loss below that is of samples that are known by heart


class BestEvaluation:
    """Remembers the lowest loss of each evaluation set, and how often the losses were above it since.

    Attributes
    ----------
    n : int
        Sets that were evaluated, counted again each time.
    rise : float
        The most that a loss was above the lowest before, as a share of that, since :meth:`forget`.
    n_worse : int
        Evaluations since :meth:`forget` above the lowest by `worse` (a share of it), but those of an overfitting, in
        which the training loss falls.
    n_far : int
        Those of them that are above it by `far`, and by `least` (a loss).
    """

    __slots__ = (
        "_before",
        "_far",
        "_least",
        "_lowest",
        "_means",
        "_training",
        "_worse",
        "n",
        "n_far",
        "n_worse",
        "rise",
    )

    def __init__(self, worse: float = inf, far: float = inf, least: float = 0.0) -> None:
        self._lowest: dict[str, tuple[float, float]] = {}  # with the training loss of that time
        self._training = RunningMean()
        self._before = (0.0, 0)
        self._means = (inf, inf)  # training loss of the two last intervals
        self._worse, self._far, self._least = worse, far, least
        self.n = self.n_worse = self.n_far = 0
        self.rise = 0.0

    def learn(self, loss: float) -> None:
        """Take a finite training loss."""
        self._training.add(loss)

    def see(self, row: Row) -> None:
        """Take an evaluation; the first one of a set says nothing."""
        worse = far = False
        total, n = self._before
        training = self._training
        if training.n > n:  # several sets are evaluated one after the other
            self._before = training.total, training.n
            self._means = self._means[1], (training.total - total) / (training.n - n)
        previous, mean = self._means
        for name, loss in eval_values(row):
            self.n += 1
            lowest, mean_then = self._lowest.get(name, (None, mean))
            if lowest is None:
                if len(self._lowest) < _MOST_SETS:
                    self._lowest[name] = loss, mean
                continue
            above = (loss - lowest) / max(abs(lowest), 1e-9)
            if above > self.rise and isfinite(above):
                self.rise = above
            if above > self._worse and mean >= _STILL * min(mean_then, previous) and mean >= _GAP * lowest:
                worse = True
                far = far or (above > self._far and loss - lowest > self._least)
            if loss < lowest:
                self._lowest[name] = loss, mean
        self.n_worse += worse
        self.n_far += far

    def forget(self) -> None:
        """Look anew for a rise."""
        self.rise = 0.0
        self.n_worse = self.n_far = 0
