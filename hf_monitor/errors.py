"""The errors that hf_monitor raises on purpose. Each message says what was wrong, what was received, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "BatchDoesNotFit",
    "HfMonitorError",
    "InputError",
    "MissingPackageError",
    "NothingToDraw",
    "RankFailed",
    "RunFolderError",
    "close_names",
    "did_you_mean",
]


class HfMonitorError(Exception):
    """Base of every error that hf_monitor raises on purpose."""


class InputError(HfMonitorError, ValueError):
    """A value handed to hf_monitor cannot be used (wrong shape, missing column, unequal lengths ...)."""


class NothingToDraw(InputError):
    """A chart's data is not there (no such metric, no such rows); the message says what it needs."""


class MissingPackageError(HfMonitorError, ImportError):
    """An optional package is needed for what was asked; the message holds the command that installs it."""


class RunFolderError(HfMonitorError, OSError):
    """A run folder cannot be written, or a folder that should be a run is not one."""


class BatchDoesNotFit(HfMonitorError, RuntimeError):
    """Not even one sample fits the device; the message says what was needed, what there is, and what would help.

    Attributes
    ----------
    needed_bytes, limit_bytes : int or None
        Estimated or measured peak of one sample, and what it had to stay within.
    remedies : tuple
        The ladder of remedies, the first one to try first; see ``hf_monitor.auto_batch.remedies``.
    trials : tuple
        The steps that were tried.
    """

    def __init__(
        self,
        message: str,
        *,
        needed_bytes: int | None = None,
        limit_bytes: int | None = None,
        remedies: tuple[object, ...] = (),
    ) -> None:
        super().__init__(message)
        self.needed_bytes, self.limit_bytes, self.remedies = needed_bytes, limit_bytes, remedies
        self.trials: tuple[object, ...] = ()


class RankFailed(HfMonitorError, RuntimeError):
    """Another process of the launch failed at what all of them must do together; the message says which, and how."""


def close_names(name: str, known: Iterable[str], n: int = 3) -> list[str]:
    """Give those of some names that one may have been meant for, the nearest first; case does not count."""
    by_lower = {one.lower(): one for one in known}
    lower = name.lower()
    found = difflib.get_close_matches(lower, by_lower, n, cutoff=0.6)
    found += [one for one in by_lower if len(lower) >= 4 and (lower in one or one in lower) and one not in found]
    return [by_lower[one] for one in found[:n]]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Give the question whether near names were meant, with a blank before it; empty where none is near."""
    close = [repr(one) for one in close_names(name, known)]
    return f" Did you mean {', or '.join(close)}?" if close else ""
