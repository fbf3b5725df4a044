"""What a run recorded about its hardware: the rows of the latest training, sorted out once, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hf_monitor.diagnosis.thresholds import MIN_SAMPLES, MIN_SECONDS, WARM_UP_WINDOWS
from hf_monitor.diagnosis.wording import of_samples
from hf_monitor.run import Run

__all__ = ["Readings", "Window", "mapping", "number", "numbers", "read", "steps_of", "too_few"]

_Row = Mapping[str, Any]
_TRAINING = ("train", "data")
_HUGE = 1e15  # beyond any step, MiB or second; a float of it is exact


def number(value: Any, low: float = 0.0, high: float = _HUGE) -> float | None:
    """Give a finite number within the bounds, else None: rows may hold anything."""
    if (type(value) is float or type(value) is int) and low <= value <= high:  # of JSON, so no subclass but bool
        return float(value)
    return None


def numbers(rows: Iterable[_Row], key: str, high: float = _HUGE) -> list[float]:
    """Give the numbers (0 to `high`) that rows have under a key, in order; without those that have none."""
    # As `number` says, written out: half a million samples are read a dozen times.
    return [
        value for row in rows if (type(value := row.get(key)) is float or type(value) is int) and 0.0 <= value <= high
    ]


def mapping(value: Any) -> dict[str, Any]:
    """Give a value if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def steps_of(rows: Sequence[_Row]) -> tuple[int, int] | None:
    """Give the first and the last step of rows; None where they name none."""
    ends = _ends(rows, "step")
    return None if ends is None else (int(ends[0]), int(ends[1]))


def _ends(rows: Sequence[_Row], key: str) -> tuple[float, float] | None:
    """Give the first and the last number under a key that grows from row to row."""
    first = next((found for row in rows if (found := number(row.get(key))) is not None), None)
    last = next((found for row in reversed(rows) if (found := number(row.get(key))) is not None), None)
    return None if first is None or last is None else (min(first, last), max(first, last))


def too_few(rows: Sequence[_Row], n: int) -> str:
    """Say why `n` readings of these rows are too few; empty where they are enough."""
    if n < MIN_SAMPLES:
        return f"{of_samples(n)} of the training after the warm-up; {MIN_SAMPLES} are needed."
    times = _ends(rows, "time")
    seconds = 0.0 if times is None else times[1] - times[0]
    if seconds < MIN_SECONDS:
        return f"the samples span {seconds:.0f} s of training; {MIN_SECONDS:.0f} s are needed."
    return ""


class Window(NamedTuple):
    """A logged window of training."""

    step: int
    steps: int
    seconds: float
    """Of training only: steps and waiting for data."""
    data_wait_share: float


class Readings:
    """The latest training of a run, as its rules need it.

    Attributes
    ----------
    attempt : int
    windows : list of Window
        Without the first where there are at least ``WARM_UP_WINDOWS``.
    n_windows : int
        How many there were.
    gpus : dict of int to list of dict
        Samples of the training phases ("train", "data") by device, the warm-up included.
    host : list of dict
        The host's samples, likewise.
    warm_gpus, warm_host : dict, list
        Those of these after the first window, where that is left out.
    n_samples : int
        All samples of the attempt, of any phase.
    device : str or None
        ``"cuda:0"``, ``"cpu"``; None where nothing says it.
    """

    def __init__(self, run: Run) -> None:
        self._facts, self._attempts = run.facts, run.attempts
        rows, system = run.rows, run.system
        self.attempt = _trained_attempt(rows, system)
        own = [row for row in rows if _attempt(row) == self.attempt]
        begins = [k for k, row in enumerate(own) if row.get("event") == "train_begin" and row.get("kind") == "event"]
        own = own[begins[-1] :] if begins else own  # auto_find_batch_size begins again, with another batch
        self._begun = number(own[0].get("time")) if begins else None
        timed = [(row, window) for row in own if row.get("kind") == "timing" and (window := _window(row)) is not None]
        self.n_windows = len(timed)
        warm_up = len(timed) >= WARM_UP_WINDOWS
        self.windows = [window for _, window in timed[warm_up:]]
        self._warm = number(timed[0][0].get("time")) if warm_up else None
        self._sampler: dict[str, Any] = {}
        self._unavailable: dict[tuple[Any, Any], str] = {}
        self.gpus: dict[int, list[dict[str, Any]]] = {}
        self.warm_gpus: dict[int, list[dict[str, Any]]] = {}
        self.host: list[dict[str, Any]] = []
        self.warm_host: list[dict[str, Any]] = []
        self.n_samples = 0
        self._sort_out(system)
        self.device = self._device()

    def _sort_out(self, system: Iterable[dict[str, Any]]) -> None:
        for row in system:
            if _attempt(row) != self.attempt or row.get("rank"):  # another machine's cards have the same numbers
                continue
            kind = row.get("kind")
            if kind == "event":
                self._take_event(row)
            elif kind in ("gpu", "host"):
                self.n_samples += 1
                time = number(row.get("time"))
                before = self._begun is not None and time is not None and time < self._begun
                if before or row.get("phase") not in _TRAINING:
                    continue
                warm = self._warm is None or (time or 0.0) > self._warm
                if kind == "host":
                    self.host.append(row)
                    if warm:
                        self.warm_host.append(row)
                elif (gpu := number(row.get("gpu"), high=1e6)) is not None and gpu == int(gpu):
                    self.gpus.setdefault(int(gpu), []).append(row)
                    if warm:
                        self.warm_gpus.setdefault(int(gpu), []).append(row)

    def _take_event(self, row: dict[str, Any]) -> None:
        if row.get("event") == "sampler_begin":
            self._sampler = row
        elif row.get("event") == "unavailable" and isinstance(row.get("metric"), str):
            gpu = number(row.get("gpu"))
            self._unavailable[gpu, row["metric"]] = str(row.get("reason") or "")[:200]

    def _device(self) -> str | None:
        for value in (self._sampler.get("device"), mapping(self.fact("devices")).get("device")):
            if isinstance(value, str):
                return value
        return None

    def fact(self, name: str) -> Any:
        """Give a fact as it was in this attempt: what a later one has otherwise stands with the one before it."""
        for entry in self._attempts:
            if isinstance(entry, dict) and (number(entry.get("attempt")) or 0) >= self.attempt:
                own = mapping(entry.get("facts"))
                if name in own:
                    return own[name]
        return self._facts.get(name)

    @property
    def config(self) -> dict[str, Any]:
        """The training arguments; empty where they are not known."""
        return mapping(self.fact("arguments"))

    @property
    def world_size(self) -> int:
        """Number of processes; 1 where nothing says it."""
        return int(number(mapping(self.fact("devices")).get("world_size"), 1.0, 1e6) or 1)

    @property
    def cpu_count(self) -> int | None:
        """Logical cores of the machine."""
        found = number(self._sampler.get("cpu_count"), 1.0, 1e6) or number(self.fact("cpu_count"), 1.0, 1e6)
        return int(found) if found else None

    @property
    def on_cpu(self) -> bool:
        """Whether the training surely ran without a GPU."""
        return self.device is not None and self.device.split(":")[0] == "cpu"

    @property
    def on_cuda(self) -> bool:
        """Whether the training surely ran on a CUDA device."""
        return self.device is not None and self.device.split(":")[0] == "cuda"

    @property
    def own_gpu(self) -> int | None:
        """The device of this process among the sampled ones; None where it was not sampled, or is not known."""
        if self.device is None:
            return next(iter(self.gpus)) if len(self.gpus) == 1 else None
        name, _, index = self.device.partition(":")
        if name != "cuda":
            return None
        gpu = int(index) if index.isdecimal() else 0
        return gpu if gpu in self.gpus else None

    @property
    def used_gpus(self) -> list[int]:
        """The devices that the training ran on: a card that it left alone is not its matter."""
        if self.on_cpu:
            return []
        used = self._sampler.get("used_gpus")
        if isinstance(used, list):
            return sorted(gpu for gpu in self.gpus if gpu in used)
        if self.world_size > 1 or self.own_gpu is None:
            return sorted(self.gpus)
        return sorted(gpu for gpu, rows in self.gpus.items() if gpu == self.own_gpu or _holds_tensors(rows))

    def gpu_info(self, gpu: int) -> dict[str, Any]:
        """Give what is known of a device for good: name, total memory, power limit, whether it can do bf16 ..."""
        found = _entries(mapping(self.fact("devices")).get("gpus"))
        known = dict(found[gpu]) if gpu < len(found) else {}
        for entry in _entries(self._sampler.get("gpus")):
            if number(entry.get("gpu")) == gpu:
                known |= {key: value for key, value in entry.items() if value is not None}
        return known

    def missing(self, gpu: int, metric: str) -> str:
        """Say why a device has no such value, in the words of what was asked for it; empty where nothing says it."""
        return self._unavailable.get((float(gpu), metric), "")


def read(run: Run) -> Readings:
    """Read what the rules need from a run; nothing in its rows makes it raise."""
    return Readings(run)


def _entries(value: Any) -> list[dict[str, Any]]:
    return [mapping(entry) for entry in value] if isinstance(value, list) else []


def _attempt(row: _Row) -> int:
    return int(number(row.get("attempt")) or 0)


def _trained_attempt(rows: Sequence[_Row], system: Sequence[_Row]) -> int:
    """Give the latest attempt that trained, as ``Run.status`` takes it; where no event says so, one with samples."""
    begun = [row for row in rows if row.get("kind") == "event" and row.get("event") in ("train_begin", "error")]
    timed = [row for row in rows if row.get("kind") == "timing"]
    return max(map(_attempt, begun or timed or system), default=0)


def _window(row: _Row) -> Window | None:
    """Make a window of a row; None where it lacks what the rules need."""
    seconds, steps = number(row.get("seconds"), 1e-9), number(row.get("steps"), 1.0)
    if seconds is None or steps is None:
        return None
    share = number(row.get("data_wait_share"), high=1.001)
    if share is None:
        wait = number(row.get("data_wait_seconds"))
        share = None if wait is None else number(wait * steps / seconds, high=1.001)
    return None if share is None else Window(int(number(row.get("step")) or 0), int(steps), seconds, min(1.0, share))


def _holds_tensors(rows: Sequence[_Row]) -> bool:
    keys = ("torch_reserved_peak_mib", "torch_reserved_mib", "torch_allocated_mib")
    return any((number(row.get(key)) or 0.0) > 0.0 for row in rows for key in keys)
