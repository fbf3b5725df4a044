"""The cards of a team, as they report themselves, to plan for one that is not here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hf_monitor.errors import InputError

__all__ = ["CARDS", "Card", "card_named", "parse_memory_mib", "usable_bytes"]

_MIB = 2**20

CONTEXT_BYTES = 512 * _MIB
"""The CUDA context and what the driver keeps: some 300 MiB and more (github.com/pytorch/pytorch/issues/107667), and up
to half a GiB that torch does not report as total. Not measured here: no GPU."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card.

    Attributes
    ----------
    name : str
        As NVML writes it, without the maker.
    memory_mib : int
        As nvidia-smi reports it; tests hold it against tests/gpu/cards.csv.
    capability : tuple of int or None
        Compute capability (https://developer.nvidia.com/cuda-gpus); None where only the memory is known.
    """

    name: str
    memory_mib: int
    capability: tuple[int, int] | None


CARDS = (
    Card("GeForce RTX 2070", 8192, (7, 5)),
    Card("GeForce RTX 3080", 10240, (8, 6)),
    Card("GeForce RTX 3060", 12288, (8, 6)),
    Card("Tesla T4", 15360, (7, 5)),
    Card("Tesla V100-SXM2-16GB", 16384, (7, 0)),
    Card("Tesla V100-SXM2-32GB", 32510, (7, 0)),
    Card("A10G", 23028, (8, 6)),
    Card("L4", 23034, (8, 9)),
    Card("GeForce RTX 4090", 24564, (8, 9)),
    Card("GeForce RTX 3090", 24576, (8, 6)),
    Card("A100-SXM4-40GB", 40960, (8, 0)),
    Card("A100-SXM4-80GB", 81920, (8, 0)),
    Card("H100 80GB HBM3", 81559, (9, 0)),
)


def card_named(name: str) -> Card:
    """Give the card that is meant by a name: all its words must be in the card's.

    Raises
    ------
    InputError
        Where none is, or more than one kind; they are named.
    """
    words = set(re.findall(r"[a-z0-9]+", name.casefold())) - {"nvidia", "gpu"}
    found = [card for card in CARDS if words and words <= set(re.findall(r"[a-z0-9]+", card.name.casefold()))]
    if len(found) == 1:
        return found[0]
    which = "none of the cards known here" if not found else "more than one card"
    known = ", ".join(card.name for card in found or CARDS)
    raise InputError(f"--gpu {name!r} is {which}: {known}; or pass --memory, 12GiB for example")


def parse_memory_mib(text: str) -> int:
    """Read an amount of memory: ``"12GiB"``, ``"12 GB"`` (of 10**9 bytes), ``"8192MiB"``.

    Raises
    ------
    InputError
        Where it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(GiB|GB|MiB|MB)\s*", text, re.IGNORECASE)
    unit = {"gib": 2**30, "gb": 10**9, "mib": 2**20, "mb": 10**6}
    size = int(float(match[1]) * unit[match[2].casefold()] / _MIB) if match else 0
    if size < 1:
        raise InputError(f"--memory must be a number with GiB, GB, MiB or MB, such as 12GiB, got {text!r}")
    return size


def usable_bytes(memory_mib: int, safe_factor: float = 0.95) -> int:
    """Give what torch's allocator may hold of a card that nobody else uses."""
    return int(max(0, memory_mib * _MIB - CONTEXT_BYTES) * safe_factor)
