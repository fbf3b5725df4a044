"""Tiers of GPUs: how large a batch to begin with, and how much gradient accumulation goes with it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TIERS", "Tier", "TierMatch", "tier_of"]


@dataclass(frozen=True, slots=True)
class Tier:
    """A class of GPUs that are given the same batches.

    Attributes
    ----------
    name : str
        ``"High-End"``, ``"Mid-Range"``, ``"Budget"`` or ``"Low-End"``.
    batch_sizes : tuple of int
        Smallest and largest recommended batch of one device.
    accumulation : tuple of int
        Smallest and largest number of gradient accumulation steps.
    """

    name: str
    batch_sizes: tuple[int, int]
    accumulation: tuple[int, int]


@dataclass(frozen=True, slots=True)
class TierMatch:
    """The tier of a device, and why.

    Attributes
    ----------
    tier : Tier
    rule : str
        Which rule fired, in words: ``"by its name: ..."``, ``"by its memory: ..."``.
    """

    tier: Tier
    rule: str


TIERS: dict[str, Tier] = {}


def tier_of(name: str, memory_total_mib: float) -> TierMatch:
    """Give the tier of a device by its name, else by its memory."""
    raise NotImplementedError
