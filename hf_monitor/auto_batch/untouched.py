"""Whatever is done to a model within, it is afterwards bit for bit what it was."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["uninterrupted", "untouched"]


@contextlib.contextmanager
def untouched(model: Any, device: Any = None) -> Iterator[None]:
    """Keep weights, buffers, gradients, modes, flags, hooks and random numbers as they are, whatever ends the block.

    A copy of weights and buffers is held meanwhile, in the host's memory. Gradients that were there are put aside. What
    a module of one's own keeps elsewhere (a plain tensor that it changes in place, a list that it appends to) is its
    own affair.

    Parameters
    ----------
    model : torch.nn.Module
    device : torch.device, optional
        Where the model is moved meanwhile; of weights that are elsewhere no copy is needed.
    """
    saved = _Saved(model, device)
    try:
        saved.put_gradients_aside()
        yield
    finally:
        with uninterrupted():
            saved.restore()


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the block is over."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, Any]] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append((number, frame)))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if waiting and callable(before):
            before(*waiting[-1])


class _Saved:
    """What a model is like now."""

    def __init__(self, model: Any, device: Any) -> None:
        import numpy as np
        import torch

        self._state = [(module, _own_state(module)) for module in model.modules()]
        self._parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
        tensors = [*model.parameters(), *(b for b in model.buffers() if b is not None)]
        with torch.no_grad():
            self._values = [(t, t.data, _copy(t) if device is None or t.device == device else None) for t in tensors]
        places = [t.device for t in tensors] if device is None else [device, *(t.device for t in tensors)]
        self._devices = sorted({place.index or 0 for place in places if place.type == "cuda"})
        self._random = random.getstate(), np.random.get_state()
        self._torch_random = torch.get_rng_state(), [torch.cuda.get_rng_state(index) for index in self._devices]

    def put_gradients_aside(self) -> None:
        for parameter, _, _ in self._parameters:
            parameter.grad = None

    def restore(self) -> None:
        import numpy as np
        import torch

        for module, found in self._state:
            _restore(module, found)
        with torch.no_grad():
            for tensor, data, value in self._values:
                tensor.data = data
                if value is not None:
                    tensor.copy_(value)
        for parameter, flag, gradient in self._parameters:
            parameter.requires_grad_(flag)
            parameter.grad = gradient
        random.setstate(self._random[0])
        np.random.set_state(self._random[1])
        torch.set_rng_state(self._torch_random[0])
        for index, numbers in zip(self._devices, self._torch_random[1], strict=True):
            torch.cuda.set_rng_state(numbers, index)


def _copy(tensor: Any) -> Any:
    return tensor.detach().to("cpu", copy=True)


def _own_state(module: Any) -> dict[str, tuple[Any, Any]]:
    """Give a module's attributes, each with a copy of its content where it is a table (hooks, buffers, submodules)."""
    return {name: (value, value.copy() if isinstance(value, dict) else None) for name, value in vars(module).items()}


def _restore(module: Any, found: dict[str, tuple[Any, Any]]) -> None:
    """Put the attributes back; tables are refilled, since others (a hook's handle) hold them."""
    now = vars(module)
    for name in [name for name in now if name not in found]:
        del now[name]
    for name, (value, held) in found.items():
        now[name] = value
        if held is not None:
            value.clear()
            value.update(held)
