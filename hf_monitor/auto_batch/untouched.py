"""Whatever is done to a model within, it is afterwards bit for bit what it was."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["untouched"]


@contextlib.contextmanager
def untouched(model: Any, device: Any = None) -> Iterator[None]:
    """Keep weights, buffers, gradients, modes, flags, hooks and random numbers as they are, whatever ends the block.

    A copy of weights and buffers is held meanwhile, in the host's memory. Gradients that were there are put aside.

    Parameters
    ----------
    model : torch.nn.Module
    device : torch.device, optional
        Where the model is moved meanwhile; of weights that are elsewhere no copy is needed.
    """
    import numpy as np
    import torch

    modules = list(model.modules())
    state = [(module, _own_state(module)) for module in modules]
    tensors = [*model.parameters(), *(b for b in model.buffers() if b is not None)]
    places = [t.device for t in tensors] if device is None else [device, *(t.device for t in tensors)]
    devices = sorted({place.index or 0 for place in places if place.type == "cuda"})
    with torch.no_grad():
        values = [(t, t.data, _copy(t) if device is None or t.device == device else None) for t in tensors]
    gradients = [(p, p.grad) for p in model.parameters()]
    for parameter, _ in gradients:
        parameter.grad = None
    trainable = [(p, p.requires_grad) for p in model.parameters()]
    others = random.getstate(), np.random.get_state()
    random_numbers = torch.get_rng_state(), [torch.cuda.get_rng_state(index) for index in devices]
    try:
        yield
    finally:
        for module, found in state:
            _restore(module, found)
        with torch.no_grad():
            for tensor, data, value in values:
                tensor.data = data
                if value is not None:
                    tensor.copy_(value)
            for parameter, gradient in gradients:
                parameter.grad = gradient
        for parameter, flag in trainable:
            parameter.requires_grad_(flag)
        random.setstate(others[0])
        np.random.set_state(others[1])
        torch.set_rng_state(random_numbers[0])
        for index, numbers in zip(devices, random_numbers[1], strict=True):
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
