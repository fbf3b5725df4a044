"""MirrorSpec: what the mirror of a run is to be; it travels as JSON into the mirror's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

__all__ = ["ORDERS", "STEP_AXIS", "MirrorSpec"]

ORDERS = "wandb.jsonl"
"""In the run folder: what is to be shown in W&B beside the rows (pictures, tables, checkpoints ...)."""
STEP_AXIS = "train/global_step"
"""The axis of all charts, as transformers' ``WandbCallback`` names it: optimizer steps."""


@dataclass(frozen=True)
class MirrorSpec:
    """Which rows go into which W&B run, and how it is opened.

    Attributes
    ----------
    run_dir : str
        The run folder, absolute.
    wandb_id : str
        Id of the W&B run.
    attempts : tuple of int
        Attempts whose rows belong to it, the running one last.
    resumed : bool
        Whether an earlier attempt has opened it: then it is continued.
    project, entity, name, group, job_type, notes : str or None
        As ``wandb.init`` takes them; None: what the variables ``WANDB_*`` say.
    tags : tuple of str
    config : dict
        Beside the facts of ``run.json``; masked by who made the spec.
    settings : dict
        For ``wandb.Settings``; they win over ours.
    rewrite : bool
        Whether names are made those of transformers' ``WandbCallback``: ``eval_loss`` -> ``eval/loss``.
    most_predictions : int
        Rows of a table of predictions; 0: no tables.
    program : str
        Script of the training.
    argv : tuple of str
        Its arguments, masked.
    parent_pid : int
        The training's process.
    attempts_before : int
        Attempts of the W&B run that are in another run folder: W&B is told the attempt's number and this.
    users : bool
        Whether the user had opened the run: what is in its config stays.
    """

    run_dir: str
    wandb_id: str
    attempts: tuple[int, ...]
    resumed: bool = False
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    rewrite: bool = True
    most_predictions: int = 200
    program: str = ""
    argv: tuple[str, ...] = ()
    parent_pid: int = 0
    attempts_before: int = 0
    users: bool = False

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.run_dir)

    def to_dict(self) -> dict[str, Any]:
        """Give what JSON holds."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Make one of what :meth:`to_dict` gave, JSON in between."""
        known = {one.name: one for one in fields(cls)}
        found = {name: value for name, value in values.items() if name in known}
        for name in ("attempts", "tags", "argv"):
            found[name] = tuple(found.get(name) or ())
        return cls(**found)
