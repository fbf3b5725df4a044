"""A loss that rises far above where it was, and stays there."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, clipping, lower_rate, shown, warm_up
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.best_evaluation import BestEvaluation
from hf_monitor.diagnosis.rules.loss_level import LossLevel

__all__ = ["Divergence"]

_MOST_SETS = 100
_HUGE = 10**15  # beyond any step
_PATIENCE = 4.0  # times as long as a rise has to last: without an evaluation it counts then, too


class _Set:
    """Losses of one evaluation set, for where the training loss is rarely logged."""

    __slots__ = ("best", "best_step", "first", "logs", "n_high", "training")

    def __init__(self, first: float, step: int, logs: int, training: float | None) -> None:
        self.first = first
        self.lowest(first, step, logs, training)

    def lowest(self, loss: float, step: int, logs: int, training: float | None) -> None:
        """Take the lowest loss so far, with the number of training logs and the last of them."""
        self.best, self.best_step, self.logs, self.training = loss, step, logs, training
        self.n_high = 0


class Divergence(Rule):
    """Finds a training loss that rises far above its lowest level, and stays there.

    What "far" is has no unit: half of all that was learnt is lost, the level is half as high again as the lowest, and
    it is clear of the scatter of single logs. What "stays" is grows with the training: spikes recover. Where there are
    evaluations, the next one is waited for (not for ever): if it is as good as ever, only the data have become harder.
    Where the training loss is rarely logged, a validation loss is judged instead.
    """

    name: ClassVar[str] = "divergence"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})
    worsens: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._level = LossLevel()
        self._limit = float("inf")
        self._first_step = -1.0
        self._since = self._last_step = -1.0
        self._lasted = False
        self._logs_high = 0
        self._evaluations = BestEvaluation()
        self._sets: dict[str, _Set] = {}
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
        if type(loss) is not float or not isfinite(loss) or type(step) is not int or not 0 <= step < _HUGE:
            return None
        if self._first_step < 0:
            self._first_step = step
        level = self._level
        now = level.look(loss)
        self._last_loss, self._last_step = loss, step
        if self._since >= 0 and now < 0.5 * (self._limit + level.best):
            self._since, self._lasted = -1.0, False
        if now <= self._limit:
            if self._since < 0:
                level.learn(step, None)
                self._limit = level.best + self._rise()
            return None
        if self._since < 0:
            self._since, self._logs_high = step, 0
        self._logs_high += 1
        lasting = max(self.limits.divergence_steps, self.limits.divergence_share * (step - self._first_step))
        self._lasted = self._logs_high >= self.limits.divergence_logs and step - self._since >= lasting
        unconfirmed = self._evaluations.n and step - self._since < _PATIENCE * lasting
        return self._found() if self._lasted and not unconfirmed else None

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
        good = self._evaluations.see(row)
        if good and self._since >= 0:  # it is the training data that became harder
            self._level.rebase()
            self._since, self._lasted, self._limit = -1.0, False, self._level.best + self._rise()
        elif self._lasted:
            return self._found()
        step = int(number(row.get("step")) or 0)
        for name, loss in eval_values(row):
            known = self._sets.get(name)
            if known is None:
                if len(self._sets) < _MOST_SETS:
                    self._sets[name] = _Set(loss, step, self._level.n, self._last_loss)
            elif loss < known.best:
                known.lowest(loss, step, self._level.n, self._last_loss)
            elif self._exploded(known, loss):
                return self._found_by_evaluations(name, known, loss, step)
        return None

    def _exploded(self, known: _Set, loss: float) -> bool:
        """Judge by evaluations alone, as long as few training losses came since the lowest."""
        limits = self.limits
        high = loss > known.best + max(
            limits.divergence_lost * (known.first - known.best),
            limits.divergence_rise * abs(known.best),
            limits.divergence_least,
        )
        known.n_high = known.n_high + 1 if high else 0
        if known.n_high < limits.divergence_evaluations or self._level.n >= known.logs + limits.divergence_logs:
            return False
        if self._level.n > known.logs and known.training is not None and self._last_loss is not None:
            return self._last_loss > known.training  # else it is overfitting
        return loss > limits.divergence_unlogged * max(abs(known.first), abs(known.best))

    def _found_by_evaluations(self, name: str, known: _Set, loss: float, step: int) -> Finding:
        return self._finding(
            f"The loss of {name} has been far above its lowest, {shown(known.best)} at step {known.best_step}, in "
            f"{known.n_high} evaluations: {shown(loss)} now; it began at {shown(known.first)}. The training loss is "
            "rarely logged.",
            value=loss,
            threshold=known.best,
            n=known.n_high,
            steps=(known.best_step, step),
            back=known.best_step,
            evidence={"set": name, "lowest": known.best, "lowest_step": known.best_step, "start": known.first},
        )

    def _found(self) -> Finding:
        level, since = self._level, int(self._since)
        compared = (
            f"its start, {shown(level.start)},"
            if level.best >= level.start
            else f"its lowest, {shown(level.best)} at step {level.best_step},"
        )
        return self._finding(
            f"The training loss has been far above {compared} since step {since}: {shown(level.level)} now (median of "
            f"the last logs); it began at {shown(level.start)}.",
            value=level.level,
            threshold=self._limit,
            n=self._logs_high,
            steps=(since, int(self._last_step)),
            back=level.best_step,
            evidence={"lowest": level.best, "lowest_step": level.best_step, "start": level.start, "noise": level.noise},
        )

    def _finding(
        self,
        sentence: str,
        *,
        value: float,
        threshold: float,
        n: int,
        steps: tuple[int, int],
        back: int,
        evidence: dict[str, Any],
    ) -> Finding:
        found = [
            self._saves.before(back, going_back="resume from"),
            lower_rate(self.about),
            clipping(self.about),
            warm_up(self.about),
        ]
        return Finding(
            rule=self.name,
            verdict="found",
            severity="error",
            sentence=sentence,
            value=value,
            unit="loss",
            threshold=threshold,
            n_samples=n,
            steps=steps,
            suggestions=tuple(one for one in found if one)[:3],
            evidence=evidence,
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
