"""What the libraries say, asked in processes of their own: ``python -P -m hf_monitor.gpu.probe`` prints it.

Stage by stage: the import of torch, the CUDA driver library, torch's CUDA, then device by device its facts and a first
kernel. NVML is asked in a process apart (probe_nvml.py), so that it stands in nobody's way. Each stage writes a line of
JSON when it begins and one when it has ended, at once, so that a stage that crashes or hangs is known by its name.
Started by :mod:`hf_monitor.gpu.run_probe`; anything that a library prints goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from hf_monitor.gpu.probe_nvml import ask_nvml, loaded_from
from hf_monitor.gpu.probe_shadow import hidden_by, installed_torch

__all__ = ["MARK", "main"]

MARK = "hf_monitor_probe"
"""The key by which a line of ours is known."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h: the signal that this process gets when the thread that started it dies


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
            if error.name == "torch":
                return {"missing": True}
            return {"error": _error(error), "hidden_by": hidden_by(error), "installed": installed_torch()}
        except Exception as error:  # noqa: BLE001 - a broken installation may raise anything; it is what is looked for
            return {
                "error": _error(error),
                "hidden_by": hidden_by(error),
                "installed": installed_torch(),
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
    found: dict[str, Any] = {"version": number.value, "library": loaded_from("libcuda.so")}
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


def _end_with(parent_limit_s: float) -> None:
    """See to it that this process ends by itself, also where nobody is left to end it, or C code never comes back."""
    # A thread of faulthandler's own, without the GIL; it comes after the parent, which says more.
    faulthandler.dump_traceback_later(parent_limit_s, exit=True)
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def main(part: str = "", limit_s: str = "", first: str = "0") -> None:
    """Run every stage, and write what each one found to what was stdout.

    Parameters
    ----------
    part : str
        ``"nvml"``, ``"torch"``; both where empty.
    limit_s : str
        After so many seconds this process ends itself; as text, since it comes from a command line.
    first : str
        The device to begin with: the ones before it were tried by another process.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # from here on a library that prints reaches stderr
    faulthandler.enable()
    if limit_s:
        _end_with(float(limit_s))
    warnings.simplefilter("ignore")  # PYTHONWARNINGS=error is meant for the user's code, not for this

    def stage(name: str, work: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
        print("\n" + json.dumps({MARK: name}), file=out, flush=True)  # a line of its own, whatever was printed before
        try:
            found = work(*arguments)
        except Exception as error:  # noqa: BLE001 - one stage's surprise must not keep the others from being asked
            found = {"error": _error(error)}
        print(json.dumps({MARK: name, "found": found}, default=str), file=out, flush=True)
        return found

    if part != "torch":
        stage("nvml", ask_nvml)
    if part != "nvml":
        _ask_torch(stage, int(first))
    stage("end", dict)
    # The libraries' own clean-up may hang where the driver is ill; everything is said.
    out.flush()
    os._exit(0)


def _ask_torch(stage: Callable[..., dict[str, Any]], first: int) -> None:
    torch = stage("torch", _torch)
    stage("libcuda", _libcuda)
    if "version" not in torch:
        return
    cuda = stage("cuda", _cuda)
    if cuda.get("mps"):
        stage("device:0", _apple)
        stage("kernel:0", _kernel, "mps")
    # A card is done before the next is touched, which may end this process.
    for index in range(first, cuda.get("count", 0)):
        stage(f"device:{index}", _device, index)
        stage(f"kernel:{index}", _kernel, f"cuda:{index}")


if __name__ == "__main__":
    main()
