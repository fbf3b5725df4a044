"""Fake tensors to run a training step on, and an answer where a model asks for the values that they do not have."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_iter

from hf_monitor.auto_batch.live import LiveStorages

__all__ = ["FakeStorages", "all_ones_are_seen", "bytes_of", "fake_batch", "has_own_head"]

_ATEN = torch.ops.aten
_DEVICE = torch.ops.prim.device.default
_ONES = {_ATEN.ones.default, _ATEN.ones_like.default, _ATEN.new_ones.default}
_SAME = {_ATEN._to_copy.default, _ATEN.clone.default, _ATEN.all.default, _ATEN.index.Tensor}


class FakeStorages(LiveStorages):  # type: ignore[no-untyped-call] # torch does not type its hook
    """Counts the storages of fake tensors, and answers where a model asks one of them yes or no.

    Whether a mask is all ones is remembered, since transformers then leaves it out, and with it memory. To all else the
    answer is no: no layer is dropped, which is the larger case.
    """

    def __init__(self) -> None:
        super().__init__()
        self._filled: dict[int, float] = {}  # storage -> the one value that it holds everywhere

    def fill(self, tensor: torch.Tensor, value: float) -> None:
        """Remember that a tensor's storage holds nothing but this value."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._filled:
            weakref.finalize(storage, self._filled.pop, key, None).atexit = False
        self._filled[key] = value

    def _value(self, tensor: Any) -> float | None:
        return self._filled.get(tensor.untyped_storage()._cdata) if isinstance(tensor, torch.Tensor) else None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _DEVICE:  # three calls of four, where tensors are fake
            return _device(args[0])
        if func is _ATEN._local_scalar_dense.default and args[0].dtype is torch.bool:
            return bool(self._value(args[0]))
        out = super().__torch_dispatch__(func, types, args, kwargs)
        if func in _ONES:
            self.fill(out, 1)
        elif self._filled and args:
            self._follow(func, args, out)
        return out

    def _follow(self, func: Any, args: Any, out: Any) -> None:
        value = self._value(args[0])
        if value is None:
            return
        if func in _SAME:
            self.fill(out, value)
        elif func is _ATEN.sum.default:
            self.fill(out, value * args[0].numel())
        elif func is _ATEN.eq.Scalar:
            self.fill(out, value == args[1])
        elif func._schema.is_mutable:
            self._filled.pop(args[0].untyped_storage()._cdata, None)


def _device(tensor: Any) -> torch.device:
    """Give the device as torch's ``FakeTensor.__torch_dispatch__`` does, without the way there: an eighth of a step."""
    if isinstance(tensor, FakeTensor) and not tensor.fake_mode.in_kernel_invocation:
        return tensor.fake_device
    device: torch.device = _DEVICE(tensor)
    return device


def fake_batch(batch: Any, fake: FakeTensorMode, storages: FakeStorages) -> dict[str, Any]:
    """Give a real batch as a fake one; what is all ones in it is remembered.

    Parameters
    ----------
    batch : mapping
        Name -> tensor on the CPU, or any other value.
    fake : FakeTensorMode
    storages : FakeStorages
    """
    made = {}
    for name, value in batch.items():
        made[name] = value
        if isinstance(value, torch.Tensor):
            with _disable_current_modes():
                ones = bool((value == 1).all())
            made[name] = fake.from_tensor(value, static_shapes=True)
            storages.count([made[name]])
            if ones:
                storages.fill(made[name], 1)
    return made


@contextlib.contextmanager
def all_ones_are_seen() -> Iterator[None]:
    """Let transformers look at masks of fake tensors; by itself it takes none for all ones.

    Within, ``transformers.utils.import_utils.is_fake_tensor`` says no, which is what it says for every real tensor. A
    transformers without it keeps every mask: the estimate is then a little high.
    """
    from transformers.utils import import_utils

    module: Any = import_utils
    found = getattr(module, "is_fake_tensor", None)
    if found is None:
        yield
        return
    module.is_fake_tensor = lambda tensor: False
    try:
        yield
    finally:
        module.is_fake_tensor = found


def bytes_of(tree: Any) -> int:
    """Give the bytes of the storages in lists, tuples and dicts of tensors, each storage once."""
    storages = {t.untyped_storage()._cdata: t.untyped_storage() for t in tree_iter(tree) if isinstance(t, torch.Tensor)}
    return sum(storage.nbytes() for storage in storages.values())


def has_own_head(config: Any) -> bool:
    """Say whether a config's checkpoints hold an output layer of their own: mT5's, T5 v1.1's and FLAN-T5's do.

    transformers 5 calls all of T5's family tied, and unties a model when its checkpoint holds another output layer.
    """
    return config.model_type in ("mt5", "umt5") or getattr(config, "scale_decoder_outputs", True) is False
