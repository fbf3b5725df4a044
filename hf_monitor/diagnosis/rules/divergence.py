"""A loss that rises far above where it was, and stays there."""

from __future__ import annotations

from math import isfinite
from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, clipping, lower_rate, shown, warm_up
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.loss_level import LossLevel

__all__ = ["Divergence"]


class _Set:
    """Losses of one evaluation set."""

    def __init__(self, first: float, step: int) -> None:
        self.first = self.best = first
        self.best_step = step
        self.n_high = 0


class Divergence(Rule):
    """Finds a training loss that rises lastingly far above its lowest level; where it is rarely logged, a validation loss.

    What "far" is has no unit: half of all that was learnt is lost, the level is half as high again as the lowest, and it
    is clear of the scatter of single logs. What "lastingly" is grows with the training: spikes recover.
    """

    name: ClassVar[str] = "divergence"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._level = LossLevel()
        self._limit = float("inf")
        self._first_step = -1.0
        self._since: float | None = None
        self._logs_high = 0
        self._sets: dict[str, _Set] = {}
        self._losses: list[float] = []  # logged since the last lowest evaluation, two at most
        self._last_loss: float | None = None

    def see(self, row: Row) -> Finding | None:
        """Look at a loss."""
        kind = row.get("kind")
        if kind == "train":
            return self._train(row)
        if kind == "eval":
            return self._evaluation(row)
        self._saves.see(row)
        return None

    def _train(self, row: Row) -> Finding | None:
        loss, step = row.get("loss"), row.get("step")
        if type(loss) is not float or not isfinite(loss) or type(step) is not int:
            loss, step = number(loss, -1e300, 1e300), number(step)  # type: ignore[assignment]
            if loss is None or step is None:
                return None
        if self._first_step < 0:
            self._first_step = step
        level = self._level.look(loss)
        self._last_loss = loss
        if level <= self._limit:
            self._since = None
            self._level.learn(int(step), None)
            self._limit = self._level.best + self._rise()
            return None
        if self._since is None:
            self._since, self._logs_high = step, 0
        self._logs_high += 1
        lasting = max(self.limits.divergence_steps, self.limits.divergence_share * (step - self._first_step))
        if self._logs_high < self.limits.divergence_logs or step - self._since < lasting:
            return None
        return self._found(int(step))

    def _rise(self) -> float:
        """Give how far above the lowest level is far."""
        level, limits = self._level, self.limits
        if level.n < limits.divergence_logs:
            return float("inf")
        return max(
            limits.divergence_lost * (level.start - level.best),
            limits.divergence_rise * abs(level.best),
            limits.divergence_noise * level.noise,
            limits.divergence_least,
        )

    def _evaluation(self, row: Row) -> Finding | None:
        step = int(number(row.get("step")) or 0)
        for name, loss in eval_values(row):
            known = self._sets.get(name)
            if known is None:
                if len(self._sets) < 100:
                    self._sets[name] = _Set(loss, step)
                continue
            if self._since is not None and loss <= known.best + 0.1 * max(abs(known.best), known.first - known.best):
                # These weights are as good as ever: it is the training data that became harder.
                self._level.rebase()
                self._since, self._limit = None, self._level.best + self._rise()
            if loss < known.best:
                known.best, known.best_step, known.n_high = loss, step, 0
                continue
        return None

    def _found(self, step: int) -> Finding:
        level, since = self._level, int(self._since or 0)
        compared = (
            "its start" if level.best >= level.start else f"its lowest, {shown(level.best)} at step {level.best_step}"
        )
        sentence = (
            f"The training loss has been far above {compared} since step {since}: {shown(level.level)} now (median of "
            f"the last logs); it began at {shown(level.start)}."
        )
        found = [
            self._saves.before(level.best_step, going_back="resume from"),
            lower_rate(self.about),
            clipping(self.about),
            warm_up(self.about),
        ]
        return Finding(
            rule=self.name,
            verdict="found",
            severity="error",
            sentence=sentence,
            value=level.level,
            unit="loss",
            threshold=self._limit,
            n_samples=level.n,
            steps=(since, step),
            suggestions=tuple(one for one in found if one)[:3],
            evidence={
                "lowest": level.best,
                "lowest_step": level.best_step,
                "start": level.start,
                "noise": level.noise,
                "logs_above": self._logs_high,
            },
        )

    def verdict(self) -> Finding:
        """Say that it did not rise, or that there is too little to say so."""
        level = self._level
        if level.n < self.limits.divergence_logs:
            return self.nothing(
                "Whether the loss diverged is not known.", missing=f"{level.n} training logs.", n=level.n
            )
        return self.nothing(
            f"The training loss did not rise lastingly: its level is {shown(level.level)}, its lowest was "
            f"{shown(level.best)} at step {level.best_step}.",
            n=level.n,
            value=level.level,
            unit="loss",
            threshold=self._limit,
        )
