"""What the rules found, with what they measured; what they could not tell, and what is well."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.report import words
from hf_monitor.report.ending_words import RULES
from hf_monitor.report.material import Material
from hf_monitor.report.plots import Table

__all__ = ["Found", "Judged", "findings"]

_TONES = {"error": "bad", "warning": "warn", "info": "info"}
_MOST_TEXT = 1000


@dataclass(frozen=True)
class Found:
    """One thing that was found."""

    title: str
    severity: str
    tone: str
    rule: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    suggestions: tuple[str, ...]
    evidence: Table | None


@dataclass(frozen=True)
class Judged:
    """What all rules said."""

    found: tuple[Found, ...]
    unknown: Table | None
    well: Table | None
    n_unknown: int
    n_well: int


def findings(material: Material) -> Judged | None:
    """Give what :func:`hf_monitor.diagnosis.diagnose` says of the latest training."""
    if not material.findings:
        return None
    unknown = [one for one in material.findings if one.verdict == "inconclusive"]
    well = [one for one in material.findings if one.verdict == "clear"]
    return Judged(
        found=tuple(_found(one) for one in material.findings if one.verdict == "found"),
        unknown=_table(unknown, "Why it cannot be told") if unknown else None,
        well=_table(well, "Judged on") if well else None,
        n_unknown=len(unknown),
        n_well=len(well),
    )


def _found(finding: Finding) -> Found:
    title = RULES.get(finding.rule, finding.rule.replace("_", " "))
    place = "" if finding.gpu is None else f" (GPU {finding.gpu})"
    evidence = Table(["evidence", "value"], list(_evidence(finding.evidence)))
    return Found(
        title=f"{title[0].upper()}{title[1:]}{place}",
        severity=finding.severity,
        tone=_TONES[finding.severity],
        rule=finding.rule,
        sentence=finding.sentence,
        facts=tuple((label, value) for label, value in _facts(finding) if value),
        suggestions=finding.suggestions,
        evidence=evidence if evidence.rows else None,
    )


def _facts(finding: Finding) -> Iterator[tuple[str, str]]:
    yield "Measured", "" if finding.value is None else finding.said(finding.value)
    yield "Threshold", "" if finding.threshold is None else finding.said(finding.threshold)
    if finding.steps is not None:
        first, last = finding.steps
        yield "Steps", f"{first:,}" if first == last else f"{first:,} to {last:,}"
    yield "Made of", f"{finding.n_samples:,} values" if finding.n_samples > 1 else ""


def _evidence(evidence: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in evidence.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        yield str(name).replace("_", " "), words.number(value) if is_number else _cut(words.shown(value))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"


def _table(found: list[Finding], last: str) -> Table:
    rules: dict[tuple[str, str], list[str]] = {}  # what several say in the same words is told once
    for one in found:
        place = "" if one.gpu is None else f" (GPU {one.gpu})"
        judged = one.reason or (f"{one.n_samples:,} values" if one.n_samples else "")
        rules.setdefault((one.sentence, judged), []).append(f"{one.rule.replace('_', ' ')}{place}")
    rows = [(", ".join(names), sentence, judged) for (sentence, judged), names in rules.items()]
    return Table(["rule", "what it says", last.lower()], rows)
