"""Whether a wheel's code runs on a card: ``torch.cuda.get_arch_list()`` against a compute capability.

https://docs.nvidia.com/cuda/cuda-programming-guide/, "Compute Capability" and "Binary Compatibility": finished code
(``sm_86``) runs on the same major version with the same or a higher minor one; PTX (``compute_86``) is compiled by the
driver for the same and every newer one. ``a`` holds for exactly that version, ``f`` for its family.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["runs_finished_code", "runs_ptx"]

_NAME = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)$")


def _parts(names: Iterable[str], kind: str) -> list[tuple[tuple[int, int], str]]:
    matches = (_NAME.match(name) for name in names)
    return [((int(one[2]), int(one[3])), one[4]) for one in matches if one and one[1] == kind]


def runs_finished_code(capability: tuple[int, int], names: Iterable[str]) -> bool:
    """Say whether one of the names is finished code for this capability."""
    return any(
        capability == built if suffix == "a" else capability[0] == built[0] and capability[1] >= built[1]
        for built, suffix in _parts(names, "sm")
    )


def runs_ptx(capability: tuple[int, int], names: Iterable[str]) -> bool:
    """Say whether one of the names is code that the driver can compile for this capability."""
    return any(
        capability == built if suffix == "a" else capability >= built if not suffix else capability[0] == built[0]
        for built, suffix in _parts(names, "compute")
    )
