"""diagnose: everything that a run says about itself."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from hf_monitor.diagnosis.alert_thresholds import AlertThresholds
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.hardware import HARDWARE_RULES, hardware_findings
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
    mute: Collection[str] = (),
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
        :func:`hardware_findings` are fixed.
    mute : collection of str
        Rules to leave out.

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
    muted = muted_of(mute, {rule.name for rule in RULES} | set(HARDWARE_RULES))
    run = run if isinstance(run, Run) else load_run(run)
    watcher = Watcher(run.facts, thresholds=thresholds, mute=muted & {rule.name for rule in RULES})
    for row in lineage(run.rows):
        watcher.see(row)
    by_rows = watcher.verdicts()
    # Where both look at the same thing, the whole run's samples say more than its rows, unless these have found it.
    found = {finding.rule for finding in watcher.findings}
    whole = [one for one in hardware_findings(run) if one.rule not in muted and one.rule not in found]
    known = {finding.rule for finding in whole}
    findings = [one for one in by_rows if one.verdict == "found" or one.rule not in known] + whole
    return sorted(findings, key=lambda one: (_ORDER[one.verdict], _RANK[one.severity] if one.verdict == "found" else 0))
