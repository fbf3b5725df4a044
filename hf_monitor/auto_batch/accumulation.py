"""Batch times accumulation times ranks is the effective batch, exactly: divisors only, never a rounding."""

from __future__ import annotations

from dataclasses import dataclass

from hf_monitor.errors import InputError
from hf_monitor.gpu.tiers import Tier

__all__ = ["DEFAULT_EFFECTIVE_BATCH", "Settled", "divisors", "per_rank_batch", "settle"]

DEFAULT_EFFECTIVE_BATCH = 128
"""The smallest effective batch that all four tiers reach within their ranges, so that every card trains the same."""

_MOST = 2**20  # thirty times the largest that is known to train well; its divisors are found at once


@dataclass(frozen=True, slots=True)
class Settled:
    """How an effective batch is put together.

    Attributes
    ----------
    per_device_batch_size : int
        Samples of one device and one step.
    accumulation : int
        ``gradient_accumulation_steps``.
    effective_batch_size : int
        Samples of one update of the weights, over all ranks.
    note : str or None
        Where the tier had to yield: what it would have, and why it has not.
    """

    per_device_batch_size: int
    accumulation: int
    effective_batch_size: int
    note: str | None = None


def divisors(number: int) -> list[int]:
    """Give the divisors of a number of 1 or more, in order."""
    small = [d for d in range(1, int(number**0.5) + 1) if number % d == 0]
    return small + [number // d for d in reversed(small) if d * d != number]


def per_rank_batch(effective_batch_size: int | None = None, num_processes: int = 1) -> int:
    """Give the samples of one update that one rank contributes.

    Parameters
    ----------
    effective_batch_size : int, optional
        128 by default.
    num_processes : int

    Raises
    ------
    InputError
        If the ranks do not divide the effective batch (both neighbours that they do divide are named), or a number is
        below 1, or the effective batch above 2**20.
    """
    effective = DEFAULT_EFFECTIVE_BATCH if effective_batch_size is None else effective_batch_size
    for name, value in (("effective_batch_size", effective), ("num_processes", num_processes)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"{name} must be a whole number, 1 or more, got {value!r}")
    if effective > _MOST:
        raise InputError(f"effective_batch_size must be at most {_MOST} samples, got {effective}")
    if effective % num_processes:
        below = effective // num_processes * num_processes
        neighbours = f"{below} or {below + num_processes}" if below else f"{num_processes}"
        default = " (the default)" if effective_batch_size is None else ""
        raise InputError(
            f"an effective batch of {effective}{default} cannot be shared out evenly between {num_processes} "
            f"processes; take an effective_batch_size of {neighbours}"
        )
    return effective // num_processes


def settle(ceiling: int, tier: Tier, *, num_processes: int = 1, effective_batch_size: int | None = None) -> Settled:
    """Choose batch and accumulation whose product with the ranks is the effective batch.

    Only divisors that the device can hold come into question. Preferred are those whose batch and accumulation both
    lie in the tier's ranges, then those whose batch does, then those nearest to the tier's batches; the largest of
    equals. Nothing of that changes the effective batch.

    Parameters
    ----------
    ceiling : int
        The largest batch that fits one device, as measured.
    tier : Tier
        Of the device: ``hf_monitor.gpu.tiers.tier_of(...).tier``.
    num_processes : int
        Ranks.
    effective_batch_size : int, optional
        128 by default, for every tier and every card.

    Returns
    -------
    Settled

    Raises
    ------
    InputError
        If the ranks do not divide the effective batch, or a number is below 1.

    Examples
    --------
    >>> from hf_monitor.gpu.tiers import TIERS
    >>> settle(100, TIERS["Mid-Range"])
    Settled(per_device_batch_size=64, accumulation=2, effective_batch_size=128, note=None)
    >>> settle(20, TIERS["Mid-Range"]).accumulation
    8
    """
    if ceiling < 1:
        raise InputError(f"ceiling must be 1 or more, got {ceiling!r}")
    share = per_rank_batch(effective_batch_size, num_processes)
    low, high = tier.batch_sizes

    def rank(size: int) -> tuple[bool, float, int]:
        distance = max(low / size, size / high, 1.0)  # 1 within the range
        both = distance == 1 and tier.accumulation[0] <= share // size <= tier.accumulation[1]
        return not both, distance, -size

    size = min((d for d in divisors(share) if d <= ceiling), key=rank)
    note = None if not rank(size)[0] else _note(size, ceiling, share, tier, num_processes)
    return Settled(size, share // size, share * num_processes, note)


def _note(size: int, ceiling: int, share: int, tier: Tier, num_processes: int) -> str:
    low, high = tier.batch_sizes
    steps = "1" if tier.accumulation == (1, 1) else _span(tier.accumulation)
    if share < low:
        of = f" of {num_processes} processes" if num_processes > 1 else ""
        why = f"each{of} contributes only {share} samples to an update" if of else f"an update has only {share} samples"
    elif ceiling < low:
        why = f"at most {ceiling} fit the device"
    elif not low <= size <= high:
        why = f"no divisor of {share} up to {min(ceiling, share)} lies there"
    else:
        steps_needed = f"1 batch of {size} makes" if size == share else f"{share // size} batches of {size} make"
        why = f"{steps_needed} {share} samples"
    return (
        f"the {tier.name} tier prefers batches of {low} to {high} with {steps} accumulation "
        f"step{'' if steps == '1' else 's'}; it yields, since {why}. The effective batch is kept: "
        f"{size} x {share // size}{f' x {num_processes}' if num_processes > 1 else ''} = {share * num_processes}"
    )


def _span(found: tuple[int, int]) -> str:
    return f"{found[0]}" if found[0] == found[1] else f"{found[0]} to {found[1]}"
