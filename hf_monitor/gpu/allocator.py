"""What torch's allocator holds on a GPU, and how much it did since a training began."""

from __future__ import annotations

from collections.abc import Callable, Mapping

__all__ = ["Allocator", "torch_memory"]

_MIB = 2**20
_PEAKS = ("torch_allocated_peak_mib", "torch_reserved_peak_mib")


def torch_memory(index: int) -> dict[str, float]:
    """Give what torch's allocator holds on a device, in MiB; the peaks are those since torch last forgot them."""
    import torch

    stats = torch.cuda.memory.memory_stats_as_nested_dict(index)  # a tenth of what memory_stats() costs
    allocated, reserved = stats["allocated_bytes"]["all"], stats["reserved_bytes"]["all"]
    return {
        "torch_allocated_mib": round(allocated["current"] / _MIB, 1),
        "torch_reserved_mib": round(reserved["current"] / _MIB, 1),
        "torch_allocated_peak_mib": round(allocated["peak"] / _MIB, 1),
        "torch_reserved_peak_mib": round(reserved["peak"] / _MIB, 1),
    }


class Allocator:
    """Asks torch's allocator; of its peaks, which last as long as the process, it tells those of one training.

    Parameters
    ----------
    ask : callable
        As :func:`torch_memory`.
    only_used : bool
        Whether a GPU on which this process holds nothing is left out.
    """

    def __init__(self, ask: Callable[[int], Mapping[str, float]], *, only_used: bool) -> None:
        self._ask, self._only_used = ask, only_used
        self._before: dict[int, list[float]] = {}  # torch's peaks when the training began
        self._highest: dict[int, list[float]] = {}

    def read(self, index: int) -> dict[str, float]:
        """Give the values of a GPU; none where torch gives none. Never raises."""
        try:
            found = dict(self._ask(index))
            if self._only_used and not found["torch_reserved_mib"]:
                return {}
            now = [found["torch_allocated_mib"], found["torch_reserved_mib"]]
            peaks = [found[name] for name in _PEAKS]
        except Exception:  # noqa: BLE001 - torch before CUDA began, or after it broke: there is no such value
            return {}
        before = self._before.setdefault(index, peaks)
        highest = self._highest.setdefault(index, now)
        for k, name in enumerate(_PEAKS):
            highest[k] = max(highest[k], peaks[k] if peaks[k] != before[k] else now[k])
            found[name] = highest[k]
        return found
