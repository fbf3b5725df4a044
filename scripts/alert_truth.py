"""What is right to be said about which fault, and the counting of who said what: the pure part of bench_alerts.

A *run* is counted, not an alert: a rule speaks once in a training or not at all.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hf_monitor.diagnosis.intervals import wilson

__all__ = [
    *("HEALTHY", "TRUTH", "Judged", "Said", "Share", "Truth"),
    *("count_faults", "count_healthy", "count_plainly_healthy", "count_rules"),
]

HEALTHY = "healthy"
SPEAKING = ("error", "warning")
"""Severities that interrupt somebody; ``info`` goes into the record alone and is counted apart."""


@dataclass(frozen=True)
class Truth:
    """What rules are to say of a fault.

    Attributes
    ----------
    expected : tuple of str
        One of these has to speak, else the fault was missed.
    along : mapping of str to str
        Rules that are right, too, if they speak, and why.
    """

    expected: tuple[str, ...]
    along: Mapping[str, str] = field(default_factory=dict)

    def is_right(self, rule: str) -> bool:
        """Say whether a rule that speaks is right."""
        return rule in self.expected or rule in self.along


_STAYS = "the loss does stay where it is"
_SAME_TEXTS = "a model that has learnt nothing gives the same text, or none, for every input"
TRUTH: dict[str, Truth] = {
    "learning_rate_x100": Truth(
        ("divergence", "learning_rate_high"),
        {
            "nan": "weights that are thrown so far may overflow",
            "plateau": _STAYS,
            "generation_collapse": _SAME_TEXTS,
        },
    ),
    "shuffled_labels": Truth(
        ("generation_collapse",),  # texts that do not depend on the input are what such labels teach
        {
            "plateau": "once it is known how targets look, nothing more can be learnt",
            "overfitting": "such labels can only be learnt by heart",
            "rouge_falls": "what is learnt is how targets look, which lowers the loss and says nothing about the input",
        },
    ),
    "leaked_data": Truth(("data_overlap",)),
    "tiny_training_set": Truth(
        ("overfitting",),
        {
            "generation_collapse": "after a few samples learnt by heart, the texts for other inputs come out garbled",
            "plateau": "once the samples are learnt by heart nothing gets better any more",
        },
    ),
    "frozen_model": Truth(
        ("learning_rate_ineffective",),
        {"plateau": _STAYS, "generation_collapse": _SAME_TEXTS},
    ),
    "nan": Truth(
        ("nan",),
        {
            "divergence": "the loss is infinite before it is NaN",
            "generation_collapse": "a model whose weights are NaN gives empty texts",
        },
    ),
    "slow_loader": Truth(("data_bound",)),
}


class Said(NamedTuple):
    """A rule has spoken."""

    rule: str
    severity: str
    step: int


class Judged(NamedTuple):
    """A training, and what the rules said of it."""

    fault: str
    seed: int
    max_steps: int
    said: tuple[Said, ...]
    since: int | None = None  # the step at which the fault came, where it has one

    @property
    def rules(self) -> set[str]:
        """Rules that interrupted somebody."""
        return {one.rule for one in self.said if one.severity in SPEAKING}


class Share(NamedTuple):
    """So many of so many; of none there is no share."""

    count: int
    n: int

    def __str__(self) -> str:
        if not self.n:
            return "-"
        low, high = wilson(self.count, self.n)
        return f"{self.count / self.n:.3f} ({low:.3f} to {high:.3f})"


def _left(run: Judged, rules: Sequence[str]) -> float | None:
    """Give the share of a run's steps that were still to come when the first of some rules spoke."""
    steps = [one.step for one in run.said if one.rule in rules and one.severity in SPEAKING]
    return 1.0 - min(steps) / run.max_steps if steps else None


def count_faults(runs: Sequence[Judged], truth: Mapping[str, Truth] = TRUTH) -> list[dict[str, Any]]:
    """Count fault by fault.

    Parameters
    ----------
    runs : sequence of Judged
        Healthy ones are passed by.
    truth : mapping of str to Truth

    Returns
    -------
    list of dict
        ``fault``, ``n`` (runs), ``expected`` (rules), ``found`` (:class:`Share`: one of the expected spoke),
        ``left_median`` (share of the steps still to come), ``delay_median`` (steps since the fault came),
        ``by_rule``, ``right``, ``wrong`` (rule -> runs), ``info`` (rule -> runs, where it only went into the record),
        ``missed`` (seeds).
    """
    rows = []
    for fault, true in truth.items():
        those = [run for run in runs if run.fault == fault]
        if not those:
            continue
        left = [share for run in those if (share := _left(run, true.expected)) is not None]
        delays = [
            min(one.step for one in run.said if one.rule in true.expected) - run.since
            for run in those
            if run.since is not None and run.rules & set(true.expected)
        ]
        spoke = Counter(rule for run in those for rule in run.rules)
        rows.append(
            {
                "fault": fault,
                "n": len(those),
                "expected": true.expected,
                "found": Share(len(left), len(those)),
                "left_median": statistics.median(left) if left else None,
                "delay_median": statistics.median(delays) if delays else None,
                "by_rule": {rule: spoke[rule] for rule in true.expected if spoke[rule]},
                "right": {rule: spoke[rule] for rule in true.along if spoke[rule]},
                "wrong": {rule: n for rule, n in spoke.most_common() if not true.is_right(rule)},
                "info": dict(Counter(o.rule for run in those for o in run.said if o.severity not in SPEAKING)),
                "missed": [run.seed for run in those if not run.rules & set(true.expected)],
            }
        )
    return rows


def count_rules(
    runs: Sequence[Judged], rules: Sequence[str], truth: Mapping[str, Truth] = TRUTH
) -> list[dict[str, Any]]:
    """Count rule by rule.

    Precision is of all runs of which a rule spoke, so it depends on how many there are of each fault. Recall is of the
    runs of the faults that are the rule's alone to find; where several rules may answer, :func:`count_faults` tells.

    Parameters
    ----------
    runs : sequence of Judged
        All, healthy ones too.
    rules : sequence of str
        Names of all rules.
    truth : mapping of str to Truth

    Returns
    -------
    list of dict
        ``rule``, ``measured`` (whether a fault among the runs is its to find), ``right``, ``wrong`` (runs),
        ``precision`` and ``recall`` (:class:`Share`), ``misses`` (runs), ``shared`` (:class:`Share` of the runs that
        another rule may answer for), ``wrong_in`` (fault -> runs), ``left_median``.
    """
    rows = []
    here = {run.fault for run in runs}
    for rule in rules:
        its = {fault for fault, true in truth.items() if rule in true.expected and fault in here}
        alone = {fault for fault in its if truth[fault].expected == (rule,)}
        spoke = [run for run in runs if rule in run.rules]
        right = [run for run in spoke if run.fault in truth and truth[run.fault].is_right(rule)]
        wrong = Counter(run.fault for run in spoke if run not in right)
        to_find = [run for run in runs if run.fault in alone]
        found = [run for run in to_find if rule in run.rules]
        both = [run for run in runs if run.fault in its - alone]
        left = [share for run in spoke if run.fault in its and (share := _left(run, (rule,))) is not None]
        rows.append(
            {
                "rule": rule,
                "measured": bool(its),
                "right": len(right),
                "wrong": wrong.total(),
                "misses": len(to_find) - len(found),
                "precision": Share(len(right), len(spoke)),
                "recall": Share(len(found), len(to_find)),
                "shared": Share(sum(rule in run.rules for run in both), len(both)),
                "wrong_in": dict(wrong),
                "left_median": statistics.median(left) if left else None,
            }
        )
    return rows


def count_plainly_healthy(evaluations: Sequence[Sequence[Mapping[str, Any]]]) -> Share:
    """Count trainings that were healthy by plain truth, whatever any rule says.

    Parameters
    ----------
    evaluations : sequence of sequence of mapping
        Of each training its evaluations: ``eval_loss``, ``eval_rougeL``.

    Returns
    -------
    Share
        Those whose validation loss ends at most 3 % above its lowest and at most at 3/4 of the first evaluation's, and
        whose ROUGE-L ends higher than it began.
    """
    good = 0
    for those in evaluations:
        losses, scores = ([one[name] for one in those] for name in ("eval_loss", "eval_rougeL"))
        good += losses[-1] <= min(1.03 * min(losses), 0.75 * losses[0]) and scores[-1] > scores[0]
    return Share(good, len(evaluations))


def count_healthy(runs: Sequence[Judged]) -> dict[str, Any]:
    """Count healthy runs of which anything was said: ``any`` (:class:`Share`), ``rules`` and ``info`` (-> seeds)."""
    those = [run for run in runs if run.fault == HEALTHY]
    by_rule: dict[str, list[int]] = {}
    info: dict[str, list[int]] = {}
    for run in those:
        for one in run.said:
            (by_rule if one.severity in SPEAKING else info).setdefault(one.rule, []).append(run.seed)
    return {"any": Share(sum(bool(run.rules) for run in those), len(those)), "rules": by_rule, "info": info}
