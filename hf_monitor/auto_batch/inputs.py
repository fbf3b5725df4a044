"""What a probe is handed over, checked and completed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch, dummy_batch

__all__ = ["batches", "check_numbers", "device_of", "estimate_for", "unwrapped"]


def check_numbers(*, safe_factor: float, max_batch_size: int, memory_limit: int | None, precision: str) -> None:
    """Refuse what cannot be meant."""
    if precision not in ("fp32", "bf16", "fp16"):
        raise InputError(f"precision must be 'fp32', 'bf16' or 'fp16', got {precision!r}")
    if not 0 < safe_factor <= 1:
        raise InputError(f"safe_factor is a share of the memory, above 0 and at most 1, got {safe_factor!r}")
    if isinstance(max_batch_size, bool) or not isinstance(max_batch_size, int) or max_batch_size < 1:
        raise InputError(f"max_batch_size must be a whole number, 1 or more, got {max_batch_size!r}")
    if memory_limit is not None and (isinstance(memory_limit, bool) or memory_limit < 1):
        raise InputError(f"memory_limit is in bytes, 1 or more, got {memory_limit!r}")


def unwrapped(model: Any) -> Any:
    """Give the model under DDP, DataParallel and torch.compile; refuse what cannot be probed."""
    while hasattr(model, "_orig_mod") or (
        type(model).__name__ in ("DistributedDataParallel", "DataParallel") and hasattr(model, "module")
    ):
        model = model._orig_mod if hasattr(model, "_orig_mod") else model.module
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    parameters = list(model.parameters())
    if any(p.is_meta for p in parameters):
        raise InputError("the model has weights on the meta device, which no step can be made with; load them first")
    if any(type(p.data).__name__ == "DTensor" or hasattr(p, "ds_id") for p in parameters):
        raise InputError(
            "the weights are spread over processes (FSDP, DeepSpeed ZeRO-3): probe the model before it is wrapped"
        )
    devices = {p.device for p in parameters}
    if len(devices) > 1:
        raise InputError(
            f"the model is spread over {', '.join(sorted(map(str, devices)))}: no batch is found for several devices"
        )
    if not devices:
        raise InputError("the model has no parameters")
    return model


def device_of(model: Any, device: Any) -> torch.device:
    """Give the device to probe, with its index."""
    own: torch.device = next(model.parameters()).device
    if device is None:
        return own
    try:
        found: torch.device = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device {device!r} is none of torch's: 'cuda', 'cuda:1', 'cpu' ...") from error
    if found.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(f"device {device!r} was asked for, but torch has no usable GPU; `hf-monitor gpu` says why")
        index: int | None = found.index
        if index is None:
            return own if own.type == "cuda" else torch.device("cuda", torch.cuda.current_device())
        if index >= torch.cuda.device_count():
            raise InputError(f"there is no {found}: torch sees {torch.cuda.device_count()} GPUs")
    return found


def batches(
    model: Any,
    tokenizer: Any,
    dataset: Any,
    collator: Any,
    source_length: int | None,
    target_length: int | None,
    quantile: float,
    make_batch: MakeBatch | None,
) -> tuple[Lengths, MakeBatch]:
    """Give the lengths to probe with, and what makes batches of them."""
    lengths = Lengths(source_length or 512, target_length or 128)
    return lengths, make_batch or (lambda size: dummy_batch(model, size, lengths))


def estimate_for(
    model: Any, settings: StepSettings, lengths: Lengths, make_batch: MakeBatch | None, device: torch.device
) -> Callable[[int], int] | None:
    """Give the estimate by fake tensors; None where this model cannot be run on them."""
    return None
