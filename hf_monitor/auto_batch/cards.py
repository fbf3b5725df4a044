"""The cards of a team, as they report themselves, to plan for one that is not here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hf_monitor.errors import InputError

__all__ = ["CARDS", "Card", "card_named", "card_of", "parse_memory_mib", "usable_bytes"]

_MIB = 2**20

CONTEXT_BYTES = 512 * _MIB
"""The CUDA context and what the driver keeps: some 300 MiB and more (github.com/pytorch/pytorch/issues/107667), and up
to half a GiB that torch does not report as total. Not measured here: no GPU."""

SAFE_FACTOR = 0.95
"""As a plan for a card that is here takes it."""


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


_BRANDS = re.compile(r"(nvidia|geforce|tesla|quadro|rtx|gtx)")
_SERIES = (  # of the name without brands -> compute capability, by https://developer.nvidia.com/cuda-gpus
    (r".*\bada\b", (8, 9)),
    (r"(a100|a800|a30)\b", (8, 0)),
    (r"(30[5-9]0|a10g?|a16|a40|a[2-6]000|a[45]500|a2)\b", (8, 6)),
    (r"(40[5-9]0|l4|l40s?|l20)\b", (8, 9)),
    (r"(g?h(100|200|800|20))\b", (9, 0)),
    (r"(g?b200)\b", (10, 0)),
    (r"(50[5-9]0)\b|.*\bblackwell\b", (12, 0)),
    (r"(20[6-8]0|16[356]0|t4|[3-8]000)\b", (7, 5)),
    (r"(v100s?)\b", (7, 0)),
    (r"(10[3-8]0|p4|p40)\b", (6, 1)),
    (r"(p100)\b", (6, 0)),
)


def _plain(name: str) -> str:
    """Give a name in one spelling: "RTX3060 12 GB" and "rtx 3060 12GiB" are the same."""
    text = re.sub(r"(\d+)\s*gi?b\b", r"\1gb", name.casefold())
    return " ".join(re.findall(r"[a-z0-9]+", _BRANDS.sub(r" \1 ", text)))


def card_named(name: str) -> Card:
    """Give the card that is meant by a name: all its words must be in the card's, or the size in it be the card's.

    Raises
    ------
    InputError
        Where none is, or more than one kind; they are named.
    """
    words = set(_plain(name).split()) - {"nvidia", "gpu"}
    found = [card for card in CARDS if words and all(_says(word, card) for word in words)]
    if len(found) == 1:
        return found[0]
    which = "none of the cards known here" if not found else "more than one card"
    known = ", ".join(card.name for card in found or CARDS)
    raise InputError(f"--gpu {name!r} is {which}: {known}; or give its memory beside it, --memory 12GiB for example")


def _says(word: str, card: Card) -> bool:
    size = re.fullmatch(r"(\d+)gb", word)
    # What is sold as 16 GB reports 15 GiB and more.
    return word in _plain(card.name).split() or (
        size is not None and abs(card.memory_mib / 1024 / int(size[1]) - 1) < 0.1
    )


def card_of(name: str | None, memory_mib: int) -> Card:
    """Give a card of any name, with the memory that is said; its compute capability where the name tells.

    Parameters
    ----------
    name : str or None
    memory_mib : int
    """
    if name is None:
        return Card("a card", memory_mib, None)
    try:
        known = card_named(name)
    except InputError:
        short = " ".join(_BRANDS.sub(" ", _plain(name)).split())
        capability = next((found for pattern, found in _SERIES if re.match(pattern, short)), None)
        return Card(name, memory_mib, capability)
    return Card(known.name, memory_mib, known.capability)


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


def usable_bytes(memory_mib: int, safe_factor: float = SAFE_FACTOR) -> int:
    """Give what torch's allocator may hold of a card that nobody else uses."""
    return int(max(0, memory_mib * _MIB - CONTEXT_BYTES) * safe_factor)
