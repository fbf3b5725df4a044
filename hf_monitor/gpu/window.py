"""What the samples of a logged window say in short."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Window"]


class Window:
    """Sums and peaks over the samples of a logged window."""

    __slots__ = ("beside", "busy", "busy_samples", "clock", "clock_samples", "fullest", "most", "samples")

    def __init__(self) -> None:
        self.samples = self.busy_samples = self.clock_samples = 0
        self.busy = self.clock = 0.0
        self.most = -1.0, -1.0  # share of the memory that was used, and how much
        self.fullest: Mapping[str, Any] = {}
        self.beside: float | None = None

    def add(self, values: Mapping[str, Any], memory_total_mib: float | None = None) -> None:
        """Count a sample of a GPU: the values of its row."""
        self.samples += 1
        if (busy := values.get("utilization_percent")) is not None:
            self.busy += busy
            self.busy_samples += 1
        if (clock := values.get("sm_clock_mhz")) is not None:
            self.clock += clock
            self.clock_samples += 1
        if (used := values.get("memory_used_mib")) is None:
            return
        if (most := (used / memory_total_mib if memory_total_mib else 0.0, used)) >= self.most:
            self.most, self.fullest = most, {**values, "memory_total_mib": memory_total_mib}
        if (held := values.get("torch_reserved_mib")) is not None:
            beside = max(0.0, used - held)
            self.beside = beside if self.beside is None else min(self.beside, beside)

    def values(self) -> dict[str, float]:
        """Give means and peaks, and of how many samples; empty where there was none.

        Of memory those of the fullest card: ``gpu_memory_used_mib``, ``gpu_memory_total_mib``, torch's own peaks since
        the training began, and ``gpu_memory_beside_mib``, the least that was used beside what torch held.
        """
        found: dict[str, float] = {"gpu_samples": self.samples} if self.samples else {}
        if self.busy_samples:
            found["gpu_utilization_percent"] = round(self.busy / self.busy_samples, 1)
        if self.clock_samples:
            found["gpu_sm_clock_mhz"] = round(self.clock / self.clock_samples, 1)
        if self.most[1] >= 0:
            found["gpu_memory_used_mib"] = self.most[1]
        if (total := self.fullest.get("memory_total_mib")) is not None:
            found["gpu_memory_total_mib"] = total
        if self.beside is not None:
            found["gpu_memory_beside_mib"] = self.beside
        for name in ("torch_allocated_peak_mib", "torch_reserved_peak_mib"):
            if (peak := self.fullest.get(name)) is not None:
                found[name] = peak
        return found
