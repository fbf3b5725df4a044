"""What torch's allocator holds on a GPU, and how much it did since a training began."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Allocator", "torch_memory"]

_MIB = 2**20


def torch_memory(index: int) -> tuple[float, float, float, float]:
    """Give what torch's allocator holds on a device, in MiB: allocated, reserved, and the highest of both so far."""
    import torch

    stats = torch.cuda.memory.memory_stats_as_nested_dict(index)  # a tenth of what memory_stats() costs
    allocated, reserved = stats["allocated_bytes"]["all"], stats["reserved_bytes"]["all"]
    return (
        round(allocated["current"] / _MIB, 1),
        round(reserved["current"] / _MIB, 1),
        round(allocated["peak"] / _MIB, 1),
        round(reserved["peak"] / _MIB, 1),
    )


class Allocator:
    """Asks torch's allocator; of its peaks, which last as long as the process, it tells those of one training.

    Parameters
    ----------
    ask : callable
        As :func:`torch_memory`.
    only_used : bool
        Whether a GPU on which this process holds nothing is left out.
    """

    def __init__(self, ask: Callable[[int], Sequence[float]], *, only_used: bool) -> None:
        self._ask, self._only_used = ask, only_used
        self._before: dict[int, tuple[float, float]] = {}  # torch's peaks when the training began
        self._highest: dict[int, tuple[float, float]] = {}

    def read(self, index: int) -> dict[str, float]:
        """Give the values of a GPU; none where torch gives none. Never raises."""
        try:
            allocated, reserved, allocated_peak, reserved_peak = self._ask(index)
        except Exception:  # noqa: BLE001 - torch before CUDA began, or after it broke: there is no such value
            return {}
        if self._only_used and not reserved:
            return {}
        before = self._before.get(index)
        if before is None:
            before = self._before[index] = allocated_peak, reserved_peak
            self._highest[index] = allocated, reserved
        highest = self._highest[index]
        self._highest[index] = highest = (
            max(highest[0], allocated if allocated_peak == before[0] else allocated_peak),
            max(highest[1], reserved if reserved_peak == before[1] else reserved_peak),
        )
        return {
            "torch_allocated_mib": allocated,
            "torch_reserved_mib": reserved,
            "torch_allocated_peak_mib": highest[0],
            "torch_reserved_peak_mib": highest[1],
        }
