"""Samples of a device or of the host by columns: a long training has hundreds of thousands of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import compress
from typing import Any

from hf_monitor.diagnosis.rows import HUGE, number
from hf_monitor.diagnosis.thresholds import MIN_SAMPLES, MIN_SECONDS
from hf_monitor.diagnosis.wording import of_samples

__all__ = ["GPU_KEYS", "HOST_KEYS", "Samples"]

GPU_KEYS = (
    *("time", "step", "phase", "utilization_percent", "memory_used_mib", "other_processes", "other_memory_mib"),
    *("torch_allocated_mib", "torch_allocated_peak_mib", "torch_reserved_mib", "torch_reserved_peak_mib"),
    *("throttle", "temperature_c", "sm_clock_mhz", "power_w"),
)
HOST_KEYS = (
    *("time", "step", "phase", "cpu_percent", "process_cpu_percent", "process_rss_mib"),
    *("ram_used_mib", "ram_total_mib", "disk_free_mib"),
)


class Samples:
    """Samples in the order of time, of which only what the rules ask for is kept.

    Parameters
    ----------
    keys : iterable of str
        ``GPU_KEYS`` or ``HOST_KEYS``.
    """

    def __init__(self, keys: Iterable[str] = HOST_KEYS) -> None:
        self._places = {key: place for place, key in enumerate(keys)}
        self._values: list[Any] = []  # sample after sample, of each what it has under the keys
        self._part: tuple[Samples, list[bool]] | None = None  # whose samples these are, and which of them
        self._columns: dict[str, list[Any]] = {}  # of a part, those that were asked for

    def __len__(self) -> int:
        return len(self._values) // len(self._places) if self._part is None else sum(self._part[1])

    def add(self, row: Mapping[str, Any]) -> None:
        """Take what is asked for of a row."""
        self._values += map(row.get, self._places)

    def column(self, key: str) -> list[Any]:
        """Give what all samples have under a key, as it was written; None where one has nothing."""
        if self._part is None:
            return self._values[self._places[key] :: len(self._places)]
        if key not in self._columns:
            whole, flags = self._part
            self._columns[key] = list(compress(whole.column(key), flags))
        return self._columns[key]

    def where(self, flags: Iterable[object]) -> Samples:
        """Give those samples whose flag is true; these themselves where all are."""
        chosen = list(map(bool, flags))
        if all(chosen):
            return self
        found = Samples(self._places)
        found._part = self, chosen
        return found

    def numbers(self, key: str, high: float = HUGE) -> list[float]:
        """Give the numbers (0 to `high`) under a key, in order; without samples that have none."""
        # As `number` says, written out: half a million samples are read a dozen times.
        return [
            value for value in self.column(key) if (type(value) is float or type(value) is int) and 0.0 <= value <= high
        ]

    @property
    def steps(self) -> tuple[int, int] | None:
        """The first and the last step; None where none is named."""
        ends = self._ends("step")
        return None if ends is None else (int(ends[0]), int(ends[1]))

    def too_few(self, n: int) -> str:
        """Say why `n` readings of these samples are too few; empty where they are enough."""
        if n < MIN_SAMPLES:
            return f"{of_samples(n)} of the training after the warm-up; {MIN_SAMPLES} are needed."
        times = self._ends("time")
        seconds = 0.0 if times is None else times[1] - times[0]
        if seconds < MIN_SECONDS:
            return f"the samples span {seconds:.0f} s of training; {MIN_SECONDS:.0f} s are needed."
        return ""

    def _ends(self, key: str) -> tuple[float, float] | None:
        """Give the first and the last number under a key that grows from sample to sample."""
        column = self.column(key)
        first = next((found for value in column if (found := number(value)) is not None), None)
        last = next((found for value in reversed(column) if (found := number(value)) is not None), None)
        return None if first is None or last is None else (min(first, last), max(first, last))
