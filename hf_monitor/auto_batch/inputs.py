"""What a probe is handed over, checked and completed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

import torch

from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.ranks import world
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.sharding import sharded_by
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch, check_lengths, default_lengths
from hf_monitor.seq2seq.worst_batches import worst_batches

__all__ = ["batches", "check_numbers", "device_of", "estimator_for", "unwrapped"]


def check_numbers(*, safe_factor: float, max_batch_size: Any, memory_limit: Any, precision: str) -> None:
    """Refuse what cannot be meant."""
    if precision not in ("fp32", "bf16", "fp16"):
        raise InputError(f"precision must be 'fp32', 'bf16' or 'fp16', got {precision!r}")
    if not 0 < safe_factor <= 1:
        raise InputError(f"safe_factor is a share of the memory, above 0 and at most 1, got {safe_factor!r}")
    if isinstance(max_batch_size, bool) or not isinstance(max_batch_size, Integral) or max_batch_size < 1:
        raise InputError(f"max_batch_size must be a whole number, 1 or more, got {max_batch_size!r}")
    if memory_limit is not None and not (isinstance(memory_limit, int | float) and 1 <= memory_limit < math.inf):
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
    by = sharded_by(model)
    if by is not None:
        raise InputError(f"the weights are spread over processes by {by}: probe the model before it is wrapped")
    devices = {p.device for p in parameters}
    if len(devices) > 1:
        raise InputError(
            f"the model is spread over {', '.join(sorted(map(str, devices)))}: no batch is found for several devices"
        )
    if any(p.is_inference() for p in parameters):
        raise InputError(
            "the model was made in torch.inference_mode(), in which nothing can be trained; make it outside"
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
            if own.type == "cuda":
                return own
            here = world()  # before the Trainer's arguments, every rank's current device is still the first
            local = here.local % torch.cuda.device_count()
            return torch.device("cuda", local if here.size > 1 else torch.cuda.current_device())
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
) -> tuple[Lengths, MakeBatch | None]:
    """Give the lengths to probe with, and what makes batches of them; None for dummy ones of these lengths.

    Raises
    ------
    InputError
        For lengths that the model has no positions for, and for a data set without collator and tokenizer.
    """
    given = source_length is not None and target_length is not None
    if make_batch is None and not getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        raise InputError(
            f"{type(model).__name__} is no encoder-decoder model, whose batches are known here; hand over make_batch, "
            "from a number of samples to a batch (name -> tensor)"
        )
    if make_batch is not None:
        one = make_batch(1)
        if not isinstance(one, Mapping) or not any(isinstance(value, torch.Tensor) for value in one.values()):
            raise InputError(
                f"make_batch must give a mapping from names to tensors, got {type(one).__name__}: {one!r:.80}"
            )
        shapes = {name: tuple(getattr(value, "shape", ())) for name, value in one.items()}
        own = [shapes.get(name, (1, 0))[-1] for name in ("input_ids", "labels")]
        return Lengths(source_length or own[0], target_length or own[1], "make_batch"), make_batch
    if dataset is not None and not given:
        if collator is None:
            if tokenizer is None:
                raise InputError("a dataset needs the Trainer's data_collator (collator=...), or the tokenizer for one")
            from transformers import DataCollatorForSeq2Seq

            collator = DataCollatorForSeq2Seq(tokenizer, model=model)
        worst = worst_batches(dataset, collator, quantile=quantile, model=model)
        found = worst.lengths
        if source_length is None and target_length is None:
            check_lengths(model, found)
            return found, worst
    else:
        found = Lengths(0, 0) if given else default_lengths(model, tokenizer)
    lengths = Lengths(
        source_length if source_length is not None else found.source,
        target_length if target_length is not None else found.target,
        "given" if given or found.why == "given" else found.why,
    )
    check_lengths(model, lengths)
    return lengths, None


def estimator_for(
    model: Any, settings: StepSettings, lengths: Lengths, make_batch: MakeBatch | None, device: torch.device
) -> tuple[Estimator | None, str | None]:
    """Give the estimate by fake tensors, or why there is none."""
    try:
        return Estimator(model, settings, lengths, make_batch=make_batch, device_type=device.type), None
    except EstimateUnavailable as error:
        return None, f"no estimate by fake tensors, real steps alone: {error}"
