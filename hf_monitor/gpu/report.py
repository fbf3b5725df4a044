"""GpuReport: what check_gpu_compatibility() found, as data; its words are in gpu/report_text.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from hf_monitor.gpu.report_text import as_text, one_line
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
        ``"2.13.0+cu130"``, ``"13.0"`` (CUDA that torch was built for), ``"570.86.10"``, ``"12.8"`` (the newest CUDA
        that the driver can do).
    facts : dict of str to str
        What else was seen (an environment variable, a container), for whoever is asked for help.
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

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        if self.usable:
            what = ", ".join(f"cuda:{device.index} {one_line(device.name, 60)}" for device in self.devices[:4])
            what += ", ..." if len(self.devices) > 4 else ""
        else:
            what = ", ".join(one_line(problem.code, 40) for problem in self.problems[:4])
        return f"<GpuReport {'usable' if self.usable else 'not usable'}{': ' if what else ''}{what}>"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text as the value of a notebook's cell (IPython's protocol)."""
        printer.text(repr(self) if cycle else str(self))

    def to_dict(self) -> dict[str, Any]:
        """Give the report as what JSON can hold; the keys stay what they are.

        Returns
        -------
        dict
            The attributes under their own names. ``compute_capability`` is text (``"8.6"``); ``tier`` of a device holds
            ``name``, ``rule``, ``batch_sizes`` and ``accumulation``; what is not known is None.
        """
        return {
            "usable": self.usable,
            "torch_version": self.torch_version,
            "torch_cuda": self.torch_cuda,
            "driver_version": self.driver_version,
            "driver_cuda": self.driver_cuda,
            "devices": [_device_dict(device) for device in self.devices],
            "problems": [_fields(problem, "code", "cause", "command", "evidence") for problem in self.problems],
            "notes": [_fields(note, "code", "cause", "command", "evidence") for note in self.notes],
            "checks": [_fields(check, "name", "status", "detail") for check in self.checks],
            "facts": {_clean(name): _clean(value) for name, value in self.facts.items()},
        }


def _device_dict(device: GpuDevice) -> dict[str, Any]:
    capability = device.compute_capability
    tier = device.tier.tier
    return {
        **_fields(device, "index", "name", "uuid", "pci_address", "memory_total_mib", "memory_free_mib"),
        "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
        **_fields(device, "bf16", "fp16", "flash_attention", "precision", "mig"),
        "tier": {
            "name": tier.name,
            "rule": device.tier.rule,
            "batch_sizes": list(tier.batch_sizes),
            "accumulation": list(tier.accumulation),
        },
    }


def _fields(what: object, *names: str) -> dict[str, Any]:
    return {name: _clean(getattr(what, name)) for name in names}


def _clean(value: Any) -> Any:
    """Replace what a text of the environment may hold and strict JSON may not: lone surrogates."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
