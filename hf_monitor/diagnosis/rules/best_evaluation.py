"""BestEvaluation: whether the weights are as good as ever, by the evaluations."""

from __future__ import annotations

from hf_monitor.diagnosis.rules.base import Row, eval_values

__all__ = ["BestEvaluation"]

_MOST_SETS = 100
_NEAR = 0.02  # of the lowest, or of what was learnt: within what an evaluation differs by anyway


class BestEvaluation:
    """Remembers the first and the lowest loss of each evaluation set."""

    __slots__ = ("_first", "_lowest")

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._lowest: dict[str, float] = {}

    def as_good_as_ever(self, row: Row) -> bool:
        """Take an evaluation; say whether one of its losses is as low as the lowest of that set before, or near it.

        The first of a set says nothing: False.
        """
        good = False
        for name, loss in eval_values(row):
            lowest = self._lowest.get(name)
            if lowest is None:
                if len(self._first) < _MOST_SETS:
                    self._first[name] = self._lowest[name] = loss
                continue
            good = good or loss <= lowest + _NEAR * max(abs(lowest), self._first[name] - lowest)
            if loss < lowest:
                self._lowest[name] = loss
        return good
