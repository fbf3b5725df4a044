"""data_bound: the training waits for its batches, said while it does."""

from __future__ import annotations

from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.ranks import window_of
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.rules.blocks import Blocks
from hf_monitor.diagnosis.thresholds import MIN_SAMPLES
from hf_monitor.diagnosis.time_rules import Load, gpu_load, judge_data_bound
from hf_monitor.diagnosis.waits import Wait, too_few_windows, windows_words
from hf_monitor.diagnosis.wording import of_samples

__all__ = ["DataBound"]


class DataBound(Rule):
    """Waiting for data takes a large share of the time, and the GPU, if its load is known, is not busy all the same.

    The first window is left out. The share is that of the whole training so far, of the process that writes the rows;
    ``hardware_findings`` hears the other ranks, too. It must be above the threshold with the whole 95 % interval, both
    by their seconds and if windows count alike: a stall of a minute is no slow loader.
    """

    name: ClassVar[str] = "data_bound"
    kinds: ClassVar[frozenset[str]] = frozenset({"timing", "event"})
    of_attempt: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._begin()

    def _begin(self) -> None:
        self._warm = False
        self._wait, self._idle = Blocks(), Blocks()
        self._waited = self._seconds = 0.0
        self._n_steps = self._pending = self._gpu_samples = 0  # steps: of complete blocks, and of the one to come
        self._silent = False  # the GPU was sampled, and does not say how busy it is
        self._steps: tuple[int, int] | None = None

    def see(self, row: Row) -> Finding | None:
        """Look at a row ``timing``."""
        if row.get("kind") == "event":
            if row.get("event") == "train_begin":  # after a resume another machine, or the loader was mended
                self._begin()
            return None
        window = window_of(row)
        if window is None:
            return None
        if not self._warm:
            self._warm = True
            return None
        step, steps, seconds, share = window
        self._pending += steps
        self._seconds += seconds
        self._waited += share * seconds
        if (samples := number(row.get("gpu_samples"), 1.0)) is not None:
            busy = number(row.get("gpu_utilization_percent"), high=100.0)
            self._silent = busy is None
            if busy is not None:
                self._idle.add(1 - busy / 100.0, samples)
                self._gpu_samples += int(samples)
        if not self._wait.add(share, seconds):
            return None
        self._n_steps += self._pending
        self._pending = 0
        self._steps = (step if self._steps is None else self._steps[0], step)
        if self._waited <= self.limits.data_bound_share * self._seconds or self._few() is not None:
            return None
        finding = self._judge()
        return finding if finding.verdict == "found" and not self._unsure() else None

    def _unsure(self) -> str:
        """Say why what was found is not sure yet; empty where it is."""
        if self._wait.lowest() <= self.limits.data_bound_share:
            return "few windows hold most of the wait: that may have been a stall."
        return "" if self._looked_at_gpu() else f"{of_samples(self._gpu_samples)} of the GPU; {MIN_SAMPLES} are needed."

    def _few(self) -> str | None:
        windows, steps = int(self.limits.data_bound_windows), int(self.limits.data_bound_steps)
        if self._wait.n >= windows and self._n_steps >= steps:
            return None
        return too_few_windows(self._wait.n, self._n_steps, windows, steps)

    def _looked_at_gpu(self) -> bool:
        """Whether the GPU's load is known, or never will be."""
        sampled = self._gpu_samples and not self._silent
        return not sampled or self._gpu_samples >= MIN_SAMPLES or Known(self.about.facts).on_cpu

    def _judge(self) -> Finding:
        known = Known(self.about.facts)
        gpu = known.own_gpu
        world_size, few = known.world_size, self._few()
        share = None if few is not None else self._wait.interval()
        wait = Wait(
            share,
            windows_words(self._wait.n, self._n_steps),
            self._steps,
            reason=few or "",
            shares={} if share is None else {0: share.value},
            world_size=world_size,
        )
        return judge_data_bound(known, wait, self._load(gpu), gpu, self.limits.data_bound_share)

    def _load(self, gpu: int | None) -> Load:
        enough = self._gpu_samples >= MIN_SAMPLES
        return gpu_load(gpu, self._idle.interval() if enough else None)

    def verdict(self) -> Finding:
        """Say that it did not wait, or why that is not known."""
        finding = self._judge()
        if finding.verdict != "found":
            return finding
        return self.nothing(
            finding.sentence,
            missing=self._unsure() or "it came too late.",
            n=finding.n_samples,
            value=finding.value,
            unit=finding.unit,
            threshold=finding.threshold,
            steps=finding.steps,
            evidence=finding.evidence,
        )
