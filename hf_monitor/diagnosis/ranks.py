"""What the processes of a training recorded of their steps: logged windows, and where each process ran."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hf_monitor.diagnosis.rows import HUGE, number
from hf_monitor.diagnosis.thresholds import WARM_UP_WINDOWS

__all__ = ["Rank", "Window", "cuda_index", "rank_of", "same_machine", "warmed", "window_of"]

_Row = Mapping[str, Any]


class Window(NamedTuple):
    """A logged window of training."""

    step: int
    steps: int
    seconds: float
    """Of training only: steps and waiting for data."""
    data_wait_share: float


def window_of(row: _Row) -> Window | None:
    """Make a window of a row ``timing``; None where it lacks what the rules need."""
    step, steps, seconds, share = row.get("step"), row.get("steps"), row.get("seconds"), row.get("data_wait_share")
    if (  # as they are written, so that nearly all rows are such
        seconds.__class__ is share.__class__ is float
        and step.__class__ is steps.__class__ is int
        and 1e-9 <= seconds <= HUGE
        and 0.0 <= share <= 1.0
        and 0 <= step <= HUGE
        and 1 <= steps <= HUGE
    ):
        return Window(step, steps, seconds, share)
    seconds, steps = number(seconds, 1e-9), number(steps, 1.0)
    if seconds is None or steps is None:
        return None
    share = number(share, high=1.001)
    if share is None:
        wait = number(row.get("data_wait_seconds"))
        share = None if wait is None else number(wait * steps / seconds, high=1.001)
    return None if share is None else Window(int(number(step) or 0), int(steps), seconds, min(1.0, share))


def warmed(windows: list[Window]) -> list[Window]:
    """Leave the first window out where there are at least ``WARM_UP_WINDOWS``."""
    return windows[1:] if len(windows) >= WARM_UP_WINDOWS else windows


class Rank:
    """A process above rank 0.

    Attributes
    ----------
    windows : list of Window
        Of its latest training, the first one included.
    begin : mapping
        Its row ``sampler_begin``; empty where there is none.
    """

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.begin: _Row = {}

    def take(self, row: _Row) -> None:
        """Hear a row of this process."""
        kind = row.get("kind")
        if kind == "timing" and (window := window_of(row)) is not None:
            self.windows.append(window)
        elif kind == "event" and row.get("event") == "sampler_begin":
            self.begin, self.windows = row, []  # auto_find_batch_size begins again, with another batch


def rank_of(row: _Row) -> int:
    """Give which process wrote a row of ``system.jsonl`` and its like; 0 where it does not say, -1 for nonsense."""
    value = row.get("rank")
    if value is None:
        return 0
    found = number(value, high=1e6)
    return -1 if found is None or found != int(found) else int(found)


def cuda_index(device: Any) -> int | None:
    """Give 1 of ``"cuda:1"`` and 0 of ``"cuda"``; None for any other device."""
    name, _, index = device.partition(":") if isinstance(device, str) else ("", "", "")
    if name != "cuda":
        return None
    return int(index) if index.isdecimal() else 0


def same_machine(one: _Row, other: _Row) -> bool:
    """Whether two processes surely ran on one machine, by what :func:`hf_monitor.run.process.process_identity` says."""
    return isinstance(one.get("host"), str) and all(one.get(key) == other.get(key) for key in ("host", "boot_id"))
