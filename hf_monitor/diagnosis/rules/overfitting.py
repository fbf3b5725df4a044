"""A validation loss that rises while the training loss falls, asked at each evaluation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.overfitting import scatter, trend
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.evaluations import Evaluations, RunningMean
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["Overfitting"]

_MOST_SETS = 100


class Overfitting(Rule):
    """Finds overfitting while it goes on.

    As :func:`hf_monitor.diagnosis.overfitting.overfitting_onset`, which judges a curve that is over, and stricter: who
    asks at every evaluation has as many chances to be wrong.
    """

    name: ClassVar[str] = "overfitting"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._training = RunningMean()
        self._sets: dict[str, Evaluations] = {}

    def see(self, row: Row) -> Finding | None:
        """Look at a loss of the training or of an evaluation."""
        kind = row.get("kind")
        if kind == "train":
            loss = number(row.get("loss"), -1e300, 1e300)
            if loss is not None:
                self._training.add(loss)
        elif kind == "eval":
            step = number(row.get("step"))
            for name, loss in eval_values(row):
                known = self._sets.get(name)
                if known is None and len(self._sets) < _MOST_SETS:
                    known = self._sets[name] = Evaluations()
                if known is not None and step is not None:
                    known.add(int(step), loss, self._training, keep=_lowest(known.values))
                    if (found := self._judge(name, known)) is not None:
                        return found
        else:
            self._saves.see(row)
        return None

    def _judge(self, name: str, known: Evaluations) -> Finding | None:
        limits = self.limits
        best = _lowest(known.values)
        after = known.values[best + 1 :]
        if len(after) < limits.overfitting_evaluations or len(known.values) < 3:
            return None
        losses = np.asarray(known.values)
        lowest, last = float(losses[best]), float(np.mean(after[-max(2, (len(after) + 1) // 2) :]))
        chance = scatter(losses[max(0, best - 1) :]) * (math.sqrt(2 * math.log(len(losses))) + limits.overfitting_noise)
        least = max(limits.overfitting_rise * abs(lowest), limits.overfitting_least, chance)
        if min(last, after[-1]) - lowest <= least:
            return None
        if trend(losses[best + 1 :]) < (limits.overfitting_trend if best else limits.overfitting_trend_from_first):
            return None
        before = known.training_before(best)
        now = known.training_before(len(losses) - 1, not_before=best)
        if before is None or now is None or not now < before:
            return None
        return self._found(name, known, best, last, least, before, now)

    def _found(
        self, name: str, known: Evaluations, best: int, last: float, least: float, before: float, now: float
    ) -> Finding:
        step, lowest, latest = known.steps[best], known.values[best], known.steps[-1]
        since = f"before step {step}, the first evaluation," if best == 0 else f"step {step}"
        rise = f" ({percent((last - lowest) / lowest)} more)" if lowest > 0 else ""
        sentence = (
            f"Overfitting since {since}: the validation loss of {name} was lowest there, {shown(lowest)}, and is "
            f"{shown(last)} now{rise}, while the training loss fell from {shown(before)} to {shown(now)}."
        )
        goes_back = self.about.argument("load_best_model_at_end") is True
        if goes_back:
            sentence += (
                f" The Trainer goes back to its best checkpoint at the end by itself: {latest - step} steps are spent "
                "for nothing so far."
            )
        else:
            sentence += f" Of the step to go back to, {self._saves.says_of(step)}."
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=sentence,
            value=last - lowest,
            unit="loss",
            threshold=least,
            n_samples=known.n,
            steps=(step, latest),
            suggestions=self._suggestions(step, goes_back=goes_back),
            evidence={"set": name, "step": step, "n_after": len(known.steps) - best - 1, "is_first": best == 0}
            | {"checkpoint_kept": step in self._saves.kept, "goes_back_by_itself": goes_back}
            | rounded(lowest=lowest, last=last, train_before=before, train_now=now),
        )

    def _suggestions(self, step: int, *, goes_back: bool) -> tuple[str, ...]:
        found: list[Any] = []
        if not goes_back:
            found.append(f"go back to checkpoint-{step}" if step in self._saves.kept else None)
            found.append("load_best_model_at_end=True, with save_strategy as eval_strategy")
        found.append("EarlyStoppingCallback(early_stopping_patience=3), or fewer steps")
        decay = number(self.about.argument("weight_decay"))
        more = (
            f", weight_decay={max(0.01, 10 * decay):.2g} (now {decay:.2g})" if decay is not None and decay < 0.1 else ""
        )
        found.append(f"more training data; else more dropout{more}")
        return tuple(one for one in found if one)[:3]

    def verdict(self) -> Finding:
        """Say that no validation loss rose, or what was missing to say so."""
        needed = int(self.limits.overfitting_evaluations) + 1
        sentence = "Whether the training overfits is not known."
        if not self._training.n:
            return self.nothing(sentence, missing="no training log.")
        most = max((known.n for known in self._sets.values()), default=0)
        if most < needed:
            return self.nothing(sentence, missing=f"{most} evaluations with a loss; {needed} are needed.", n=most)
        return self.nothing("No validation loss rose lastingly while the training loss fell.", n=most)


def _lowest(values: list[float]) -> int:
    return values.index(min(values)) if values else 0
