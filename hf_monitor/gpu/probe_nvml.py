"""What NVML says, asked in a process of its own: where it crashes or hangs, a card may still compute.

Stands apart from :mod:`hf_monitor.gpu.probe` for its length only.
"""

from __future__ import annotations

import contextlib
from typing import Any

__all__ = ["ask_nvml", "loaded_from"]


def loaded_from(library: str) -> str | None:
    """Give the path of a loaded library: a stub, or one of a compatibility package, explains much."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
            return next((line.split(None, 5)[5].strip() for line in maps if f"/{library}" in line), None)
    except OSError:
        return None


def ask_nvml() -> dict[str, Any]:
    """Give the driver's version, the cards and their MIG instances; else the code of the error."""
    try:
        import pynvml as nvml
    except ImportError as error:
        return {"missing": str(error)}

    def ask(function: str, *arguments: Any) -> Any:
        with contextlib.suppress(nvml.NVMLError, AttributeError):  # an older pynvml lacks some
            found = getattr(nvml, function)(*arguments)
            return found.decode(errors="replace") if isinstance(found, bytes) else found
        return None

    def describe(handle: Any) -> dict[str, Any]:
        memory, pci = ask("nvmlDeviceGetMemoryInfo", handle), ask("nvmlDeviceGetPciInfo", handle)
        bus = getattr(pci, "busId", None)
        return {
            "name": ask("nvmlDeviceGetName", handle),
            "uuid": ask("nvmlDeviceGetUUID", handle),
            "pci": bus.decode(errors="replace") if isinstance(bus, bytes) else bus,
            "total": getattr(memory, "total", None),
            "free": getattr(memory, "free", None),
        }

    try:
        nvml.nvmlInit()
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return {"code": error.value, "message": str(error), "library": loaded_from("libnvidia-ml.so")}
    devices = []
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            devices.append({"code": error.value, "message": str(error)})
            continue
        mig = ask("nvmlDeviceGetMigMode", handle)
        instances = []
        for number in range(ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0 if mig and mig[0] else 0):
            instance = ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if instance is not None:
                instances.append(describe(instance))
        devices.append(
            describe(handle)
            | {
                "capability": ask("nvmlDeviceGetCudaComputeCapability", handle),
                "compute_mode": ask("nvmlDeviceGetComputeMode", handle),
                "mig": bool(mig and mig[0]),
                "instances": instances,
            }
        )
    return {
        "code": 0,
        "driver": ask("nvmlSystemGetDriverVersion"),
        "cuda": ask("nvmlSystemGetCudaDriverVersion"),
        "devices": devices,
        "library": loaded_from("libnvidia-ml.so"),
    }
