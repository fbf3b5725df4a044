"""What the libraries say, asked in a process of its own: ``python -P -m hf_monitor.gpu.probe`` prints it.

Stage by stage: NVML, the import of torch, the CUDA driver library, torch's CUDA, its devices, a first kernel on each.
Each writes a line of JSON when it begins and one when it has ended, at once, so that a stage that crashes or hangs is
known by its name. Started by :mod:`hf_monitor.gpu.run_probe`; anything that a library prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["MARK", "main"]

MARK = "hf_monitor_probe"
"""The key by which a line of ours is known."""


def _error(error: BaseException) -> dict[str, Any]:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return {
        "type": type(error).__name__,
        "message": "\n".join(lines)[:2000],
        "trace": "".join(traceback.format_exception(error)[-3:])[-2000:],
    }


@contextlib.contextmanager
def _captured() -> Iterator[list[str]]:
    """Collect warnings: why CUDA cannot be used, torch often says only there."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")  # also where PYTHONWARNINGS makes errors of them
        yield texts
        texts.extend(str(one.message)[:2000] for one in caught)


def _loaded_from(library: str) -> str | None:
    """Give the path of a loaded library: a stub, or one of a compatibility package, explains much."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
            return next((line.split(None, 5)[5].strip() for line in maps if f"/{library}" in line), None)
    except OSError:
        return None


def _nvml() -> dict[str, Any]:
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
        return {"code": error.value, "message": str(error), "library": _loaded_from("libnvidia-ml.so")}
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
        "library": _loaded_from("libnvidia-ml.so"),
    }


def _only_a_folder(module: Any) -> str | None:
    """Give the folder, where the import found only one of that name, of data or of sources."""
    if module is None or getattr(module, "__file__", None):
        return None
    return next((str(one) for one in module.__path__), None)


def _installed_torch() -> str | None:
    from importlib import metadata

    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    with _captured() as texts:
        try:
            import torch

            version = torch.version
            found = {
                "version": str(torch.__version__),
                "cuda": version.cuda,
                "hip": getattr(version, "hip", None),
                "file": torch.__file__,
            }
        except ModuleNotFoundError as error:
            return {"missing": True} if error.name == "torch" else {"error": _error(error)}
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything; it is what is looked for
            return {
                "error": _error(error),
                "folder": _only_a_folder(sys.modules.get("torch")),
                "installed": _installed_torch(),
            }
    return {**found, "warnings": texts}


def _libcuda() -> dict[str, Any]:
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        cuda = ctypes.CDLL(name)
    except OSError as error:
        return {"missing": str(error)}
    number = ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(number))
    found: dict[str, Any] = {"version": number.value, "library": _loaded_from("libcuda.so")}
    found["code"] = code = cuda.cuInit(0)
    if code:
        return found | {"message": _cuda_text(cuda, code)}
    cuda.cuDeviceGetCount(ctypes.byref(number))
    return found | {"count": number.value}


def _cuda_text(cuda: ctypes.CDLL, code: int) -> str:
    words = []
    for function in ("cuGetErrorName", "cuGetErrorString"):
        text = ctypes.c_char_p()
        if hasattr(cuda, function) and getattr(cuda, function)(code, ctypes.byref(text)) == 0 and text.value:
            words.append(text.value.decode(errors="replace"))
    return ": ".join(words)


def _cuda() -> dict[str, Any]:
    import torch

    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)  # which would ask less than a training needs
    found: dict[str, Any] = {"available": False, "count": 0, "mps": False}
    with _captured() as texts:
        try:
            found["available"] = bool(torch.cuda.is_available())
            found["count"] = torch.cuda.device_count() if found["available"] else 0
            if not found["available"]:
                found["mps"] = bool(torch.backends.mps.is_available())
                if torch.version.cuda and not found["mps"]:
                    # is_available() swallows the reason, this one raises it
                    torch.cuda.init()  # type: ignore[no-untyped-call]
            else:
                found["architectures"] = torch.cuda.get_arch_list()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            found["error"] = _error(error)
    return found | {"warnings": texts}


def _device(index: int) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {}
    with _captured() as texts:
        try:
            facts = torch.cuda.get_device_properties(index)
            uuid, bus = getattr(facts, "uuid", None), getattr(facts, "pci_bus_id", None)
            domain, slot = getattr(facts, "pci_domain_id", 0), getattr(facts, "pci_device_id", 0)
            found |= {
                "name": facts.name,
                "total": facts.total_memory,
                "capability": None if torch.version.hip else [facts.major, facts.minor],
                "gcn": getattr(facts, "gcnArchName", None) if torch.version.hip else None,
                "uuid": None if uuid is None else str(uuid),
                "pci": None if bus is None else f"{domain:04x}:{bus:02x}:{slot:02x}.0",
            }
            found["free"] = torch.cuda.mem_get_info(index)[0]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            found["error"] = _error(error)
    return found | {"warnings": texts}


def _apple() -> dict[str, Any]:
    import subprocess

    name = ""
    with contextlib.suppress(OSError):
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "name": name or "Apple GPU",
        "total": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),  # one memory for CPU and GPU
        "free": None,
        "capability": None,
        "uuid": None,
        "pci": None,
    }


def _kernel(device: str) -> dict[str, Any]:
    """Compare a matrix product with the CPU's; its numbers are small integers, exact in every format."""
    import torch

    with _captured() as texts:
        try:
            left = torch.arange(64 * 64).remainder(7).reshape(64, 64).float()
            right = (left @ left).tolist()
            there = left.to(device)
            found = (there @ there).cpu().tolist()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            return {"error": _error(error), "warnings": texts}
    return {"right": found == right, "warnings": texts}


def main() -> None:
    """Run every stage, and write what each one found to what was stdout."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on a library that prints reaches stderr
    faulthandler.enable()
    warnings.simplefilter("ignore")  # PYTHONWARNINGS=error is meant for the user's code, not for this

    def stage(name: str, work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        print("\n" + json.dumps({MARK: name}), file=out, flush=True)  # a line of its own, whatever was printed before
        try:
            found = work(*arguments)
        except Exception as error:  # noqa: BLE001 - one stage's surprise must not keep the others from being asked
            found = {"error": _error(error)}
        print(json.dumps({MARK: name, "found": found}, default=str), file=out, flush=True)
        return found

    stage("nvml", _nvml)
    torch = stage("torch", _torch)
    stage("libcuda", _libcuda)
    if "version" in torch:
        cuda = stage("cuda", _cuda)
        if cuda.get("mps"):
            stage("device:0", _apple)
            stage("kernel:0", _kernel, "mps")
        for index in range(cuda.get("count", 0)):
            stage(f"device:{index}", _device, index)
        for index in range(cuda.get("count", 0)):
            stage(f"kernel:{index}", _kernel, f"cuda:{index}")
    stage("end", dict)
    # The libraries' own clean-up may hang where the driver is ill; everything is said.
    out.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
