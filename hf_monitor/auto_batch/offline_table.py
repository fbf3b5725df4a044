"""Plans for cards that are not here, as a table to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_monitor.auto_batch.cards import CONTEXT_BYTES, SAFE_FACTOR

if TYPE_CHECKING:
    from hf_monitor.auto_batch.offline import CardPlan
    from hf_monitor.seq2seq.batches import Lengths

__all__ = ["plan_text"]

_MIB = 2**20


def plan_text(plans: Sequence[CardPlan], model: str, lengths: Lengths) -> str:
    """Write the plans as a table, with notes below."""
    rows = [("card", "memory", "usable", "tier", "precision", "batch", "accumulation", "peak", "fits up to")]
    for plan in plans:
        peak = f"{plan.peak_mib} MiB"
        fits = (str(plan.batch_size), str(plan.accumulation), peak, str(plan.largest_batch_size))
        cells = fits if plan.batch_size is not None else ("-", "-", peak, "does not fit")
        tier = f"{plan.tier}{'*' if plan.tier_note else ''}"
        rows.append((plan.card, f"{plan.memory_mib} MiB", f"{plan.usable_mib} MiB", tier, plan.precision, *cells))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    notes: dict[str, list[str]] = {}
    for plan in plans:
        for note in (*plan.notes, *(f"would help: {remedy}" for remedy in plan.remedies)):
            notes.setdefault(note, []).append(plan.card)
    lines = [f"{model}, {lengths.source} source and {lengths.target} target tokens", "", *table]
    lines += [
        "",
        f"usable: {SAFE_FACTOR:.0%} of the memory less {CONTEXT_BYTES // _MIB} MiB for CUDA's context and the driver",
    ]
    yielding = next((plan for plan in plans if plan.tier_note), None)
    if yielding is not None:
        kept = yielding.effective_batch_size
        lines.append(f"* the tier's ranges yield to what fits and what divides; the effective batch stays {kept}")
    if notes:
        lines += ["", *(f"{', '.join(names)}: {note}" for note, names in notes.items())]
    return "\n".join(
        [*lines, "", "Estimated on fake tensors, not measured: find_optimal_batch_size measures on the card itself."]
    )
