"""Run folders of a sweep: found, named, and how large their batches are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.charts.table_files import refuse_table_file
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.run import Run, load_run

__all__ = ["effective_batch_size", "named", "read_runs"]


def read_runs(given: Any) -> tuple[list[Run], list[str]]:
    """Open runs.

    Parameters
    ----------
    given : Run, path-like, or sequence of these
        A folder that is no run stands for the runs in it, up to two folders down.

    Returns
    -------
    list of Run, list of str
        The second: folders that were left out, and why.

    Raises
    ------
    InputError
        If something else was given, or the file of a table.
    RunFolderError
        If a folder is not there or has no run in it.
    """
    if isinstance(given, Run):
        return [given], []
    refuse_table_file(given)
    if isinstance(given, str | os.PathLike):
        return _below(Path(given).expanduser())
    if isinstance(given, Mapping) or not hasattr(given, "__iter__"):
        raise InputError(
            "runs must be run folders, Run objects, a table of runs, or a folder with runs in it, got "
            f"{type(given).__name__}."
        )
    runs: list[Run] = []
    notes: list[str] = []
    for one in given:
        if not isinstance(one, Run | str | os.PathLike):
            raise InputError(
                f"runs must hold run folders or Run objects, or rows alone, got {type(one).__name__} in it."
            )
        found, missing = read_runs(one)
        runs += found
        notes += missing
    return runs, notes


def _below(folder: Path) -> tuple[list[Run], list[str]]:
    try:
        return [load_run(folder)], []
    except RunFolderError:
        patterns = ("*/run.json", "*/metrics.jsonl", "*/*/run.json", "*/*/metrics.jsonl")
        places = sorted({path.parent for pattern in patterns for path in folder.glob(pattern)})
        runs, notes = [], []
        for place in places:
            try:
                runs.append(load_run(place))
            except RunFolderError as error:
                notes.append(f"left out: {error}")
        if not runs:
            raise
        return runs, notes


def named(runs: Sequence[Run]) -> list[str]:
    """Give each run a name of its own: its folder's, with as much of the path as tells it from the others."""
    paths = [run.path.parent if run.path.name == "monitor" else run.path for run in runs]
    names = [path.name or str(path) for path in paths]
    for depth in (2, 3):
        counts = Counter(names)
        names = [
            name if counts[name] == 1 else "/".join(path.parts[-depth:])
            for name, path in zip(names, paths, strict=True)
        ]
    counts = Counter(names)
    return [name if counts[name] == 1 else f"{name} ({index + 1})" for index, name in enumerate(names)]


def effective_batch_size(arguments: Mapping[str, Any], facts: Mapping[str, Any] | None = None) -> int | None:
    """Give the samples of one optimizer step; None where the arguments do not say.

    Parameters
    ----------
    arguments : mapping
        ``per_device_train_batch_size`` (or ``train_batch_size``, ``batch_size``), ``gradient_accumulation_steps``.
    facts : mapping, optional
        Of ``run.json``, which knows the number of processes.
    """
    facts = facts or {}
    total = _count(facts.get("train_batch_size_total"))
    if total is not None:
        return total
    names = ("per_device_train_batch_size", "train_batch_size", "batch_size")
    size = next((found for name in names if (found := _count(arguments.get(name))) is not None), None)
    if size is None:
        return None
    devices = facts.get("devices")
    world = _count(devices.get("world_size")) if isinstance(devices, Mapping) else None
    return size * (_count(arguments.get("gradient_accumulation_steps")) or 1) * (world or 1)


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < 2**53:
        return None
    return int(value) if value == int(value) else None
