"""Where to sit in IPython, which has a tee of its own on the streams while a cell is running.

Since IPython 9, ``InteractiveShell._tee`` replaces `write` of stdout and stderr at the start of each cell and puts back
what it found at the end. A wrapper that is laid over it within a cell is gone with that cell; one that lies beneath it
is what IPython puts back, and finds again at the next cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import CellType, FunctionType
from typing import Any

__all__ = ["cells_beneath"]

_TEE = "InteractiveShell._tee.<locals>.write"
_KEPT = "original_write"


def cells_beneath(write: Any) -> Iterator[CellType]:
    """Go down through IPython's tees (an interrupted cell leaves its own behind), giving where each keeps the next."""
    while isinstance(write, FunctionType) and write.__qualname__ == _TEE and write.__closure__ is not None:
        kept = dict(zip(write.__code__.co_freevars, write.__closure__, strict=True)).get(_KEPT)
        if kept is None:
            return
        yield kept
        write = kept.cell_contents
