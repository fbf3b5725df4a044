"""Models that are spread over several devices: which they are, and what a probe on one device says of them."""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["sharded_by", "sharding_note"]

_FSDP = (
    "FSDP: probed was the whole model on one device, each rank for itself. FSDP keeps a part of weights, gradients and "
    "optimizer state on each rank, and whole only the layers it is at: what fits here should fit there, and a larger "
    "batch may fit too. That was not measured, and it does not hold for gradients under no_sync, which FSDP keeps "
    "whole. A model that does not fit on one device cannot be probed so: choose the batch size by hand then"
)
_DEEPSPEED = (
    "DeepSpeed: probed was the whole model on one device, with the Trainer's own optimizer, each rank for itself. ZeRO "
    "keeps a part of the optimizer state (stage 1), of the gradients (2) and of the weights (3) on each rank, so that "
    "a larger batch may fit; but it adds buffers of its own (reduce_bucket_size, allgather_bucket_size) and, in half "
    "precision, a copy of the weights in fp32, which are not in these figures: the size found is no promise. A model "
    "that does not fit on one device cannot be probed so: choose the batch size by hand then"
)


def sharding_note() -> str | None:
    """Say what a probe can and cannot promise where the launch spreads the model over the ranks.

    Told from the launcher's environment, accelerate's state and the Trainer's DeepSpeed configuration, whichever there
    is already; none of them is made.

    Returns
    -------
    str or None
        None without FSDP and DeepSpeed.
    """
    kinds = {_distributed_type()}
    kinds |= {kind for kind in ("DEEPSPEED", "FSDP") if _is_on(f"ACCELERATE_USE_{kind}")}
    transformers = sys.modules.get("transformers.integrations.deepspeed")
    if "DEEPSPEED" in kinds or (transformers is not None and transformers.deepspeed_config() is not None):
        return _DEEPSPEED
    return _FSDP if "FSDP" in kinds else None


def _is_on(name: str) -> bool:
    return os.environ.get(name, "").lower() in ("1", "true", "yes", "on", "y", "t")


def _distributed_type() -> str | None:
    state = sys.modules.get("accelerate.state")
    if state is None:
        return None
    for held in (state.AcceleratorState._shared_state, state.PartialState._shared_state):
        if held.get("distributed_type") is not None:
            return str(held["distributed_type"].value)
    return None


def sharded_by(model: Any) -> str | None:
    """Name what has spread a model's weights over the ranks.

    Every step of such a model is an exchange between all of them, in which a rank that runs out of memory leaves the
    others waiting: no rank can probe it on its own. DistributedDataParallel is not meant: what it wraps can be probed,
    since its hooks exchange nothing unless its own forward pass has announced it.

    Parameters
    ----------
    model : torch.nn.Module

    Returns
    -------
    str or None
    """
    import torch.distributed as dist

    if any(cls.__name__ == "DeepSpeedEngine" for cls in type(model).__mro__):
        return "DeepSpeed"
    if any(hasattr(parameter, "ds_id") for parameter in model.parameters()):
        return "DeepSpeed (ZeRO-3)"
    if not dist.is_available():
        return None
    from torch.distributed.fsdp import FullyShardedDataParallel
    from torch.distributed.tensor import DTensor

    if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
        return "FSDP"
    if any(isinstance(parameter, DTensor) for parameter in model.parameters()):
        return "FSDP2 or tensor parallelism (DTensor)"
    return None
