"""One machine's case: the evidence and the probe's answer, and what follows from both for more than one rung."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import install_driver, kernel_log, pip_command, python_command
from hf_monitor.gpu.evidence import Evidence
from hf_monitor.gpu.report import Problem
from hf_monitor.gpu.run_probe import Answer
from hf_monitor.gpu.visible import Visible, read_visible
from hf_monitor.gpu.wheels import install_jetson, install_rocm, install_torch, wheel_for

__all__ = ["Case", "cuda_pair", "same_address"]

_NO_LIBRARY = 12  # nvml.h
_WORDS = {
    "nvml": "while it asked the driver (NVML)",
    "device": "while it asked GPU {device} for its name and memory",
    "kernel": "in the first computation on GPU {device}",
    "torch": "in `import torch`",
    "libcuda": "while it started CUDA (cuInit)",
    "cuda": "in torch.cuda.is_available()",
}


def cuda_pair(value: str | int | None) -> tuple[int, int] | None:
    """Give a CUDA version as two numbers: of ``"12.8"`` or of the driver's ``12080``."""
    if isinstance(value, int):
        return (value // 1000, value % 1000 // 10) if value > 0 else None
    parts = re.match(r"(\d+)\.(\d+)", value or "")
    return (int(parts[1]), int(parts[2])) if parts else None


def same_address(one: str | None, other: str | None) -> bool:
    """Whether two PCI addresses are the same: NVML writes the domain with eight digits, others with four."""
    return bool(one and other) and str(one).lower()[-12:] == str(other).lower()[-12:]


@dataclass(frozen=True)
class Case:
    """All that is known.

    Attributes
    ----------
    evidence : Evidence
    answer : Answer
    environment : mapping of str to str
        That of the process; what counts of it are the variables of CUDA, of NVIDIA's containers and of the loader.
    in_use : bool
        Whether this very process uses CUDA already, and so holds memory or a card.
    """

    evidence: Evidence
    answer: Answer
    environment: Mapping[str, str] = field(default_factory=dict)
    in_use: bool = False

    def stage(self, name: str) -> dict[str, Any]:
        """Give what a stage found; empty where it did not come to that."""
        return self.answer.stages.get(name, {})

    @property
    def nvml(self) -> dict[str, Any]:
        """What NVML said."""
        return self.stage("nvml")

    @property
    def torch(self) -> dict[str, Any]:
        """What the import of torch gave."""
        return self.stage("torch")

    @property
    def libcuda(self) -> dict[str, Any]:
        """What the driver's library said."""
        return self.stage("libcuda")

    @property
    def cuda(self) -> dict[str, Any]:
        """What torch said of CUDA."""
        return self.stage("cuda")

    @cached_property
    def count(self) -> int:
        """How many devices torch shows."""
        return 1 if self.cuda.get("mps") else int(self.cuda.get("count", 0))

    @cached_property
    def working(self) -> tuple[int, ...]:
        """Those of torch's devices on which the first computation was right."""
        return tuple(
            index
            for index in range(self.count)
            if self.stage(f"kernel:{index}").get("right") and "name" in self.stage(f"device:{index}")
        )

    @cached_property
    def cards(self) -> list[dict[str, Any]]:
        """The whole cards that NVML finds, also lost ones."""
        return list(self.nvml.get("devices") or [])

    @cached_property
    def uuids(self) -> list[str] | None:
        """UUIDs of cards and MIG instances, as CUDA_VISIBLE_DEVICES may name them; None where NVML is silent."""
        if self.nvml.get("code") != 0:
            return None
        units = [unit for card in self.cards for unit in (card, *card.get("instances", ()))]
        return [str(unit.get("uuid")) for unit in units]

    @cached_property
    def driver_cuda(self) -> tuple[int, int] | None:
        """The newest CUDA of the driver: of the loaded libcuda, which may be newer than the driver's own."""
        return cuda_pair(self.libcuda.get("version")) or cuda_pair(self.nvml.get("cuda"))

    @cached_property
    def torch_cuda(self) -> tuple[int, int] | None:
        """The CUDA that torch is built for."""
        return cuda_pair(self.torch.get("cuda"))

    @cached_property
    def driver_version(self) -> str | None:
        """The driver's version, of NVML, else of its kernel module."""
        return self.nvml.get("driver") or self.evidence.module_version

    @cached_property
    def texts(self) -> list[str]:
        """What torch warned of and raised about CUDA, its own words."""
        error = self.cuda.get("error", {}).get("message")
        return [*self.cuda.get("warnings", ()), *([error] if error else [])]

    @property
    def python(self) -> str:
        """Give this interpreter, as a shell wants it."""
        return python_command(self.evidence)

    @property
    def amd_only(self) -> bool:
        """Whether the only GPUs that are seen are of AMD, and nobody installed NVIDIA's driver."""
        nvidia = self.evidence.nvidia_seen or self.cards or self.nvml.get("code") not in (None, _NO_LIBRARY)
        return bool(self.evidence.amd_cards) and not nvidia

    @property
    def variable(self) -> tuple[str, str | None]:
        """Give the environment variable that chooses the devices, and its value; of ROCm's the first that is set."""
        names = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES") if self.torch.get("hip") else ()
        name = next((one for one in (*names, "CUDA_VISIBLE_DEVICES") if one in self.environment), None)
        return (name, self.environment[name]) if name else ((*names, "CUDA_VISIBLE_DEVICES")[0], None)

    @cached_property
    def visible(self) -> Visible | None:
        """What that variable leaves; None where it is not set."""
        return read_visible(self.variable[1], None if self.torch.get("hip") else self.uuids or None)

    def card_name(self, index: int) -> str:
        """Name one of torch's devices."""
        return f"cuda:{index} ({self.stage(f'device:{index}').get('name') or 'GPU'})"

    def install_torch(self, capability: tuple[int, int] | None = None, *, anew: bool = False) -> str:
        """Give the command that installs the torch for this driver and all of its cards; else what comes nearest."""
        pip = pip_command(self.evidence)
        if self.amd_only:
            return install_rocm(pip + ("" if self.torch.get("missing") else " --force-reinstall"))
        if self.evidence.tegra and not self.evidence.nvidia_cards:
            return install_jetson(pip, self.evidence.tegra_release)
        pip += " --force-reinstall" if anew else ""
        cards = {(int(one[0]), int(one[1])) for card in self.cards if (one := card.get("capability"))}
        cards |= {capability} if capability else set()
        version = self.torch.get("version") or self.torch.get("installed")
        if wheel := wheel_for(version, self.driver_cuda, *cards):
            return install_torch(pip, wheel)
        never = {one for one in cards if wheel_for(None, None, one) is None}
        words = ", ".join("{}.{}".format(*one) for one in sorted(never))
        if never and never == cards:
            return (
                "nvidia-smi --query-gpu=index,name,compute_cap --format=csv   # no torch from 2.6 on has code for "
                f"compute capability {words}: train on another GPU, or on the CPU"
            )
        if wheel_for(version, None, *(cards - never)):  # of a newer driver
            newer = wheel_for(version, self.driver_cuda, *(cards - never))
            return f"{install_torch(pip, newer)}   # not for {words}" if newer else install_driver(self.evidence)
        newest = wheel_for(version, self.driver_cuda, max(cards))
        if newest is None:
            return install_driver(self.evidence)
        return f"{install_torch(pip, newest)}   # for the newest card; no torch has code for all cards here"

    def probe_problem(self, *stages: str) -> Problem | None:
        """Give the problem of a process that ended in one of these stages (``""``: before the first of them)."""
        ended, stage, reason = self.answer.ended, self.answer.stage or "", self.answer.reason
        own = next((name for name in stages if self.stage(name).get("ended")), None)
        if own is not None:
            stage, found = own, self.stage(own)
            ended, reason = found["ended"], str(found["reason"])
        if ended == "ok" or stage not in stages:
            return None
        command = kernel_log(self.evidence)
        if stage == "torch":
            command = f'{self.python} -X faulthandler -c "import torch"'
            if ended == "timeout":
                command += "   # if it is only slow: check_gpu_compatibility(timeout_s=300)"
        kind, _, device = stage.partition(":")
        words = _WORDS.get(kind, "before it had begun").format(device=device)
        last = [line for line in self.answer.output.splitlines() if line.strip()][-8:]
        code = {"timeout": "probe_timeout", "crashed": "probe_crashed"}.get(ended, "probe_not_started")
        if ended == "not_started" or not stage:
            command = f"{self.python} -P -m hf_monitor.gpu.probe"
        return problem(code, "\n".join(last), stage=words, reason=reason, command=command)
