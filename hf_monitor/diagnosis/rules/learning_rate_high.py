"""A loss that is driven up again and again: the learning rate is too high."""

from __future__ import annotations

from math import inf, isfinite, log
from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding, Severity
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.rules.advice import Saves, is_adam, lower_rate, shown, warm_up
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.rules.best_evaluation import BestEvaluation
from hf_monitor.diagnosis.rules.evaluations import RunningMean
from hf_monitor.diagnosis.rules.loss_level import LossLevel
from hf_monitor.diagnosis.wording import percent

__all__ = ["LearningRateHigh"]

_PEAK = 0.999  # of the highest rate so far: what is above it is still warming up
_HUGE = 10**15  # beyond any step
_FIRST = 10  # logs that make a level and a scatter
_LASTING = 0.8  # of the logs since the peak
_USUAL = 1e-3  # of what Adam is used with, the upper end
_MANY = 10_000  # parameters: fewer are no transformer
_SPIKE = log(10.0)  # above the usual norm of the gradient (geometric mean)
_HORIZON = 50  # logs of which that mean is
_LONGER = log(2.0)  # that gradients are longer on a high level: harder data alone make hardly so much
_RESTART = 2.0  # times the lowest rate since the peak


class LearningRateHigh(Rule):
    """Finds a training loss that is clearly above its own lowest level for a good part of the time.

    A rate that fits lets the level of the loss fall, or rest. One that is too high lets it wander: up and down, or up
    since the warm-up, when the rate was a fraction of its peak. What counts is the share of the logs since the peak
    rate was reached whose level (a median) is above the lowest level before by much more than single logs scatter, and
    by a part of that level and of what was learnt. Data that are harder for a while look the same: where there are
    evaluations, they have to confirm it, and where there are none it takes a second sign (the lowest level in the
    warm-up, or gradients that became longer) to say so aloud. Or the evaluations themselves get worse again and again
    while the training loss does not fall. A rate that rises again (a restart of the schedule) begins a new count.

    A rate that no transformer is trained with as a whole under Adam, whose step is about the rate itself in each weight
    (Kingma & Ba 2015, section 2.1), needs no such sign: the loss may rest at what can be learnt without the input.
    """

    name: ClassVar[str] = "learning_rate_high"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})
    follows_from: ClassVar[frozenset[str]] = frozenset({"divergence"})
    may_worsen: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._rate = self._peak_step = self._last_step = -1.0
        self._log_norm, self._n_norms = 0.0, 0
        self._said = False  # for the record alone
        self._start()

    def _start(self) -> None:
        """Begin with nothing seen."""
        limits = self.limits
        self._level = LossLevel()
        self._evaluations = BestEvaluation(
            limits.learning_rate_high_worse, limits.learning_rate_high_far, limits.learning_rate_high_least
        )
        self._forget()

    def _forget(self) -> None:
        """Begin to count anew, at a new peak of the rate."""
        self._low_rate = self._rate  # lowest since
        self._norms = (RunningMean(), RunningMean())  # logarithms of the gradient's norm: usual logs, high ones
        self._n = self._n_high = self._n_spikes = 0
        self._first_high = -1.0
        self._evaluated_before = False  # before the level was first above its lowest
        self._highest = 0.0  # of what the level was above its lowest
        self._evaluations.forget()

    def see(self, row: Row) -> Finding | None:
        """Look at a loss and its rate."""
        kind = row.get("kind")
        if kind == "eval":
            self._evaluations.see(row)
            return self._judge() if self._n else None
        if kind != "train":
            self._saves.see(row)
            return None
        loss, step, rate = row.get("loss"), row.get("step"), row.get("learning_rate")
        if (
            type(loss) is not float
            or not isfinite(loss)
            or type(step) is not int
            or not 0 <= step < _HUGE
            or type(rate) is not float
        ):
            return None
        if rate * _PEAK > self._rate and rate < inf:
            self._rate, self._peak_step = rate, step
            self._forget()
        elif rate > _RESTART * self._low_rate and 2.0 * rate > self._rate:
            self._peak_step = step
            self._start()
        if rate < self._low_rate:
            self._low_rate = rate
        self._last_step = step
        self._evaluations.learn(loss)
        level = self._level
        now = level.look(loss)
        self._n += 1
        above = now - level.best if level.n > _FIRST else 0.0
        is_high = above > 0.0 and above > self._height()
        self._norm(row.get("grad_norm"), is_high)
        if not is_high:
            level.learn(step, rate)
            return self._judge() if self._rate >= self.limits.learning_rate_high_extreme else None
        self._n_high += 1
        if self._first_high < 0:
            self._first_high = step
            self._evaluated_before = self._evaluations.n > 0
        self._highest = max(self._highest, above)
        return self._judge()

    def _norm(self, norm: object, is_high: bool) -> None:
        """Count gradients that are far longer than usual."""
        if type(norm) is not float or not 0.0 < norm < inf:
            return
        found = log(norm)
        self._norms[is_high].add(found)
        if self._n_norms >= _FIRST and found - self._log_norm > _SPIKE:
            self._n_spikes += 1
            return
        self._n_norms += 1
        self._log_norm += (found - self._log_norm) / min(self._n_norms, _HORIZON)

    def _height(self) -> float:
        level, limits = self._level, self.limits
        return max(
            limits.learning_rate_high_noise * level.noise,
            limits.learning_rate_high_rise * abs(level.best),
            limits.learning_rate_high_lost * (level.start - level.best),
            limits.learning_rate_high_least,
        )

    @property
    def _is_extreme(self) -> bool:
        if self._rate < self.limits.learning_rate_high_extreme:
            return False
        model = mapping(self.about.facts.get("model"))
        trained, parameters = number(model.get("n_trainable")), number(model.get("n_parameters"))
        # A few parameters that begin anew (prompts, heads) are trained with such rates.
        whole = trained is None or parameters is None or trained >= max(_MANY, 0.5 * parameters)
        return whole and is_adam(self.about)

    @property
    def _in_warm_up(self) -> bool:
        """Whether the level was lowest before the rate had risen to half of its peak."""
        return 0.0 < (self._level.best_rate or 0.0) <= 0.5 * self._rate and self._level.best_step < self._peak_step

    @property
    def _has_second_sign(self) -> bool:
        usual, high = self._norms
        longer = usual.n >= _FIRST and high.n >= _FIRST and high.total / high.n - usual.total / usual.n > _LONGER
        return self._in_warm_up or longer or self._is_extreme

    def _judge(self) -> Finding | None:
        limits, evaluations = self.limits, self._evaluations
        lasted = self._last_step - self._peak_step
        if lasted < max(limits.learning_rate_high_steps, limits.learning_rate_high_part * self.about.max_steps):
            return None
        wanders = self._n_high >= max(limits.learning_rate_high_logs, limits.learning_rate_high_share * self._n)
        # Evaluations that all came after a rise cannot tell of it: then it has to last.
        lasts = not self._evaluated_before and self._n_high >= _LASTING * self._n
        if wanders and (evaluations.n_worse or (evaluations.n and lasts)):
            return self._found(self._n_high / self._n, "share", limits.learning_rate_high_share)
        if wanders and not evaluations.n and not (self._said and not self._has_second_sign):
            severity: Severity = "warning" if self._has_second_sign else "info"
            return self._found(self._n_high / self._n, "share", limits.learning_rate_high_share, severity)
        if self._is_extreme and self._n >= limits.learning_rate_high_logs:
            return self._found(self._rate, "", limits.learning_rate_high_extreme)
        if evaluations.n_far >= limits.learning_rate_high_times:
            return self._found(evaluations.n_far, "evaluations", limits.learning_rate_high_times)
        return None

    def _signs(self) -> str:
        """Say what was seen."""
        level, found = self._level, []
        if self._n_high:
            found.append(
                f"in {percent(self._n_high / self._n)} of the logs since its peak (step {self._peak_step:.0f}) the "
                "level of the training loss was clearly above its lowest before"
            )
        if n := self._evaluations.n_worse:
            often = "once" if n == 1 else f"{n} times"
            found.append(
                f"the validation loss was {often} above its lowest before, by up to {percent(self._evaluations.rise)}, "
                "while the training loss did not fall"
            )
        if self._n_spikes:
            found.append(f"the gradient was more than 10 times as long as usual in {self._n_spikes} logs")
        found.append(f"the lowest level of the training loss was {shown(level.best)}, at step {level.best_step}")
        return "; ".join(found)

    def _found(self, value: float, unit: str, threshold: float, severity: Severity = "warning") -> Finding:
        level = self._level
        self._said = True
        best_rate, in_warm_up = level.best_rate or 0.0, self._in_warm_up
        where = (
            f", during the warm-up at a rate of {shown(best_rate)} (its peak is {shown(self._rate)})"
            if in_warm_up
            else ""
        )
        first = self._peak_step if self._first_high < 0 else self._first_high
        good = min(best_rate if in_warm_up else inf, _USUAL if self._is_extreme else inf)
        found = [
            self._saves.anew(level.best_step, lower_rate(self.about, good if good < inf else None)),
            warm_up(self.about),
        ]
        if severity == "info":
            found.insert(0, "an evaluation (eval_strategy='steps'), to know whether it is the rate or the data")
        what = "is too high" if severity == "warning" else "may be too high, or some data are harder"
        extreme = (
            f" With a peak of {shown(self._rate)} each of Adam's steps moves each weight by about as much; weights are "
            "mostly 0.02 to 0.1."
            if self._is_extreme
            else ""
        )
        return Finding(
            rule=self.name,
            verdict="found",
            severity=severity,
            sentence=f"The learning rate {what}: {self._signs()}{where}.{extreme}",
            value=value,
            unit=unit,
            threshold=threshold,
            n_samples=self._n,
            steps=(int(first), int(self._last_step)),
            suggestions=tuple(one for one in found if one)[:3],
            evidence={"lowest": level.best, "lowest_step": level.best_step, "rate_at_lowest": level.best_rate}
            | {"start": level.start, "level": level.level, "highest_above": self._highest, "noise": level.noise}
            | {"clearly_above": self._height(), "rate_peak": self._rate, "is_extreme": self._is_extreme}
            | {"logs_above": self._n_high, "evaluations_worse": self._evaluations.n_worse}
            | {"validation_rise_share": self._evaluations.rise, "gradient_spikes": self._n_spikes},
        )

    def verdict(self) -> Finding:
        """Say that the level did not rise, or what was missing to say so."""
        if self._peak_step < 0 or self._n < self.limits.learning_rate_high_logs:
            missing = "no training log with a learning rate." if self._peak_step < 0 else f"{self._n} logs at the peak."
            return self.nothing("Whether the learning rate is too high is not known.", missing=missing, n=self._n)
        share = self._n_high / self._n
        return self.nothing(
            f"The level of the training loss was clearly above its lowest in {percent(share)} of the logs since the "
            "learning rate reached its peak.",
            n=self._n,
            value=share,
            unit="share",
            threshold=self.limits.learning_rate_high_share,
        )
