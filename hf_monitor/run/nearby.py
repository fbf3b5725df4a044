"""Runs beside a path where there is none: what somebody may have meant."""

from __future__ import annotations

import os
from pathlib import Path

from hf_monitor.errors import close_names

__all__ = ["near_runs"]

_MOST = 2000  # folders that are looked at
_FILES = ("run.json", "metrics.jsonl", "monitor/run.json", "monitor/metrics.jsonl")


def near_runs(path: Path) -> list[str]:
    """Give runs beside `path` with a name like its own.

    Parameters
    ----------
    path : Path
        Where no run is; ``.../monitor`` is taken as the folder above it.

    Returns
    -------
    list of str
        At most three paths, the nearest first, written as `path` is.
    """
    if path.name == "monitor":
        path = path.parent
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry, _ in zip(entries, range(_MOST), strict=False)]
        close = close_names(path.name, names) if path.name else []
        return [
            str(path.with_name(name)) for name in close if any((path.with_name(name) / one).exists() for one in _FILES)
        ]
    except OSError:
        return []
