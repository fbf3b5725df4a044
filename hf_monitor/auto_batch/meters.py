"""How much memory a device gives this process, and the peak of what runs within."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import torch

from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.auto_batch.oom import free_memory
from hf_monitor.auto_batch.ranks import world
from hf_monitor.auto_batch.shapes import Budget
from hf_monitor.errors import InputError

__all__ = ["CpuMeter", "CudaMeter", "Meter", "meter_for"]

_MIB = 2**20


class Meter(Protocol):
    """What a probe asks of a device."""

    how: str
    noise: int
    wears: bool
    """Whether a step finds less room than the one before it, until :meth:`settle`: an allocator that keeps blocks."""

    def budget(self) -> Budget:
        """Give what this process can get."""

    def watch(self, batch: Iterable[Any]) -> contextlib.AbstractContextManager[None]:
        """Measure what runs within; the batch counts, too."""

    def peak(self) -> int:
        """Give the peak of the last :meth:`watch`, in bytes."""

    def flushes(self) -> int:
        """Give how often so far the device was full, so that its allocator gave back all it could to serve a block."""

    def settle(self) -> None:
        """Free what nobody holds, and wait for the device."""

    def close(self) -> None:
        """Measure no more."""


class CpuMeter:
    """Counts live tensor storages; more than the budget is out of memory, before the kernel ends the process for it.

    Parameters
    ----------
    tensors : iterable of torch.Tensor
        What is there already, and counts: weights and buffers.
    memory_limit : int, optional
        Bytes; otherwise what the container, or the machine, has left.
    """

    how = "live tensor storages, counted"
    noise = 0
    wears = False

    def __init__(self, tensors: Iterable[torch.Tensor], memory_limit: int | None = None) -> None:
        self._live = LiveStorages()
        self._live.count(tensors)
        self._budget = _cpu_budget(self._live.now, memory_limit)
        self._live.cap_bytes = self._budget.bytes

    def budget(self) -> Budget:
        """Give the limit that was handed over, else RAM that is free plus what is counted already."""
        return self._budget

    @contextlib.contextmanager
    def watch(self, batch: Iterable[Any] = ()) -> Iterator[None]:
        """Count what the operations within make."""
        self._live.count(value for value in batch if isinstance(value, torch.Tensor))
        self._live.reset_peak()
        with self._live:
            yield

    def peak(self) -> int:
        """Give bytes."""
        return self._live.peak

    def flushes(self) -> int:
        """Nothing is kept that could be given back."""
        return 0

    def settle(self) -> None:
        """Free what nobody holds."""
        free_memory(torch.device("cpu"))

    def close(self) -> None:
        """Count no more."""
        self._live.close()


class CudaMeter:
    """Reads torch's caching allocator: the peak of what it reserved, which is what others cannot have.

    Parameters
    ----------
    device : torch.device
    memory_limit : int, optional
        Bytes, where less than the device has may be taken.
    """

    how = "memory reserved by torch (max_memory_reserved)"
    wears = True
    noise = 40 * _MIB  # the allocator takes large blocks by 2 MiB, middle-sized ones by 20 MiB (kLargeBuffer)

    def __init__(self, device: torch.device, memory_limit: int | None = None) -> None:
        self._device, self._limit = device, memory_limit

    def budget(self) -> Budget:
        """Give what is free plus what torch holds already: what other processes take is in neither."""
        self.settle()
        free, total = torch.cuda.mem_get_info(self._device)
        found = free + torch.cuda.memory_reserved(self._device)
        others = total - found
        why = f"{found / _MIB:.0f} MiB of {total / _MIB:.0f}; others, the driver included, hold {others / _MIB:.0f}"
        budget = Budget(found, why)
        fraction = getattr(torch.cuda, "get_per_process_memory_fraction", None)
        share = int(fraction(self._device) * total) if fraction is not None else total
        if share < budget.bytes:
            budget = Budget(share, f"{share / _MIB:.0f} MiB: set_per_process_memory_fraction of {total / _MIB:.0f}")
        if self._limit is not None and self._limit < budget.bytes:
            budget = Budget(self._limit, f"memory_limit: {self._limit / _MIB:.0f} MiB of {total / _MIB:.0f}")
        return budget

    @contextlib.contextmanager
    def watch(self, batch: Iterable[Any] = ()) -> Iterator[None]:
        """Let the allocator note its peak anew; the batch is moved to the device within."""
        torch.cuda.reset_peak_memory_stats(self._device)
        yield
        torch.cuda.synchronize(self._device)  # an error of a kernel belongs to its step

    def peak(self) -> int:
        """Give bytes."""
        return torch.cuda.max_memory_reserved(self._device)

    def flushes(self) -> int:
        """Give the allocator's own count (``num_alloc_retries`` of ``torch.cuda.memory_stats``)."""
        return int(torch.cuda.memory_stats(self._device).get("num_alloc_retries", 0))

    def settle(self) -> None:
        """Give back what is cached, so that each step finds the same empty cache."""
        free_memory(self._device)

    def close(self) -> None:
        """Nothing is held."""


def meter_for(device: torch.device, tensors: Iterable[torch.Tensor], memory_limit: int | None) -> Meter:
    """Give the meter of a device.

    Raises
    ------
    InputError
        For a device that has none: Apple's MPS and others do not tell the peak.
    """
    if device.type == "cuda":
        return CudaMeter(device, memory_limit)
    if device.type == "cpu":
        return CpuMeter(tensors, memory_limit)
    raise InputError(
        f"batch sizes can be measured on 'cuda' and 'cpu', got device {str(device)!r}, which does not tell the peak of "
        "its memory; set per_device_train_batch_size yourself"
    )


def _cpu_budget(held: int, memory_limit: int | None) -> Budget:
    if memory_limit is not None:
        return Budget(memory_limit, f"memory_limit: {memory_limit / _MIB:.0f} MiB")
    from hf_monitor.gpu.host import HostReader

    reader = HostReader(Path.cwd())
    found = reader.read(disk=False)
    used, total = found["ram_used_mib"], found["ram_total_mib"]
    if used is None or total is None:
        raise InputError("how much memory this machine has cannot be read; give memory_limit, in bytes")
    where = "the container" if reader.facts()["ram_limit"] == "container" else "the machine"
    sharers = world().local_size  # processes of this launch on this machine, each of which takes its part
    free = max(0, int((total - used) * _MIB)) // sharers
    each = f" for each of {sharers} processes" if sharers > 1 else ""
    allowed = _address_space_left()
    if allowed is not None and allowed < free:
        return Budget(
            held + allowed, f"{allowed / _MIB:.0f} MiB are left by `ulimit -v`, and the model is there already"
        )
    return Budget(
        held + free, f"{free / _MIB:.0f} MiB of {total:.0f} are free in {where}{each}, and the model is there already"
    )


def _address_space_left() -> int | None:
    """Give what ``ulimit -v`` leaves this process; None where there is no such limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    import psutil

    return max(0, limit - int(psutil.Process().memory_info().vms))
