"""A training that changes nothing from its start on."""

from __future__ import annotations

from math import isfinite
from typing import Any, ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.rules.advice import shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.line import Line
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["LearningRateIneffective"]

_MOST_SETS = 100
_HUGE = 10**15  # beyond any step
_PEAK = 0.999  # of the highest rate so far: what is above it is still warming up
_FEW, _FEW_SHARE = 10_000, 1e-3  # parameters: fewer than any adapter or prompt has
_SEEN = 2.0  # standard errors (95 %)

_ABOUT_ZERO = 1e-3  # a loss
_HEADS = {"classifier", "score", "head", "qa_outputs", "classification_head"}  # parts that are often trained alone
_WITH_HEAD = ("Classification", "QuestionAnswering", "MultipleChoice")  # in the class, where no names were recorded
_USUAL = 5e-5  # learning rate: the Trainer's default


class LearningRateIneffective(Rule):
    """Finds a loss that stays where it began: a rate near 0, frozen parameters, an optimizer of other parameters.

    That nothing changes has to be known, not only that no change is seen: the change along a straight line through all
    training losses is bounded from above, so that a noisy loss needs more logs; an evaluation is always of the same
    samples, so that a few of them tell. Logs before the highest rate count for little: nothing is said until most of
    the steps were taken at that rate or after it.
    """

    name: ClassVar[str] = "learning_rate_ineffective"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._line = Line()
        self._first_step = self._peak_step = -1.0
        self._rate = self._norm = 0.0  # the highest of all
        self._rates = self._norms = 0
        self._sets: dict[str, tuple[float, float, float, int]] = {}  # first, lowest, highest, number
        self._changed = False
        self._next = 0  # number of logs at which it is judged again

    def see(self, row: Row) -> Finding | None:
        """Look at a loss; what has changed once is no longer looked at."""
        if self._changed:
            return None
        if row.get("kind") == "eval":
            self._evaluation(row)
            return None
        loss, step = row.get("loss"), row.get("step")
        if type(loss) is not float or not isfinite(loss) or type(step) is not int or not 0 <= step < _HUGE:
            return None
        if self._first_step < 0:
            self._first_step = self._peak_step = step
        rate, norm = number(row.get("learning_rate")), number(row.get("grad_norm"))
        if rate is not None:
            self._rates += 1
            if rate * _PEAK > self._rate:
                self._rate, self._peak_step = rate, step
        if norm is not None:
            self._norms += 1
            self._norm = max(self._norm, norm)
        self._line.add(step - self._first_step, loss)
        return self._judge(step)

    def _evaluation(self, row: Row) -> None:
        for name, loss in eval_values(row):
            if name in self._sets:
                first, low, high, n = self._sets[name]
                self._sets[name] = first, min(low, loss), max(high, loss), n + 1
            elif len(self._sets) < _MOST_SETS:
                self._sets[name] = loss, loss, loss, 1

    @property
    def _moved(self) -> float | None:
        """How far an evaluation set's loss moved, as a share: of the set that moved most."""
        return max(
            ((high - low) / max(abs(first), 1e-9) for first, low, high, n in self._sets.values() if n >= 3),
            default=None,
        )

    @property
    def _few_trained(self) -> tuple[int, int] | None:
        """Give how many of how many parameters are trained, where that is next to none."""
        model = mapping(self.about.facts.get("model"))
        trained, of = number(model.get("n_trainable")), number(model.get("n_parameters"), 1.0)
        if trained is None or of is None or trained > min(_FEW, _FEW_SHARE * of) or "Peft" in str(model.get("class")):
            return None
        return None if _trains_a_head(model) else (int(trained), int(of))

    def _judge(self, step: float) -> Finding | None:
        limits, line = self.limits, self._line
        if line.n < max(limits.learning_rate_ineffective_logs, self._next):
            return None
        self._next = line.n + max(1, line.n // 20)  # a twentieth more: between them the answer hardly changes
        if 0 < self.about.first_step < self._first_step:  # it goes on from what another folder tells of
            return None
        off = (self._rates >= line.n and not self._rate) or (self._norms >= line.n and not self._norm)
        since = step - self._peak_step
        share = limits.learning_rate_ineffective_share * self.about.max_steps
        enough = since >= limits.learning_rate_ineffective_steps and since >= 0.5 * (step - self._first_step)
        if not enough or (not off and since < share):
            return None
        if self._norm and abs(line.mean) <= _ABOUT_ZERO:  # of such a loss no share can be given (GRPO's is 0 by nature)
            return None
        change, error = line.change()
        few = self._few_trained
        share = limits.learning_rate_ineffective_few if few else limits.learning_rate_ineffective_change
        limit = share * abs(line.mean)
        moved = self._moved
        if abs(change) - _SEEN * error > limit or (moved or 0.0) > share:
            self._changed = True
            return None
        still = moved is not None and moved <= limits.learning_rate_ineffective_evaluations
        if abs(change) + _SEEN * error > limit and not still and not off:
            return None
        return self._found(int(step), change, error, limit, moved)

    def _found(self, step: int, change: float, error: float, limit: float, moved: float | None) -> Finding:
        line = self._line
        rate, norm = number(self.about.argument("learning_rate")), self._norm
        frozen = (
            "look which parameters are trained: requires_grad, and whether the optimizer got this model's parameters"
        )
        found: list[str | None]
        if self._rates and not self._rate:
            why = "The learning rate was 0 in all logs."
            found = [f"look at learning_rate ({'not known' if rate is None else f'{rate:g}'}) and the schedule", frozen]
        elif self._norms and not norm:
            why = "The norm of the gradient was 0 in all logs."
            found = [frozen, "look whether the loss depends on the parameters (detach, no_grad)"]
        else:
            few = self._few_trained
            why = f"The learning rate was not 0 ({shown(self._rate)} at most)"
            why += f", nor was the gradient (norm {shown(norm)} at most)." if self._norms else "."
            why += f" Only {few[0]} of {few[1]} parameters are trained." if few else ""
            found = [
                "requires_grad=True for what is to be trained" if few else None,
                f"learning_rate={max(_USUAL, 10 * self._rate):.2g} (now {self._rate:.2g})"
                if self._rate < 1e-5
                else None,
                frozen,
                None if self._rate < 1e-5 or few else f"learning_rate={10 * self._rate:.2g} (now {self._rate:.2g})",
            ]
        said = f", the validation loss by {percent(moved)}" if moved is not None else ""
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=f"Next to nothing has changed in {step - int(self._first_step)} steps: the training loss moved by "
            f"{shown(abs(change))} (± {shown(_SEEN * error)}) about {shown(line.mean)}{said}. {why}",
            value=abs(change) / max(abs(line.mean), 1e-9),
            unit="share",
            threshold=limit / max(abs(line.mean), 1e-9),
            n_samples=line.n,
            steps=(int(self._first_step), step),
            suggestions=tuple(one for one in found if one)[:3],
            evidence=rounded(change=change, error=error, mean=line.mean, validation_moved_share=moved)
            | {"learning_rate_max": self._rate, "grad_norm_max": norm if self._norms else None},
        )

    def verdict(self) -> Finding:
        """Say that something changed, or that it cannot be said."""
        line = self._line
        if self._changed:
            return self.nothing("The loss changed beyond its scatter: the learning rate has an effect.", n=line.n)
        if line.n < self.limits.learning_rate_ineffective_logs:
            missing = f"{line.n} training logs; {self.limits.learning_rate_ineffective_logs:.0f} are needed."
        else:
            change, error = line.change()
            missing = (
                f"the loss moved by {shown(abs(change))} (± {shown(_SEEN * error)}) so far: more steps are needed."
            )
        return self.nothing("Whether the training has an effect is not known.", missing=missing, n=line.n)


def _trains_a_head(model: dict[str, Any]) -> bool:
    """Whether what is trained is a head on top of frozen weights, as a probe of them."""
    names = model.get("trained")
    if isinstance(names, list):
        return any(part in _HEADS for name in names for part in str(name).split("."))
    return any(word in str(model.get("class")) for word in _WITH_HEAD)
