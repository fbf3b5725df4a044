"""A forked child has none of its parent's threads: a lock that one of them held there is held for ever."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["renew_in_children"]

_owners: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
_registered = False


def renew_in_children(owner: Any, renew: Callable[[Any], None]) -> None:
    """Have `renew` called with `owner` in each forked child, as long as `owner` lives; it gives it new locks."""
    global _registered
    if not _registered and hasattr(os, "register_at_fork"):
        _registered = True
        os.register_at_fork(after_in_child=_in_child)
    _owners[owner] = renew


def _in_child() -> None:
    for owner, renew in list(_owners.items()):
        renew(owner)
