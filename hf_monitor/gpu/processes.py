"""Which processes on a card are not ours, and whether the driver's ids of them mean anything here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from hf_monitor.gpu.nvml import Unsaid, answer_of
from hf_monitor.gpu.questions import MIB, MOST_BYTES

__all__ = ["ProcessTable"]


class ProcessTable:
    """Tells others from us in the driver's lists of processes; one for all devices of a process.

    In a container the driver lists the host's ids, or leaves out all that it cannot translate. It does so for every
    card, but only the card that this process uses, and is not listed on, shows it: an empty list of any other card
    looks like one that nobody uses.

    Attributes
    ----------
    foreign : bool or None
        Whether the ids are those of another table; None: nothing has shown it yet.
    """

    def __init__(self) -> None:
        self.foreign: bool | None = None
        self._cards: list[tuple[Callable[[], Sequence[Any] | None], Callable[[], bool] | None]] = []

    def add(self, ask: Callable[[], Sequence[Any] | None], in_use: Callable[[], bool] | None) -> None:
        """Take in a card: how to ask for its processes (None: not now), whether this process has a context on it."""
        self._cards.append((ask, in_use))

    def others(self, running: Sequence[Any], own: set[int], in_use: Callable[[], bool] | None) -> dict[str, Any]:
        """Count the processes of a card that are not ours, and add up their memory.

        Parameters
        ----------
        running : sequence
            What the driver lists: ``pid``, ``usedGpuMemory`` in bytes (None or 2**64 - 1: not said).
        own : set of int
            Ids of processes that are ours besides this one.
        in_use : callable or None
            Whether this process has a context on the card.

        Raises
        ------
        Unsaid
            If the ids are those of another table.
        """
        import psutil

        me = os.getpid()
        pids = {process.pid for process in running}
        if me in pids:
            self.foreign = False
        else:
            self._look(running, in_use)
            for ask, used in self._cards:
                if self.foreign is None and (found := answer_of(ask)) is not None:
                    self._look(found, used)
            gone = not all(psutil.pid_exists(pid) for pid in pids - own)
            if gone and self.foreign is None:
                self.foreign = True  # else a process that has just ended
            if gone or self.foreign:
                reason = "the driver lists processes by ids of another table (a container's host)"
                raise Unsaid("FOREIGN_PIDS", reason)
        others = [process for process in running if process.pid not in own and process.pid != me]
        used_bytes = [process.usedGpuMemory for process in others]
        unsaid = any(bytes_ is None or bytes_ >= MOST_BYTES for bytes_ in used_bytes)
        return {
            "other_processes": len({process.pid for process in others}),
            "other_memory_mib": None if unsaid else sum(used_bytes) / MIB,
        }

    def _look(self, running: Sequence[Any], in_use: Callable[[], bool] | None) -> None:
        """Learn from the list of a card that this process uses."""
        if in_use is not None and answer_of(in_use):
            self.foreign = os.getpid() not in {process.pid for process in running}
