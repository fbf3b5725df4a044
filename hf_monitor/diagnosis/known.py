"""Known: what is known of a training and its machine, whatever was sampled of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_monitor.diagnosis.ranks import cuda_index
from hf_monitor.diagnosis.rows import entries, mapping, number
from hf_monitor.diagnosis.samples import Samples

__all__ = ["Known"]


class Known:
    """The facts of ``run.json``, as rules and suggestions ask for them.

    Parameters
    ----------
    facts : mapping

    Attributes
    ----------
    device : str or None
        ``"cuda:0"``, ``"cpu"``; None where nothing says it.
    host : Samples
        Of the host while it trained; none are known here.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts
        self.host = Samples()
        self.device = self._device()

    def _device(self) -> str | None:
        value = mapping(self.fact("devices")).get("device")
        return value if isinstance(value, str) else None

    def fact(self, name: str) -> Any:
        """Give a fact; None where it is not known."""
        return self._facts.get(name)

    @property
    def config(self) -> dict[str, Any]:
        """The training arguments; empty where they are not known."""
        return mapping(self.fact("arguments"))

    @property
    def world_size(self) -> int:
        """Number of processes; 1 where nothing says it."""
        return int(number(mapping(self.fact("devices")).get("world_size"), 1.0, 1e6) or 1)

    @property
    def cpu_count(self) -> int | None:
        """Logical cores of the machine."""
        found = number(self.fact("cpu_count"), 1.0, 1e6)
        return int(found) if found else None

    @property
    def on_cpu(self) -> bool:
        """Whether the training surely ran without a GPU."""
        return self.device is not None and self.device.split(":")[0] == "cpu"

    @property
    def on_cuda(self) -> bool:
        """Whether the training surely ran on a CUDA device."""
        return self.device is not None and self.device.split(":")[0] == "cuda"

    @property
    def own_gpu(self) -> int | None:
        """The device of this process; None where it is not known."""
        return cuda_index(self.device)

    @property
    def used_gpus(self) -> list[int]:
        """The devices that the training runs on, as far as facts tell."""
        own = self.own_gpu
        return [] if own is None else [own]

    def gpu_info(self, gpu: int) -> dict[str, Any]:
        """Give what is known of a device for good: name, total memory, power limit, whether it can do bf16 ..."""
        found = entries(mapping(self.fact("devices")).get("gpus"))
        return dict(found[gpu]) if gpu < len(found) else {}
