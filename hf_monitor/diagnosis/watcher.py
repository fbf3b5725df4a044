"""Watcher: rows of a training -> findings, one by one as they come or all of a finished run, with the same result."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from hf_monitor.diagnosis.alert_thresholds import AlertThresholds, thresholds_of
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.errors import InputError, did_you_mean

__all__ = ["Watcher", "lineage", "muted_of", "names_of"]


def names_of(option: str, given: Collection[str]) -> frozenset[str]:
    """Make a set of what a user gives as names: one, or several.

    Raises
    ------
    InputError
        If these are no names.
    """
    names = (given,) if isinstance(given, str) else given
    if isinstance(names, Collection) and all(isinstance(name, str) for name in names):
        return frozenset(names)
    raise InputError(f"{option} takes names of rules, such as {{'nan', 'divergence'}}, got {given!r}.")


_GRAVITY = {"info": 0, "warning": 1, "error": 2}


def muted_of(mute: Collection[str], known: Collection[str]) -> frozenset[str]:
    """Give the names of rules that are to be silent.

    Raises
    ------
    InputError
        If one is not the name of a rule, or these are no names.
    """
    names = names_of("mute", mute)
    if unknown := sorted(names.difference(known)):
        near = did_you_mean(unknown[0], known) or f" There are: {', '.join(sorted(known))}."
        raise InputError(f"there is no rule {unknown[0]!r} to mute.{near}")
    return names


class Watcher:
    """Shows rows to the rules.

    One watcher is for one training, with all attempts that it is made of (:func:`lineage`); at each begin the rules
    about the machine start anew, with nothing found. Rows that it saw are not kept.

    A rule speaks once, and once more where it has become worse (:attr:`Rule.may_worsen`), or finds an error after an
    event ``watch_again`` has named it (``rules``: a training that is to be stopped goes on from where the rule had
    found one); of two findings the later one is the verdict.

    Parameters
    ----------
    facts : mapping, optional
        Of ``run.json``; it may grow meanwhile.
    thresholds : AlertThresholds or mapping, optional
    mute : collection of str
        Rules that are left out.
    rules : sequence of type
        Which rules there are.
    on_error : callable, optional
        Called with a rule and its error; that rule is then left out. Without it errors are raised.

    Attributes
    ----------
    findings : list of Finding
        What was found so far, in order.
    """

    def __init__(
        self,
        facts: Mapping[str, Any] | None = None,
        *,
        thresholds: AlertThresholds | Mapping[str, float] | None = None,
        mute: Collection[str] = (),
        rules: Sequence[type[Rule]] = RULES,
        on_error: Callable[[Rule, Exception], None] | None = None,
    ) -> None:
        self.about = About(facts or {}, thresholds_of(thresholds))
        self.findings: list[Finding] = []
        self._on_error = on_error
        muted = muted_of(mute, {rule.name for rule in rules})
        self._rules = [rule(self.about) for rule in rules if rule.name not in muted]
        self._failed: set[str] = set()
        self._again: set[str] = set()  # rules that have found an error and look for another
        self._listeners: dict[str, list[Rule]] = {}
        self._listen()

    def _listen(self) -> None:
        found = {finding.rule: finding.severity for finding in self.findings}
        self._listeners = {}
        for rule in self._rules:
            ended = rule.name in found and (found[rule.name] == "error" or not rule.may_worsen)
            if ended and rule.name not in self._again:
                continue
            if rule.name not in self._failed and not rule.follows_from & found.keys():
                for kind in rule.kinds:
                    self._listeners.setdefault(kind, []).append(rule)

    def see(self, row: Row) -> list[Finding]:
        """Look at the next row, and give what was found just now."""
        kind = row.get("kind")
        if row.get("standalone"):  # an evaluation outside of the training: other data or other weights
            return []
        if kind == "train":
            rate = row.get("learning_rate")
            if type(rate) is float and self.about.peak_rate < rate < math.inf:
                self.about.peak_rate = rate
        elif kind == "event":
            if row.get("event") == "train_begin":
                self._begin(row)
            elif row.get("event") == "watch_again":
                self._look_again(row)
        try:
            rules = self._listeners.get(kind)  # type: ignore[arg-type]  # None, and what cannot be hashed, too
        except TypeError:
            return []
        if not rules:
            return []
        found: list[Finding] = []
        for rule in rules:
            try:
                finding = rule.see(row)
            except Exception as error:
                if self._on_error is None:
                    raise
                self._failed.add(rule.name)
                self._listen()
                self._on_error(rule, error)
                continue
            if finding is not None and self._is_worse(finding):
                found.append(finding)
        if found:
            names = {finding.rule for finding in found}
            causes = {rule.name: rule.follows_from for rule in rules}
            found = [finding for finding in found if not causes[finding.rule] & names]
            self.findings += found
            self._again.difference_update(finding.rule for finding in found)
            self._listen()
        return found

    def _is_worse(self, finding: Finding) -> bool:
        """Whether it is worse than what its rule has found before, if that is anything."""
        if finding.rule in self._again:
            return finding.severity == "error"
        before = [_GRAVITY[one.severity] for one in self.findings if one.rule == finding.rule]
        return not before or _GRAVITY[finding.severity] > max(before)

    def _begin(self, row: Row) -> None:
        for name, key in (("max_steps", "max_steps"), ("first_step", "step")):
            value = row.get(key)
            if type(value) is int and 0 <= value < 10**15:  # beyond any step
                setattr(self.about, name, value)
        anew = {rule.name for rule in self._rules if rule.of_attempt}
        self._rules = [type(rule)(self.about) if rule.name in anew else rule for rule in self._rules]
        self.findings = [finding for finding in self.findings if finding.rule not in anew]
        self._listen()

    def _look_again(self, row: Row) -> None:
        asked = row.get("rules")
        again = {finding.rule for finding in self.findings if isinstance(asked, list) and finding.rule in asked}
        self._rules = [type(rule)(self.about) if rule.name in again else rule for rule in self._rules]
        self._again |= again
        self._listen()

    def verdicts(self) -> list[Finding]:
        """Give one finding of each rule: found (the gravest), in the order in which they came, then the others."""
        gravest = {finding.rule: finding for finding in self.findings}  # the latest
        found = set(gravest)
        others = [rule for rule in self._rules if rule.name not in found | self._failed]
        return [*gravest.values(), *(_explained(rule, found) or rule.verdict() for rule in others)]


def _explained(rule: Rule, found: set[str]) -> Finding | None:
    causes = sorted(rule.follows_from & found)
    if not causes:
        return None
    return rule.nothing("Not looked for any more.", missing=f"it would follow from {causes[0]}.")


def lineage(rows: Iterable[Row]) -> list[Row]:
    """Give the rows that the latest training is made of, in the order written, events too.

    A training that resumed at step S goes on from what the attempt that saved its checkpoint had up to S
    (:func:`hf_monitor.run.lineage.merge` says the same of metrics); one that began anew leaves nothing of those before.
    Rows of attempts that only evaluated are left out.
    """
    trained: dict[Any, list[Row]] = {}
    latest: list[Row] = []
    for row in rows:
        attempt = row.get("attempt")
        if row.get("kind") == "event" and row.get("event") == "train_begin":
            step = number(row.get("step")) or 0
            before: list[Row] = []
            if step:
                known = trained.get(row.get("resumed_attempt"), latest)
                before = [earlier for earlier in known if (number(earlier.get("step")) or 0) <= step]
            latest = trained[attempt] = [*before, row]
        elif attempt in trained:
            trained[attempt].append(row)
    return latest
