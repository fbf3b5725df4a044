"""hardware_findings: where a training's time went, and what its hardware was short of."""

from __future__ import annotations

import os

from hf_monitor.diagnosis.clock_rules import power_throttling, thermal_throttling
from hf_monitor.diagnosis.finding import Finding, inconclusive
from hf_monitor.diagnosis.host_rules import host_findings
from hf_monitor.diagnosis.memory_rules import memory, other_process
from hf_monitor.diagnosis.readings import Readings, read
from hf_monitor.diagnosis.time_rules import time_findings
from hf_monitor.run import Run, load_run
from hf_monitor.run.bulk import collector_paused

__all__ = ["HARDWARE_RULES", "hardware_findings"]

_GPU_RULES = ("thermal_throttling", "power_throttling", "memory_headroom", "memory_edge", "other_process")
HARDWARE_RULES = ("data_bound", "compute_bound", *_GPU_RULES, "host_memory_edge", "disk_nearly_full")
"""Names of all rules of :func:`hardware_findings`."""


def hardware_findings(run: Run | Readings | str | os.PathLike[str]) -> list[Finding]:
    """Judge how the latest training of a run used its hardware.

    Of a launch on several machines, that of rank 0 is judged; the wait for data is that of the rank that waited most.
    Only samples of training count, not those of evaluation or saving; where there are at least three logged windows,
    speed and clocks are judged without the first. The thresholds and their reasons are in
    :mod:`hf_monitor.diagnosis.thresholds`; a share or mean is judged by its 95 % confidence interval, so that one near
    a threshold is "inconclusive" rather than a matter of luck.

    Parameters
    ----------
    run : Run or path-like
        From :func:`hf_monitor.run.load_run`, or what that takes; or its readings, where they are at hand.

    Returns
    -------
    list of Finding
        One of each rule, whatever its verdict, in this order: ``data_bound``, ``compute_bound``; for each device that
        the training used ``thermal_throttling``, ``power_throttling``, ``memory_headroom``, ``memory_edge``,
        ``other_process``; ``host_memory_edge``, ``disk_nearly_full``. Without a GPU the rules about one are
        inconclusive once each.

    Examples
    --------
    >>> for finding in hardware_findings(load_run("out/monitor")):  # doctest: +SKIP
    ...     if finding.verdict == "found":
    ...         print(finding)
    """
    with collector_paused():
        run = load_run(run) if isinstance(run, str | os.PathLike) else run
        readings = run if isinstance(run, Readings) else read(run)
        about_gpus = [finding for gpu in readings.used_gpus for finding in _about_gpu(readings, gpu)]
        return [*time_findings(readings), *(about_gpus or _without_gpu(readings)), *host_findings(readings)]


def _about_gpu(readings: Readings, gpu: int) -> list[Finding]:
    return [
        thermal_throttling(readings, gpu),
        power_throttling(readings, gpu),
        *memory(readings, gpu),
        other_process(readings, gpu),
    ]


def _without_gpu(readings: Readings) -> list[Finding]:
    if readings.on_cpu:
        reason = "the training ran on the CPU."
    elif readings.n_samples:
        reason = "there are no readings of a GPU while it trained."
    else:
        reason = "there are no readings: the sampler did not run (GpuMonitorCallback starts it)."
    return [inconclusive(rule, "Nothing is known of a GPU.", reason) for rule in _GPU_RULES]
