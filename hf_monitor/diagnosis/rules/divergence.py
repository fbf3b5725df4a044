"""A loss that rises far above where it was, and stays there."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar

from hf_monitor.diagnosis.finding import Finding, Severity
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, clipping, lower_rate, shown, warm_up
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.loss_level import LossLevel

__all__ = ["Divergence"]

_MOST_SETS = 100
_HUGE = 10**15  # beyond any step
_PATIENCE = 4.0  # times as long as a rise has to last: it is said without an evaluation then, too
_TURNS = 2.0  # evaluations that are waited for, where they are planned: the first of all has none to compare with
_FALLING = 0.8  # of the height at the begin of the time that a rise has to last: below that it recovers
_SOON = 3  # times as long as a rise has to last: by then what recovers has, at the pace of its fall so far
_BETTER = 0.02  # by which a loss is below the first one, which came after the rise: what learns has not diverged
_STILL = 2  # evaluations after that first one which are not so, and as high as the training loss


class _Set:
    """Losses of one evaluation set."""

    __slots__ = ("best", "best_step", "first", "first_step", "logs", "n_high", "n_still", "training")

    def __init__(self, first: float, step: int, logs: int, training: float | None) -> None:
        self.first, self.first_step, self.n_still = first, step, 0
        self.lowest(first, step, logs, training)

    def lowest(self, loss: float, step: int, logs: int, training: float | None) -> None:
        """Take the lowest loss so far, with the number of training logs and the last of them."""
        self.best, self.best_step, self.logs, self.training = loss, step, logs, training
        self.n_high = 0


class Divergence(Rule):
    """Finds a training loss that rises far above its lowest level, and stays there.

    What "far" is has no unit: half of all that was learnt is lost, the level is half as high again as the lowest, and
    it is clear of the scatter of single logs. What "stays" is grows with the training: spikes recover, and a level that
    is falling again is waited for. Data that become harder lift a training loss, too: an evaluation that lost less than
    half of what was learnt denies a divergence, one that lost as much confirms it. Where evaluations are planned they
    are waited for (not for ever). What none has confirmed is a warning, and no error. A loss that is not finite ends
    the waiting. Where the training loss is rarely logged, a validation loss is judged instead.
    """

    name: ClassVar[str] = "divergence"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})
    may_worsen: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._level = LossLevel()
        self._limit = float("inf")
        self._first_step = self._last_step = -1.0
        self._evaluated = self._between = 0.0  # step of the last evaluation, and from the one before to it
        self._said = False  # as a warning
        self._sets: dict[str, _Set] = {}
        self._last_loss: float | None = None
        self._recovered()

    def _recovered(self) -> None:
        self._since = self._window = -1.0  # step of the rise, and from where it is looked at whether it stays
        self._peak = 0.0  # highest level since `_window`
        self._lasted = False
        self._logs_high = 0
        self._lost: set[str] = set()  # evaluation sets that confirm it

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
        if type(loss) is not float or type(step) is not int or not 0 <= step < _HUGE:
            return None
        if self._since >= 0 and _is_lost(loss, row):
            self._last_step = step
            return self._found(after=" Now it is not finite.", confirmed=True)
        if not isfinite(loss):
            return None
        if self._first_step < 0:
            self._first_step = step
        level = self._level
        now = level.look(loss)
        self._last_loss, self._last_step = loss, step
        if self._since >= 0 and now < 0.5 * (self._limit + level.best):
            self._recovered()
        if now <= self._limit:
            if self._since < 0:
                level.learn(step, None)
                self._limit = level.best + self._rise()
            return None
        if self._since < 0:
            self._recovered()
            self._since = self._window = step
            self._peak = level.highest  # of single logs, as a median lags behind a spike
        self._logs_high += 1
        self._peak = max(self._peak, now)
        lasting = self._lasting
        if self._logs_high < self.limits.divergence_logs or step - self._window < lasting:
            return None
        if self._recovers(now):  # look on from here
            self._window, self._peak, self._lasted = step, now, False
            return None
        self._lasted = True
        return self._judge()

    def _recovers(self, now: float) -> bool:
        """Whether the level falls so fast that it will soon be where it was; one that leaps about up there does not."""
        level = self._level
        height, peak = now - level.best, self._peak - level.best
        falls = height < _FALLING * peak - 0.5 * level.noise
        return falls and height * (height / peak) ** _SOON < self._limit - level.best

    @property
    def _lasting(self) -> float:
        return max(self.limits.divergence_steps, self.limits.divergence_share * (self._last_step - self._first_step))

    def _judge(self) -> Finding | None:
        """Judge a rise that stays by what the evaluations since it said."""
        if self._sets and len(self._lost) >= len(self._sets):
            return self._found(confirmed=True)
        return None if self._said or self._last_step - self._since < self._patience else self._found()

    @property
    def _patience(self) -> float:
        """For how many steps an evaluation is waited for."""
        about = self.about
        if not self._sets and about.argument("eval_strategy") in (None, "no"):
            return 0.0
        every, planned = number(about.argument("eval_steps")), about.argument("eval_strategy")
        known = self._sets and min(known.first_step for known in self._sets.values()) <= self._since
        if planned == "epoch":
            epochs = number(about.argument("num_train_epochs"), 1.0)
            every = about.max_steps / epochs if epochs else None
        elif planned == "steps" and every is not None and every < 1:
            every *= about.max_steps
        elif planned != "steps":
            every = None
        turns = (1.0 if known else _TURNS) * max(every or 0.0, self._between)
        return max(_PATIENCE * self._lasting, turns + self._lasting)

    def _rise(self) -> float:
        """Give how far above the lowest level is far."""
        level = self._level
        if level.n < self.limits.divergence_logs:
            return float("inf")
        return max(self._far(level.start, level.best), self.limits.divergence_noise * level.noise)

    def _far(self, start: float, lowest: float) -> float:
        """Give how much of what was learnt is a real part of it."""
        limits = self.limits
        return max(
            limits.divergence_lost * (start - lowest), limits.divergence_rise * abs(lowest), limits.divergence_least
        )

    def _evaluation(self, row: Row) -> Finding | None:
        step = int(number(row.get("step")) or 0)
        if step > self._evaluated:
            self._evaluated, self._between = step, step - self._evaluated
        for name, loss in eval_values(row):
            known = self._sets.get(name)
            if known is None:
                if len(self._sets) < _MOST_SETS:
                    self._sets[name] = _Set(loss, step, self._level.n, self._last_loss)
                continue
            if self._since >= 0:
                self._compare(name, known, loss)
            if loss < known.best:
                known.lowest(loss, step, self._level.n, self._last_loss)
            elif self._exploded(known, loss):
                return self._found_by_evaluations(name, known, loss, step)
        return self._judge() if self._lasted else None

    def _compare(self, name: str, known: _Set, loss: float) -> None:
        """Let an evaluation after a rise confirm it, or deny it: the weights are about as good as ever."""
        if known.first_step <= self._since:
            good = loss < known.best + self._far(known.first, known.best)
            lost = True
        else:  # what there is to compare with came after the rise, too
            good = loss < max(self._limit, known.first - _BETTER * abs(known.first))
            known.n_still += 1
            lost = known.n_still >= _STILL
        if good:  # it is the training data that became harder
            self._level.rebase()
            self._recovered()
            self._limit = self._level.best + self._rise()
        elif lost:
            self._lost.add(name)

    def _exploded(self, known: _Set, loss: float) -> bool:
        """Judge by evaluations alone, as long as few training losses came since the lowest."""
        limits = self.limits
        high = loss > known.best + self._far(known.first, known.best)
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

    def _found(self, *, confirmed: bool = False, after: str = "") -> Finding:
        level, since = self._level, int(self._since)
        self._said = True
        if not confirmed:
            after = (
                " No evaluation tells whether the weights have got worse: data that are harder from there on (not "
                "shuffled, a second part) look the same."
            )
        compared = (
            f"its start, {shown(level.start)},"
            if level.best >= level.start
            else f"its lowest, {shown(level.best)} at step {level.best_step},"
        )
        return self._finding(
            f"The training loss has been far above {compared} since step {since}: {shown(level.level)} now (median of "
            f"the last logs); it began at {shown(level.start)}.{after}",
            severity="error" if confirmed else "warning",
            value=level.level,
            threshold=self._limit,
            n=self._logs_high,
            steps=(since, int(self._last_step)),
            back=level.best_step,
            evidence={"lowest": level.best, "lowest_step": level.best_step, "start": level.start, "noise": level.noise}
            | {"confirmed": confirmed},
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
        severity: Severity = "error",
    ) -> Finding:
        doubt = (
            "shuffled data, or an evaluation (eval_strategy='steps'): either tells whether the weights have got worse "
            "or the data harder"
        )
        found = [
            doubt if severity != "error" else None,
            self._saves.anew(back, lower_rate(self.about)),
            clipping(self.about),
            warm_up(self.about),
        ]
        return Finding(
            rule=self.name,
            verdict="found",
            severity=severity,
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
        lowest = f"its lowest was {shown(level.best)}, at step {level.best_step}"
        return self.nothing(
            f"The training loss did not rise lastingly: its level is {shown(level.level)} at the end (median of the "
            f"last logs); {lowest if level.best < level.level else 'it was never lower for long'}.",
            n=level.n,
            value=level.level,
            unit="loss",
            threshold=self._limit,
        )


def _is_lost(loss: float, row: Row) -> bool:
    """Whether a loss is not finite, also where the Trainer's filter logs 0.0 or the mean of the others."""
    if not isfinite(loss) or number(row.get("nonfinite_steps"), 1.0):
        return True
    norm = row.get("grad_norm")
    return loss == 0.0 and type(norm) is float and not isfinite(norm)
