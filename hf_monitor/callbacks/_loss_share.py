"""What the losses of other processes sum up to, without a collective that a process without attach() would hang."""

from __future__ import annotations

import datetime
import json
from typing import Any

__all__ = ["ask", "tell"]

_WAIT = datetime.timedelta(seconds=2)
"""All processes have just gathered the loss: the others are at most some instructions behind."""


def _store() -> Any:
    """Give the key-value store by which the processes found each other; torch has no public name for it."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()


def tell(key: str, rank: int, sums: tuple[float, float]) -> None:
    """Leave the sums of this process for the main one."""
    _store().set(f"hf_monitor/{key}/{rank}", json.dumps(sums))


def ask(key: str, ranks: list[int]) -> list[tuple[float, float]]:
    """Read what the others left.

    Raises
    ------
    RuntimeError
        If one of them has left nothing (attach() was not called there).
    """
    store, keys = _store(), [f"hf_monitor/{key}/{rank}" for rank in ranks]
    store.wait(keys, _WAIT)
    found = [tuple(json.loads(store.get(name))) for name in keys]
    for name in keys:
        store.delete_key(name)
    return found
