"""One machine's case: the evidence and the probe's answer, and what follows from both for more than one rung."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import install_driver, pip_command
from hf_monitor.gpu.evidence import Evidence
from hf_monitor.gpu.report import Problem
from hf_monitor.gpu.run_probe import Answer
from hf_monitor.gpu.wheels import install_torch, wheel_for

__all__ = ["Case", "cuda_pair", "same_address"]

_WORDS = {
    "nvml": "while it asked the driver (NVML)",
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
    """

    evidence: Evidence
    answer: Answer
    environment: Mapping[str, str] = field(default_factory=dict)

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
        return shlex.quote(sys.executable or "python")

    def card_name(self, index: int) -> str:
        """Name one of torch's devices."""
        return f"cuda:{index} ({self.stage(f'device:{index}').get('name') or 'GPU'})"

    def install_torch(self, capability: tuple[int, int] | None = None, *, anew: bool = False) -> str:
        """Give the command that installs the torch for this driver and its cards; else the one for a newer driver."""
        if capability is None:
            known = [tuple(card["capability"]) for card in self.cards if card.get("capability")]
            capability = max(known) if known else None
        version = self.torch.get("version") or self.torch.get("installed")
        wheel = wheel_for(version, self.driver_cuda, capability)
        if wheel is None:
            return install_driver(self.evidence)
        pip = pip_command() + (" --force-reinstall" if anew else "")
        return install_torch(pip, wheel, self.evidence.tegra)

    def probe_problem(self, *stages: str) -> Problem | None:
        """Give the problem of a probe that ended in one of these stages."""
        ended = self.answer.ended
        stage = self.answer.stage or ""
        if ended == "ok" or stage.split(":")[0] not in stages:
            return None
        command = "sudo dmesg --ctime | grep -E 'NVRM|Xid|nvidia' | tail -n 20"
        if stage == "torch":
            command = f"{self.python} -X faulthandler -c 'import torch'"
            if ended == "timeout":
                command += "   # if it is only slow: check_gpu_compatibility(timeout_s=300)"
        device = stage.partition(":")[2]
        words = _WORDS.get(stage, f"in the first computation on GPU {device}" if device else "before it had begun")
        last = [line for line in self.answer.output.splitlines() if line.strip()][-8:]
        code = {"timeout": "probe_timeout", "crashed": "probe_crashed"}.get(ended, "probe_not_started")
        if ended == "not_started" or not stage:
            command = f"{self.python} -P -m hf_monitor.gpu.probe"
        return problem(code, "\n".join(last), stage=words, reason=self.answer.reason, command=command)
