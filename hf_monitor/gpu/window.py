"""What the samples of a logged window say in short."""

from __future__ import annotations

__all__ = ["Window"]


class Window:
    """Sums over the samples of a logged window."""

    __slots__ = ("busy", "busy_samples", "most_used", "samples")

    def __init__(self) -> None:
        self.samples = self.busy_samples = 0
        self.busy, self.most_used = 0.0, -1.0

    def add(self, utilization_percent: float | None, memory_used_mib: float | None) -> None:
        """Count a sample of a GPU."""
        self.samples += 1
        if utilization_percent is not None:
            self.busy += utilization_percent
            self.busy_samples += 1
        if memory_used_mib is not None and memory_used_mib > self.most_used:
            self.most_used = memory_used_mib

    def values(self) -> dict[str, float]:
        """Give mean utilisation and largest memory, and of how many samples; empty where there was none."""
        found: dict[str, float] = {"gpu_samples": self.samples} if self.samples else {}
        if self.busy_samples:
            found["gpu_utilization_percent"] = round(self.busy / self.busy_samples, 1)
        if self.most_used >= 0:
            found["gpu_memory_used_mib"] = self.most_used
        return found
