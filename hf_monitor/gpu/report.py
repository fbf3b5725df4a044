"""GpuReport: what check_gpu_compatibility() found, as data; its words are in gpu/report_text.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hf_monitor.gpu.tiers import TierMatch

__all__ = ["Check", "GpuDevice", "GpuReport", "Problem"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a GPU from being used, or (in ``GpuReport.notes``) that its user should know.

    Attributes
    ----------
    code : str
        Stable, for programs: ``"torch_cpu_only"``, ``"driver_too_old"`` ...
    cause : str
        What is wrong, in a sentence.
    command : str
        To copy; what mends it, or, where nothing can be typed, what finds out more.
    evidence : str
        What was seen: a return code, a file, a warning of torch.
    """

    code: str
    cause: str
    command: str
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One rung of the ladder.

    Attributes
    ----------
    name : str
        ``"torch"``, ``"environment"``, ``"driver"``, ``"nvml"``, ``"cuda"``, ``"kernel"`` ...
    status : str
        ``"ok"``, ``"failed"``, or ``"skipped"`` where an earlier rung makes it pointless.
    detail : str
        What was found, in some words.
    """

    name: str
    status: Literal["ok", "failed", "skipped"]
    detail: str


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """A device as torch sees it (after ``CUDA_VISIBLE_DEVICES``).

    Attributes
    ----------
    index : int
        torch's: ``cuda:<index>``.
    name : str
    uuid : str or None
        As NVML writes it (``GPU-...``, ``MIG-...``).
    pci_address : str or None
        ``0000:0a:00.0``.
    memory_total_mib, memory_free_mib : float or None
        MiB of 2**20 bytes; free includes what other processes leave.
    compute_capability : tuple of int or None
        ``(8, 6)``.
    bf16, fp16, flash_attention : bool
        Whether the hardware computes in it; flash attention is FlashAttention-2's need (8.0 and newer).
    precision : str
        To train in: ``"bf16"``, ``"fp16"`` or ``"fp32"``.
    mig : str or None
        The profile of a MIG instance (``"1g.10gb"``); None where the device is a whole card.
    tier : TierMatch
    """

    index: int
    name: str
    uuid: str | None
    pci_address: str | None
    memory_total_mib: float | None
    memory_free_mib: float | None
    compute_capability: tuple[int, int] | None
    bf16: bool
    fp16: bool
    flash_attention: bool
    precision: Literal["bf16", "fp16", "fp32"]
    mig: str | None
    tier: TierMatch


@dataclass(frozen=True, slots=True)
class GpuReport:
    """Whether a GPU can be used for training, which ones there are, and what is wrong where not.

    True in a condition when usable.

    Attributes
    ----------
    usable : bool
    devices : tuple of GpuDevice
        Those that torch can use; empty where none.
    problems : tuple of Problem
        What keeps the GPU from being used, the root cause first; empty where it is usable.
    notes : tuple of Problem
        What does not keep it from being used.
    checks : tuple of Check
        Every rung of the ladder, in order.
    torch_version, torch_cuda, driver_version, driver_cuda : str or None
        ``"2.13.0+cu130"``, ``"13.0"`` (CUDA that torch was built for), ``"570.86.10"``, ``"12.8"`` (the newest CUDA that
        the driver can do).
    """

    usable: bool
    devices: tuple[GpuDevice, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()
    checks: tuple[Check, ...] = ()
    torch_version: str | None = None
    torch_cuda: str | None = None
    driver_version: str | None = None
    driver_cuda: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.usable
