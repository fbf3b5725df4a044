"""Every number that a rule over rows decides by, with its reason; ``docs/alerts.md`` shows them as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["AlertThresholds", "thresholds_of"]


def _limit(default: float, why: str) -> Any:
    """Make a field that knows its reason: a source, or what was measured."""
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """Thresholds of the rules, each named ``<rule>_<what>``; ``describe()`` gives their reasons.

    Raises
    ------
    InputError
        If a value is not a finite number of at least 0.
    """

    # nan, divergence, learning rate, gradient, plateau, overfitting, scores (rules7)

    # texts: collapse, overlap (texts7)

    # time and machine

    data_bound_share: float = _limit(
        0.20, "share of the time spent waiting for batches: TensorFlow's highly input-bound (DATA_WAIT_HIGH_SHARE)"
    )
    data_bound_windows: float = _limit(
        8, "logged windows after the first: it is asked at each, and of 3 one in some hundreds is above by chance"
    )
    data_bound_steps: float = _limit(40, "steps in these windows: one slow batch is then no fifth of the time")

    memory_edge_share: float = _limit(
        0.95, "peak of the memory used, of the total (MEMORY_EDGE_SHARE): the rest is for a longer batch"
    )
    memory_headroom_share: float = _limit(
        0.70, "peak below which at least a third more fits (MEMORY_HEADROOM_SHARE, SageMaker Debugger's BatchSize rule)"
    )
    memory_headroom_samples: float = _limit(60, "samples of the GPU: a minute of training at 1 Hz")
    memory_headroom_windows: float = _limit(5, "logged windows: long batches come by chance, window by window")
    memory_headroom_progress: float = _limit(
        0.25, "share of the steps: the longest batch of all may still come, and what is saved is more, the earlier"
    )

    slower_steps_factor: float = _limit(
        1.5, "of the start's time a step: clocks that sink as a card warms up cost 10 to 20 %; our own choice"
    )
    slower_steps_seconds: float = _limit(
        60.0,
        "of a spell: ten are the start, ten are now. Simulated: of 60 times two hours at an even pace with 25 % of "
        "scatter (autocorrelation 0.9 from log to log) none was called slower, with spells of 20 s nine",
    )
    slower_steps_steps: float = _limit(5, "of a spell: one slow step is then no more than a fifth of it")
    slower_steps_scatter: float = _limit(
        3.0,
        "standard deviations of the spells before, which the factor must be above. Simulated as above, but 40 % "
        "and drifts of minutes (autocorrelation 0.99): 8 of 60 instead of 20; twice as slow is found in 40 of 40",
    )

    disk_short_margin: float = _limit(
        1.02, "of the size of the checkpoints to come: the Trainer's state in them grows with each log"
    )

    time_short_seconds: float = _limit(120.0, "from the begin: the first minutes have warm-up and no evaluation")
    time_short_progress: float = _limit(
        0.05, "of the steps, or of the time that there is: by then an evaluation has mostly been seen"
    )
    time_short_logs: float = _limit(4, "logs after the first, for an interval of the pace that is of any use")
    time_short_margin: float = _limit(
        1.02, "of the time left, that the lower end of the time needed must be above: an alarm for minutes is none"
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"the threshold {one.name!r} must be a finite number of at least 0, got {value!r}.")

    def describe(self) -> dict[str, tuple[float, str]]:
        """Give name -> (value, reason)."""
        return {one.name: (getattr(self, one.name), one.metadata["why"]) for one in fields(self)}


def thresholds_of(given: AlertThresholds | Mapping[str, float] | None) -> AlertThresholds:
    """Make thresholds of what a user gives: nothing, some by name, or all.

    Raises
    ------
    InputError
        If a name is not one of them, or a value no finite number of at least 0.
    """
    if given is None or isinstance(given, AlertThresholds):
        return given or AlertThresholds()
    if not isinstance(given, Mapping):
        raise InputError(
            f"thresholds must be a dict of names and numbers, or AlertThresholds, got {type(given).__name__}."
        )
    known = [one.name for one in fields(AlertThresholds)]
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"there is no threshold {unknown[0]!r}. There are: {', '.join(known)}.")
    return AlertThresholds(**given)
