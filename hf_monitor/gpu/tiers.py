"""Tiers of GPUs: how large a batch to begin with, and how much gradient accumulation goes with it.

The cuts are made on what is reported, and lie in the gaps between the sizes that are really seen (tests/gpu/cards.csv):
NVML says 24564 MiB for an RTX 4090, 23028 for an A10G and 22139 for a "24gb" MIG instance, 8188 for an "8 GB" RTX 4060;
torch says up to half a GiB less (21.95 GiB of an L4, 11.49 of a 12 GB card, 7.42 of an 8 GB card).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from hf_monitor.errors import InputError

__all__ = ["EFFECTIVE_BATCH", "TIERS", "Tier", "TierMatch", "tier_of"]

EFFECTIVE_BATCH = (96, 256)
"""What a batch times its accumulation stays within, in every tier."""


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
    memory_from_mib : int
        The least reported memory of the tier, in MiB; 0 for the lowest.
    """

    name: str
    batch_sizes: tuple[int, int]
    accumulation: tuple[int, int]
    memory_from_mib: int = 0

    @property
    def start(self) -> tuple[int, int]:
        """Batch size and accumulation to begin with: the smallest batch that makes 128 together (128x1, 64x2 ...)."""
        for steps in range(self.accumulation[1], self.accumulation[0] - 1, -1):
            if 128 % steps == 0 and self.batch_sizes[0] <= 128 // steps <= self.batch_sizes[1]:
                return 128 // steps, steps
        return self.batch_sizes[0], self.accumulation_for(self.batch_sizes[0])

    def accumulation_for(self, batch_size: int, effective: int = 128) -> int:
        """Give the accumulation that brings a batch nearest to an effective batch.

        For a batch of the tier it is one of the tier's, and the product stays within 96 to 256. A batch that the tier
        does not recommend (one that was measured, 8 say) gets what it needs.

        Parameters
        ----------
        batch_size : int
            Samples of one device and one step.
        effective : int
            Samples of one update of the weights.

        Returns
        -------
        int
            ``gradient_accumulation_steps``, 1 or more.

        Raises
        ------
        InputError
            If one of them is not 1 or more.
        """
        for name, value in (("batch_size", batch_size), ("effective", effective)):
            if value < 1:
                raise InputError(f"{name} must be 1 or more, got {value!r}")
        if self.batch_sizes[0] <= batch_size <= self.batch_sizes[1]:
            choices = range(self.accumulation[0], self.accumulation[1] + 1)
        else:
            choices = range(max(1, effective // batch_size), effective // batch_size + 2)
        return min(choices, key=lambda steps: abs(batch_size * steps - effective))


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


HIGH_END = Tier("High-End", (96, 256), (1, 1), 22016)  # 21.5 GiB: between 20 GB cards and the least of a "24 GB" one
MID_RANGE = Tier("Mid-Range", (64, 128), (2, 2), 11571)  # 11.3 GiB: between K80 (11441 MiB) and 12 GB cards
BUDGET = Tier("Budget", (32, 64), (3, 4), 7577)  # 7.4 GiB: between 6 GB and 8 GB cards
LOW_END = Tier("Low-End", (16, 32), (6, 8))

TIERS: Mapping[str, Tier] = MappingProxyType({tier.name: tier for tier in (HIGH_END, MID_RANGE, BUDGET, LOW_END)})
"""Name -> tier, from the largest to the smallest."""


class _Named(NamedTuple):
    pattern: str  # of the whole name, without maker and brand
    tier: Tier
    from_mib: int  # with less than this it is a part of the card (a vGPU), or another card of that name
    why: str


_NAMED = (
    _Named("rtx 3060", BUDGET, 7577, "RTX 3060, also with 12 GB"),
    _Named("rtx 3080", MID_RANGE, 9216, "RTX 3080, also with 10 GB"),
    _Named("rtx 2070", BUDGET, 7577, "RTX 2070"),
    _Named("t4", MID_RANGE, 13312, "T4, 16 GB"),
    _Named("v100s?(-[a-z0-9]+)*-16gb(-[a-z]+)?", MID_RANGE, 14336, "V100, 16 GB"),
    _Named("v100s?(-[a-z0-9]+)*-32gb(-[a-z]+)?", HIGH_END, 28672, "V100, 32 GB"),
    _Named("(l4|a10g?)", HIGH_END, 20480, "24 GB"),
    _Named("l(40s?|20)", HIGH_END, 40960, "48 GB"),
    _Named("a100([- ](sxm4?|pcie|pg509|40gb|64gb|80gb|[0-9]+))*", HIGH_END, 36864, "A100, 40 GB and more"),
    _Named("g?h(100|200|20|800)([- ](nvl|pcie|sxm5|hbm[23]e?|[0-9]+gb))*", HIGH_END, 57344, "64 GB and more"),
    _Named("g?b(100|200|300)([- ](nvl|sxm[0-9]?|ac|[0-9]+gb))*|gb10", HIGH_END, 81920, "100 GB and more"),
    _Named("(.* )?\\[?mi(100|2[0-9]{2}|3[0-9]{2})[ax]?\\b.*", HIGH_END, 22016, "AMD Instinct, 32 GB and more"),
)

_MIG = re.compile(r"\bmig\b|\b\d+g\.(?P<gb>\d+)gb")
_APPLE = re.compile(r"apple|m[1-9]( (pro|max|ultra))?")
_LAPTOP = re.compile(r"laptop|max-q|mobile|\bnotebook\b")
_BRANDS = re.compile(r"\b(nvidia|tesla|geforce|amd|instinct|radeon|graphics)\b")
_SIZE = re.compile(r"\b(\d+) ?gb\b")


def tier_of(name: str, memory_total_mib: float | None) -> TierMatch:
    """Give the tier of a device by its name, else by its memory.

    Parameters
    ----------
    name : str
        As torch or NVML write it, with or without ``NVIDIA``, ``Tesla``, ``GeForce``; case does not matter.
    memory_total_mib : float or None
        What is reported, in MiB of 2**20 bytes; None where the hardware does not say.

    Returns
    -------
    TierMatch
        Low-End where neither name nor memory says anything.
    """
    full = " ".join(name.casefold().split())
    short = " ".join(_BRANDS.sub(" ", full).split())
    memory = memory_total_mib
    if memory is not None and not (math.isfinite(memory) and memory > 0):
        memory = None
    mig = list(_MIG.finditer(full))
    if mig:
        return _mig_tier(next((int(found["gb"]) for found in mig if found["gb"]), None), memory)
    if _APPLE.match(short):
        return _apple_tier(memory)
    for named in _NAMED:
        if re.fullmatch(named.pattern, short) and (memory is None or memory >= named.from_mib):
            return TierMatch(named.tier, f"by its name: {named.why}")
    if memory is not None:
        whose = "its memory, being a laptop's" if _LAPTOP.search(full) else "its memory"
        return _by_memory(memory, whose)
    size = _SIZE.search(short)
    if size:
        return _by_memory(int(size[1]) * 1024 * 0.95, f"the {size[1]} GB in its name, its memory being unknown")
    return TierMatch(LOW_END, "neither its memory nor its name is known: the lowest tier")


def _mig_tier(profile_gb: int | None, memory_mib: float | None) -> TierMatch:
    """Give the tier of a part of a card, whose name is that of the whole card."""
    if memory_mib is not None:
        return _by_memory(memory_mib, "the memory of this MIG instance, not of the whole card")
    if profile_gb is not None:
        return _by_memory(profile_gb * 1024 * 0.95, f"the {profile_gb} GB of its MIG profile, its memory being unknown")
    return TierMatch(LOW_END, "a MIG instance of unknown memory: the lowest tier")


def _apple_tier(memory_mib: float | None) -> TierMatch:
    """Give the tier of an Apple chip; Metal gives its GPU about two thirds of the machine's memory."""
    if memory_mib is None:
        return TierMatch(LOW_END, "an Apple chip of unknown memory: the lowest tier")
    return _by_memory(memory_mib * 2 / 3, f"two thirds of its {memory_mib:.0f} MiB of unified memory (Apple)")


def _by_memory(memory_mib: float, whose: str) -> TierMatch:
    tier = next(tier for tier in TIERS.values() if memory_mib >= tier.memory_from_mib)
    if tier is not LOW_END:
        return TierMatch(tier, f"by {whose}: {memory_mib:.0f} MiB ({tier.memory_from_mib} or more)")
    few = ", and below the 6 GB that the tier is meant for" if memory_mib < 5632 else ""
    return TierMatch(tier, f"by {whose}: {memory_mib:.0f} MiB (below {BUDGET.memory_from_mib}{few})")
