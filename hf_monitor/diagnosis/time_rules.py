"""Where the time of a training goes: waiting for data, or computing."""

from __future__ import annotations

from typing import Any, NamedTuple

from hf_monitor.diagnosis import suggestions
from hf_monitor.diagnosis.finding import Finding, Verdict, inconclusive
from hf_monitor.diagnosis.intervals import Interval, mean_interval, share_interval
from hf_monitor.diagnosis.readings import Readings, mapping, number, numbers, steps_of, too_few
from hf_monitor.diagnosis.thresholds import (
    BUSY_CPU_SHARE,
    BUSY_GPU_PERCENT,
    DATA_WAIT_HIGH_SHARE,
    DATA_WAIT_SHARE,
    MIN_STEPS,
    MIN_WINDOWS,
)
from hf_monitor.diagnosis.wording import between, evidence_of, of_samples, percent

__all__ = ["time_findings"]


class _Wait(NamedTuple):
    """How long the training waited for data."""

    share: Interval | None
    source: str = ""
    """Of what the share is made, in words."""
    steps: tuple[int, int] | None = None
    reason: str = ""
    """Why there is no share."""


class _Load(NamedTuple):
    """How busy the device was while training."""

    busy: Interval | None
    unit: str
    full: float
    """What a device busy all the time has in this unit."""
    threshold: float
    what: str
    reason: str = ""


def time_findings(readings: Readings) -> list[Finding]:
    """Say whether the training was data-bound, and whether it was compute-bound."""
    wait, load = _wait(readings), _load(readings)
    return [_data_bound(readings, wait, load), _compute_bound(readings, wait, load)]


def _wait(readings: Readings) -> _Wait:
    windows = readings.windows
    n_steps = sum(window.steps for window in windows)
    if len(windows) >= MIN_WINDOWS and n_steps >= MIN_STEPS:
        share = mean_interval([window.data_wait_share for window in windows], [window.seconds for window in windows])
        steps = (min(window.step for window in windows), max(window.step for window in windows))
        return _Wait(share, f"{len(windows)} windows of {n_steps} steps", steps)
    # Few windows (logging_steps is 500 by default), but the sampler noted what the training was doing.
    gpu = readings.own_gpu
    rows = readings.warm(readings.host or (readings.gpus[gpu] if gpu is not None else []))
    if not too_few(rows, len(rows)):
        share = share_interval([row.get("phase") == "data" for row in rows])
        return _Wait(share, of_samples(len(rows)), steps_of(rows))
    return _Wait(
        None,
        reason=f"{len(windows)} logged windows of {n_steps} steps after the warm-up; {MIN_WINDOWS} of {MIN_STEPS} "
        "steps are needed (a smaller logging_steps gives more).",
    )


def _load(readings: Readings) -> _Load:
    if readings.on_cpu:
        return _cpu_load(readings)
    gpu = readings.own_gpu
    what = "the GPU" if gpu is None else f"GPU {gpu}"
    if gpu is None:
        reason = "there are no readings of the training's GPU."
        return _Load(None, "%", 100.0, BUSY_GPU_PERCENT, what, reason)
    rows = readings.warm(readings.gpus[gpu])
    values = numbers(rows, "utilization_percent", 100.0)
    if rows and not values:
        reason = "the hardware does not say how busy it is"
        reason += f" ({why})." if (why := readings.missing(gpu, "utilization_percent").rstrip(".")) else "."
    else:
        reason = too_few(rows, len(values))
    return _Load(None if reason else mean_interval(values), "%", 100.0, BUSY_GPU_PERCENT, what, reason)


def _cpu_load(readings: Readings) -> _Load:
    threads = number(mapping(readings.fact("devices")).get("threads"), 1.0, 1e6)
    cores = int(threads or readings.cpu_count or 0)
    what = f"the CPU ({cores} cores for torch)"
    rows = readings.warm(readings.host)
    values = numbers(rows, "process_cpu_percent")
    if not cores:
        reason = "how many cores torch may use is not known."
    elif rows and not values:
        reason = "the operating system does not say how much CPU time the process takes."
    else:
        reason = too_few(rows, len(values))
    # More than torch's threads run where Python and the data loader have work of their own.
    shares = [min(1.0, value / (100.0 * cores)) for value in values] if not reason else []
    return _Load(mean_interval(shares) if shares else None, "share", 1.0, BUSY_CPU_SHARE, what, reason)


def _evidence(wait: _Wait, load: _Load) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wait.share is not None:
        found |= {"data_wait_share": round(wait.share.value, 4), "data_wait_interval": evidence_of(wait.share)}
        found["data_wait_from"] = wait.source
    if load.busy is not None:
        name = "utilization_percent" if load.unit == "%" else "cpu_share"
        found |= {name: round(load.busy.value, 4), f"{name}_interval": evidence_of(load.busy), "n_load": load.busy.n}
    return found


def _data_bound(readings: Readings, wait: _Wait, load: _Load) -> Finding:
    rule, unit = "data_bound", "share"
    if wait.share is None:
        sentence = "How long the training waited for data is not known."
        return inconclusive(rule, sentence, wait.reason, unit=unit, threshold=DATA_WAIT_SHARE, gpu=readings.own_gpu)
    share = wait.share
    sentence = f"The training waited for its next batch {between(share)} of its time ({wait.source})"
    # On the CPU the process itself is busy when it makes the batches, so that its load says nothing.
    known = load.busy if not readings.on_cpu else None
    verdict: Verdict = "inconclusive"
    reason = ""
    if share.below(DATA_WAIT_SHARE):
        verdict = "clear"
        sentence += "."
    elif known is not None and not known.below(load.threshold):
        sentence += f", and {load.what} was busy {between(known, load.full)} of it all the same."
        if known.above(load.threshold):
            verdict = "clear"
        else:
            reason = f"how busy it was is too near {percent(load.threshold / load.full)} to tell."
    elif share.above(DATA_WAIT_SHARE):
        verdict = "found"
        sentence += f", with {load.what} busy {between(known, load.full)} of it." if known is not None else "."
        idle = 0.0 if known is None else 1 - known.value / load.full
        if idle > 2 * share.value:  # so that nobody hopes for more than the wait can give
            sentence += " Something else leaves it idle too: steps that are too small, or work on the host."
    else:
        sentence += "."
        reason = f"this is too near {percent(DATA_WAIT_SHARE)} to tell."
    return Finding(
        rule=rule,
        verdict=verdict,
        severity="warning" if verdict == "found" and share.above(DATA_WAIT_HIGH_SHARE) else "info",
        sentence=sentence,
        value=share.value,
        unit=unit,
        threshold=DATA_WAIT_SHARE,
        n_samples=share.n,
        steps=wait.steps,
        suggestions=suggestions.for_data(readings) if verdict == "found" else (),
        reason=reason,
        evidence=_evidence(wait, load),
        gpu=readings.own_gpu,
    )


def _compute_bound(readings: Readings, wait: _Wait, load: _Load) -> Finding:
    """On a GPU its utilisation says it all, as it is taken while waiting too; a CPU may be busy with making batches."""
    busy, share = load.busy, wait.share
    verdict: Verdict = "inconclusive"
    reason = load.reason
    sentence = f"How busy {load.what} was is not known."
    if busy is not None:
        waited = "" if share is None else f", which waited for data {percent(share.value)} of it"
        sentence = (
            f"{load.what[0].upper()}{load.what[1:]} was busy {between(busy, load.full)} of the training's time{waited}."
        )
        waits = readings.on_cpu and (share is None or not share.below(DATA_WAIT_SHARE))
        if busy.below(load.threshold) or (waits and share is not None and share.above(DATA_WAIT_SHARE)):
            verdict = "clear"
            if share is not None and share.below(DATA_WAIT_SHARE) and not readings.on_cpu:
                sentence += (
                    " Neither computing nor data holds it up: steps are small, or the host is slow to start them."
                )
        elif not busy.above(load.threshold):
            reason = f"this is too near {percent(load.threshold / load.full)} to tell."
        elif waits:
            reason = wait.reason or f"the wait for data is too near {percent(DATA_WAIT_SHARE)} to tell."
        else:
            verdict = "found"
            sentence += " Computing is what takes the time, as it should be."
    rows = readings.host if readings.on_cpu else readings.gpus.get(_index(readings), [])
    return Finding(
        rule="compute_bound",
        verdict=verdict,
        sentence=sentence,
        value=None if busy is None else busy.value,
        unit=load.unit,
        threshold=load.threshold,
        n_samples=0 if busy is None else busy.n,
        steps=None if busy is None else steps_of(readings.warm(rows)),
        suggestions=suggestions.for_speed(readings, readings.own_gpu) if verdict == "found" else (),
        reason=reason,
        evidence=_evidence(wait, load),
        gpu=readings.own_gpu,
    )


def _index(readings: Readings) -> int:
    return -1 if readings.own_gpu is None else readings.own_gpu
