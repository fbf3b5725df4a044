"""Wishes: what a user asks of W&B, looked at before anything is computed."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import SimpleNamespace
from typing import Any

from hf_monitor.errors import InputError, MissingPackageError
from hf_monitor.loggers.wandb_environment import wandb_missing, wandb_state

__all__ = ["PROJECT", "Wishes", "open_run", "require_wandb", "switched_off"]

_ODD_IN_PROJECTS = "/\\#?%:"  # wandb/sdk/wandb_settings.py
_LONGEST_PROJECT = 128
PROJECT = "huggingface"
"""Of a Trainer's run, where neither the user nor ``WANDB_PROJECT`` names one; as transformers' callback has it."""
_TEXTS = ("project", "entity", "name", "group", "notes", "job_type")


def open_run() -> Any:
    """Give the W&B run that this process has open, or None; nothing is imported for it."""
    return getattr(sys.modules.get("wandb"), "run", None)


def switched_off(settings: Mapping[str, Any] | None = None) -> str:
    """Say by what W&B is switched off; empty where it is not."""
    mode = (settings or {}).get("mode")
    if mode is not None:
        return "it is switched off by settings" if mode == "disabled" else ""
    state = wandb_state()
    return state.why if state.mode == "disabled" else ""


def require_wandb(who: str) -> None:
    """Look whether wandb is installed; it is not imported.

    Raises
    ------
    MissingPackageError
        If it is not.
    """
    missing = "" if "wandb" in sys.modules else wandb_missing()
    if missing:
        raise MissingPackageError(f"{who} needs W&B: {missing}. pip install wandb")


@dataclass(frozen=True)
class Wishes:
    """What is asked of W&B.

    Attributes
    ----------
    project, entity, name, group, notes, job_type : str or None
        As ``wandb.init`` takes them; None: what the variables ``WANDB_*`` say.
    tags : sequence of str
    settings : mapping
        For ``wandb.Settings``.
    run : wandb.Run or None
        An open run to tell.
    config : mapping
    rewrite : bool
    most_predictions : int

    Raises
    ------
    InputError
        If one of them cannot be used.
    """

    project: str | None = None
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    notes: str | None = None
    job_type: str | None = None
    tags: Any = ()
    settings: Any = None
    run: Any = None
    config: Any = None
    rewrite: bool = True
    most_predictions: int = 200
    given: Mapping[str, str] = field(default_factory=dict)  # other names of the fields, for who reads an error

    def __post_init__(self) -> None:
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and (not isinstance(value, str) or not value.strip()):
                known = self.given.get(name, name)
                raise InputError(f"{known} must be a text that is not empty, or None; got {value!r}.")
        odd = next((letter for letter in _ODD_IN_PROJECTS if letter in (self.project or "")), None)
        if odd is not None or len(self.project or "") > _LONGEST_PROJECT:
            known = self.given.get("project", "project")
            raise InputError(
                f"{known} is the name of a project in W&B: up to {_LONGEST_PROJECT} characters, and none of "
                f"{' '.join(_ODD_IN_PROJECTS)}; got {self.project!r:.200}. A team is given as entity=..."
            )
        if self.tags is None:
            object.__setattr__(self, "tags", ())
        if isinstance(self.tags, str) or not all(isinstance(tag, str) and tag for tag in _listed(self.tags)):
            raise InputError(f"tags must be a list of texts, got {self.tags!r}.")
        object.__setattr__(self, "tags", tuple(self.tags))
        object.__setattr__(self, "config", _mapped(self.config))
        for name in ("settings", "config"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Mapping):
                hint = "vars(args), say" if name == "config" else 'such as {"x_stats_sampling_interval": 5}'
                raise InputError(f"{name} must be a mapping of names to values ({hint}), got {type(value).__name__}.")
        if "api_key" in (self.settings or {}):
            raise InputError("settings cannot hold an api_key: set WANDB_API_KEY, or run `wandb login` once.")
        if self.run is not None and not all(hasattr(self.run, name) for name in ("log", "id", "summary")):
            raise InputError(f"run must be a run that wandb.init() gave, got {type(self.run).__name__}.")
        most = self.most_predictions
        if not isinstance(most, int) or isinstance(most, bool) or most < 0:
            raise InputError(f"log_predictions must be a number of rows, 0 for no table; got {most!r}.")


def _mapped(config: Any) -> Any:
    """Give what ``argparse`` or a dataclass holds as a mapping, and all else as it is."""
    if is_dataclass(config) and not isinstance(config, type):
        return {one.name: getattr(config, one.name) for one in fields(config)}
    return vars(config) if isinstance(config, Namespace | SimpleNamespace) else config


def _listed(values: Any) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        return [None]
