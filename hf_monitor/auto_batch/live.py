"""Count the bytes of live tensor storages while operations run: what the CPU allocator does not tell."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["LiveStorages"]


class LiveStorages(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch does not type its hook
    """A mode in which every operation's new storages are counted until they die.

    It counts what operations return; what a kernel allocates and frees within itself is not seen (torch's profiler sees
    it: tests/auto_batch/test_live.py holds the two together). The same works on fake tensors, which have no memory.

    Parameters
    ----------
    cap_bytes : int, optional
        More than this raises ``torch.OutOfMemoryError``, as a device of that size would.

    Attributes
    ----------
    now : int
        Bytes.
    """

    def __init__(self, cap_bytes: int | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # nor this
        self.cap_bytes = cap_bytes
        self.now = 0
        self._peak = 0
        self._live: dict[int, int] = {}
        self._watched: dict[int, weakref.finalize[[int], Any]] = {}

    def count(self, tensors: Iterable[torch.Tensor]) -> None:
        """Count tensors that were there before."""
        for tensor in tensors:
            self._meet(tensor, counted=True)

    @property
    def peak(self) -> int:
        """Give the highest number of bytes since the last :meth:`reset_peak`."""
        self._peak = max(self._peak, self.now)
        return self._peak

    def reset_peak(self) -> None:
        """Begin anew with the peak, from what is alive now."""
        self._peak = self.now

    def close(self) -> None:
        """Watch no storage any more: those of the weights would otherwise keep this alive as long as they are."""
        for watched in self._watched.values():
            watched.detach()
        self._watched.clear()

    def _meet(self, tensor: Any, *, counted: bool) -> None:
        if not isinstance(tensor, torch.Tensor):
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._live:
            return
        size = storage.nbytes() if counted else 0
        self._live[key] = size
        self._watched[key] = weakref.finalize(storage, self._forget, key)
        self._watched[key].atexit = False
        self.now += size

    def _forget(self, key: int) -> None:
        self.now -= self._live.pop(key, 0)
        self._watched.pop(key, None)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for value in tree_iter((args, kwargs)):
            self._meet(value, counted=False)  # somebody else's, who was there before: not ours to count
        self._note(func)
        out = func(*args, **(kwargs or {}))
        for value in tree_iter(out):
            self._meet(value, counted=True)
        if not _is_in_place_without_us(func):
            self._note(func)
        return out

    def _note(self, func: Any) -> None:
        self._peak = max(self._peak, self.now)
        if self.cap_bytes is not None and self.now > self.cap_bytes:
            raise torch.OutOfMemoryError(
                f"{func}: {self.now} bytes of tensors are alive, the limit is {self.cap_bytes} (counted by hf_monitor)"
            )


def _is_in_place_without_us(func: Any) -> bool:
    """Say whether the backward pass would do this in place, were it not for a mode like this one.

    So it is with two gradients that are added up (``can_accumulate_inplace`` in torch/csrc/autograd/input_buffer.cpp)
    and with what is scattered into new zeros (``areAnyTensorSubclassLike`` in FunctionsManual.cpp). What is too much is
    gone before the next operation, and is not looked at before.
    """
    return torch._C._current_graph_task_id() != -1 and func in (
        torch.ops.aten.add.Tensor,
        torch.ops.aten.scatter_add.default,
        torch.ops.aten.scatter.src,
        torch.ops.aten.index_add.default,
    )
