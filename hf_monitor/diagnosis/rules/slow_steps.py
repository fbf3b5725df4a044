"""slower_steps: steps take much longer than at the start of the same training, and keep doing so."""

from __future__ import annotations

from collections import deque
from math import exp, log, sqrt
from statistics import median
from typing import ClassVar, NamedTuple

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.wording import percent, rounded

__all__ = ["SlowerSteps"]

_START_BLOCKS = _LATE_BLOCKS = 10


class _Block(NamedTuple):
    """Some time of training, evaluations and saving left out."""

    step_seconds: float
    """Of a step, without the wait for data."""
    token_seconds: float | None
    """Of a token; None where they are not counted."""
    clock_mhz: float | None
    """Of the GPU; None where it is not known."""
    step: int
    """After which it ended."""


class _Sums:
    """What a block will be made of."""

    __slots__ = ("_clock", "_clocked", "_tokens", "seconds", "steps")

    def __init__(self) -> None:
        self.seconds = self._tokens = self._clock = self._clocked = 0.0
        self.steps = 0.0

    def add(self, row: Row, steps: float, step_seconds: float) -> None:
        """Count a window."""
        spent = steps * step_seconds
        self.steps += steps
        self.seconds += spent
        rate = number(row.get("tokens_per_second"))
        if rate and (seconds := number(row.get("seconds"))):
            self._tokens += rate * seconds
        clock = number(row.get("gpu_sm_clock_mhz"))
        if clock and (samples := number(row.get("gpu_samples"))):
            self._clock += clock * samples
            self._clocked += samples

    def block(self, step: int) -> _Block:
        """Make the block."""
        return _Block(
            self.seconds / self.steps,
            self.seconds / self._tokens if self._tokens else None,
            self._clock / self._clocked if self._clocked else None,
            step,
        )


class SlowerSteps(Rule):
    """The median of the last minutes is above the start's by a factor, and each of them above all of the start.

    Windows are put together to blocks of at least so many steps and seconds; the start are the first ten after the
    first window, "now" are the last ten. On a machine whose speed goes up and down the factor must be more than three
    standard deviations of the blocks before. Where tokens are counted, a token must take longer, too: longer texts
    alone make no training slow. What is not a step (waiting for data, evaluation, saving) does not count.
    """

    name: ClassVar[str] = "slower_steps"
    kinds: ClassVar[frozenset[str]] = frozenset({"timing", "event"})
    of_attempt: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._begin()

    def _begin(self) -> None:
        self._warm = False
        self._sums = _Sums()
        self._start: list[_Block] = []
        self._late: deque[_Block] = deque(maxlen=_LATE_BLOCKS)
        self._n_windows = 0
        self._n = 0  # of the blocks that are not "now", and of the logarithm of their step's time:
        self._mean = self._squares = 0.0

    def see(self, row: Row) -> Finding | None:
        """Look at a row ``timing``."""
        if row.get("kind") == "event":
            if row.get("event") == "train_begin":  # after a resume another machine, or another batch
                self._begin()
            return None
        steps, step_seconds = number(row.get("steps"), 1.0), number(row.get("step_seconds"), 1e-9)
        if steps is None or step_seconds is None:
            return None
        if not self._warm:
            self._warm = True
            return None
        self._n_windows += 1
        sums = self._sums
        sums.add(row, steps, step_seconds)
        if sums.seconds < self.limits.slower_steps_seconds or sums.steps < self.limits.slower_steps_steps:
            return None
        block, self._sums = sums.block(int(number(row.get("step")) or 0)), _Sums()
        if len(self._start) < _START_BLOCKS:
            self._start.append(block)
            self._leave(block)
            return None
        if len(self._late) == _LATE_BLOCKS:
            self._leave(self._late[0])
        self._late.append(block)
        return self._judge() if len(self._late) == _LATE_BLOCKS else None

    def _leave(self, block: _Block) -> None:
        """Take a block into the scatter (Welford's way)."""
        value = log(block.step_seconds)
        self._n += 1
        off = value - self._mean
        self._mean += off / self._n
        self._squares += off * (value - self._mean)

    def _threshold(self) -> float:
        """Give the factor that is asked for: more, where the speed went up and down before."""
        scatter = sqrt(self._squares / max(1, self._n - 1))
        return max(self.limits.slower_steps_factor, exp(min(self.limits.slower_steps_scatter * scatter, 700.0)))

    def _factors(self) -> tuple[float, float]:
        """Give by how much steps are slower now: in the median and at least."""
        at_start = median(block.step_seconds for block in self._start)
        ratios = [block.step_seconds / at_start for block in self._late]
        tokens = [block.token_seconds for block in self._start if block.token_seconds is not None]
        if len(tokens) == _START_BLOCKS:
            a_token = median(tokens)
            ratios = [
                ratio if block.token_seconds is None else min(ratio, block.token_seconds / a_token)
                for ratio, block in zip(ratios, self._late, strict=True)
            ]
        return median(ratios), min(ratios)

    def _apart(self) -> bool:
        return min(block.step_seconds for block in self._late) > max(block.step_seconds for block in self._start)

    def _judge(self) -> Finding | None:
        factor, least = self._factors()
        threshold = self._threshold()
        if factor < threshold or least < (1 + self.limits.slower_steps_factor) / 2 or not self._apart():
            return None
        before = median(block.step_seconds for block in self._start)
        now = median(block.step_seconds for block in self._late)
        clocks = [
            median(known) if (known := [b.clock_mhz for b in blocks if b.clock_mhz is not None]) else None
            for blocks in (self._start, self._late)
        ]
        fell = clocks[0] is not None and clocks[1] is not None and clocks[1] < 0.9 * clocks[0]
        sentence = f"A step takes {_seconds(now)} now; at the start of this training it took {_seconds(before)}"
        if fell and clocks[0] and clocks[1]:
            sentence += f". The GPU's clock is at {percent(clocks[1] / clocks[0])} of what it was ({clocks[1]:.0f} MHz)"
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=f"{sentence}.",
            value=factor,
            unit="times",
            threshold=threshold,
            n_samples=self._n_windows,
            steps=(self._late[0].step, self._late[-1].step),
            suggestions=self._advice(fell),
            evidence=rounded(
                step_seconds_at_start=before,
                step_seconds_now=now,
                factor_at_least=least,
                sm_clock_at_start_mhz=clocks[0],
                sm_clock_now_mhz=clocks[1],
            )
            | {"start_until_step": self._start[-1].step},
        )

    def _advice(self, clock_fell: bool) -> tuple[str, ...]:
        known = Known(self.about.facts)
        own = "look for lists that grow with every step (losses kept as tensors, callbacks, custom metrics)"
        if known.on_cpu:
            return ("look who else uses the machine (top)", own)
        hot = "see thermal_throttling and power_throttling in hardware_findings(run): the card lowered its clock"
        busy = "look who else uses the card and the machine (nvidia-smi, top)"
        allocator = "where memory is nearly full, PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True (fragmentation)"
        return (hot, busy) if clock_fell else (busy, allocator, own)

    def verdict(self) -> Finding:
        """Say how long steps take compared to the start, or why that is not known."""
        threshold, unit = self._threshold(), "times"
        n_blocks = _START_BLOCKS + _LATE_BLOCKS
        have = len(self._start) + len(self._late)
        if have < n_blocks:
            seconds, steps = self.limits.slower_steps_seconds, self.limits.slower_steps_steps
            return self.nothing(
                "Whether steps are slower than at the start is not known.",
                missing=f"{have} spells of at least {seconds:.0f} s and {steps:.0f} steps each after the first logged "
                f"window; {n_blocks} are needed.",
                n=self._n_windows,
                unit=unit,
                threshold=threshold,
            )
        factor, least = self._factors()
        return self.nothing(
            f"In the last {_LATE_BLOCKS} spells a step took {factor:.2g} times as long as at the start "
            f"({least:.2g} times at least).",
            n=self._n_windows,
            value=factor,
            unit=unit,
            threshold=threshold,
            steps=(self._late[0].step, self._late[-1].step),
        )


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 0.1 else f"{1000 * value:.3g} ms"
