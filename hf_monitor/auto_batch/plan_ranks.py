"""What all ranks must see alike before they plan: another plan on one of them would let the others wait for ever."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from hf_monitor.auto_batch.plan_device import DeviceFacts, device_facts, training_device
from hf_monitor.auto_batch.plan_file import read_plan
from hf_monitor.auto_batch.plan_result import TrainingPlan
from hf_monitor.auto_batch.ranks import gather
from hf_monitor.gpu.tiers import TIERS

__all__ = ["common_facts", "earlier_plan", "launch_facts"]

_WORST_FIRST = ("fp32", "fp16", "bf16")


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
    return common_facts(own, gather("looked at its device", own, device=own.device.split(":")[0]))


def earlier_plan(
    run_dir: str | os.PathLike[str] | None, now: Mapping[str, Any], device: str
) -> tuple[TrainingPlan | None, str | None]:
    """Give the plan that rank 0, which alone has written one, finds in its run folder; all ranks must call it.

    Other ranks may have no run folder, or see another one there: what they see does not count.

    Parameters
    ----------
    run_dir : path-like, optional
        This rank's.
    now : mapping
        See :func:`hf_monitor.auto_batch.plan_file.read_plan`.
    device : str

    Returns
    -------
    plan : TrainingPlan or None
    word : str or None
        That it is taken over, or why it cannot be.
    """
    plan, word = (None, None) if run_dir is None else read_plan(run_dir, now)
    if plan is not None:
        word = f"taken over from {run_dir}, nothing was measured anew"
    found: tuple[TrainingPlan | None, str | None]
    found = gather("looked for an earlier plan", (plan, word), device=device.split(":")[0])[0]
    return found
