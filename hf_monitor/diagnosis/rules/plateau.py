"""Losses that fell, and then no more for a long part of the training."""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.line import Line
from hf_monitor.diagnosis.rules.loss_level import LossLevel
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["Plateau"]

_MOST_SETS = 100
_HUGE = 10**15  # beyond any step


class Plateau(Rule):
    """Finds a training loss and validation losses that no longer fall, while the rate is still considerable.

    The end of a training that has learnt what there is looks the same: it is a hint to save time, no fault.
    """

    name: ClassVar[str] = "plateau"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})
    follows_from: ClassVar[frozenset[str]] = frozenset(
        {"nan", "divergence", "learning_rate_high", "learning_rate_ineffective"}
    )

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._level = LossLevel()
        self._reference = 0.0  # level below which the loss has fallen since `_since`
        self._since = self._first_step = -1.0
        self._line = Line()  # since then
        self._rate = 0.0
        self._sets: dict[str, tuple[float, float]] = {}  # first, lowest

    def see(self, row: Row) -> Finding | None:
        """Look at a loss."""
        kind = row.get("kind")
        if kind == "eval":
            self._evaluation(row)
            return None
        if kind != "train":
            self._saves.see(row)
            return None
        loss, step, rate = row.get("loss"), row.get("step"), row.get("learning_rate")
        if type(loss) is not float or not isfinite(loss) or type(step) is not int or not 0 <= step < _HUGE:
            return None
        level = self._level
        level.look(loss)
        level.learn(step, None)
        if type(rate) is float and rate > self._rate:
            self._rate = rate
        self._line.add(step, loss)
        if self._first_step < 0:
            self._first_step = step
        if level.slow < self._reference - self._least(level.start, self._reference) or self._since < 0:
            self._moved(step)
            return None
        limits = self.limits
        lasted = step - self._since
        if self._line.n < limits.plateau_logs or lasted < limits.plateau_share * self.about.max_steps:
            return None
        return self._judge(step, rate)

    def _judge(self, step: int, rate: object) -> Finding | None:
        limits, level = self.limits, self._level
        if not self.about.max_steps or step - self._since < limits.plateau_steps:
            return None
        left = 1.0 - step / self.about.max_steps
        considerable = type(rate) is float and self._rate > 0 and rate >= limits.plateau_rate * self._rate
        learnt = level.start - self._reference
        least = max(limits.plateau_learnt * abs(level.start), limits.plateau_noise * level.noise)
        if left < limits.plateau_left or not considerable or learnt <= least:
            return None
        if level.slow > self._reference + limits.plateau_rest * learnt:  # it rises
            return None
        change, error = self._line.change()
        if 2.0 * error - change > limits.plateau_rest * learnt:  # it may fall, and the scatter hide it
            return None
        return self._found(step, float(rate), left)  # type: ignore[arg-type]  # it is a float, as was seen

    def _least(self, start: float, lowest: float) -> float:
        """Give by how much a loss has to fall to be better than before."""
        return self.limits.plateau_fall * max(start - lowest, abs(lowest))

    def _moved(self, step: float) -> None:
        self._reference, self._since, self._line = self._level.slow, step, Line()

    def _evaluation(self, row: Row) -> None:
        step = number(row.get("step"))
        for name, loss in eval_values(row):
            if name not in self._sets:
                if len(self._sets) < _MOST_SETS:
                    self._sets[name] = loss, loss
                continue
            first, lowest = self._sets[name]
            if loss < lowest - self._least(first, lowest):
                self._sets[name] = first, loss
                if step is not None and self._level.n:
                    self._moved(step)

    def _found(self, step: int, rate: float, left: float) -> Finding:
        since, level = int(self._since), self._level
        losses = "training loss and validation loss have" if self._sets else "training loss has"
        found = [
            "EarlyStoppingCallback, or fewer steps: if this is good enough",
            "a schedule that decays (lr_scheduler_type='cosine' or 'linear'): a lower rate often goes on from here",
            "look whether the labels can be known from the inputs, and whether the model is large enough",
        ]
        return Finding(
            rule=self.name,
            verdict="found",
            severity="info",
            sentence=f"The {losses} not fallen since step {since} "
            f"({percent((step - since) / self.about.max_steps)} of the training): {shown(level.slow)}, after "
            f"{shown(level.start)} at the start. The learning rate is still {percent(rate / self._rate)} of its peak, "
            f"and {percent(left)} of the steps are to come.",
            value=(step - since) / self.about.max_steps,
            unit="share",
            threshold=self.limits.plateau_share,
            n_samples=self._line.n,
            steps=(since, step),
            suggestions=tuple(found),
            evidence=rounded(start=level.start, level=level.slow, noise=level.noise) | {"learning_rate": rate},
        )

    def verdict(self) -> Finding:
        """Say since when the losses rest, or what was missing to say so."""
        limits = self.limits
        if self._level.n < limits.plateau_logs or not self.about.max_steps:
            missing = f"{self._level.n} training logs; {limits.plateau_logs:.0f} are needed, and the number of steps."
            return self.nothing("Whether the losses rest is not known.", missing=missing, n=self._level.n)
        return self.nothing(
            f"No long rest of the losses: they last fell clearly at step {self._since:.0f}.", n=self._level.n
        )
