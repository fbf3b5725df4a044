"""What could not be measured or shown, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hf_monitor.diagnosis.rows import number
from hf_monitor.report.first_evaluation import first_evaluation
from hf_monitor.report.material import Material

__all__ = ["Gaps", "gaps"]

_MOST_TEXT = 1000


@dataclass(frozen=True)
class Gaps:
    """Each in a sentence."""

    sentences: tuple[str, ...]


def gaps(material: Material) -> Gaps | None:
    """Collect what the other sections said, and what the files themselves lack, each once.

    Rules that could tell nothing stand with the findings; here is a sign to them.
    """
    told = dict.fromkeys([*_of_rows(material), *material.gaps, *_of_rules(material)])
    sentences = tuple(one if len(one) <= _MOST_TEXT else f"{one[:_MOST_TEXT]}…" for one in told)
    return Gaps(sentences) if sentences else None


def _of_rules(material: Material) -> Iterator[str]:
    n = sum(one.verdict == "inconclusive" for one in material.findings)
    if n:
        yield f"{n} rule{'s' if n > 1 else ''} could tell nothing: each says why among the findings, above."


def _of_rows(material: Material) -> Iterator[str]:
    run = material.run
    if not run.rows:
        yield "metrics.jsonl holds no row: there are no metrics."
    elif material.has_training and not any(row.get("kind") == "eval" for row in material.metrics):
        due = first_evaluation(material)
        why = f"the first was due {due}" if due else "what it does on other data is not known"
        yield f"No evaluation was made during the training: {why}."
    for name, n in sorted(run.broken_lines.items()):
        if n:
            lines = "1 line" if n == 1 else f"{n:,} lines"
            yield f"{lines} of {name} cannot be read and are left out (a process that is killed leaves at most one)."
    gone = sum(number(row.get("lost_rows")) or 0 for row in run.rows if row.get("event") == "recording_resumed")
    if gone:
        yield f"{gone:,.0f} rows could not be kept: the disk was full or gone."
    if material.curves.unusable:
        yield f"In no curve is: {'; '.join(material.curves.unusable)}."
    for fact, what in (("loss_scaling", "the loss"), ("eval_loss_scaling", "the loss of evaluations")):
        scaling = material.fact(fact)
        if scaling.get("verdict") == "undetermined":
            yield f"Whether {what} is the true one is not known: {scaling.get('reason')}."
