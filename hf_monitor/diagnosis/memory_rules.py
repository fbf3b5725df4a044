"""How full a device's memory was, and whether others took of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from hf_monitor.diagnosis import suggestions
from hf_monitor.diagnosis.finding import Finding, Verdict, inconclusive
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.samples import Samples
from hf_monitor.diagnosis.thresholds import (
    MEMORY_BAND,
    MEMORY_EDGE_SHARE,
    MEMORY_HEADROOM_SHARE,
    MIN_MEMORY_SAMPLES,
    OTHER_MEMORY_SHARE,
)
from hf_monitor.diagnosis.wording import mib, of_samples, percent, rounded

__all__ = ["Peaks", "judge_memory", "memory", "other_process"]


class Peaks(NamedTuple):
    """The highest that a device's memory came to, in MiB; None: the hardware does not say."""

    total: float | None
    used: float | None
    """By whomever."""
    allocated: float | None
    reserved: float | None
    """By torch, in this process."""
    n: int
    """Samples."""
    steps: tuple[int, int] | None = None


def memory(readings: Readings, gpu: int) -> tuple[Finding, Finding]:
    """Say whether much memory was left (``memory_headroom``), and whether next to none was (``memory_edge``).

    Peaks count from the first step on: a warm-up's memory is memory, too.
    """
    rows = readings.gpus[gpu]
    total = number(readings.gpu_info(gpu).get("memory_total_mib"), 1.0)
    peaks = Peaks(total, *_peaks(rows), len(rows.numbers("memory_used_mib")), rows.steps)
    why = readings.missing(gpu, "memory_total_mib" if total is None else "memory_used_mib").rstrip(".")
    return judge_memory(readings, gpu, peaks, why)


def judge_memory(
    known: Known,
    gpu: int | None,
    peaks: Peaks,
    why: str = "",
    *,
    low: float = MEMORY_HEADROOM_SHARE,
    high: float = MEMORY_EDGE_SHARE,
) -> tuple[Finding, Finding]:
    """Give ``memory_headroom`` and ``memory_edge`` of a device's peaks.

    Parameters
    ----------
    known : Known
    gpu : int or None
        Its number, where known.
    peaks : Peaks
    why : str
        Why the hardware does not say what is missing.
    low, high : float
        Shares of the memory.
    """
    peak, total = peaks.used, peaks.total
    rules = (("memory_headroom", low), ("memory_edge", high))
    if total is None or peak is None:
        what = "how much memory the card has" if total is None else "how much memory is used"
        reason = f"the hardware does not say {what}{f' ({why})' if why else ''}."
        unknown = "How full the memory was is not known."
        headroom, edge = (
            inconclusive(rule, unknown, reason, unit="share", threshold=threshold, n=peaks.n, gpu=gpu)
            for rule, threshold in rules
        )
        return headroom, edge
    share = peak / total
    sentence = f"At its peak {mib(peak)} of {mib(total)} were used ({percent(share)}; {of_samples(peaks.n)})."
    # What the allocator keeps without a tensor in it, it gives back before it fails.
    kept = 0.0 if peaks.allocated is None or peaks.reserved is None else max(0.0, peaks.reserved - peaks.allocated)
    spare = (peak - kept) / total <= high
    if share > high and spare:
        sentence += f" Of these torch's allocator kept {mib(kept)} that no tensor was in at the worst moment."
    evidence = rounded(
        memory_peak_mib=peak,
        memory_total_mib=total,
        torch_allocated_peak_mib=peaks.allocated,
        torch_reserved_peak_mib=peaks.reserved,
    )
    few = f"{of_samples(peaks.n)}; {MIN_MEMORY_SAMPLES} are needed." if peaks.n < MIN_MEMORY_SAMPLES else ""

    def finding(rule: str, threshold: float, found: bool, clear: bool, advice: tuple[str, ...]) -> Finding:
        verdict: Verdict = "found" if found else "clear" if clear and not few else "inconclusive"
        near = f"this is too near {percent(threshold)}: the longest batch decides."
        return Finding(
            rule=rule,
            verdict=verdict,
            severity="warning" if found and rule == "memory_edge" and not spare else "info",
            sentence=sentence,
            value=share,
            unit="share",
            threshold=threshold,
            n_samples=peaks.n,
            steps=peaks.steps,
            suggestions=advice if found else (),
            reason="" if verdict != "inconclusive" else few or near,
            evidence=evidence,
            gpu=gpu,
        )

    advice = suggestions.for_memory_headroom(known, share)
    headroom = finding("memory_headroom", low, share < low and not few, share >= low + MEMORY_BAND, advice)
    advice = suggestions.for_memory_edge(known, gpu, kept_share=kept / total)
    return headroom, finding("memory_edge", high, share > high, share <= high - MEMORY_BAND, advice)


def _peaks(rows: Samples) -> tuple[float | None, float | None, float | None]:
    """Give the peaks of memory used on the card, and of what torch allocated and reserved.

    The sampler sees a moment a second, torch every one: its own peak plus what else is always there (the CUDA context,
    other processes) may be above the highest sample.
    """
    peak: float | None = max(rows.numbers("memory_used_mib"), default=None)
    allocated: float | None = max(rows.numbers("torch_allocated_peak_mib"), default=None)
    reserved: float | None = max(rows.numbers("torch_reserved_peak_mib"), default=None)
    besides = [
        used - held
        for card, torch in zip(rows.column("memory_used_mib"), rows.column("torch_reserved_mib"), strict=True)
        if (used := number(card)) is not None and (held := number(torch)) is not None
    ]
    if peak is not None and reserved is not None and besides:
        peak = max(peak, reserved + max(0.0, min(besides)))
    return peak, allocated, reserved


def other_process(readings: Readings, gpu: int) -> Finding:
    """Say whether other processes held memory of the card."""
    rows = readings.gpus[gpu]
    known = rows.where(_count(value) is not None for value in rows.column("other_processes"))
    rule, unit = "other_process", "MiB"
    total = number(readings.gpu_info(gpu).get("memory_total_mib"), 1.0)
    threshold = None if total is None else OTHER_MEMORY_SHARE * total
    if not known:
        why = readings.missing(gpu, "other_processes").rstrip(".")
        reason = f"the hardware does not say which processes are on the card{f' ({why})' if why else ''}."
        if not rows:
            reason = "no samples of the training."
        unknown = "Whether others use the card is not known."
        return inconclusive(rule, unknown, reason, unit=unit, threshold=threshold, gpu=gpu)
    counts = [_count(value) or 0 for value in known.column("other_processes")]
    there = known.where(count > 0 for count in counts)
    most = max(counts)
    held = max(there.numbers("other_memory_mib"), default=None)
    who = "1 other process" if most == 1 else f"{most} other processes"
    sentence = f"{who} had memory on the card, in {len(there)} of {of_samples(len(counts))}"
    if not there:
        sentence = f"No other process was on the card ({of_samples(len(counts))})."
    elif held is not None:
        sentence += f": {mib(held)} at most" + (f" ({percent(held / total)} of it)." if total else ".")
    else:
        sentence += "; how much the hardware does not say."
    large = bool(there) and held is not None and threshold is not None and held >= threshold
    found = large or (bool(there) and (held is None or threshold is None))
    return Finding(
        rule=rule,
        verdict="found" if found else "clear",
        severity="warning" if large else "info",
        sentence=sentence,
        value=held if there else 0.0,
        unit=unit,
        threshold=threshold,
        n_samples=len(counts),
        steps=known.steps,
        suggestions=("see who it is with nvidia-smi, and end it or wait for it: it takes memory and time of the card",)
        if found
        else (),
        evidence={"n_samples_with_others": len(there), "processes_max": most},
        gpu=gpu,
    )


def _count(value: Any) -> int | None:
    if isinstance(value, list):
        return len(value)
    found = number(value, high=1e6)
    return None if found is None else int(found)
