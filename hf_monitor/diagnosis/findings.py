"""diagnose: everything that a run says about itself."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from typing import Any

from hf_monitor.diagnosis.alert_thresholds import AlertThresholds, thresholds_of
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.hardware import HARDWARE_RULES, hardware_findings
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.watcher import Watcher, lineage, muted_of
from hf_monitor.run import Run, load_run

__all__ = ["diagnose"]

_RANK = {"error": 0, "warning": 1, "info": 2}
_ORDER = {"found": 0, "inconclusive": 1, "clear": 2}


def diagnose(
    run: Run | str | os.PathLike[str],
    *,
    thresholds: AlertThresholds | Mapping[str, float] | None = None,
    mute: Collection[str] | None = None,
    readings: Readings | None = None,
) -> list[Finding]:
    """Judge the latest training of a run: finished, crashed or still going.

    The rows are shown, in their order, to the rules that :class:`hf_monitor.AlertCallback` shows them to during the
    training, so that what was found is the same. A training that resumed is judged with what came before its
    checkpoint. :func:`hardware_findings` adds what takes the samples of the whole run.

    Parameters
    ----------
    run : Run or path-like
        From :func:`hf_monitor.run.load_run`, or what that takes.
    thresholds : AlertThresholds or mapping of str to float, optional
        Those that are to be others: ``{"overfitting_rise": 0.1}``. They are the rows' rules'; those of
        :func:`hardware_findings` are fixed. By default those that the training's AlertCallback had (``alerts`` in
        ``run.json``); ``{}`` for the package's own.
    mute : collection of str, optional
        Rules to leave out; by default those that the training's AlertCallback left out, ``()`` for none.
    readings : Readings, optional
        What :func:`hf_monitor.diagnosis.readings.read` made of this run, where that is at hand.

    Returns
    -------
    list of Finding
        At least one of each rule, whatever its verdict: what was found first, the gravest before the others, then what
        could not be said, then what is well.

    Raises
    ------
    InputError
        If a threshold or a rule has no such name, or `run` is none.
    RunFolderError
        If there is no run at that path.

    Examples
    --------
    >>> for finding in diagnose("out/monitor"):  # doctest: +SKIP
    ...     if finding.verdict == "found":
    ...         print(finding)
    """
    known = {rule.name for rule in RULES} | set(HARDWARE_RULES)
    muted = muted_of(mute or (), known)
    limits = thresholds_of(thresholds)
    run = run if isinstance(run, Run) else load_run(run)
    recorded = run.training_facts.get("alerts")
    if isinstance(recorded, Mapping):
        muted = _recorded_mute(recorded, known) if mute is None else muted
        limits = _recorded_thresholds(recorded) if thresholds is None else limits
    watcher = Watcher(run.training_facts, thresholds=limits, mute=muted & {rule.name for rule in RULES})
    for row in lineage(run.rows):
        watcher.see(row)
    by_rows = watcher.verdicts()
    # Where both look at the same thing, the whole run's samples say more than its rows, unless these have found it.
    found = {finding.rule for finding in watcher.findings}
    whole = [
        one
        for one in hardware_findings(run if readings is None else readings)
        if one.rule not in muted and one.rule not in found
    ]
    of_whole = {finding.rule for finding in whole}
    findings = [one for one in by_rows if one.verdict == "found" or one.rule not in of_whole] + whole
    return sorted(findings, key=lambda one: (_ORDER[one.verdict], _RANK[one.severity] if one.verdict == "found" else 0))


def _recorded_mute(recorded: Mapping[str, Any], known: Collection[str]) -> frozenset[str]:
    """Give the rules that a training left out, as far as there are such (another version may have had others)."""
    mute = recorded.get("mute")
    return frozenset(name for name in known if isinstance(mute, list) and name in mute)


def _recorded_thresholds(recorded: Mapping[str, Any]) -> AlertThresholds:
    """Give the thresholds of a training, as far as there are such."""
    given = recorded.get("thresholds")
    names = AlertThresholds().describe().keys()
    usable = {
        name: value
        for name, value in (given.items() if isinstance(given, Mapping) else ())
        if name in names and type(value) in (int, float) and 0 <= value < math.inf
    }
    return AlertThresholds(**usable)
