"""Scores of the generated texts that fall although the validation loss falls."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.overfitting import scatter, trend
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.advice import Saves, shown
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.rules.evaluations import Evaluations, RunningMean
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["RougeFalls"]

_SCORES = ("score", "rougeL", "rougeLsum", "rouge1", "rouge2", "bleu", "meteor", "chrf")
_MOST_SETS = 100


class RougeFalls(Rule):
    """Finds a score (ROUGE, BLEU ...) that falls lastingly below its best while the validation loss falls on.

    The loss is of the reference's tokens, each after the right ones before it; the score is of what the model writes by
    itself. The first can get better while the second does not.
    """

    name: ClassVar[str] = "rouge_falls"
    kinds: ClassVar[frozenset[str]] = frozenset({"eval", "event"})
    follows_from: ClassVar[frozenset[str]] = frozenset({"nan", "divergence", "learning_rate_high"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._saves = Saves(about)
        self._sets: dict[str, tuple[str, Evaluations]] = {}

    def see(self, row: Row) -> Finding | None:
        """Look at loss and score of an evaluation."""
        if row.get("kind") != "eval":
            self._saves.see(row)
            return None
        step = number(row.get("step"))
        if step is None:
            return None
        for name, loss in eval_values(row):
            if name not in self._sets:
                metric = next((one for one in _SCORES if number(row.get(f"{name}_{one}")) is not None), None)
                if metric is None or len(self._sets) >= _MOST_SETS:
                    continue
                self._sets[name] = metric, Evaluations()
            metric, known = self._sets[name]
            value = number(row.get(f"{name}_{metric}"))
            if value is not None:
                known.add(int(step), value, RunningMean(), loss, keep=_highest(known.values))
                if (found := self._judge(name, metric, known)) is not None:
                    return found
        return None

    def _judge(self, name: str, metric: str, known: Evaluations) -> Finding | None:
        limits = self.limits
        best = _highest(known.values)
        after = known.values[best + 1 :]
        if len(after) < limits.rouge_falls_evaluations or len(known.values) < 3:
            return None
        if known.steps[-1] < limits.rouge_falls_done * self.about.max_steps:  # scores go up and down at first
            return None
        scores = np.asarray(known.values)
        highest, last = float(scores[best]), float(np.mean(after[-max(2, (len(after) + 1) // 2) :]))
        chance = scatter(scores) * (math.sqrt(2 * math.log(len(scores))) + limits.rouge_falls_noise)
        full = 100.0 if highest > 1.0 else 1.0
        least = max(limits.rouge_falls_share * highest, limits.rouge_falls_least * full, chance)
        if highest - max(last, after[-1]) <= least or -trend(scores[best:]) < limits.rouge_falls_trend:
            return None
        losses = known.others
        if not losses[-1] < losses[best]:
            return None
        step = known.steps[best]
        sentence = (
            f"{metric} of {name} was highest at step {step}, {shown(highest)}, and is {shown(last)} now "
            f"({percent((highest - last) / highest)} less), although the validation loss fell from "
            f"{shown(losses[best])} to {shown(losses[-1])} meanwhile. Of the step to go back to, "
            f"{self._saves.says_of(step)}."
        )
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=sentence,
            value=highest - last,
            unit=metric,
            threshold=least,
            n_samples=known.n,
            steps=(step, known.steps[-1]),
            suggestions=self._suggestions(f"{name}_{metric}", step),
            evidence={"set": name, "metric": metric, "step": step, "n_after": len(after)}
            | rounded(highest=highest, last=last, loss_then=losses[best], loss_now=losses[-1]),
        )

    def _suggestions(self, metric: str, step: int) -> tuple[str, ...]:
        chosen = self.about.argument("metric_for_best_model")
        found = [
            f"go back to checkpoint-{step}" if step in self._saves.kept else None,
            None
            if isinstance(chosen, str) and not chosen.endswith("loss")
            else f'metric_for_best_model="{metric}" with load_best_model_at_end=True',
            "read the predictions (predictions.jsonl): repeated, too long or all the same?",
            "check that each label belongs to its input: labels that were mixed up look like this",
        ]
        return tuple(one for one in found if one)[:3]

    def verdict(self) -> Finding:
        """Say that no score fell so, or what was missing to say so."""
        needed = int(self.limits.rouge_falls_evaluations) + 1
        most = max((known.n for _, known in self._sets.values()), default=0)
        if most < needed:
            return self.nothing(
                "Whether the scores follow the loss is not known.",
                missing=f"{most} evaluations with a loss and a score; {needed} are needed.",
                n=most,
            )
        return self.nothing("No score fell lastingly while the validation loss fell.", n=most)


def _highest(values: list[float]) -> int:
    return values.index(max(values)) if values else 0
