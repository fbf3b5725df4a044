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
from hf_monitor.diagnosis.wording import percent

__all__ = ["Overfitting"]

_MOST_SETS = 100


class Overfitting(Rule):
    """Finds overfitting while it goes on.

    As :func:`hf_monitor.diagnosis.overfitting.overfitting_onset`, which judges a curve that is over, and stricter: who
    asks at every evaluation has as many chances to be wrong.
    """

    name: ClassVar[str] = "overfitting"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "eval", "event"})
    follows_from: ClassVar[frozenset[str]] = frozenset({"nan", "divergence"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._training = RunningMean()
        self._undetermined = False  # the training loss may be too large by the accumulation
        self._sets: dict[str, Evaluations] = {}

    def see(self, row: Row) -> Finding | None:
        """Look at a loss of the training or of an evaluation."""
        kind = row.get("kind")
        if kind == "train":
            loss = number(row.get("loss"), -1e300, 1e300)
            if loss is not None:
                self._training.add(loss)
                self._undetermined = row.get("loss_scale") == "undetermined"
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
        """Judge after an evaluation whether its loss rises, or rests while the training set is learnt by heart."""
        n = len(known.values)
        needed = int(self.limits.overfitting_evaluations)
        if n <= max(needed, 2):
            return None
        best = _lowest(known.values)
        if n - 1 - best >= needed and (found := self._rise(name, known, best)) is not None:
            return found
        return self._gap(name, known, n - 1 - max(needed, -(-n // 3)))

    def _rise(self, name: str, known: Evaluations, best: int) -> Finding | None:
        limits, losses = self.limits, np.asarray(known.values)
        before, now = _training(known, best)
        if before is None or now is None or not now < before:
            return None
        if now >= known.values[best] and not self._undetermined:  # then no sample is known by heart
            return None
        after = known.values[best + 1 :]
        lowest, last = known.values[best], float(np.mean(after[-max(2, (len(after) + 1) // 2) :]))
        by_heart = now < limits.overfitting_gap * lowest
        share = limits.overfitting_rise_by_heart if by_heart else limits.overfitting_rise
        tail = scatter(losses[max(0, best - 1) :])
        chance = max(tail, scatter(losses)) * (math.sqrt(2 * math.log(len(losses))) + limits.overfitting_noise)
        least = max(share * abs(lowest), limits.overfitting_least, chance)
        if min(last, after[-1]) - lowest <= least:
            return None
        if trend(losses[best + 1 :]) < (limits.overfitting_trend if best else limits.overfitting_trend_from_first):
            return None
        since = "before the first evaluation" if best == 0 else f"step {known.steps[best]}"
        more = f" ({percent((last - lowest) / lowest)} more)" if lowest > 0 else ""
        sentence = (
            f"Overfitting since {since}: the validation loss of {name} was lowest at step {known.steps[best]}, "
            f"{shown(lowest)}, and is {shown(last)} now{more}, while the training loss fell from {shown(before)} to "
            f"{shown(now)}."
        )
        return self._found(
            sentence, known, best, last - lowest, least, {"set": name, "lowest": lowest, "last": last}, before, now
        )

    def _gap(self, name: str, known: Evaluations, since: int) -> Finding | None:
        """Judge whether a validation loss rests far above a training loss that falls on."""
        limits = self.limits
        before, now = _training(known, since) if since >= 0 else (None, None)
        if before is None or now is None or now > (1.0 - limits.overfitting_fall) * before:
            return None
        then, last = known.values[since], known.values[-1]
        if min(known.values[since + 1 :]) < then - limits.overfitting_rest * abs(then):
            return None
        least = max((1.0 - limits.overfitting_gap) * last, limits.overfitting_gap_least)
        if last - now <= least:
            return None
        best = _lowest(known.values)
        sentence = (
            f"The training set is being learnt by heart: since step {known.steps[since]} the training loss fell from "
            f"{shown(before)} to {shown(now)}, while the validation loss of {name} rests ({shown(then)} then, "
            f"{shown(last)} now; lowest {shown(known.values[best])} at step {known.steps[best]})."
        )
        return self._found(
            sentence, known, best, last - now, least, {"set": name, "then": then, "last": last}, before, now
        )

    def _found(
        self,
        sentence: str,
        known: Evaluations,
        best: int,
        value: float,
        threshold: float,
        evidence: dict[str, Any],
        before: float,
        now: float,
    ) -> Finding:
        step, latest = known.steps[best], known.steps[-1]
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
            value=value,
            unit="loss",
            threshold=threshold,
            n_samples=known.n,
            steps=(step, latest),
            suggestions=self._suggestions(step, goes_back=goes_back),
            evidence=evidence
            | {"step": step, "n_after": len(known.steps) - best - 1, "is_first": best == 0}
            | {"checkpoint_kept": step in self._saves.kept, "goes_back_by_itself": goes_back}
            | {"train_before": before, "train_now": now},
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


def _training(known: Evaluations, index: int) -> tuple[float | None, float | None]:
    """Give the training loss of the interval up to an evaluation, and of the latest since."""
    before = known.training_before(index)
    if before is None and index + 1 < len(known.values):  # evaluated before the first step
        before = known.training_before(index + 1, not_before=index)
    return before, known.training_before(len(known.values) - 1, not_before=index)


def _lowest(values: list[float]) -> int:
    return values.index(min(values)) if values else 0
