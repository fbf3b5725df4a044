"""What all ranks must see alike before they plan: another plan on one of them would let the others wait for ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from hf_monitor.auto_batch.plan_device import DeviceFacts, device_facts, training_device
from hf_monitor.gpu.tiers import TIERS

__all__ = ["common_facts", "gathered", "launch_facts"]

_WORST_FIRST = ("fp32", "fp16", "bf16")


def gathered(value: Any) -> list[Any]:
    """Give a value of every rank, by rank; all must call it. Alone, or before the processes are connected, one's own.

    Parameters
    ----------
    value : object
        Can be pickled.

    Returns
    -------
    list
    """
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return [value]
    group = dist.new_group(backend="gloo")  # on the CPU, whatever the training uses
    try:
        found: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(found, value, group=group)
        return found
    finally:
        dist.destroy_process_group(group)


def common_facts(own: DeviceFacts, ranks: Sequence[DeviceFacts]) -> DeviceFacts:
    """Give what holds for the devices of all ranks: the least of each, so that all plan alike.

    Parameters
    ----------
    own : DeviceFacts
        Of this rank, whose ``device`` stays.
    ranks : sequence of DeviceFacts

    Returns
    -------
    DeviceFacts
    """
    names = list(dict.fromkeys(facts.name for facts in ranks))
    order = list(TIERS)
    memories = [facts.memory_mib for facts in ranks if facts.memory_mib is not None]
    return dataclasses.replace(
        own,
        name=", ".join(names),
        memory_mib=min(memories, default=None),
        precision=min((facts.precision for facts in ranks), key=_WORST_FIRST.index),
        tier=max((facts.tier for facts in ranks), key=lambda found: order.index(found.tier.name)),
    )


def launch_facts(device: Any = None) -> DeviceFacts:
    """Give what holds for the devices of all ranks of this launch; all must call it.

    Parameters
    ----------
    device : torch.device, str or int, optional
        This rank's; where a Trainer would train, by default.
    """
    own = device_facts(training_device(device))
    return common_facts(own, gathered(own))
