"""The checkpoints of a run: where they lie, which run saved them, which one is the best and which the last."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.checkpoint_files import checkpoint_step, holds_model
from hf_monitor.diagnosis.weight_files import json_problem
from hf_monitor.run.reader import Run

__all__ = ["STATE_FILE", "Checkpoint", "Checkpoints"]

STATE_FILE = "hf_monitor.json"
"""What hf_monitor leaves in a checkpoint: which run and attempt saved it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder ``checkpoint-500``.

    Attributes
    ----------
    path : Path
    step : int
    run_id : str or None
        The run that saved it; None where that is not known (saved without hf_monitor, or torn).
    attempt : int or None
    """

    path: Path
    step: int
    run_id: str | None
    attempt: int | None


class Checkpoints:
    """The checkpoints that a run left, found also where its folder was moved since.

    Parameters
    ----------
    run : Run
    output_dir : path-like, optional
        Where they lie. By default looked for beside the run folder, where that was made within the Trainer's
        ``output_dir``, and in the ``output_dir`` that the run recorded.

    Attributes
    ----------
    folder : Path or None
        In which they lie, or would lie; None where no such folder exists.
    searched : tuple of Path
        Where they were looked for.
    """

    def __init__(self, run: Run, output_dir: str | os.PathLike[str] | None = None) -> None:
        self.run = run
        self.run_id = str(run.facts.get("run_id") or "")
        given = None if output_dir is None else Path(output_dir).expanduser()
        self.searched = (given,) if given is not None else tuple(dict.fromkeys(self._candidates()))
        self.folder = given if given is not None and given.is_dir() else self._best_folder()

    def _candidates(self) -> Iterator[Path]:
        here = Path(os.path.abspath(self.run.path))  # noqa: PTH100 - links in it stay as the user named them
        yield here.parent
        yield here  # attach(trainer, run_dir=output_dir)
        recorded = self.run.config.get("output_dir")
        if isinstance(recorded, str) and recorded:
            yield Path(str(self.run.facts.get("working_folder") or "")) / recorded
        for row in reversed(self.run.events):
            if row.get("event") == "save" and isinstance(row.get("checkpoint"), str):
                yield Path(str(self.run.facts.get("working_folder") or "")) / Path(row["checkpoint"]).parent
                return

    def _best_folder(self) -> Path | None:
        """Give the first that holds a checkpoint of this run, else any checkpoint, else a model, else that is there."""
        there = [folder for folder in self.searched if folder.is_dir()]
        found = {folder: list(_in(folder)) for folder in there}
        return next(
            (folder for folder in there if self.run_id and any(one.run_id == self.run_id for one in found[folder])),
            next(
                (folder for folder in there if found[folder]),
                next((folder for folder in there if holds_model(folder)), next(iter(there), None)),
            ),
        )

    @cached_property
    def all(self) -> tuple[Checkpoint, ...]:
        """All that lie there, by step, whoever saved them."""
        return () if self.folder is None else tuple(sorted(_in(self.folder), key=lambda one: one.step))

    @property
    def own(self) -> tuple[Checkpoint, ...]:
        """Those of this run, and those of which it is not known."""
        return tuple(one for one in self.all if one.run_id in (None, self.run_id) or not self.run_id)

    @property
    def foreign(self) -> tuple[Checkpoint, ...]:
        """Those that another run saved."""
        own = set(self.own)
        return tuple(one for one in self.all if one not in own)

    @property
    def last(self) -> Checkpoint | None:
        """The one of the highest step, which a resume takes; None where there is none."""
        return self.own[-1] if self.own else None

    @cached_property
    def trainer_state(self) -> dict[str, Any]:
        """The Trainer's state in the last checkpoint whose state can be read; empty where there is none."""
        folders = [one.path for one in reversed(self.own)]
        for folder in [*folders, *([] if self.folder is None or folders else [self.folder])]:
            state, problem = json_problem(folder / "trainer_state.json")
            if problem is None:
                return state
        return {}

    @property
    def best_step(self) -> int | None:
        """The step whose checkpoint the Trainer holds for the best; None where it holds none so."""
        recorded = self.trainer_state.get("best_model_checkpoint")
        return checkpoint_step(recorded) if isinstance(recorded, str) and recorded else None

    @property
    def best(self) -> Checkpoint | None:
        """The best one, looked for by its name: the folder may have been moved since."""
        return next((one for one in self.own if one.step == self.best_step), None)


def _in(folder: Path) -> Iterator[Checkpoint]:
    try:
        entries = list(folder.iterdir())
    except OSError:
        return
    for path in entries:
        step = checkpoint_step(path)
        if step is not None and path.is_dir():
            state, _ = json_problem(path / STATE_FILE)
            run_id, attempt = state.get("run_id"), state.get("attempt")
            yield Checkpoint(path, step, str(run_id) if run_id else None, attempt if isinstance(attempt, int) else None)
