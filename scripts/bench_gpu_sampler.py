"""What one sample of the system costs: microseconds of CPU time, beside what other trackers and monitors do for theirs.

    python scripts/bench_gpu_sampler.py                        # all that is installed; 2 minutes
    pip install nvitop gpustat && python scripts/bench_gpu_sampler.py --gpus 8

Where no GPU is, a driver made of Python stands in for ``libnvidia-ml``: everybody calls it through the real ``pynvml``.
Its functions fill in a number and return, so what is measured is our code and pynvml's, not a driver's; a real driver
adds its own time, to all alike. ``--real`` uses the real one, and then also shows what each reading of ours takes.

Each subject runs in processes of its own, in several rounds whose order alternates; CPU time of the calling thread
(``time.thread_time_ns``), the first calls dropped. Shown are medians over the rounds of each round's median and 99th
percentile. "Whole" is what the tool's own thread does for one sample, without sending or, but for us, storing it.

That is one sample after the other, as code is compared. In a training there is a second between two, the processor's
caches hold other things by then, and everything takes several times as long: the last column, for the whole samples.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL_MEDIAN_US, GOAL_P99_US = 50.0, 200.0
WARMUP, WARMUP_REAL = 200, 20  # a real driver takes milliseconds for each
MIB = 2**20
NAME, SERIAL = "NVIDIA GeForce RTX 4090", "0000-1111-2222-3333-4444555566{:02x}"


class Driver:
    """A table of functions for ``pynvml``, as ``libnvidia-ml`` is one; one method for each kind of answer."""

    def __init__(self, n_gpus: int) -> None:
        self.n_gpus = n_gpus
        self.texts = {"nvmlDeviceGetName": NAME, "nvmlSystemGetDriverVersion": "570.86.10"}
        self.numbers = {
            "nvmlDeviceGetCount_v2": n_gpus,
            "nvmlDeviceGetPowerUsage": 350_250,
            "nvmlDeviceGetEnforcedPowerLimit": 450_000,
            "nvmlDeviceGetPowerManagementLimit": 450_000,
            "nvmlDeviceGetTemperature": 61,
            "nvmlDeviceGetClockInfo": 2520,
            "nvmlDeviceGetMaxClockInfo": 3120,
            "nvmlDeviceGetCurrentClocksEventReasons": 4,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 4,
            "nvmlDeviceGetTotalEnergyConsumption": 123_456_789,
        }

    def __getattr__(self, name: str) -> Callable[..., int]:
        if name in self.texts or name == "nvmlDeviceGetUUID":
            return lambda *args: self._text(name, args)
        if "Handle" in name and name != "nvmlDeviceIsMigDeviceHandle":
            return self._handle
        if name.startswith("nvmlDeviceGetMemoryInfo"):
            return self._memory
        if name == "nvmlDeviceGetUtilizationRates":
            return self._utilization
        if name == "nvmlDeviceGetTemperatureV":
            return self._temperature
        if name in ("nvmlDeviceGetMigMode", "nvmlDeviceGetFanSpeed", "nvmlDeviceGetEncoderUtilization"):
            return lambda *args: 3  # not supported
        if name in self.numbers:
            return self._number(self.numbers[name])
        return lambda *args: 0  # every out-parameter stays 0

    def _text(self, name: str, args: tuple[Any, ...]) -> int:
        number = ctypes.c_void_p.from_buffer(args[0]).value if name == "nvmlDeviceGetUUID" else 0
        args[-2].value = self.texts.get(name, "GPU-" + SERIAL.format((number or 1) - 1)).encode()
        return 0

    def _handle(self, which: Any, out: Any) -> int:
        value = which.value
        number = int(value[-2:], 16) if isinstance(value, bytes) and len(value) > 20 else value
        ctypes.c_void_p.from_buffer(out._obj).value = (number if isinstance(number, int) else 0) + 1
        return 0

    @staticmethod
    def _memory(handle: Any, out: Any) -> int:
        into = out._obj
        into.total, into.used, into.free = 24564 * MIB, 20000 * MIB, 4564 * MIB
        return 0

    @staticmethod
    def _utilization(handle: Any, out: Any) -> int:
        out._obj.gpu, out._obj.memory = 97, 40
        return 0

    @staticmethod
    def _temperature(handle: Any, out: Any) -> int:
        out._obj.temperature = 61
        return 0

    @staticmethod
    def _number(value: int) -> Callable[..., int]:
        def answer(*args: Any) -> int:
            args[-1]._obj.value = value
            return 0

        return answer


# --- subjects: what they need, and one sample of theirs ---


def _devices(n_gpus: int) -> list[Any]:
    from hf_monitor.gpu.devices import TorchDevice, torch_devices

    if found := torch_devices():
        return found
    return [TorchDevice(i, NAME, SERIAL.format(i), (0, i, 0), 24564.0) for i in range(n_gpus)]


def _our_gpu(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from hf_monitor.gpu.readings import open_devices

    readers = open_devices(_devices(n_gpus)).readers
    first = [reader.read() for reader in readers]
    missing = [name for values in first for name, value in values.items() if value is None]
    assert not missing, f"no readings of {missing}: {readers[0].reasons}"
    return lambda: [reader.read() for reader in readers]


def _our_sample(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from hf_monitor import RunWriter
    from hf_monitor.gpu.sampler import SystemSampler

    torch = (1234.5, 2345.6, 3456.7, 4567.8)  # torch's own part needs a GPU: 10 to 20 us
    sampler = SystemSampler(RunWriter(folder), interval_s=1e4, devices=_devices(n_gpus), torch_memory=lambda i: torch)
    sampler.start()
    while not sampler.samples:
        time.sleep(0.01)
    return sampler.sample


def _our_host(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from hf_monitor.gpu.host import HostReader

    reader = HostReader(folder)
    return lambda: (reader.read(), reader.read_process())


def _psutil(n_gpus: int, folder: Path) -> Callable[[], Any]:
    import psutil

    process = psutil.Process()
    return lambda: (
        psutil.cpu_percent(),
        psutil.virtual_memory(),
        psutil.disk_usage(str(folder)),
        process.cpu_percent(),
        process.memory_info(),
    )


def _mlflow_gpu(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor

    monitor = GPUMonitor()

    def sample() -> None:
        monitor.collect_metrics()
        monitor.clear_metrics()

    return sample


def _mlflow_sample(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor(), GPUMonitor()]  # as SystemMetricsMonitor has them

    def sample() -> None:
        for monitor in monitors:
            monitor.collect_metrics()
            monitor.clear_metrics()

    return sample


def _trackio(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from trackio.gpu import collect_gpu_metrics

    assert collect_gpu_metrics(all_gpus=True)
    return lambda: collect_gpu_metrics(all_gpus=True)


def _nvitop(n_gpus: int, folder: Path) -> Callable[[], Any]:
    from nvitop import Device

    devices = Device.all()
    assert len(devices) == n_gpus
    return lambda: [device.as_snapshot() for device in devices]


def _gpustat(n_gpus: int, folder: Path) -> Callable[[], Any]:
    import gpustat

    assert len(gpustat.new_query()) == n_gpus
    return gpustat.new_query


# name -> (title, package, part, maker)
SUBJECTS: dict[str, tuple[str, str, str, Callable[[int, Path], Callable[[], Any]]]] = {
    "ours_gpu": ("DeviceReader.read()", "hf-monitor", "GPU", _our_gpu),
    "mlflow_gpu": ("GPUMonitor", "mlflow", "GPU", _mlflow_gpu),
    "trackio": ("collect_gpu_metrics()", "trackio", "GPU", _trackio),
    "nvitop": ("Device.as_snapshot()", "nvitop", "GPU", _nvitop),
    "gpustat": ("new_query()", "gpustat", "GPU", _gpustat),
    "ours_host": ("HostReader", "hf-monitor", "host", _our_host),
    "psutil": ("the same values by psutil", "psutil", "host", _psutil),
    "ours": ("SystemSampler, written to disk", "hf-monitor", "whole", _our_sample),
    "mlflow": ("SystemMetricsMonitor's four", "mlflow", "whole", _mlflow_sample),
}


def missing(package: str) -> bool:
    """Say whether a package is not installed."""
    return importlib.util.find_spec(package.replace("-", "_")) is None


def version_of(package: str) -> str:
    """Give the version of a package; of a checkout that is not installed its own word for it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return str(importlib.import_module(package.replace("-", "_")).__version__)


def work(name: str, n_gpus: int, samples: int, real: bool, pause_s: float = 0.0) -> dict[str, float]:
    """Measure one subject in this process, in microseconds of CPU time."""
    if not real:
        import pynvml

        pynvml.nvmlLib = Driver(n_gpus)
    with tempfile.TemporaryDirectory() as folder:
        sample = SUBJECTS[name][3](n_gpus, Path(folder))
        times = []
        warmup = 3 if pause_s else WARMUP_REAL if real else WARMUP
        for _ in range(warmup + samples):
            time.sleep(pause_s)
            began = time.thread_time_ns()
            sample()
            times.append(time.thread_time_ns() - began)
    ordered = sorted(times[warmup:])
    return {
        "median": statistics.median(ordered) / 1000,
        "p99": ordered[math.ceil(0.99 * len(ordered)) - 1] / 1000,
    }


def readings(n_gpus: int, samples: int) -> dict[str, float]:
    """Measure each reading of the first card alone: medians in microseconds of CPU time."""
    from hf_monitor.gpu.readings import open_devices

    reader = open_devices(_devices(n_gpus)).readers[0]
    found = {}
    for name, ask in [(q.name, q.ask) for q in reader._questions] + [("other_processes", reader.read_processes)]:
        times = []
        for _ in range(samples):
            began = time.thread_time_ns()
            ask()
            times.append(time.thread_time_ns() - began)
        found[name] = statistics.median(times) / 1000
    return found


def measure(name: str, args: argparse.Namespace, samples: int, pause: float = 0.0) -> dict[str, float] | None:
    """Measure one subject in a process of its own; None where it failed, of which is told: the others go on."""
    command = [sys.executable, __file__, "--worker", name, "--gpus", str(args.gpus), "--samples", str(samples)]
    command += ["--pause", str(pause), *(["--real"] if args.real else [])]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not lines:
        print(f"left out: {name} failed: {(done.stderr.strip().splitlines() or ['no word of it'])[-1]}", flush=True)
        return None
    found: dict[str, float] = json.loads(lines[-1][7:])
    said = ", ".join(
        f"{key} {value:.0f}" for key, value in found.items()
    )  # on its way: a run cut off has not told nothing
    paced = " at 1 Hz" * bool(pause)
    print(f"{name}{paced}: {said} ({time.monotonic() - began:.1f} s)", file=sys.stderr, flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1, help="cards of the driver that stands in (default: 1)")
    parser.add_argument("--samples", type=int, default=2000, help="samples a round (default: 2000)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", help=f"some of: {','.join(SUBJECTS)}")
    parser.add_argument("--real", action="store_true", help="the real driver, and torch's CUDA")
    parser.add_argument("--paced", type=int, default=40, help="samples at 1 Hz (default: 40; 0: none)")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--pause", type=float, default=0.0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        if args.real:
            import torch

            if not torch.cuda.is_available():
                sys.exit("--real needs a GPU that torch can use; `hf-monitor gpu` says what is wrong")
            torch.zeros(1, device="cuda")
        if args.worker == "readings":
            result = readings(args.gpus, args.samples)
        else:
            result = work(args.worker, args.gpus, args.samples, args.real, args.pause)
        print("RESULT " + json.dumps(result))
        return 0
    names = args.only.split(",") if args.only else list(SUBJECTS)
    if unknown := set(names) - set(SUBJECTS):
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(SUBJECTS)}")
    results: dict[str, list[dict[str, float]]] = {}
    for name in [name for name in names if missing(SUBJECTS[name][1])]:
        print(f"left out: {SUBJECTS[name][1]} is not installed (pip install {SUBJECTS[name][1]})")
        names.remove(name)
    for number in range(args.rounds + 1):  # the first one warms the disk's cache
        for name in list(names) if number % 2 else names[::-1]:
            found = measure(name, args, args.samples)
            if found is None:
                names.remove(name)
                results.pop(name, None)
            elif number:
                results.setdefault(name, []).append(found)
    paced = {}
    if args.paced:
        whole = [name for name in names if SUBJECTS[name][2] == "whole"]
        measured = {name: measure(name, args, args.paced, pause=1.0) for name in whole}
        paced = {name: found["median"] for name, found in measured.items() if found is not None}
    driver = "the real driver" if args.real else f"a driver made of Python with {args.gpus} x {NAME}"
    print(f"\n{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}, {driver}")
    print(f"{args.rounds} rounds of {args.samples} samples; microseconds of CPU time a sample\n")
    print(f"| {'part':5} | {'what':45} | median | p99 | of ours | at 1 Hz |\n|---|---|---|---|---|---|")
    middle = {
        name: {key: statistics.median(found[key] for found in rounds) for key in ("median", "p99")}
        for name, rounds in results.items()
    }
    for name in names:
        title, package, part, _ = SUBJECTS[name]
        ours = next((o for o in ("ours_gpu", "ours_host", "ours") if SUBJECTS[o][2] == part and o in middle), None)
        ratio = f"{middle[name]['median'] / middle[ours]['median']:.1f}" if ours else "-"
        at = f"{paced[name]:.0f}" if name in paced else ""
        label = f"{package} {version_of(package)}: {title}"
        print(f"| {part:5} | {label:45} | {middle[name]['median']:.0f} | {middle[name]['p99']:.0f} | {ratio} | {at} |")
    if args.real and (each := measure("readings", args, min(args.samples, 200))):
        print("\nours, each reading alone: " + ", ".join(f"{name} {value:.0f}" for name, value in each.items()))
    if "ours" in middle and not args.real and args.gpus == 1:
        reached = middle["ours"]["median"] <= GOAL_MEDIAN_US and middle["ours"]["p99"] <= GOAL_P99_US
        print(
            f"\ngoal: at most {GOAL_MEDIAN_US:.0f} (p99 {GOAL_P99_US:.0f}): {'reached' if reached else 'NOT reached'}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
