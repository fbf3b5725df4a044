"""An experiment in a run folder: an attempt of its own, as a Trainer's training is."""

from __future__ import annotations

import math
import os
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.run.writer import RunWriter

__all__ = ["Record", "config_of", "folder_of"]


class Record:
    """Writes an experiment. After the first row nothing raises because of the disk.

    Parameters
    ----------
    run_dir : path-like
    name : str
    config : mapping
    total_steps : int, optional

    Raises
    ------
    RunFolderError
        If the folder cannot be written.
    """

    def __init__(self, run_dir: str | os.PathLike[str], name: str, config: Mapping[str, Any], total_steps: int | None):
        self._writer = RunWriter(run_dir)
        self._writer.open()
        self.run_dir = self._writer.run_dir
        self.mask = self._writer.mask
        facts: dict[str, Any] = {"experiment": name}
        if config:
            facts["arguments"] = dict(config)
        self._writer.begin_attempt(facts)
        self._writer.event("train_begin", 0, **({} if total_steps is None else {"max_steps": total_steps}))

    def log(self, step: int, values: dict[str, float]) -> None:
        """Append a row of numbers."""
        if all(type(value) is float and math.isfinite(value) for value in values.values()):
            self._writer.numbers("log", step, values)
        else:
            self._writer.row("log", step, values)

    def end(self, step: int, error: Mapping[str, Any] | None) -> None:
        """Append how it ended: in order, or by an error (:func:`hf_monitor.loggers.error_facts.error_facts`)."""
        if error is None:
            self._writer.event("train_end", step)
        else:
            self._writer.event("error", step, **error)
        self._writer.close()


def folder_of(run_dir: Any) -> Any:
    """Give a folder as it is, None as None.

    Raises
    ------
    InputError
        If it is no path.
    """
    if run_dir is not None and (not isinstance(run_dir, str | os.PathLike) or not os.fspath(run_dir)):
        raise InputError(f"run_dir must be the path of a folder, or None; got {run_dir!r:.100}.")
    return run_dir if run_dir is None else os.path.expanduser(run_dir)  # noqa: PTH111 - any path-like


def config_of(config: Any) -> Mapping[str, Any]:
    """Give hyperparameters as a mapping, those of ``argparse`` and of a dataclass, too.

    Raises
    ------
    InputError
        If they are something else.
    """
    if config is None:
        return {}
    if is_dataclass(config) and not isinstance(config, type):
        return {one.name: getattr(config, one.name) for one in fields(config)}
    if isinstance(config, Namespace | SimpleNamespace):
        return vars(config)
    if not isinstance(config, Mapping):
        raise InputError(f"config must be a mapping of names to values (vars(args), say), got {type(config).__name__}.")
    return config
