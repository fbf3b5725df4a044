"""memory_edge and memory_headroom: how full the GPU's memory is, said while it trains."""

from __future__ import annotations

from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.memory_rules import Peaks, judge_memory
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.wording import of_samples

__all__ = ["MemoryEdge", "MemoryHeadroom"]


class _MemoryRule(Rule):
    """Keeps the peaks of the fullest GPU."""

    kinds: ClassVar[frozenset[str]] = frozenset({"timing", "event"})
    of_attempt: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._begin()

    def _begin(self) -> None:
        self._used = self._total = self._allocated = self._reserved = self._beside = -1.0  # below 0: not known
        self._n = self._windows = 0
        self._steps: tuple[int, int] | None = None

    def see(self, row: Row) -> Finding | None:
        """Look at a row ``timing``."""
        if row.get("kind") == "event":
            if row.get("event") == "train_begin":  # auto_find_batch_size begins again, with another batch
                self._begin()
            return None
        used = number(row.get("gpu_memory_used_mib"))
        if used is None:
            return None
        self._n += int(number(row.get("gpu_samples"), 1.0) or 1)
        self._windows += 1
        step = int(number(row.get("step")) or 0)
        self._steps = (step if self._steps is None else self._steps[0], step)
        self._used = max(self._used, used)
        self._total = number(row.get("gpu_memory_total_mib"), 1.0) or self._total
        self._allocated = max(self._allocated, number(row.get("torch_allocated_peak_mib")) or -1.0)
        self._reserved = max(self._reserved, number(row.get("torch_reserved_peak_mib")) or -1.0)
        beside = number(row.get("gpu_memory_beside_mib"))
        if beside is not None:
            self._beside = beside if self._beside < 0 else min(self._beside, beside)
        return self._look()

    def _look(self) -> Finding | None:
        raise NotImplementedError

    @property
    def _share(self) -> float:
        """Peak by total; below 0 where one of them is not known."""
        return self._peak() / self._total if self._total > 0 else -1.0

    def _peak(self) -> float:
        """As the peak of samples: torch's own peak may be above the highest of them."""
        if self._reserved < 0 or self._beside < 0:
            return self._used
        return max(self._used, self._reserved + self._beside)

    def _judge(self) -> tuple[Finding, Finding]:
        known = Known(self.about.facts)
        allocated, reserved, used, total = (
            None if value < 0 else value for value in (self._allocated, self._reserved, self._peak(), self._total)
        )
        peaks = Peaks(total, used, allocated, reserved, self._n, self._steps)
        low, high = self.limits.memory_headroom_share, self.limits.memory_edge_share
        why = "the training ran on the CPU" if known.on_cpu else "" if self._n else "no window has readings of a GPU"
        return judge_memory(known, known.own_gpu, peaks, why, low=low, high=high)

    def _not_yet(self, finding: Finding, missing: str) -> Finding:
        """Make of a finding that was not said one that is inconclusive."""
        return self.nothing(
            finding.sentence,
            missing=missing,
            n=finding.n_samples,
            value=finding.value,
            unit=finding.unit,
            threshold=finding.threshold,
            steps=finding.steps,
            evidence=finding.evidence,
        )


class MemoryEdge(_MemoryRule):
    """Next to no memory is left on the fullest GPU, not even what torch's allocator keeps and would give back."""

    name: ClassVar[str] = "memory_edge"

    def _look(self) -> Finding | None:
        if self._share <= self.limits.memory_edge_share:
            return None
        finding = self._judge()[1]
        return finding if finding.verdict == "found" and finding.severity == "warning" else None

    def verdict(self) -> Finding:
        """Say how full it was, or why that is not known."""
        finding = self._judge()[1]
        if finding.verdict != "found":
            return finding
        return self._not_yet(finding, "torch's allocator would give back what it keeps.")


class MemoryHeadroom(_MemoryRule):
    """So much memory lies idle on the fullest GPU that a larger batch would fit.

    It is said once a good part of the training is over, since the longest batch may still come.
    """

    name: ClassVar[str] = "memory_headroom"

    def _look(self) -> Finding | None:
        if self._share < 0 or self._share >= self.limits.memory_headroom_share or self._few():
            return None
        finding = self._judge()[0]
        return finding if finding.verdict == "found" else None

    def _few(self) -> str:
        """Say why it is too early; empty where it is not."""
        limits = self.limits
        if self._n < limits.memory_headroom_samples or self._windows < limits.memory_headroom_windows:
            return (
                f"{of_samples(self._n)} in {self._windows} windows; {limits.memory_headroom_samples:.0f} in "
                f"{limits.memory_headroom_windows:.0f} are needed."
            )
        step = self._steps[1] if self._steps is not None else 0
        begun, end = self.about.first_step, self.about.max_steps
        if step - begun < limits.memory_headroom_progress * (end - begun):
            return "the longest batch may still come: too little of the training is over."
        return ""

    def verdict(self) -> Finding:
        """Say how full it was, or why that is not known."""
        finding = self._judge()[0]
        return finding if finding.verdict != "found" else self._not_yet(finding, self._few() or "it came too late.")
