"""The samples of a run's machine, gone through once: a track for each number of each device."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hf_monitor.diagnosis.rows import number

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Recorder", "Recording", "Track"]

_OF_GPU = (
    "utilization_percent",
    "memory_used_mib",
    "torch_reserved_mib",
    "torch_reserved_peak_mib",
    "torch_allocated_mib",
    "power_w",
    "temperature_c",
    "energy_j",
)
_OF_HOST = ("cpu_percent", "ram_used_mib", "process_cpu_percent", "process_rss_mib")
_TRAINING = ("train", "data")
_LARGEST = 1e15
_PAUSE_S = 120.0  # the sampler's interval is at most a minute


class Samples:
    """When the samples of one device were taken: shared by its tracks."""

    def __init__(self) -> None:
        self.times = array("d")
        self.training = array("b")
        self.attempts = array("i")


class Track:
    """One number over time, as it was sampled; samples that do not say it are not in it."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.values = array("d")
        """Of each of the device's samples; NaN where it does not say it."""

    def __bool__(self) -> bool:
        return bool(len(self.which))

    @cached_property
    def which(self) -> npt.NDArray[np.int64]:
        """Of the device's samples, those that say it; asked for when all are there."""
        return np.flatnonzero(~np.isnan(self.values))

    @property
    def times(self) -> npt.NDArray[np.float64]:
        """Epoch seconds of each value."""
        return np.asarray(self.samples.times, dtype=np.float64).take(self.which)

    @property
    def attempts(self) -> npt.NDArray[np.int32]:
        """The attempt of each value."""
        return np.asarray(self.samples.attempts, dtype=np.int32).take(self.which)

    @property
    def all(self) -> npt.NDArray[np.float64]:
        """All values."""
        return np.asarray(self.values, dtype=np.float64).take(self.which)

    @property
    def while_training(self) -> npt.NDArray[np.float64]:
        """Values between and within training steps; all where there are none of these."""
        values, training = self.all, np.asarray(self.samples.training, dtype=bool).take(self.which)
        return values[training] if training.any() else values

    def gained(self) -> float:
        """Give what a counter gained, of all attempts together."""
        values, attempts = self.all, self.attempts
        found = [values[attempts == attempt] for attempt in np.unique(attempts)]
        return float(sum(max(float(own[-1] - own[0]), 0.0) for own in found))


class _Clock(NamedTuple):
    """From epoch seconds to seconds of recording; the time between two attempts is taken out."""

    shifts: dict[int, float]
    begins: dict[int, float]
    breaks: list[float]

    def at(self, track: Track) -> npt.NDArray[np.float64]:
        attempts, found = track.attempts, track.times
        for attempt, shift in self.shifts.items():
            found[attempts == attempt] -= shift
        return found


@dataclass
class Recording:
    """What was sampled.

    Attributes
    ----------
    gpus : dict of (int, int) to dict of str to Track
        By rank and device, then by the key in the row; those that the training used.
    host : dict of str to Track
        Of the machine of rank 0.
    facts : dict of (int, int) to dict
        What is known of a device for good: name, memory_total_mib, power_limit_w.
    ram_total_mib : float or None
    problems : list of str
        Why something is not known, in sentences.
    n_unused : int
        Devices that were sampled, but not used by the training.
    """

    gpus: dict[tuple[int, int], dict[str, Track]] = field(default_factory=dict)
    host: dict[str, Track] = field(default_factory=dict)
    facts: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    ram_total_mib: float | None = None
    problems: list[str] = field(default_factory=list)
    n_unused: int = 0
    _used: set[tuple[int, int]] = field(default_factory=set)

    def name(self, gpu: tuple[int, int]) -> str:
        """Call a device: ``"GPU 0"``, ``"GPU 0 of rank 8"``."""
        return f"GPU {gpu[1]}" + (f" of rank {gpu[0]}" if gpu[0] else "")

    def clock(self) -> _Clock:
        """Give the time axis of all tracks."""
        tracks = [track for tracks in (*self.gpus.values(), self.host) for track in tracks.values()]
        devices = {id(track.samples): track.samples for track in tracks}.values()
        times = np.concatenate([np.asarray(device.times, dtype=np.float64) for device in devices])
        attempts = np.concatenate([np.asarray(device.attempts) for device in devices])
        shifts: dict[int, float] = {}
        begins: dict[int, float] = {}
        breaks: list[float] = []
        end = 0.0
        for attempt in np.unique(attempts).tolist():
            own = np.unique(times[attempts == attempt])
            begin = end + (max(1.0, 0.02 * end) if begins else 0.0)
            shifts[attempt], begins[attempt] = float(own[0]) - begin, begin
            gaps = np.diff(own)
            longest = max(_PAUSE_S, 5.0 * float(np.median(gaps))) if len(gaps) else _PAUSE_S
            pauses = own[1:][gaps > longest] - shifts[attempt]
            breaks += [begin, *pauses.tolist()]
            end = float(own[-1]) - shifts[attempt]
        return _Clock(shifts, begins, breaks[1:])


class Recorder:
    """Makes a recording of rows that others want to see, too: they are parsed once."""

    def __init__(self) -> None:
        self._found = Recording()
        self._gpus: dict[tuple[int, int], _Device] = {}
        self._host = _Device(_OF_HOST)

    def passing(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        """Yield the rows as they are, and take what is asked for of each."""
        found, gpus = self._found, self._gpus
        for row in rows:
            kind = row.get("kind")
            rank = _whole(row["rank"]) or 0 if "rank" in row else 0
            if kind == "gpu":
                gpu = _whole(row.get("gpu"))
                if gpu is not None:
                    device = gpus.get((rank, gpu))
                    if device is None:
                        device = gpus[rank, gpu] = _Device(_OF_GPU)
                    device.take(row)
            elif kind == "host" and not rank:
                self._host.take(row)
                if found.ram_total_mib is None:
                    found.ram_total_mib = number(row.get("ram_total_mib"))
            elif kind == "event":
                _take_event(found, row, rank)
            yield row

    def recording(self) -> Recording:
        """Give what was sampled in the rows that have passed."""
        found = self._found
        found.host = self._host.tracks
        gpus = {gpu: tracks for gpu, device in self._gpus.items() if (tracks := device.tracks)}
        used = {gpu for gpu, tracks in gpus.items() if _holds(tracks)} | (found._used & set(gpus))
        found.n_unused = len(gpus) - len(used) if used else 0
        found.gpus = {gpu: tracks for gpu, tracks in sorted(gpus.items()) if gpu in used} if used else gpus
        return found


class _Device:
    """What the samples of one device said; those that it says nothing of give no track."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self._keys = ("time", "phase", "attempt", *keys)
        self._said: list[Any] = []  # sample after sample, of each what it has under the keys

    def take(self, row: Mapping[str, Any]) -> None:
        if number(row.get("time")) is not None:
            self._said += map(row.get, self._keys)

    @property
    def tracks(self) -> dict[str, Track]:
        samples, n = Samples(), len(self._keys)
        times, phases, attempts, *columns = (self._said[place::n] for place in range(n))
        samples.times.extend(times)
        samples.training.extend([phase in _TRAINING for phase in phases])
        samples.attempts.extend([_whole(attempt) or 0 for attempt in attempts])
        found = {}
        for key, said in zip(self._keys[3:], columns, strict=True):
            track = Track(samples)
            # As `number` says, written out: there may be millions.
            track.values.extend(
                [
                    value if (value.__class__ is float or value.__class__ is int) and 0 <= value <= _LARGEST else nan
                    for value in said
                ]
            )
            if track:
                found[key] = track
        return found


def _take_event(found: Recording, row: Mapping[str, Any], rank: int) -> None:
    if row.get("event") == "sampler_begin":
        gpus, used = row.get("gpus"), row.get("used_gpus")
        for entry in gpus if isinstance(gpus, list) else ():
            gpu = _whole(entry.get("gpu")) if isinstance(entry, dict) else None
            if gpu is not None:
                found.facts.setdefault((rank, gpu), {}).update(entry)
        found._used |= {(rank, gpu) for gpu in used if type(gpu) is int} if isinstance(used, list) else set()
        if row.get("nvml_problem"):
            found.problems.append(f"The driver of the GPU could not be asked: {str(row['nvml_problem'])[:300]}")
    elif row.get("event") == "unavailable" and isinstance(row.get("metric"), str):
        gpu = _whole(row.get("gpu"))
        who = "The machine" if gpu is None else found.name((rank, gpu))
        why = f": {str(row['reason'])[:200]}" if row.get("reason") else ""
        found.problems.append(f"{who} does not say {row['metric']}{why}.".replace("..", "."))


def _holds(tracks: Mapping[str, Track]) -> bool:
    held = tracks.get("torch_allocated_mib")
    return held is not None and float(held.all.max()) > 0


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**31 else None
