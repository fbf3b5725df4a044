"""check_gpu_compatibility(): can a GPU be used for training here, which one, and if not, why not and what helps."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import note
from hf_monitor.gpu.commands import set_variable
from hf_monitor.gpu.devices import mig_profile
from hf_monitor.gpu.evidence import Evidence, look_around
from hf_monitor.gpu.ladder import diagnose
from hf_monitor.gpu.notes import nvml_unit
from hf_monitor.gpu.precision import amd_has_bf16, amd_has_flash_attention, precision_of
from hf_monitor.gpu.report import GpuDevice, GpuReport, Problem
from hf_monitor.gpu.run_probe import run_probe
from hf_monitor.gpu.tiers import tier_of

__all__ = ["check_gpu_compatibility"]

_MIB = 2**20


def check_gpu_compatibility(*, timeout_s: float = 60.0) -> GpuReport:
    """Say whether a GPU can be used for training here, which one it is, and if not, why not.

    The libraries are asked in a process of its own, which is killed when the time is over; this process loads neither
    CUDA nor NVML, so that a later fork (a data loader's worker) works as if nothing had been asked.

    Parameters
    ----------
    timeout_s : float
        For that process. It imports torch and computes a little on each GPU: some seconds, more from a slow disk.

    Returns
    -------
    GpuReport
        True in a condition when usable. ``problems`` has the root cause first, each with a stable code, a sentence
        and a command.

    Examples
    --------
    >>> report = check_gpu_compatibility()  # doctest: +SKIP
    >>> if not report:  # doctest: +SKIP
    ...     print(report.problems[0].cause, report.problems[0].command)
    """
    return report_of(look_around(), timeout_s)


def report_of(evidence: Evidence, timeout_s: float) -> GpuReport:
    """Give the report for a machine of which this much is seen."""
    case = Case(evidence, run_probe(timeout_s), dict(os.environ), _in_use())
    found = diagnose(case)
    notes = list(found.notes)
    with contextlib.suppress(Exception):  # a torch that is half imported, or contradicts itself; a note must not raise
        notes += _of_this_process(case)
    return GpuReport(
        usable=bool(case.working),
        devices=tuple(_device(case, index) for index in case.working),
        problems=found.problems,
        notes=tuple(notes),
        checks=found.checks,
        torch_version=case.torch.get("version"),
        torch_cuda=case.torch.get("cuda"),
        driver_version=case.driver_version,
        driver_cuda=None if case.driver_cuda is None else "{}.{}".format(*case.driver_cuda),
        facts=_facts(case),
    )


def _device(case: Case, index: int) -> GpuDevice:
    device = case.stage(f"device:{index}")
    unit = nvml_unit(case, index) or {}
    # NVML before torch: torch's total leaves out what the driver keeps, its free what the probe itself holds.
    total, free = unit.get("total") or device.get("total"), unit.get("free")
    free = device.get("free") if free is None else free
    pair = (int(device["capability"][0]), int(device["capability"][1])) if device.get("capability") else None
    name = str(device["name"])
    amd = bool(case.torch.get("hip"))
    uuid = device.get("uuid")
    mig = mig_profile(name)
    precision = precision_of(pair)
    if amd:
        precision = "bf16" if amd_has_bf16(device.get("gcn")) else "fp16"
    address = str(unit.get("pci") or device.get("pci") or "").lower()
    return GpuDevice(
        index=index,
        name=name,
        uuid=unit.get("uuid") or (f"{'MIG' if mig else 'GPU'}-{uuid}" if uuid and not amd else uuid),
        pci_address=address[-12:] or None,
        memory_total_mib=None if total is None else total / _MIB,
        memory_free_mib=None if free is None else free / _MIB,
        compute_capability=pair,
        bf16=precision == "bf16",
        fp16=precision != "fp32" or bool(case.cuda.get("mps")),
        flash_attention=amd_has_flash_attention(device.get("gcn")) if amd else pair is not None and pair >= (8, 0),
        precision=precision,
        mig=mig,
        tier=tier_of(name, None if total is None else total / _MIB),
    )


def _facts(case: Case) -> dict[str, str]:
    seen, environment = case.evidence, case.environment
    facts = {
        case.variable[0]: case.variable[1],
        "CUDA_DEVICE_ORDER": environment.get("CUDA_DEVICE_ORDER"),
        "python": sys.executable,
        "torch_file": case.torch.get("file"),
        "rocm": case.torch.get("hip"),
        "architectures": " ".join(case.cuda.get("architectures") or ()) or None,
        "kernel": seen.kernel or None,
        "kernel_module": seen.module_version,
        "libcuda": case.libcuda.get("library"),
        "container": seen.container,
        "wsl": "yes" if seen.wsl else None,
        "torch_warnings": "\n".join(case.texts) or None,
        "probe_seconds": f"{case.answer.seconds:.1f}",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _in_use() -> bool:
    """Whether torch in this process uses CUDA already; a context of another library is not seen."""
    with contextlib.suppress(Exception):  # no torch, or one that is half imported
        return bool(sys.modules["torch"].cuda.is_initialized())
    return False


def _of_this_process(case: Case) -> Iterator[Problem]:
    """torch, where it runs in this process already, may have begun with other GPUs than a new process sees."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    if cuda is None or case.cuda.get("mps") or not cuda.is_initialized():
        return
    here = [cuda.get_device_properties(index) for index in range(cuda.device_count())]
    there = [case.stage(f"device:{index}") for index in range(case.count)]
    if [str(getattr(one, "uuid", one.name)) for one in here] != [
        str(one.get("uuid") or one.get("name")) for one in there
    ]:
        yield note(
            "cuda_initialized_before",
            f"pid {os.getpid()}, {Path(sys.argv[0]).name if sys.argv else ''}",
            here=", ".join(one.name for one in here) or "none",
            there=", ".join(str(one.get("name")) for one in there) or "none",
            set="# restart the notebook or the script, and set CUDA_VISIBLE_DEVICES before torch is imported: "
            + set_variable(case.evidence, "CUDA_VISIBLE_DEVICES", case.environment.get("CUDA_VISIBLE_DEVICES")),
        )
