"""What could not be measured or shown, and why."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hf_monitor.diagnosis.rows import number
from hf_monitor.report.material import Material

__all__ = ["Gaps", "gaps"]

_MOST_TEXT = 1000


@dataclass(frozen=True)
class Gaps:
    """Each in a sentence."""

    sentences: tuple[str, ...]


def gaps(material: Material) -> Gaps | None:
    """Collect what the other sections said, and what the files themselves lack, each once.

    Rules that could tell nothing stand with the findings.
    """
    told = dict.fromkeys([*_of_rows(material), *material.gaps])
    sentences = tuple(one if len(one) <= _MOST_TEXT else f"{one[:_MOST_TEXT]}…" for one in told)
    return Gaps(sentences) if sentences else None


def _of_rows(material: Material) -> Iterator[str]:
    run = material.run
    if not run.rows:
        yield "metrics.jsonl holds no row: there are no metrics."
    elif material.has_training and not any(row.get("kind") == "eval" for row in material.metrics):
        yield "No evaluation was made during the training: what it does on other data is not known."
    for name, n in sorted(run.broken_lines.items()):
        if n:
            lines = "1 line" if n == 1 else f"{n:,} lines"
            yield f"{lines} of {name} cannot be read and are left out (a process that is killed leaves at most one)."
    gone = sum(number(row.get("lost_rows")) or 0 for row in run.rows if row.get("event") == "recording_resumed")
    if gone:
        yield f"{gone:,.0f} rows could not be kept: the disk was full or gone."
    if material.curves.unusable:
        yield f"In no curve is: {'; '.join(material.curves.unusable)}."
    scaling = material.fact("loss_scaling")
    if scaling.get("verdict") == "undetermined":
        yield f"Whether the loss is the true one is not known: {scaling.get('reason')}."
