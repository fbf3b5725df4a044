"""A driver made of Python: the real wrappers of ``pynvml`` call it in the place of ``libnvidia-ml``.

``with installed(one_4090()) as driver:`` puts it there. What a GPU says is what its :class:`FakeGpu` says at that
moment: change the attributes, or put an error code (or an exception) for a metric into ``errors``, and the next call
shows it.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pynvml

from hf_monitor.gpu.devices import TorchDevice

MIB = 2**20
UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND = 1, 2, 3, 6
INSUFFICIENT_SIZE, GPU_IS_LOST, MISMATCH = 7, 15, 18

# What an error of ``FakeGpu.errors`` hits; "device" hits all.
METRIC_OF = {
    "nvmlDeviceGetMemoryInfo": "memory_used_mib",
    "nvmlDeviceGetMemoryInfo_v2": "memory_used_mib",
    "nvmlDeviceGetUtilizationRates": "utilization_percent",
    "nvmlDeviceGetPowerUsage": "power_w",
    "nvmlDeviceGetTemperature": "temperature_c",
    "nvmlDeviceGetTemperatureV": "temperature_c",
    "nvmlDeviceGetClockInfo": "sm_clock_mhz",
    "nvmlDeviceGetCurrentClocksEventReasons": "throttle",
    "nvmlDeviceGetCurrentClocksThrottleReasons": "throttle",
    "nvmlDeviceGetTotalEnergyConsumption": "energy_j",
    "nvmlDeviceGetComputeRunningProcesses_v2": "other_processes",
    "nvmlDeviceGetComputeRunningProcesses_v3": "other_processes",
}


@dataclass
class FakeGpu:
    """A card, or a MIG instance of one. The values are as NVML gives them, but memory, which is in MiB here."""

    name: str = "NVIDIA GeForce RTX 4090"
    uuid: str = "GPU-11111111-2222-3333-4444-555555555555"
    pci: tuple[int, int, int] = (0, 0x0A, 0)
    total_mib: float = 24564
    reserved_mib: float = 364
    used_mib: float = 1000
    utilization: int = 97
    power_mw: int = 350_250
    temperature: int = 61
    sm_clock: int = 2520
    throttle: int = 0x4
    energy_mj: int = 123_456_789
    power_limit_mw: int = 450_000  # that holds
    power_management_limit_mw: int = 480_000  # that was asked for
    sm_clock_max: int = 3120
    slowdown_c: int = 88
    torch_total_mib: float = 24210
    torch_used_mib: float | None = 900
    processes: list[tuple[int, int | None]] = field(default_factory=list)  # pid, MiB
    mig: list[FakeGpu] = field(default_factory=list)
    errors: dict[str, int | Exception] = field(default_factory=dict)  # metric, function or "device" -> code
    parent: FakeGpu | None = None

    def __post_init__(self):
        for instance in self.mig:
            instance.parent = self

    def torch_device(self, index=0, *, with_pci=True, with_uuid=True):
        """Give the device as torch would: without the prefix of the UUID, with the address of the card."""

        def memory_info():
            return int((self.torch_total_mib - self.torch_used_mib) * MIB), int(self.torch_total_mib * MIB)

        return TorchDevice(
            index=index,
            name=self.name,
            uuid=self.uuid.removeprefix("GPU-").removeprefix("MIG-") if with_uuid else None,
            pci=(self.parent or self).pci if with_pci else None,
            memory_total_mib=self.torch_total_mib,
            memory_info=memory_info if self.torch_used_mib is not None else None,
        )


@dataclass
class Scenario:
    """A machine: its cards in NVML's order (that of the PCI addresses), and its driver."""

    gpus: list[FakeGpu]
    driver_version: str = "570.86.10"
    init_error: int = 0
    missing: set[str] = field(default_factory=set)  # functions that the driver does not have
    fastest_first: list[int] | None = None  # CUDA's own order, where it is not NVML's

    def visible(self, cuda_visible_devices=None, cuda_device_order="FASTEST_FIRST", **how):
        """Give torch's devices as CUDA makes them of these two variables of the environment.

        Source: CUDA C++ Programming Guide, CUDA Environment Variables; of MIG instances only the first one is seen.
        """
        order = range(len(self.gpus))
        if self.fastest_first is not None and cuda_device_order == "FASTEST_FIRST":
            order = self.fastest_first
        cards = [self.gpus[i] for i in order]
        if cuda_visible_devices is None:
            found = [(card.mig or [card])[0] for card in cards]
        else:
            found = []
            for entry in cuda_visible_devices.split(","):
                if entry.isdigit():
                    found.append((cards[int(entry)].mig or [cards[int(entry)]])[0])
                else:
                    every = [one for card in cards for one in (card, *card.mig)]
                    (match,) = [one for one in every if one.uuid.startswith(entry)]
                    found.append(match)
        return [gpu.torch_device(index, **how) for index, gpu in enumerate(found)]


def one_4090():
    return Scenario([FakeGpu()])


def three_unlike():
    """An old card in the first slot, two of one name after it; CUDA counts the fast ones first."""
    return Scenario(
        [
            FakeGpu(
                name="NVIDIA GeForce RTX 2070",
                uuid="GPU-20702070-aaaa-bbbb-cccc-000000000000",
                pci=(0, 0x05, 0),
                total_mib=8192,
                used_mib=512,
                power_mw=101_000,
                torch_total_mib=7981,
            ),
            FakeGpu(uuid="GPU-40904090-aaaa-bbbb-cccc-000000000001", pci=(0, 0x0A, 0), used_mib=2000, power_mw=201_000),
            FakeGpu(uuid="GPU-40904090-aaaa-bbbb-cccc-000000000002", pci=(0, 0x8A, 0), used_mib=3000, power_mw=301_000),
        ],
        fastest_first=[1, 2, 0],
    )


def mig():
    """An A100 cut into two instances of one profile and a larger one."""

    def instance(number, profile, total, used):
        return FakeGpu(
            name=f"NVIDIA A100-SXM4-40GB MIG {profile}",
            uuid=f"MIG-abcdef0{number}-0000-5555-9999-00000000000{number}",
            total_mib=total,
            reserved_mib=0,
            used_mib=used,
            torch_total_mib=total - 10,
            torch_used_mib=used - 5,
        )

    return Scenario(
        [
            FakeGpu(
                name="NVIDIA A100-SXM4-40GB",
                uuid="GPU-a100a100-0000-5555-9999-000000000000",
                pci=(0, 0x07, 0),
                total_mib=40960,
                used_mib=9000,
                power_mw=180_000,
                mig=[
                    instance(1, "1g.5gb", 4864, 100),
                    instance(2, "1g.5gb", 4864, 200),
                    instance(3, "3g.20gb", 19968, 8000),
                ],
            )
        ]
    )


def jetson():
    """An integrated GPU: no memory of its own, and neither power, clocks' reasons nor energy."""
    gpu = FakeGpu(
        name="Orin",
        uuid="GPU-0c0c0c0c-1111-2222-3333-444444444444",
        pci=(0, 0, 0),
        torch_total_mib=62840,
        torch_used_mib=7000,
        errors={
            "memory_used_mib": NOT_SUPPORTED,
            "power_w": NOT_SUPPORTED,
            "throttle": NOT_SUPPORTED,
            "energy_j": NOT_SUPPORTED,
            "nvmlDeviceGetEnforcedPowerLimit": NOT_SUPPORTED,
            "nvmlDeviceGetPowerManagementLimit": NOT_SUPPORTED,
            "nvmlDeviceGetMaxClockInfo": NOT_SUPPORTED,
            "nvmlDeviceGetTemperatureThreshold": NOT_SUPPORTED,
        },
    )
    return Scenario([gpu], driver_version="540.4.0", missing={"nvmlDeviceGetTemperatureV"})


def lost_gpu():
    return Scenario([FakeGpu(errors={"device": GPU_IS_LOST})])


def mismatch():
    """The driver was updated under the running system: nothing goes before a reboot."""
    return Scenario([FakeGpu()], init_error=MISMATCH)


class FakeDriver:
    """The table of functions: attributes are callables that fill the argument given by reference and return a code."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.calls = Counter()  # (function, the UUID of its GPU)
        self.references = 0  # how often NVML was initialised and not shut down
        self.inits = 0
        self._devices = {}  # address -> FakeGpu

    # What ctypes would raise for a function that the library does not have.
    def __getattr__(self, name):
        function = type(self).FUNCTIONS.get(name)
        if function is None or name in self.scenario.missing:
            raise AttributeError(f"libnvidia-ml.so.1: undefined symbol: {name}")
        if name in ("nvmlInitWithFlags", "nvmlShutdown", "nvmlErrorString"):
            return lambda *args: function(self, *args)
        metric = METRIC_OF.get(name)

        def call(*args):
            if not self.references:
                return UNINITIALIZED
            gpu = None
            if name not in _WITHOUT_HANDLE:
                gpu = self._devices.get(ctypes.c_void_p.from_buffer(args[0]).value)
                if gpu is None:
                    return INVALID_ARGUMENT
                self.calls[name, gpu.uuid] += 1
                errors = gpu.errors
                if errors:
                    code = errors.get("device") or errors.get(metric) or errors.get(name)
                    if isinstance(code, Exception):
                        raise code
                    if code:
                        return code
                args = args[1:]
            return function(self, gpu, *args) or 0

        return call

    def _hand_out(self, gpu, reference):
        address = next((address for address, known in self._devices.items() if known is gpu), None)
        if address is None:
            address = 0x1000 * self.inits + 0x10 * (len(self._devices) + 1)
            self._devices[address] = gpu
        ctypes.c_void_p.from_buffer(reference._obj).value = address

    def _init(self, flags):
        if self.scenario.init_error:
            return self.scenario.init_error
        self.references += 1
        if self.references == 1:
            self.inits += 1
            self._devices.clear()  # stricter than a real driver, which may know old handles again
        return 0

    def _shutdown(self):
        if not self.references:
            return UNINITIALIZED
        self.references -= 1
        return 0

    def _by_uuid(self, _, uuid, reference):
        for gpu in (one for card in self.scenario.gpus for one in (card, *card.mig)):
            if gpu.uuid.encode() == uuid.value:
                if gpu.errors.get("nvmlDeviceGetHandleByUUID"):
                    return gpu.errors["nvmlDeviceGetHandleByUUID"]
                return self._hand_out(gpu, reference)
        return NOT_FOUND

    def _by_pci(self, _, address, reference):
        for gpu in self.scenario.gpus:
            if "{:08x}:{:02x}:{:02x}.0".format(*gpu.pci).encode() == address.value:
                return self._hand_out(gpu, reference)
        return NOT_FOUND

    def _memory(self, gpu, reference):
        into = reference._obj
        into.total, into.used = int(gpu.total_mib * MIB), int((gpu.used_mib + gpu.reserved_mib) * MIB)
        into.free = max(0, into.total - into.used)

    def _memory_v2(self, gpu, reference):
        into = reference._obj
        if into.version != pynvml.nvmlMemory_v2:
            return pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH
        into.total, into.used = int(gpu.total_mib * MIB), int(gpu.used_mib * MIB)
        into.reserved = int(gpu.reserved_mib * MIB)
        into.free = max(0, into.total - into.used - into.reserved)
        return 0

    def _utilization(self, gpu, reference):
        if gpu.mig or gpu.parent is not None:
            return NOT_SUPPORTED
        reference._obj.gpu = gpu.utilization
        return 0

    def _temperature_v(self, gpu, reference):
        if gpu.parent is not None:
            return INVALID_ARGUMENT
        reference._obj.temperature = gpu.temperature
        return 0

    def _temperature(self, gpu, sensor, reference):
        if gpu.parent is not None or sensor.value != pynvml.NVML_TEMPERATURE_GPU:
            return INVALID_ARGUMENT
        reference._obj.value = gpu.temperature
        return 0

    def _clock(self, gpu, kind, reference):
        if gpu.parent is not None or kind.value != pynvml.NVML_CLOCK_SM:
            return NOT_SUPPORTED
        reference._obj.value = gpu.sm_clock
        return 0

    def _clock_max(self, gpu, kind, reference):
        if gpu.parent is not None or kind.value != pynvml.NVML_CLOCK_SM:
            return NOT_SUPPORTED
        reference._obj.value = gpu.sm_clock_max
        return 0

    def _threshold(self, gpu, kind, reference):
        if gpu.parent is not None or kind.value != pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN:
            return INVALID_ARGUMENT
        reference._obj.value = gpu.slowdown_c
        return 0

    def _of_card(attribute):  # makes a method
        def call(self, gpu, reference):
            if gpu.parent is not None:
                return NOT_SUPPORTED
            reference._obj.value = getattr(gpu, attribute)
            return 0

        return call

    def _text(self, gpu, buffer, text):
        buffer.value = text.encode()

    def _pci_info(self, gpu, reference):
        info = reference._obj
        info.domain, info.bus, info.device = (gpu.parent or gpu).pci

    def _mig_mode(self, gpu, current, pending):
        if not gpu.mig:
            return NOT_SUPPORTED
        current._obj.value = pending._obj.value = 1
        return 0

    def _is_mig(self, gpu, reference):
        reference._obj.value = int(gpu.parent is not None)

    def _mig_parent(self, gpu, reference):
        return self._hand_out(gpu.parent, reference) if gpu.parent is not None else INVALID_ARGUMENT

    def _mig_count(self, gpu, reference):
        reference._obj.value = 7 if gpu.mig else 0

    def _mig_by_index(self, gpu, index, reference):
        return self._hand_out(gpu.mig[index.value], reference) if index.value < len(gpu.mig) else NOT_FOUND

    def _processes(self, gpu, count, array):
        if array is None:
            count._obj.value = len(gpu.processes)
            return INSUFFICIENT_SIZE if gpu.processes else 0
        count._obj.value = len(gpu.processes)
        for entry, (pid, mib) in zip(array, gpu.processes, strict=False):
            entry.pid = pid
            entry.usedGpuMemory = 2**64 - 1 if mib is None else mib * MIB
        return 0

    FUNCTIONS = {  # noqa: RUF012 - the table
        "nvmlInitWithFlags": _init,
        "nvmlShutdown": _shutdown,
        "nvmlSystemGetDriverVersion": lambda self, _, buffer, size: self._text(
            None, buffer, self.scenario.driver_version
        ),
        "nvmlDeviceGetHandleByUUID": _by_uuid,
        "nvmlDeviceGetHandleByPciBusId_v2": _by_pci,
        "nvmlDeviceGetUUID": lambda self, gpu, buffer, size: self._text(gpu, buffer, gpu.uuid),
        "nvmlDeviceGetName": lambda self, gpu, buffer, size: self._text(gpu, buffer, gpu.name),
        "nvmlDeviceGetPciInfo_v3": _pci_info,
        "nvmlDeviceGetMemoryInfo": _memory,
        "nvmlDeviceGetMemoryInfo_v2": _memory_v2,
        "nvmlDeviceGetUtilizationRates": _utilization,
        "nvmlDeviceGetPowerUsage": _of_card("power_mw"),
        "nvmlDeviceGetTemperature": _temperature,
        "nvmlDeviceGetTemperatureV": _temperature_v,
        "nvmlDeviceGetClockInfo": _clock,
        "nvmlDeviceGetMaxClockInfo": _clock_max,
        "nvmlDeviceGetCurrentClocksEventReasons": _of_card("throttle"),
        "nvmlDeviceGetCurrentClocksThrottleReasons": _of_card("throttle"),
        "nvmlDeviceGetTotalEnergyConsumption": _of_card("energy_mj"),
        "nvmlDeviceGetEnforcedPowerLimit": _of_card("power_limit_mw"),
        "nvmlDeviceGetPowerManagementLimit": _of_card("power_management_limit_mw"),
        "nvmlDeviceGetTemperatureThreshold": _threshold,
        "nvmlDeviceGetMigMode": _mig_mode,
        "nvmlDeviceIsMigDeviceHandle": _is_mig,
        "nvmlDeviceGetDeviceHandleFromMigDeviceHandle": _mig_parent,
        "nvmlDeviceGetMaxMigDeviceCount": _mig_count,
        "nvmlDeviceGetMigDeviceHandleByIndex": _mig_by_index,
        "nvmlDeviceGetComputeRunningProcesses_v2": _processes,
        "nvmlDeviceGetComputeRunningProcesses_v3": _processes,
    }


_WITHOUT_HANDLE = {
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetHandleByPciBusId_v2",
}


@contextlib.contextmanager
def installed(scenario: Scenario) -> Iterator[FakeDriver]:
    """Put the driver of a scenario in the place of ``libnvidia-ml`` in this process, for a while."""
    driver = FakeDriver(scenario)
    library, pointers = pynvml.nvmlLib, dict(pynvml._nvmlGetFunctionPointer_cache)
    references = pynvml._nvmlLib_refcount
    pynvml._nvmlGetFunctionPointer_cache.clear()
    pynvml.nvmlLib = driver
    try:
        yield driver
    finally:
        pynvml.nvmlLib, pynvml._nvmlLib_refcount = library, references
        pynvml._nvmlGetFunctionPointer_cache.clear()
        pynvml._nvmlGetFunctionPointer_cache.update(pointers)


SCENARIOS = {make.__name__: make for make in (one_4090, three_unlike, mig, jetson, lost_gpu, mismatch)}
