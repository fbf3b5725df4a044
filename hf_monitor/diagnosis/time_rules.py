"""Where the time of a training goes: waiting for data, or computing."""

from __future__ import annotations

from typing import Any, NamedTuple

from hf_monitor.diagnosis import suggestions
from hf_monitor.diagnosis.finding import Finding, Verdict, inconclusive
from hf_monitor.diagnosis.intervals import Interval, mean_interval
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.thresholds import (
    BUSY_CPU_SHARE,
    BUSY_GPU_PERCENT,
    DATA_WAIT_HIGH_SHARE,
    DATA_WAIT_SHARE,
)
from hf_monitor.diagnosis.waits import Wait, wait_of
from hf_monitor.diagnosis.wording import evidence_of, of_samples, percent, too_near

__all__ = ["Load", "gpu_load", "judge_data_bound", "time_findings"]


class Load(NamedTuple):
    """How busy a device was while training."""

    idle: Interval | None
    """Share of its capacity that was not used."""
    full: float
    unit: str
    """What the device's whole capacity is called, and in which unit."""
    threshold: float
    """In that unit: busy from here on."""
    what: str
    reason: str = ""
    """Why there is no share."""

    @property
    def allowed(self) -> float:
        """How idle a busy device may be."""
        return 1 - self.threshold / self.full


def time_findings(readings: Readings) -> list[Finding]:
    """Say whether the training was data-bound, and whether it was compute-bound."""
    wait = wait_of(readings)
    gpu = readings.gpu_of(wait.rank)
    # The card of the rank that waits: those of the others are busy with waiting for it, by NCCL's kernels.
    load = None if wait.share is None else _load(readings, gpu)
    data_bound = judge_data_bound(readings, wait, load, gpu)
    return [data_bound, _compute_bound(readings, wait, data_bound)]


def _load(readings: Readings, gpu: int | None) -> Load:
    if readings.on_cpu:
        return _cpu_load(readings)
    if gpu is None:
        return gpu_load(None, None, "there are no readings of the training's GPU.")
    rows = readings.rows_of(gpu)
    values = rows.numbers("utilization_percent", 100.0)
    if rows and not values:
        reason = "the hardware does not say how busy it is"
        reason += f" ({why})." if (why := readings.missing(gpu, "utilization_percent").rstrip(".")) else "."
    else:
        reason = rows.too_few(len(values))
    return gpu_load(gpu, None if reason else mean_interval([1 - value / 100.0 for value in values]), reason)


def gpu_load(gpu: int | None, idle: Interval | None, reason: str = "") -> Load:
    """Make the load of a GPU of the share of its time in which it did nothing."""
    return Load(idle, 100.0, "%", BUSY_GPU_PERCENT, "the GPU" if gpu is None else f"GPU {gpu}", reason)


def _cpu_load(readings: Readings) -> Load:
    threads = number(mapping(readings.fact("devices")).get("threads"), 1.0, 1e6)
    cores = int(threads or readings.cpu_count or 0)
    what = f"the CPU ({cores} cores for torch)"
    rows = readings.warm_host
    values = rows.numbers("process_cpu_percent")
    if not cores:
        reason = "how many cores torch may use is not known."
    elif rows and not values:
        reason = "the operating system does not say how much CPU time the process takes."
    else:
        reason = rows.too_few(len(values))
    # More than torch's threads run where Python and the data loader have work of their own.
    idle = None if reason else mean_interval([max(0.0, 1 - value / (100.0 * cores)) for value in values])
    return Load(idle, 1.0, "share", BUSY_CPU_SHARE, what, reason)


def _evidence(wait: Wait, load: Load) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wait.share is not None:
        found |= {"data_wait_share": round(wait.share.value, 4), "data_wait_interval": evidence_of(wait.share)}
        found["data_wait_from"] = wait.source
    if wait.world_size > 1 and wait.shares:
        found["data_wait_rank"] = wait.rank
        found["data_wait_share_of_ranks"] = {str(rank): round(share, 4) for rank, share in wait.shares.items()}
    if load.idle is not None:
        name = "utilization_percent" if load.unit == "%" else "cpu_share"
        found |= {name: round(load.full * (1 - load.idle.value), 4), "idle_interval": evidence_of(load.idle)}
    return found


def judge_data_bound(
    known: Known, wait: Wait, load: Load | None, gpu: int | None, threshold: float = DATA_WAIT_SHARE
) -> Finding:
    """Say whether a training was data-bound.

    Parameters
    ----------
    known : Known
    wait : Wait
    load : Load or None
        Of the device of the rank that waited most; None where the wait is not known.
    gpu : int or None
        That device, where it is a GPU and known.
    threshold : float
        Share of the time.
    """
    rule, unit = "data_bound", "share"
    if wait.share is None or load is None:
        sentence = "How long the training waited for data is not known."
        return inconclusive(rule, sentence, wait.reason, unit=unit, threshold=threshold, gpu=gpu)
    share = wait.share
    # On the CPU the process itself is busy when it makes the batches, so that its load says nothing.
    idle = None if known.on_cpu else load.idle
    busy = f"{load.what} busy {percent(1 - idle.value)} of it" if idle is not None else ""
    verdict: Verdict = "inconclusive"
    reason = more = ""
    if share.below(threshold):
        verdict = "clear"
    elif idle is not None and idle.below(load.allowed):
        verdict, more = "clear", f", with {busy} all the same"
    elif not share.above(threshold):
        reason = too_near(share.low, share.high, threshold)
    elif idle is not None and not idle.above(load.allowed):
        more, reason = f", with {busy}", _near_busy(idle, load)
    else:
        verdict, more = "found", f", with {busy}" if busy else ""
        if idle is not None and idle.value > 2 * share.value:  # so that nobody hopes for more than the wait can give
            more += f"; something else leaves it idle too: {_small_steps(known)}"
    if wait.unheard and verdict == "clear":
        verdict, reason = "inconclusive", f"{wait.unheard}; all wait for the one whose data comes last."
    if wait.world_size > 1:
        more += f"; {wait.unheard or f'of {wait.world_size} ranks it waited most'}"
    who = f"{wait.who[0].upper()}{wait.who[1:]}"
    sentence = f"{who} waited for its next batch {percent(share.value)} of its time ({wait.source}){more}."
    return Finding(
        rule=rule,
        verdict=verdict,
        severity="warning" if verdict == "found" and share.value >= DATA_WAIT_HIGH_SHARE else "info",
        sentence=sentence,
        value=share.value,
        unit=unit,
        threshold=threshold,
        n_samples=share.n,
        steps=wait.steps,
        suggestions=suggestions.for_data(known) if verdict == "found" else (),
        reason=reason,
        evidence=_evidence(wait, load),
        gpu=gpu,
    )


def _compute_bound(readings: Readings, wait: Wait, data_bound: Finding) -> Finding:
    """Judge by the load of rank 0's device.

    A GPU's utilisation says it all, as it is taken while waiting too; but a CPU may be busy with making batches, and a
    GPU with waiting for another rank's.
    """
    gpu = readings.own_gpu
    load = _load(readings, gpu)
    idle, share = load.idle, wait.share
    if idle is None:
        sentence = f"How busy {load.what} was is not known."
        return inconclusive("compute_bound", sentence, load.reason, unit=load.unit, threshold=load.threshold, gpu=gpu)
    busy_with_data = readings.on_cpu or wait.world_size > 1
    verdict: Verdict = "inconclusive"
    reason = more = ""
    if idle.above(load.allowed):
        verdict = "clear"
        no_wait = share is not None and share.below(DATA_WAIT_SHARE) and not wait.unheard
        if no_wait and not readings.on_cpu:
            more = f" Neither computing nor data holds it up: {_small_steps(readings)}."
    elif busy_with_data and data_bound.verdict == "found":
        verdict = "clear"
        more = "" if readings.on_cpu or wait.rank == 0 else " It is busy, too, while it waits for that rank."
    elif not idle.below(load.allowed):
        reason = _near_busy(idle, load)
    elif busy_with_data and data_bound.verdict == "inconclusive":
        reason = (
            f"it is busy, too, where {'it makes' if readings.on_cpu else 'others wait for'} data, and of that wait: "
        )
        reason += data_bound.reason
    else:
        verdict, more = "found", " Computing is what takes the time, as it should be."
    waited = ""
    if share is not None:
        waited = f", {'which' if wait.world_size == 1 else wait.who} waited for data {percent(share.value)} of it"
    what = f"{load.what[0].upper()}{load.what[1:]}"
    sentence = f"{what} was busy {percent(1 - idle.value)} of the training's time ({of_samples(idle.n)}){waited}.{more}"
    rows = readings.warm_host if readings.on_cpu else readings.rows_of(gpu)
    return Finding(
        rule="compute_bound",
        verdict=verdict,
        sentence=sentence,
        value=load.full * (1 - idle.value),
        unit=load.unit,
        threshold=load.threshold,
        n_samples=idle.n,
        steps=rows.steps,
        suggestions=suggestions.for_speed(readings, gpu) if verdict == "found" else (),
        reason=reason,
        evidence=_evidence(wait, load),
        gpu=gpu,
    )


def _small_steps(known: Known) -> str:
    if known.world_size == 1 and len(known.used_gpus) > 1:
        return "the cards that share the model take turns, steps are small, or the host is slow to start them"
    return "steps are small, or the host is slow to start them"


def _near_busy(idle: Interval, load: Load) -> str:
    return too_near(1 - idle.high, 1 - idle.low, load.threshold / load.full, f"how busy {load.what} was")
