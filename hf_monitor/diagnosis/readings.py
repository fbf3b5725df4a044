"""What a run recorded about its hardware: the rows of the latest training, sorted out once, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.ranks import Rank, Window, cuda_index, rank_of, same_machine, warmed, window_of
from hf_monitor.diagnosis.rows import entries, mapping, number
from hf_monitor.diagnosis.samples import GPU_KEYS, HOST_KEYS, Samples
from hf_monitor.diagnosis.thresholds import WARM_UP_WINDOWS
from hf_monitor.run import Run

__all__ = ["Readings", "read"]

_Row = Mapping[str, Any]
_TRAINING = ("train", "data")


class Readings(Known):
    """The latest training of a run, as its rules need it.

    Attributes
    ----------
    attempt : int
    windows : dict of int to list of Window
        By rank, 0 always among them; without the first where a rank has at least ``WARM_UP_WINDOWS``.
    gpus : dict of int to Samples
        Of the training phases ("train", "data") by device, the warm-up included.
    host : Samples
        The host's, likewise.
    warm_gpus, warm_host : dict, Samples
        Those of these after the first window, where that is left out.
    n_samples : int
        All samples of the attempt, of any phase.
    """

    def __init__(self, run: Run, system: Iterable[_Row] | None = None) -> None:
        self._facts, self._attempts = run.facts, run.attempts
        self.attempt = attempt = _trained_attempt(run)
        # Most rows have a plain number there; what else it may be is looked at closely.
        own = [row for row in run.rows if (found := row.get("attempt")) is attempt or _attempt_of(found) == attempt]
        begins = [k for k, row in enumerate(own) if row.get("event") == "train_begin" and row.get("kind") == "event"]
        own = own[begins[-1] :] if begins else own  # auto_find_batch_size begins again, with another batch
        self._begun = number(own[0].get("time")) if begins else None
        timed = [(row, window) for row in own if row.get("kind") == "timing" and (window := window_of(row)) is not None]
        self._warm = number(timed[0][0].get("time")) if len(timed) >= WARM_UP_WINDOWS else None
        self._ranks: dict[int, Rank] = {}
        self._sampler: _Row = {}
        self._unavailable: dict[tuple[Any, Any], str] = {}
        self.gpus: dict[int, Samples] = {}
        self.host = Samples(HOST_KEYS)
        self.n_samples = 0
        self._sort_out(run.iter_rows("system.jsonl") if system is None else system)
        self.warm_gpus = {gpu: self._warmed(samples) for gpu, samples in self.gpus.items()}
        self.warm_host = self._warmed(self.host)
        others = {rank: warmed(found.windows) for rank, found in sorted(self._ranks.items()) if found.windows}
        self.windows: dict[int, list[Window]] = {0: warmed([window for _, window in timed]), **others}
        self.device = self._device()

    def _sort_out(self, system: Iterable[_Row]) -> None:
        attempt, begun = self.attempt, self._begun
        for row in system:
            if (found := row.get("attempt")) is not attempt and _attempt_of(found) != attempt:
                continue
            if "rank" in row and (rank := rank_of(row)):  # another machine's cards have the same numbers
                if rank > 0:
                    self._ranks.setdefault(rank, Rank()).take(row)
                continue
            kind = row.get("kind")
            if kind == "event":
                self._take_event(row)
            elif kind in ("gpu", "host"):
                self.n_samples += 1
                if row.get("phase") not in _TRAINING:
                    continue
                if begun is not None and (time := number(row.get("time"))) is not None and time < begun:
                    continue
                if kind == "host":
                    self.host.add(row)
                elif (gpu := number(row.get("gpu"), high=1e6)) is not None and gpu == int(gpu):
                    if (samples := self.gpus.get(int(gpu))) is None:
                        samples = self.gpus[int(gpu)] = Samples(GPU_KEYS)
                    samples.add(row)

    def _warmed(self, samples: Samples) -> Samples:
        warm = self._warm
        if warm is None:
            return samples
        return samples.where((number(time) or 0.0) > warm for time in samples.column("time"))

    def _take_event(self, row: _Row) -> None:
        if row.get("event") == "sampler_begin":
            self._sampler = row
        elif row.get("event") == "unavailable" and isinstance(row.get("metric"), str):
            gpu = number(row.get("gpu"))
            self._unavailable[gpu, row["metric"]] = str(row.get("reason") or "")[:200]

    def _device(self) -> str | None:
        value = self._sampler.get("device")
        return value if isinstance(value, str) else super()._device()

    def fact(self, name: str) -> Any:
        """Give a fact as it was in this attempt: what a later one has otherwise stands with the one before it."""
        for entry in self._attempts:
            if isinstance(entry, dict) and (number(entry.get("attempt")) or 0) >= self.attempt:
                own = mapping(entry.get("facts"))
                if name in own:
                    return own[name]
        return self._facts.get(name)

    @property
    def cpu_count(self) -> int | None:
        """Logical cores of the machine."""
        found = number(self._sampler.get("cpu_count"), 1.0, 1e6)
        return int(found) if found else super().cpu_count

    @property
    def own_gpu(self) -> int | None:
        """The device of this process among the sampled ones; None where it was not sampled, or is not known."""
        if self.device is None:
            return next(iter(self.gpus)) if len(self.gpus) == 1 else None
        gpu = cuda_index(self.device)
        return gpu if gpu in self.gpus else None

    def gpu_of(self, rank: int) -> int | None:
        """Give the sampled device that a process computes on; None where it is another machine's, or not known."""
        if rank == 0:
            return self.own_gpu
        begin = self._ranks[rank].begin if rank in self._ranks else {}
        entry: _Row = next((entry for entry in self._attempts if number(entry.get("attempt")) == self.attempt), {})
        gpu = cuda_index(begin.get("device"))
        # Where a launcher shows each process its own card only, all call it cuda:0, and only rank 0's was sampled.
        if gpu not in self.gpus or gpu == cuda_index(self.device) or not same_machine(begin, entry):
            return None
        return gpu

    def rows_of(self, gpu: int | None) -> Samples:
        """Give the samples of a device after the warm-up; empty for None."""
        return self.warm_gpus.get(-1 if gpu is None else gpu) or Samples(GPU_KEYS)

    @property
    def used_gpus(self) -> list[int]:
        """The devices that the training ran on: a card that it left alone is not its matter."""
        if self.on_cpu:
            return []
        used = self._sampler.get("used_gpus")
        if isinstance(used, list):  # what the arguments promise; a device_map may have put tensors on more
            return sorted(gpu for gpu, rows in self.gpus.items() if gpu in used or _holds_tensors(rows))
        if self.world_size > 1 or self.own_gpu is None:
            return sorted(self.gpus)
        return sorted(gpu for gpu, rows in self.gpus.items() if gpu == self.own_gpu or _holds_tensors(rows))

    def gpu_info(self, gpu: int) -> dict[str, Any]:
        """Give what is known of a device for good: name, total memory, power limit, whether it can do bf16 ..."""
        known = super().gpu_info(gpu)
        for entry in entries(self._sampler.get("gpus")):
            if number(entry.get("gpu")) == gpu:
                known |= {key: value for key, value in entry.items() if value is not None}
        return known

    def missing(self, gpu: int, metric: str) -> str:
        """Say why a device has no such value, in the words of what was asked for it; empty where nothing says it."""
        return self._unavailable.get((float(gpu), metric), "")


def read(run: Run, system: Iterable[_Row] | None = None) -> Readings:
    """Read what the rules need from a run; nothing in its rows makes it raise.

    Parameters
    ----------
    run : Run
    system : iterable of mapping, optional
        The rows of its ``system.jsonl``, for who needs them himself, too: they are gone through once, to the end.
    """
    return Readings(run, system)


def _attempt_of(value: Any) -> int:
    return int(number(value) or 0)


def _trained_attempt(run: Run) -> int:
    """Give the latest attempt that trained, as ``Run.status`` takes it; where no event says so, one with samples."""
    begun = [row for row in run.events if row.get("event") in ("train_begin", "error")]
    rows: Iterable[_Row] = begun or run.rows.of("timing") or run.iter_rows("system.jsonl")
    return max((_attempt_of(row.get("attempt")) for row in rows), default=0)


def _holds_tensors(samples: Samples) -> bool:
    return any((number(value) or 0.0) > 0.0 for value in samples.column("torch_allocated_mib"))
