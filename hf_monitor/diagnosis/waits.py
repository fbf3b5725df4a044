"""How long a training waited for data: of its processes the one that waited most, since the others wait for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hf_monitor.diagnosis.intervals import Interval, mean_interval, share_interval
from hf_monitor.diagnosis.ranks import Window
from hf_monitor.diagnosis.readings import Readings
from hf_monitor.diagnosis.thresholds import MANY_STEPS, MIN_STEPS, MIN_WINDOWS
from hf_monitor.diagnosis.wording import of_samples

__all__ = ["Wait", "too_few_windows", "wait_of", "windows_words"]


class Wait(NamedTuple):
    """How long the training waited for data."""

    share: Interval | None
    """Of the time of `rank`."""
    source: str = ""
    """Of what the share is made, in words."""
    steps: tuple[int, int] | None = None
    reason: str = ""
    """Why there is no share."""
    rank: int = 0
    """The process that waited most."""
    shares: Mapping[int, float] = {}
    """Of each process that was heard."""
    world_size: int = 1

    @property
    def who(self) -> str:
        """Who waited, in words."""
        return "the training" if self.world_size == 1 else f"rank {self.rank}"

    @property
    def unheard(self) -> str:
        """Say that there are processes whose wait is not known; empty where there are none."""
        n = len(self.shares)
        if n >= self.world_size:
            return ""
        heard = f"only rank {self.rank} was" if n == 1 else f"{n} ranks were"
        return f"of {self.world_size} ranks {heard} heard"


def wait_of(readings: Readings) -> Wait:
    """Give the wait of the process that waited most, from its logged windows, which measure it whole.

    Only where there are no windows at all, it is what the samples of rank 0 say: the share of them that fell between
    two steps.
    """
    windows = readings.windows
    world_size = max(readings.world_size, len(windows))
    shares = {rank: share for rank, own in windows.items() if (share := _share(own)) is not None}
    if shares:
        rank = max(shares, key=lambda rank: shares[rank].value)
        own = windows[rank]
        return Wait(
            shares[rank],
            windows_words(len(own), _steps(own)),
            (min(window.step for window in own), max(window.step for window in own)),
            rank=rank,
            shares={rank: share.value for rank, share in shares.items()},
            world_size=world_size,
        )
    rows = readings.warm_host or readings.rows_of(readings.own_gpu)
    if not any(windows.values()) and not rows.too_few(len(rows)):
        share = share_interval([phase == "data" for phase in rows.column("phase")])
        return Wait(share, of_samples(len(rows)), rows.steps, shares={0: share.value}, world_size=world_size)
    reason = too_few_windows(len(windows[0]), _steps(windows[0]), MIN_WINDOWS, MIN_STEPS, MANY_STEPS)
    return Wait(None, reason=reason, world_size=world_size)


def too_few_windows(n: int, n_steps: int, windows: int, steps: int, many_steps: int | None = None) -> str:
    """Say why so many windows after the warm-up are too few.

    Parameters
    ----------
    n, n_steps : int
        What there is.
    windows, steps : int
        What is needed.
    many_steps : int, optional
        From so many steps on fewer windows would be enough.
    """
    reason = f"{n} logged windows with {n_steps} steps in all after the warm-up; {windows} windows with {steps} steps"
    reason += " are needed" + (f", or fewer with {many_steps}" if many_steps else "")
    return reason + (" (a smaller logging_steps gives more)." if n < windows else ".")


def windows_words(n: int, n_steps: int) -> str:
    """Say of how many windows something is made."""
    return f"{'1 window' if n == 1 else f'{n} windows'} of {n_steps} steps"


def _share(windows: Sequence[Window]) -> Interval | None:
    n_steps = _steps(windows)
    enough = len(windows) >= MIN_WINDOWS and n_steps >= MIN_STEPS
    if not enough and n_steps < MANY_STEPS:
        return None
    share = mean_interval([window.data_wait_share for window in windows], [window.seconds for window in windows])
    return share if enough else share._replace(low=-math.inf, high=math.inf)


def _steps(windows: Sequence[Window]) -> int:
    return sum(window.steps for window in windows)
