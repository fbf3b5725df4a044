"""Memory over time from the rows of ``system.jsonl``: one series a device, with its total and its breaks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.errors import InputError

__all__ = ["MemorySeries", "memory_series"]

_OF_CARDS: tuple[str, ...] = ("memory_used_mib",)
_OF_SILENT_CARDS: tuple[str, ...] = ("memory_used_mib", "torch_reserved_mib")
_OF_HOSTS: tuple[str, ...] = ("ram_used_mib", "process_rss_mib")
_SPELL_S = 120.0  # the sampler's interval is at most a minute


@dataclass
class MemorySeries:
    """Memory that was used, over the time of recording.

    Attributes
    ----------
    name : str
        ``"GPU 0"``, ``"GPU 0 of rank 8"``, ``"machine"``, ``"this process"``.
    what : str
        The key that the values come from: ``memory_used_mib``, ``torch_reserved_mib``, ``ram_used_mib``,
        ``process_rss_mib``.
    device : str or None
        What the card is called.
    total_mib : float or None
        None where the hardware does not say.
    times_s : list of float
        Seconds since the first sample of all series; the time between two attempts is taken out.
    values_mib : list of float
    steps : list of int or None
    attempts : list of int
    """

    name: str
    what: str
    device: str | None = None
    total_mib: float | None = None
    times_s: list[float] = field(default_factory=list)
    values_mib: list[float] = field(default_factory=list)
    steps: list[int | None] = field(default_factory=list)
    attempts: list[int] = field(default_factory=list)

    @property
    def peak(self) -> tuple[float, float, int | None]:
        """Seconds, MiB and step of the highest sample, the first of equals."""
        value = max(self.values_mib)
        at = self.values_mib.index(value)
        return self.times_s[at], value, self.steps[at]

    def stretches(self) -> list[int]:
        """Give each sample the number of its unbroken stretch: a new one begins with an attempt, and after a pause.

        A pause is longer than two minutes and than five times the usual time between two samples.
        """
        import numpy as np

        gaps = np.diff(np.asarray(self.times_s))
        longest = max(_SPELL_S, 5.0 * float(np.median(gaps))) if len(gaps) else _SPELL_S
        begins = (gaps > longest) | (np.diff(np.asarray(self.attempts)) != 0)
        return [0, *np.cumsum(begins).tolist()]


def memory_series(rows: Iterable[Mapping[str, Any]]) -> tuple[list[MemorySeries], list[float], list[str]]:
    """Sort the samples of a run into series.

    Parameters
    ----------
    rows : iterable of mapping
        Of ``system.jsonl``; ``load_run(...).system`` has those of all ranks.

    Returns
    -------
    list of MemorySeries
        Of the GPUs; where there are none, of the machine's and the process's RAM.
    list of float
        Seconds at which a later attempt begins.
    list of str
        What is missing, and why.

    Raises
    ------
    InputError
        If an item is not a row.
    """
    clock = _Clock()
    found: dict[tuple[Any, ...], MemorySeries] = {}
    known: dict[tuple[Any, Any], dict[str, Any]] = {}
    silent: dict[tuple[Any, ...], int] = {}
    lost = 0
    for row in rows:
        if type(row) is not dict and not isinstance(row, Mapping):
            raise InputError(f"rows of system.jsonl must be mappings, got {type(row).__name__}: {str(row)[:60]!r}.")
        kind, rank = row.get("kind"), _whole(row.get("rank")) or 0
        if kind == "event":
            for gpu in _listed(row.get("gpus")) if row.get("event") == "sampler_begin" else ():
                known[rank, _whole(mapping(gpu).get("gpu"))] = mapping(gpu)
            continue
        if kind == "gpu":
            # torch's allocator counts only where the driver does not say.
            keys = _OF_CARDS if row.get("memory_used_mib") is not None else _OF_SILENT_CARDS
        elif kind == "host" and not rank:
            keys = _OF_HOSTS
        else:
            continue
        at, gpu = clock.at(row), _whole(row.get("gpu"))
        if at is None:
            lost += 1
            continue
        for key in keys:
            value = number(row.get(key))
            where = (kind, rank, gpu, key)
            if value is None:
                silent[where] = silent.get(where, 0) + 1
                continue
            series = found.get(where)
            if series is None:
                series = found[where] = MemorySeries(_name(kind, rank, gpu, key), key)
            if "memory_total_mib" in row:  # rows of somebody else, with the total beside what is used
                series.total_mib = number(row["memory_total_mib"], 1.0) or series.total_mib
            if key == "ram_used_mib":
                series.total_mib = number(row.get("ram_total_mib"), 1.0) or series.total_mib
            series.times_s.append(at)
            series.values_mib.append(value)
            series.steps.append(_whole(row.get("step")))
            series.attempts.append(clock.attempt)
    notes = [f"{lost} samples without a time"] if lost else []
    chosen = _chosen(found, silent, known, notes)
    return chosen, clock.begins, notes


def _chosen(
    found: dict[tuple[Any, ...], MemorySeries],
    silent: dict[tuple[Any, ...], int],
    known: dict[tuple[Any, Any], dict[str, Any]],
    notes: list[str],
) -> list[MemorySeries]:
    """Take of each card what the driver says, else what torch's allocator holds; of no card at all the RAM."""
    cards = {(rank, gpu) for kind, rank, gpu, _ in [*found, *silent] if kind == "gpu"}
    chosen = []
    for rank, gpu in sorted(cards, key=lambda card: (card[0], str(card[1]))):
        driver, torch = (found.get(("gpu", rank, gpu, key)) for key in ("memory_used_mib", "torch_reserved_mib"))
        series = driver or torch
        name = _name("gpu", rank, gpu, "")
        if series is None:
            notes.append(f"{name}: the hardware does not say how much memory is used")
            continue
        if driver is None:
            notes.append(f"{name}: the driver does not say what is used; what torch's allocator holds is shown instead")
        elif missing := silent.get(("gpu", rank, gpu, "memory_used_mib")):
            notes.append(f"{name}: {missing} of {missing + len(driver.times_s)} samples do not say how much is used")
        facts = known.get((rank, gpu), {})
        series.total_mib = number(facts.get("memory_total_mib"), 1.0) or series.total_mib
        series.device = None if facts.get("name") is None else str(facts["name"])
        if series.total_mib is None:
            notes.append(f"{name}: its total memory is not recorded, so there is no 95 % line")
        chosen.append(series)
    if not cards:
        chosen = [found[key] for key in found if key[0] == "host"]
        if chosen:
            notes.append("no GPU was recorded: RAM is shown instead")
    return chosen


def _name(kind: str, rank: int, gpu: int | None, key: str) -> str:
    if kind == "host":
        return "machine" if key == "ram_used_mib" else "this process"
    return ("GPU" if gpu is None else f"GPU {gpu}") + (f" of rank {rank}" if rank else "")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    """Give a whole number from 0, else None; a data frame makes floats of them where one is missing."""
    if type(value) is int:
        return value if value >= 0 else None
    return int(value) if isinstance(value, float) and 0 <= value < 2**53 and value == int(value) else None


class _Clock:
    """Seconds of recording: between two attempts passes a little time, however long it was."""

    def __init__(self) -> None:
        self.attempt = 0
        self.begins: list[float] = []
        self._shift: float | None = None
        self._last = 0.0  # on the axis

    def at(self, row: Mapping[str, Any]) -> float | None:
        time = number(row.get("time"))
        if time is None:
            return None
        attempt = _whole(row.get("attempt")) or 0
        if self._shift is None:
            self._shift, self.attempt = time, attempt
        elif attempt > self.attempt:
            pause = max(1.0, 0.02 * self._last)
            self._shift, self.attempt = time - self._last - pause, attempt
            self.begins.append(self._last + pause)
        found = max(time - self._shift, 0.0)
        self._last = max(self._last, found)
        return found
