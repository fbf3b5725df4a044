"""The device that a plan is made for: its name, memory and tier, and the precision that suits it and the model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from hf_monitor.auto_batch.shapes import Precision
from hf_monitor.errors import InputError
from hf_monitor.gpu.host import memory_limit
from hf_monitor.gpu.precision import amd_has_bf16, precision_of
from hf_monitor.gpu.tiers import TierMatch, tier_of

__all__ = ["NOT_IN_FP16", "DeviceFacts", "choose_precision", "device_facts", "training_device"]

_MIB = 2**20

NOT_IN_FP16 = frozenset(
    {"t5", "mt5", "umt5", "longt5", "switch_transformers", "pegasus", "pegasus_x", "bigbird_pegasus"}
)
"""Model types whose activations leave fp16's range, the loss being NaN then: they were trained in bf16 or fp32.

https://github.com/huggingface/transformers/issues/9295 (T5); docs of transformers, "Pegasus": "FP16 is not supported".
"""


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """What is known of a device.

    Attributes
    ----------
    device : str
        ``"cuda:0"``, ``"cpu"``, ``"mps"``.
    name : str
    memory_mib : float or None
        Of the device; of the CPU the machine's, or what the container may take of it.
    precision : str
        What it computes fastest without losing a training's range or accuracy.
    tier : TierMatch
    """

    device: str
    name: str
    memory_mib: float | None
    precision: Precision
    tier: TierMatch


def training_device(device: Any = None) -> Any:
    """Give the device where a Trainer in this process would train.

    Parameters
    ----------
    device : torch.device, str or int, optional
        Taken as it is.

    Returns
    -------
    torch.device
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
    found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if found.type == "cpu":
        return torch.device("cpu")  # accelerate counts them: cpu:0 on each rank
    index: int | None = found.index
    if found.type == "cuda" and index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return found


def device_facts(device: Any) -> DeviceFacts:
    """Look at a device, with torch's eyes.

    Parameters
    ----------
    device : torch.device
        As :func:`training_device` gives it.

    Returns
    -------
    DeviceFacts
    """
    import psutil
    import torch

    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        memory = properties.total_memory / _MIB
        precision: Precision = precision_of((properties.major, properties.minor))
        if getattr(torch.version, "hip", None):
            precision = "bf16" if amd_has_bf16(getattr(properties, "gcnArchName", "").split(":")[0]) else "fp16"
        return DeviceFacts(str(device), properties.name, memory, precision, tier_of(properties.name, memory))
    limit = memory_limit()
    memory = min([psutil.virtual_memory().total, *([] if limit is None else [limit[0]])]) / _MIB
    if device.type == "mps":
        return DeviceFacts(str(device), "Apple GPU", memory, "fp32", tier_of("apple", memory))
    # The tiers are of GPUs. A CPU may have much memory, and yet a large batch brings it nothing.
    lowest = TierMatch(tier_of("", None).tier, "no GPU: the lowest tier")
    return DeviceFacts(str(device), device.type.upper(), memory, "fp32", lowest)


def choose_precision(model: Any, facts: DeviceFacts, asked: str | None = None) -> tuple[Precision, str | None]:
    """Choose the mixed precision to train a model in.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    facts : DeviceFacts
    asked : str, optional
        ``"fp32"``, ``"bf16"``, ``"fp16"`` are taken as they are; None and ``"auto"``: bf16 where the device computes
        it, else fp16 where model and device can, else fp32.

    Returns
    -------
    precision : str
    note : str or None
        Why it is not what the device would like.

    Raises
    ------
    InputError
        For another word.
    """
    kind = str(getattr(model.config, "model_type", ""))
    if asked == "fp16":
        overflows = f"fp16 was asked for: models of the kind {kind!r} are known to overflow in it"
        return "fp16", overflows if kind in NOT_IN_FP16 else None
    if asked == "bf16":
        return "bf16", None
    if asked == "fp32":
        return "fp32", None
    if asked not in (None, "auto"):
        raise InputError(f"precision must be 'auto', 'fp32', 'bf16' or 'fp16', got {asked!r}")
    if facts.precision != "fp16":
        return facts.precision, None
    if kind in NOT_IN_FP16:
        return "fp32", f"fp32, since {facts.name} has no bf16 and models of the kind {kind!r} overflow in fp16"
    half = any(p.requires_grad and p.dtype.itemsize == 2 for p in model.parameters())
    if half:  # the loss is scaled in the gradients' own format: torch refuses
        return "fp32", "no mixed precision: the weights are in half precision already, and fp16 wants fp32 weights"
    return "fp16", None
