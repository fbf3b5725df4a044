"""The counting of who said what of which fault: the pure part of bench_alerts.

A *run* is counted, not an alert: a rule speaks once in a training or not at all.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from alert_truth import HEALTHY, PLAINLY, SPEAKING, TRUTH, Judged, Truth, is_harmed

from hf_monitor.diagnosis.intervals import wilson

__all__ = ["ENOUGH", "Share", "count_faults", "count_healthy", "count_plainly", "count_rules", "count_strengths"]

ENOUGH = 30
"""Runs from which on a share is compared with a goal; of fewer even a clean slate reaches down below 0.89 (Wilson)."""


class Share(NamedTuple):
    """So many of so many; of none there is no share."""

    count: int
    n: int

    def __str__(self) -> str:
        if not self.n:
            return "-"
        low, high = wilson(self.count, self.n)
        return f"{self.count / self.n:.3f} ({low:.3f} to {high:.3f})"

    def against(self, goal: float) -> str:
        """Say ``"met"``, ``"short"``, or ``"n too small"`` where there are fewer than `ENOUGH`."""
        if self.n < ENOUGH:
            return "n too small"
        return "met" if self.count / self.n >= goal else "short"


def _left(run: Judged, rules: Sequence[str]) -> float | None:
    """Give the share of a run's steps that were still to come when the first of some rules spoke."""
    steps = [one.step for one in run.said if one.rule in rules and one.severity in SPEAKING]
    return 1.0 - min(steps) / run.max_steps if steps else None


def _by_kind(runs: Sequence[Judged], rules: Collection[str]) -> dict[str, Share]:
    kinds: dict[str, list[bool]] = {}
    for run in runs:
        kinds.setdefault(run.kind, []).append(bool(run.rules & set(rules)))
    return {kind: Share(sum(those), len(those)) for kind, those in sorted(kinds.items()) if kind}


def count_faults(runs: Sequence[Judged], truth: Mapping[str, Truth] = TRUTH) -> list[dict[str, Any]]:
    """Count fault by fault.

    Parameters
    ----------
    runs : sequence of Judged
        Healthy ones, and faults that are not in `truth`, are passed by.
    truth : mapping of str to Truth

    Returns
    -------
    list of dict
        ``fault``, ``n`` (runs), ``expected`` (rules), ``found`` (:class:`Share`: one of the expected spoke),
        ``by_kind`` (the same, kind -> :class:`Share`), ``left_median`` (share of the steps still to come),
        ``delay_median`` (steps since the fault came), ``by_rule``, ``right``, ``wrong`` (rule -> runs), ``info`` (rule
        -> runs, where it only went into the record), ``missed`` (seeds).
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
                "by_kind": _by_kind(those, true.expected),
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

    Precision is of all runs of which a rule spoke, so it depends on how many there are of each fault; ``strict`` leaves
    out those where it is right, but not what was to be found. Recall is of the runs of the faults that are the rule's
    alone to find; where several rules may answer, :func:`count_faults` tells.

    Parameters
    ----------
    runs : sequence of Judged
        All, healthy ones too; faults that are not in `truth` are passed by.
    rules : sequence of str
        Names of all rules.
    truth : mapping of str to Truth

    Returns
    -------
    list of dict
        ``rule``, ``to_find`` (runs of the faults that it is expected of), ``measured`` (whether these are `ENOUGH`),
        ``expected``, ``along``, ``wrong`` (runs of which it spoke), ``precision``, ``strict`` and ``recall``
        (:class:`Share`), ``misses`` (runs), ``shared`` (:class:`Share` of the runs that another rule may answer for),
        ``wrong_in`` (fault -> runs), ``left_median``.
    """
    runs = [run for run in runs if run.fault in truth or run.fault == HEALTHY]
    rows = []
    here = {run.fault for run in runs}
    for rule in rules:
        its = {fault for fault, true in truth.items() if rule in true.expected and fault in here}
        alone = {fault for fault in its if truth[fault].expected == (rule,)}
        spoke = [run for run in runs if rule in run.rules]
        expected = [run for run in spoke if run.fault in its]
        along = [run for run in spoke if run.fault in truth and rule in truth[run.fault].along]
        wrong = Counter(run.fault for run in spoke if run not in expected and run not in along)
        to_find = [run for run in runs if run.fault in alone]
        found = [run for run in to_find if rule in run.rules]
        both = [run for run in runs if run.fault in its - alone]
        left = [share for run in expected if (share := _left(run, (rule,))) is not None]
        rows.append(
            {
                "rule": rule,
                "to_find": len(to_find) + len(both),
                "measured": len(to_find) + len(both) >= ENOUGH,
                "expected": len(expected),
                "along": len(along),
                "wrong": wrong.total(),
                "misses": len(to_find) - len(found),
                "precision": Share(len(expected) + len(along), len(spoke)),
                "strict": Share(len(expected), len(expected) + wrong.total()),
                "recall": Share(len(found), len(to_find)),
                "shared": Share(sum(rule in run.rules for run in both), len(both)),
                "wrong_in": dict(wrong),
                "left_median": statistics.median(left) if left else None,
            }
        )
    return rows


def count_healthy(runs: Sequence[Judged]) -> dict[str, Any]:
    """Count healthy runs of which anything was said: ``any`` (:class:`Share`), ``rules`` and ``info`` (-> seeds)."""
    those = [run for run in runs if run.fault == HEALTHY]
    by_rule: dict[str, list[int]] = {}
    info: dict[str, list[int]] = {}
    for run in those:
        for one in run.said:
            (by_rule if one.severity in SPEAKING else info).setdefault(one.rule, []).append(run.seed)
    return {"any": Share(sum(bool(run.rules) for run in those), len(those)), "rules": by_rule, "info": info}


def count_plainly(runs: Sequence[Judged]) -> list[tuple[str, str, Share]]:
    """Count the runs whose fault shows in their own validation losses: fault, what shows, how many."""
    rows = []
    for fault, (what, shows) in PLAINLY.items():
        if those := [run for run in runs if run.fault == fault and run.losses]:
            rows.append((fault, what, Share(sum(shows(run.losses) for run in those), len(those))))
    return rows


def count_strengths(runs: Sequence[Judged], faults: Sequence[str], rule: str, truth: Truth) -> list[dict[str, Any]]:
    """Count by what a fault is found as it gets weaker.

    Parameters
    ----------
    runs : sequence of Judged
    faults : sequence of str
        The same fault in several strengths.
    rule : str
        The rule that is to find it.
    truth : Truth
        What is right to be said of it.

    Returns
    -------
    list of dict
        ``fault``, ``n``; ``harmed`` (:class:`Share` of those with a healthy training of the same seed to compare with);
        ``rule`` and ``any`` (runs of which the rule spoke, or any that is right), ``rule_unlimited`` and
        ``any_unlimited`` (the same without the limit of ``Judged.unlimited``).
    """
    healthy = {run.seed: run.losses for run in runs if run.fault == HEALTHY and run.losses}
    rows = []
    for fault in faults:
        those = [run for run in runs if run.fault == fault]
        if not those:
            continue
        compared = [is_harmed(run.losses, healthy[run.seed]) for run in those if run.losses and run.seed in healthy]

        now, unlimited = [run.rules for run in those], [run.rules_unlimited for run in those]
        rows.append(
            {
                "fault": fault,
                "n": len(those),
                "harmed": Share(sum(compared), len(compared)),
                "rule": sum(rule in said for said in now),
                "any": sum(any(map(truth.is_right, said)) for said in now),
                "rule_unlimited": sum(rule in said for said in unlimited),
                "any_unlimited": sum(any(map(truth.is_right, said)) for said in unlimited),
            }
        )
    return rows
