"""Finding: what a rule saw in a run, and how sure it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Severity", "Verdict", "inconclusive"]

Verdict = Literal["found", "clear", "inconclusive"]
Severity = Literal["info", "warning", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one rule says about a run.

    Attributes
    ----------
    rule : str
        Stable, for programs: ``"data_bound"``, ``"memory_edge"`` ...
    verdict : str
        ``"found"``; ``"clear"`` (looked for, and not there); ``"inconclusive"`` (see ``reason``).
    severity : str
        Of what was found: ``"error"`` (the training, or what it saved, is of no use as it is), ``"warning"`` (something
        to act on) or ``"info"``.
    sentence : str
        What was seen, in words, with numbers and units.
    value : float or None
        What was measured; None where nothing was.
    unit : str
        Of `value` and `threshold`; ``"share"`` is 0 to 1.
    threshold : float or None
        What `value` was compared with.
    n_samples : int
        Samples, or windows, that `value` is made of.
    steps : tuple of int or None
        First and last optimizer step that they come from.
    suggestions : tuple of str
        What to do, each concrete and fit to the run's own arguments; empty unless something was found.
    reason : str
        Why the rule is inconclusive; empty otherwise.
    evidence : mapping
        More numbers: intervals, peaks, temperatures ... Plain values.
    gpu : int or None
        The device (torch's index) that it is about; None where it is about the whole run.
    """

    rule: str
    verdict: Verdict
    sentence: str
    severity: Severity = "info"
    value: float | None = None
    unit: str = ""
    threshold: float | None = None
    n_samples: int = 0
    steps: tuple[int, int] | None = None
    suggestions: tuple[str, ...] = ()
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    gpu: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the finding as plain values, for JSON."""
        return {
            "rule": self.rule,
            "verdict": self.verdict,
            "severity": self.severity,
            "gpu": self.gpu,
            "sentence": self.sentence,
            "value": self.value,
            "unit": self.unit,
            "threshold": self.threshold,
            "n_samples": self.n_samples,
            "steps": None if self.steps is None else list(self.steps),
            "suggestions": list(self.suggestions),
            "reason": self.reason,
            "evidence": dict(self.evidence),
        }

    def said(self, value: float) -> str:
        """Say a value in the unit of this finding: ``"81 %"``, ``"2.3 GiB"``, ``"loss 1.5"``."""
        if self.unit == "share":
            return f"{100 * value:.3g} %"
        shown = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
        return f"loss {shown}" if self.unit == "loss" else f"{shown} {self.unit}".replace("percent", "%").rstrip()

    @property
    def _told(self) -> str:
        """The sentence, what the threshold was compared with, and why nothing can be said."""
        judged = ""
        if self.verdict == "found" and self.value is not None and self.threshold is not None:
            judged = f" Measured: {self.said(self.value)}, threshold: {self.said(self.threshold)}."
        return f"{self.sentence}{judged}" + (f" Inconclusive: {self.reason}" if self.reason else "")

    @property
    def _head(self) -> str:
        mark = self.severity if self.verdict == "found" else self.verdict
        return f"[{mark}] {self.rule}" + ("" if self.gpu is None else f" (GPU {self.gpu})")

    def lines(self) -> list[str]:
        """Give the finding in lines: severity and rule, what was seen, and a line for each thing to try."""
        return [self._head, f"    {self._told}", *(f"    Try: {one}" for one in self.suggestions)]

    def __str__(self) -> str:
        line = f"{self._head}: {self._told}"
        return f"{line}\n    Try: {'; '.join(self.suggestions)}" if self.suggestions else line


def inconclusive(
    rule: str,
    sentence: str,
    reason: str,
    *,
    unit: str = "",
    threshold: float | None = None,
    n: int = 0,
    gpu: int | None = None,
) -> Finding:
    """Make the finding of a rule that could measure nothing."""
    return Finding(
        rule=rule,
        verdict="inconclusive",
        sentence=sentence,
        unit=unit,
        threshold=threshold,
        n_samples=n,
        reason=reason,
        gpu=gpu,
    )
