"""What is asked of a device: the values of a sample, the functions that give each of them, newest first.

A way that a device or driver does not know is found out once, and the next one is tried; the first way that answers is
kept, so that the meaning of a value does not change within a run. For the memory, which torch knows, too, the next one
is tried after any failure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from hf_monitor.gpu.nvml import Failure, Unsaid

__all__ = ["METRICS", "Question", "Way", "questions"]

METRICS = (
    "memory_used_mib",
    "utilization_percent",
    "power_w",
    "temperature_c",
    "sm_clock_mhz",
    "throttle",
    "energy_j",
)
"""The names of the values of a sample."""

MIB = 2**20
MOST_BYTES = 2**50  # what is above is no amount of memory; NVML's "not available" is 2**64 - 1
RETRY_READS = 60  # a minute at 1 Hz: what failed in passing is asked again, what it costs stays small
PATIENCE = 3  # failures in a row before it is asked seldom

# Constants of NVML's binary interface (nvml.h); they are the same in every release.
_TEMPERATURE_GPU = 0
_CLOCK_SM = 1
_MEMORY_V2 = 0x02000028

_THROTTLE_WORDS = {
    0x001: "idle",
    0x002: "app_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}


def _plausible(value: float, low: float, high: float, unit: str) -> float:
    if low <= value <= high:
        return value
    raise Unsaid("IMPLAUSIBLE", f"the driver says {value:g} {unit}, which cannot be")


def memory_used_mib(info: Any) -> float:
    """Give MiB used, of what NVML's memory structures of both versions have in common."""
    used, total = info.used, info.total
    if 0 < total < MOST_BYTES and used <= total:
        return float(used / MIB)
    raise Unsaid("IMPLAUSIBLE", f"the driver says that {used} of {total} bytes are used, which cannot be")


def _memory_of_torch(info: tuple[int, int]) -> float:
    free, total = info
    if 0 <= free <= total and total > 0:
        return (total - free) / MIB
    raise Unsaid("IMPLAUSIBLE", f"torch says that {free} of {total} bytes are free, which cannot be")


def watts(milliwatts: int) -> float:
    """Give W; 10 kW is more than any board draws, and NVML's "not available" is 4.3 MW."""
    return _plausible(milliwatts / 1000, 0, 10_000, "W")


def celsius(degrees: int) -> int:
    """Give °C, as NVML does; what is not between -40 and 150 is no temperature of a chip at work."""
    return int(_plausible(degrees, -40, 150, "°C"))


def megahertz(clock: int) -> int:
    """Give MHz, as NVML does, up to 10 GHz."""
    return int(_plausible(clock, 0, 10_000, "MHz"))


def _percent(rates: Any) -> int:
    return int(_plausible(rates.gpu, 0, 100, "%"))


def _joules(millijoules: int) -> float:
    return _plausible(millijoules / 1000, 0, 1e12, "J")  # 10 kW for three years


def _throttle(mask: int) -> list[str]:
    return list(_throttle_words(mask))


@functools.lru_cache(maxsize=256)
def _throttle_words(mask: int) -> tuple[str, ...]:
    if mask >> 32:  # NVML has given out the lowest bits only; all ones is what a lost card says
        raise Unsaid("IMPLAUSIBLE", f"the driver says {mask:#x} for the clocks' event reasons, which cannot be")
    words = [word for bit, word in _THROTTLE_WORDS.items() if mask & bit]
    return (*words, "other") if mask & ~sum(_THROTTLE_WORDS) else tuple(words)


class Way(NamedTuple):
    """A function that gives a value.

    Attributes
    ----------
    function : str
        Of ``pynvml``, or ``"torch"``.
    args : tuple
        After the handle.
    convert : callable
        From what the function gives to the value; raises :class:`Unsaid` for what cannot be.
    scope : str
        ``"instance"`` (a MIG instance), ``"card"`` or ``"torch"``: whom it is asked of.
    source : str
        Recorded where it makes a difference (memory).
    """

    function: str
    args: tuple[Any, ...]
    convert: Callable[[Any], Any]
    scope: str = "card"
    source: str = ""


_WAYS = {
    "memory_used_mib": [
        Way("nvmlDeviceGetMemoryInfo", (_MEMORY_V2,), memory_used_mib, source="nvml_v2"),
        Way("nvmlDeviceGetMemoryInfo", (), memory_used_mib, source="nvml_v1"),
    ],
    "utilization_percent": [Way("nvmlDeviceGetUtilizationRates", (), _percent)],
    "power_w": [Way("nvmlDeviceGetPowerUsage", (), watts)],
    "temperature_c": [
        Way("nvmlDeviceGetTemperatureV", (_TEMPERATURE_GPU,), celsius),
        Way("nvmlDeviceGetTemperature", (_TEMPERATURE_GPU,), celsius),
    ],
    "sm_clock_mhz": [Way("nvmlDeviceGetClockInfo", (_CLOCK_SM,), megahertz)],
    "throttle": [
        Way("nvmlDeviceGetCurrentClocksEventReasons", (), _throttle),
        Way("nvmlDeviceGetCurrentClocksThrottleReasons", (), _throttle),
    ],
    "energy_j": [Way("nvmlDeviceGetTotalEnergyConsumption", (), _joules)],
}
_OF_TORCH = Way("torch", (), _memory_of_torch, scope="torch", source="torch")
_PROCESSES = [
    Way("nvmlDeviceGetComputeRunningProcesses_v3", (), list),
    Way("nvmlDeviceGetComputeRunningProcesses_v2", (), list),
]


@dataclass(slots=True)
class Question:
    """One value of one device: how it is asked now, and how that went."""

    name: str
    ways: list[Way]
    ask: Callable[[], Any]
    convert: Callable[[Any], Any]
    asks: list[Callable[[], Any]]
    settled: bool = False
    number: int = 0
    failures: int = 0
    rest_until: float = 0.0
    telling: Failure | None = None
    eager: bool = False
    """Whether another way is taken after a failure that may pass, too, as long as none has answered yet."""
    hopeless: set[int] = field(default_factory=set)
    """The ways that the device will never know."""

    @property
    def way(self) -> Way:
        """How it is asked now."""
        return self.ways[self.number]

    def bind(self, nvml: Any, handles: Mapping[str, Any], memory_info: Callable[[], Any] | None) -> None:
        """Look up every function once, with the handle that it takes."""
        self.asks = [_bound(nvml, way, handles, memory_info) for way in self.ways]
        self._turn_to(self.number)

    def _turn_to(self, number: int) -> None:
        self.number = number
        self.ask, self.convert = self.asks[number], self.ways[number].convert

    def next_way(self, failure: Failure) -> bool:
        """Turn to the next way where this one failed for good; False where there is none or one is kept."""
        told = self.telling
        if self.settled or told is None or told.code == "NVML_ERROR_FUNCTION_NOT_FOUND":
            self.telling = failure  # an old function that is missing, too, says less than why the new one failed
        elif told.lasting and not failure.lasting:
            self.telling = failure
        if failure.lasting:
            self.hopeless.add(self.number)
        elif self.settled or not self.eager:
            return False
        left = [k for k in range(self.number + 1, len(self.ways)) if k not in self.hopeless]
        if self.settled or not left:
            return False
        self._turn_to(left[0])
        return True

    def succeeded(self) -> None:
        """Keep the way that answered."""
        self.settled, self.failures = True, 0

    def failed(self, failure: Failure, now: int) -> Failure:
        """Rest: for ever where nothing is left to try, for a while after some failures in a row.

        Returns
        -------
        Failure
            What is to be told of it: the failure of the way that says most.
        """
        self.failures += 1
        telling, self.telling = self.telling or failure, None
        left = [k for k in range(len(self.ways)) if k not in self.hopeless]
        if not left or (self.settled and failure.lasting):
            self.rest_until = math.inf
            return replace(telling, lasting=True)
        if not self.settled:
            self._turn_to(left[0])
        if self.failures >= PATIENCE:
            self.rest_until = now + RETRY_READS
        return replace(telling, lasting=False)


def _bound(nvml: Any, way: Way, handles: Mapping[str, Any], memory_info: Callable[[], Any] | None) -> Callable[[], Any]:
    if way.scope == "torch":
        return memory_info or _unknown_function
    function = getattr(nvml, way.function, None)  # None: an nvidia-ml-py from before the function
    return _unknown_function if function is None else functools.partial(function, handles[way.scope], *way.args)


def _unknown_function() -> Any:
    raise Unsaid("NVML_ERROR_FUNCTION_NOT_FOUND", "this nvidia-ml-py does not know the function yet")


def _question(name: str, ways: list[Way], *, eager: bool = False) -> Question:
    return Question(name, ways, _unknown_function, ways[0].convert, [], eager=eager)


def questions(scopes: list[str], *, is_mig: bool, with_torch: bool) -> tuple[list[Question], Question | None]:
    """Make the questions for a device.

    Parameters
    ----------
    scopes : list of str
        Of whom NVML can be asked: ``"instance"`` before ``"card"``.
    is_mig : bool
        The device is a part of a card: the card's memory and processes are not its own, the rest stands for it.
    with_torch : bool
        torch can be asked for the memory.

    Returns
    -------
    sample : list of Question
        Those of :data:`METRICS` that anybody can be asked for.
    processes : Question or None
    """
    own = [scope for scope in scopes if scope == "instance" or not is_mig]
    sample = []
    for name in METRICS:
        whom = own if name == "memory_used_mib" else scopes
        ways = [way._replace(scope=scope) for scope in whom for way in _WAYS[name]]
        if name == "memory_used_mib" and with_torch:
            ways.append(_OF_TORCH)
        if ways:
            sample.append(_question(name, ways, eager=name == "memory_used_mib"))
    processes = [way._replace(scope=scope) for scope in own for way in _PROCESSES]
    return sample, _question("other_processes", processes) if processes else None
