"""What the machine around the GPU was short of: memory and disk."""

from __future__ import annotations

from hf_monitor.diagnosis.finding import Finding, Verdict, inconclusive
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.thresholds import (
    DISK_CHECKPOINTS,
    DISK_FREE_MIB,
    MEMORY_BAND,
    MEMORY_EDGE_SHARE,
    MIN_MEMORY_SAMPLES,
)
from hf_monitor.diagnosis.wording import mib, of_samples, percent

__all__ = ["host_findings"]


def host_findings(readings: Readings) -> list[Finding]:
    """Say whether the host's memory, or its disk, was nearly full."""
    return [_memory(readings), _disk(readings)]


def _memory(readings: Readings) -> Finding:
    rule, host = "host_memory_edge", readings.host
    shares = [
        used / total
        for one, all_of_it in zip(host.column("ram_used_mib"), host.column("ram_total_mib"), strict=True)
        if (used := number(one)) is not None and (total := number(all_of_it, 1.0)) is not None
    ]
    if not shares:
        sentence = "How full the host's memory was is not known."
        reason = "there are no readings of it."
        return inconclusive(rule, sentence, reason, unit="share", threshold=MEMORY_EDGE_SHARE)
    peak, n = max(shares), len(shares)
    few = f"{of_samples(n)}; {MIN_MEMORY_SAMPLES} are needed." if n < MIN_MEMORY_SAMPLES else ""
    verdict: Verdict = "inconclusive"
    if peak > MEMORY_EDGE_SHARE:
        verdict = "found"
    elif peak <= MEMORY_EDGE_SHARE - MEMORY_BAND and not few:
        verdict = "clear"
    workers = number(readings.config.get("dataloader_num_workers")) or 0
    advice = [f"fewer dataloader_num_workers (they are {workers:.0f}, each with memory of its own)"] if workers else []
    process = max(host.numbers("process_rss_mib"), default=None)
    own = f"; the training process had {mib(process)} of it at most" if process is not None else ""
    return Finding(
        rule=rule,
        verdict=verdict,
        severity="warning" if verdict == "found" else "info",
        sentence=f"At its peak {percent(peak)} of the host's memory were used ({of_samples(n)}{own}).",
        value=peak,
        unit="share",
        threshold=MEMORY_EDGE_SHARE,
        n_samples=n,
        steps=readings.host.steps,
        suggestions=(*advice, "close other programs: when memory ends, Linux kills the training")
        if verdict == "found"
        else (),
        reason="" if verdict != "inconclusive" else few or f"this is too near {percent(MEMORY_EDGE_SHARE)}.",
    )


def _disk(readings: Readings) -> Finding:
    rule = "disk_nearly_full"
    needed = _needed_mib(readings)
    free = readings.host.numbers("disk_free_mib")
    if not free:
        sentence, reason = "How much disk is free is not known.", "there are no readings of it."
        return inconclusive(rule, sentence, reason, unit="MiB", threshold=needed)
    least = min(free)
    found = least < needed
    limit = number(readings.config.get("save_total_limit"), 1.0)
    advice = () if limit else ("save_total_limit=2 (old checkpoints are kept without end)",)
    return Finding(
        rule=rule,
        verdict="found" if found else "clear",
        severity="warning" if found else "info",
        sentence=f"At least {mib(least)} of disk were free ({of_samples(len(free))}); {mib(needed)} should be.",
        value=least,
        unit="MiB",
        threshold=needed,
        n_samples=len(free),
        steps=readings.host.steps,
        suggestions=(*advice, "free some disk, or choose an output_dir on another one") if found else (),
    )


def _needed_mib(readings: Readings) -> float:
    """Give what must be free: checkpoints of weights (4 bytes each in fp32) and Adam's two states (8), or the least."""
    config, model = readings.config, mapping(readings.fact("model"))
    if not config or config.get("save_strategy") == "no":
        return DISK_FREE_MIB
    weights = number(model.get("n_parameters")) or 0.0
    trained = 0.0 if config.get("save_only_model") else number(model.get("n_trainable")) or 0.0
    return DISK_FREE_MIB + DISK_CHECKPOINTS * (4 * weights + 8 * trained) / 2**20
