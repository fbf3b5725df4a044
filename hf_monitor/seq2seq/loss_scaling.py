"""T5 and BART take ``num_items_in_batch`` and ignore it: the Trainer then scales loss and gradient wrongly."""

from __future__ import annotations

import contextlib
import inspect
import random
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["ensure_loss_scaling", "ignores_num_items", "takes_num_items", "uses_num_items"]

_COUNTS = (1, 7)


def _base(model: Any) -> Any:
    """Give what the Trainer looks at: the model under an adapter of PEFT's."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def takes_num_items(model: Any) -> bool:
    """Say whether a Trainer made with this model would hand it ``num_items_in_batch``, and so not divide the loss."""
    base = _base(model)
    declared = getattr(base, "accepts_loss_kwargs", None)
    if declared is not None:
        return bool(declared)
    parameters = inspect.signature(base.forward).parameters.values()
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)


def _is_whole(model: Any) -> bool:
    """Say whether all weights are here: those that are spread over processes (FSDP, ZeRO-3) need all of them."""
    spread = any(p.is_meta or hasattr(p, "ds_id") or type(p.data).__name__ == "DTensor" for p in model.parameters())
    return not spread and not any(type(m).__name__ == "FullyShardedDataParallel" for m in model.modules())


@contextlib.contextmanager
def _untouched(model: Any) -> Iterator[None]:
    """Switch to evaluation mode without gradients; modes, buffers and random numbers are afterwards what they were."""
    import numpy as np
    import torch

    modules = list(model.modules())
    modes = [module.training for module in modules]
    buffers = [(module, dict(module._buffers)) for module in modules]
    values = [(b, b.clone()) for _, found in buffers for b in found.values() if b is not None]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    others = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(device.index for device in devices)), torch.no_grad():
        try:
            for module in modules:  # not model.eval(): some models override train() to keep parts of them frozen
                module.training = False
            yield
        finally:
            for module, mode in zip(modules, modes, strict=True):
                module.training = mode
            for module, found in buffers:
                module._buffers.clear()
                module._buffers.update(found)
            for buffer, value in values:
                if not torch.equal(buffer, value):
                    buffer.copy_(value)
            random.setstate(others[0])
            np.random.set_state(others[1])


def _device(base: Any) -> Any:
    """Give where a model's first weights are: a ``torch.nn.Module`` of one's own has no ``device``."""
    return next(base.parameters()).device


def _tiny_batch(base: Any) -> dict[str, Any]:
    import torch

    config = base.config.get_text_config()
    eos = config.eos_token_id
    eos = eos[0] if isinstance(eos, list | tuple) else eos
    last = config.vocab_size - 1
    tokens = torch.tensor([[min(3, last), min(5, last), min(4, last), eos or 0]], device=_device(base))
    return {"input_ids": tokens, "labels": tokens}


def uses_num_items(model: Any, inputs: Mapping[str, Any] | None = None) -> bool | None:
    """Find out, by trying, whether a model divides its loss by ``num_items_in_batch``.

    Two forward passes in evaluation mode, without gradients; modes, buffers and random numbers stay as they are.
    Hooks of the inner modules hear of them, as of an evaluation.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Not wrapped (DDP, DataParallel), on any device.
    inputs : mapping, optional
        A batch with labels on the model's device; four tokens by default, which suit models that map tokens to tokens.

    Returns
    -------
    bool or None
        None where it cannot be tried (another kind of input, weights spread over processes), or is neither.
    """
    import torch

    base = _base(model)
    try:
        if not _is_whole(base):
            return None
        with warnings.catch_warnings(), _untouched(base):
            warnings.simplefilter("ignore")
            batch = dict(inputs) if inputs is not None else _tiny_batch(base)
            device, losses = _device(base), []
            for count in _COUNTS:
                # Not base(...), so that the model's own hooks, and what torch.compile put there, are not called.
                found = base.forward(**batch, num_items_in_batch=torch.tensor(count, device=device))
                losses.append(float(found["loss"] if isinstance(found, dict) else found[0]))
    except Exception:  # noqa: BLE001 - this runs the user's model, which may want anything
        return None
    first, second = losses
    if not first or not second or first - first or second - second:  # nothing to compare: zero, NaN, infinite
        return None
    ratio = first / second
    if abs(ratio - 1) < 0.01:
        return False
    return True if abs(ratio * _COUNTS[0] / _COUNTS[1] - 1) < 0.01 else None


def ignores_num_items(model: Any) -> bool:
    """Say whether a model's loss is the same for any ``num_items_in_batch``: see :func:`uses_num_items`.

    Parameters
    ----------
    model : PreTrainedModel
        A seq2seq model, on any device.

    Returns
    -------
    bool
        Also True where it cannot be tried: dividing by the accumulation, which follows from it, is right for a mean
        loss, and every model gives one when it is not told the number of items.
    """
    return uses_num_items(model) is not True


def ensure_loss_scaling(model: Any) -> bool:
    """Make the Trainer divide the loss by the accumulation where the model does not; call it before making the Trainer.

    transformers up to 5.23 takes ``**kwargs`` in a model's ``forward`` as a promise that the loss is divided by
    ``num_items_in_batch``. T5, BART, mBART, Pegasus ... do not keep it: with ``gradient_accumulation_steps=4`` loss and
    gradient are 4 times too large, on two processes twice.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Gets ``accepts_loss_kwargs = False`` where its loss ignores the number of items.

    Returns
    -------
    bool
        Whether it was set.

    Examples
    --------
    >>> import hf_monitor
    >>> hf_monitor.ensure_loss_scaling(model)  # doctest: +SKIP
    True
    >>> trainer = Seq2SeqTrainer(model=model, ...)  # doctest: +SKIP
    """
    base = _base(model)
    if takes_num_items(base) and ignores_num_items(base):
        base.accepts_loss_kwargs = False
        return True
    return False
