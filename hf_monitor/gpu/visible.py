"""CUDA_VISIBLE_DEVICES, read as CUDA and torch read it.

The rules are those of CUDA's environment variables (https://docs.nvidia.com/cuda/cuda-programming-guide/, "CUDA
Environment Variables") and of ``torch.cuda._parse_visible_devices``: numbers are read as ``strtoul`` reads them, so
that ``1gpu2`` is 1; the first entry that is no device ends the list; a device that is named twice hides all of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Trouble", "Visible", "read_visible"]

Trouble = Literal["empty", "minus_one", "doubled", "not_a_number", "out_of_range", "unknown_uuid"]
"""Why an entry names no device."""

_NUMBER = re.compile(r"\s*([+-]?\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Visible:
    """What CUDA_VISIBLE_DEVICES leaves.

    Attributes
    ----------
    entries : tuple of str
        Those that name a device, in order.
    stopped_by : str or None
        The entry that ended the list, or that names a device again.
    trouble : str or None
        Why it did; None where every entry names a device.
    """

    entries: tuple[str, ...]
    stopped_by: str | None = None
    trouble: Trouble | None = None


def read_visible(text: str | None, uuids: Sequence[str] | None = None) -> Visible | None:
    """Say which devices a value of CUDA_VISIBLE_DEVICES leaves.

    Parameters
    ----------
    text : str or None
        The value; None where the variable is not set.
    uuids : sequence of str, optional
        The UUIDs of the machine's devices (``GPU-...``, ``MIG-...``), one for each whole card and MIG instance.
        Without it only the form of `text` is judged.

    Returns
    -------
    Visible or None
        None where the variable is not set, and nothing is hidden.

    Examples
    --------
    >>> read_visible("1,1")
    Visible(entries=(), stopped_by='1', trouble='doubled')
    """
    if text is None:
        return None
    if not text.strip():
        return Visible((), text, "empty")
    prefix = next((one for one in ("GPU-", "MIG-") if text.startswith(one)), None)
    cards = None if uuids is None else len([uuid for uuid in uuids if not uuid.startswith("MIG-")])
    found: list[str] = []
    for entry in text.split(","):
        name = entry
        trouble: Trouble | None = None
        if prefix is None:
            match = _NUMBER.match(entry)
            number = int(match[1]) if match else None
            name = str(number)
            if number is None:
                trouble = "unknown_uuid" if entry.strip().startswith(("GPU-", "MIG-")) else "not_a_number"
            elif number < 0:
                trouble = "minus_one"
            elif cards is not None and number >= cards:
                trouble = "out_of_range"
        elif not entry.startswith(prefix):
            trouble = "not_a_number" if not entry.startswith(("GPU-", "MIG-")) else "unknown_uuid"
        elif uuids is not None:
            # A part of a UUID is enough where it fits only one of them.
            fitting = [uuid for uuid in uuids if uuid.startswith(entry)]
            trouble = None if len(fitting) == 1 else "unknown_uuid"
            name = fitting[0] if len(fitting) == 1 else entry
        if trouble:
            return Visible(tuple(found), entry, trouble)
        if name in found:
            return Visible((), entry, "doubled")
        found.append(name)
    return Visible(tuple(found))
