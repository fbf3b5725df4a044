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
from hf_monitor.diagnosis.wording import evidence_of, of_samples, percent, too_near

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
    rows = readings.warm_host or _own_rows(readings)
    if not too_few(rows, len(rows)):
        share = share_interval([row.get("phase") == "data" for row in rows])
        return _Wait(share, of_samples(len(rows)), steps_of(rows))
    return _Wait(
        None,
        reason=f"{len(windows)} logged windows with {n_steps} steps in all after the warm-up; {MIN_WINDOWS} windows "
        f"with {MIN_STEPS} steps are needed"
        + (" (a smaller logging_steps gives more)." if len(windows) < MIN_WINDOWS else "."),
    )


def _load(readings: Readings) -> _Load:
    if readings.on_cpu:
        return _cpu_load(readings)
    gpu = readings.own_gpu
    what = "the GPU" if gpu is None else f"GPU {gpu}"
    if gpu is None:
        reason = "there are no readings of the training's GPU."
        return _Load(None, 100.0, "%", BUSY_GPU_PERCENT, what, reason)
    rows = _own_rows(readings)
    values = numbers(rows, "utilization_percent", 100.0)
    if rows and not values:
        reason = "the hardware does not say how busy it is"
        reason += f" ({why})." if (why := readings.missing(gpu, "utilization_percent").rstrip(".")) else "."
    else:
        reason = too_few(rows, len(values))
    idle = None if reason else mean_interval([1 - value / 100.0 for value in values])
    return _Load(idle, 100.0, "%", BUSY_GPU_PERCENT, what, reason)


def _cpu_load(readings: Readings) -> _Load:
    threads = number(mapping(readings.fact("devices")).get("threads"), 1.0, 1e6)
    cores = int(threads or readings.cpu_count or 0)
    what = f"the CPU ({cores} cores for torch)"
    rows = readings.warm_host
    values = numbers(rows, "process_cpu_percent")
    if not cores:
        reason = "how many cores torch may use is not known."
    elif rows and not values:
        reason = "the operating system does not say how much CPU time the process takes."
    else:
        reason = too_few(rows, len(values))
    # More than torch's threads run where Python and the data loader have work of their own.
    idle = None if reason else mean_interval([max(0.0, 1 - value / (100.0 * cores)) for value in values])
    return _Load(idle, 1.0, "share", BUSY_CPU_SHARE, what, reason)


def _evidence(wait: _Wait, load: _Load) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if wait.share is not None:
        found |= {"data_wait_share": round(wait.share.value, 4), "data_wait_interval": evidence_of(wait.share)}
        found["data_wait_from"] = wait.source
    if load.idle is not None:
        name = "utilization_percent" if load.unit == "%" else "cpu_share"
        found |= {name: round(load.full * (1 - load.idle.value), 4), "idle_interval": evidence_of(load.idle)}
    return found


def _data_bound(readings: Readings, wait: _Wait, load: _Load) -> Finding:
    rule, unit = "data_bound", "share"
    if wait.share is None:
        sentence = "How long the training waited for data is not known."
        return inconclusive(rule, sentence, wait.reason, unit=unit, threshold=DATA_WAIT_SHARE, gpu=readings.own_gpu)
    share = wait.share
    # On the CPU the process itself is busy when it makes the batches, so that its load says nothing.
    idle = None if readings.on_cpu else load.idle
    busy = f"{load.what} busy {percent(1 - idle.value)} of it" if idle is not None else ""
    verdict: Verdict = "inconclusive"
    reason = more = ""
    if share.below(DATA_WAIT_SHARE):
        verdict = "clear"
    elif idle is not None and idle.below(load.allowed):
        verdict, more = "clear", f", with {busy} all the same"
    elif not share.above(DATA_WAIT_SHARE):
        reason = too_near(share.low, share.high, DATA_WAIT_SHARE)
    elif idle is not None and not idle.above(load.allowed):
        more, reason = f", with {busy}", _near_busy(idle, load)
    else:
        verdict, more = "found", f", with {busy}" if busy else ""
        if idle is not None and idle.value > 2 * share.value:  # so that nobody hopes for more than the wait can give
            more += "; something else leaves it idle too: steps that are too small, or work on the host"
    sentence = f"The training waited for its next batch {percent(share.value)} of its time ({wait.source}){more}."
    return Finding(
        rule=rule,
        verdict=verdict,
        severity="warning" if verdict == "found" and share.value >= DATA_WAIT_HIGH_SHARE else "info",
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
    idle, share = load.idle, wait.share
    if idle is None:
        sentence = f"How busy {load.what} was is not known."
        return inconclusive(
            "compute_bound", sentence, load.reason, unit=load.unit, threshold=load.threshold, gpu=readings.own_gpu
        )
    verdict: Verdict = "inconclusive"
    reason = more = ""
    if idle.above(load.allowed):
        verdict = "clear"
        if share is not None and share.below(DATA_WAIT_SHARE) and not readings.on_cpu:
            more = " Neither computing nor data holds it up: steps are small, or the host is slow to start them."
    elif readings.on_cpu and share is not None and share.above(DATA_WAIT_SHARE):
        verdict = "clear"
    elif not idle.below(load.allowed):
        reason = _near_busy(idle, load)
    elif readings.on_cpu and share is None:
        reason = wait.reason
    elif readings.on_cpu and share is not None and not share.below(DATA_WAIT_SHARE):
        reason = too_near(share.low, share.high, DATA_WAIT_SHARE, "its wait for data")
    else:
        verdict, more = "found", " Computing is what takes the time, as it should be."
    waited = "" if share is None else f", which waited for data {percent(share.value)} of it"
    what = f"{load.what[0].upper()}{load.what[1:]}"
    sentence = f"{what} was busy {percent(1 - idle.value)} of the training's time ({of_samples(idle.n)}){waited}.{more}"
    rows = readings.warm_host if readings.on_cpu else _own_rows(readings)
    return Finding(
        rule="compute_bound",
        verdict=verdict,
        sentence=sentence,
        value=load.full * (1 - idle.value),
        unit=load.unit,
        threshold=load.threshold,
        n_samples=idle.n,
        steps=steps_of(rows),
        suggestions=suggestions.for_speed(readings, readings.own_gpu) if verdict == "found" else (),
        reason=reason,
        evidence=_evidence(wait, load),
        gpu=readings.own_gpu,
    )


def _near_busy(idle: Interval, load: _Load) -> str:
    return too_near(1 - idle.high, 1 - idle.low, load.threshold / load.full, f"how busy {load.what} was")


def _own_rows(readings: Readings) -> list[dict[str, Any]]:
    return [] if readings.own_gpu is None else readings.warm_gpus.get(readings.own_gpu, [])
