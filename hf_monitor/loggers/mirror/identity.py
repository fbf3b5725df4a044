"""Which W&B run an attempt belongs to: ``wandb.json`` of the run folder.

An attempt that goes on from a checkpoint continues the W&B run of that checkpoint; one from the beginning has a new
one. The training's process chooses and makes the entry, the mirror's writes the rest; both change it under a lock.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from hf_monitor.run.files import replace_file
from hf_monitor.run.lock import folder_lock
from hf_monitor.run.rows import decode_line, encode_row

__all__ = [
    "ASKED",
    "BASE",
    "BEFORE",
    "IDENTITY_FILE",
    "THEIRS",
    "MirroredRun",
    "choose",
    "mirrored_runs",
    "put",
    "set_apart",
    "successor",
    "update",
]

IDENTITY_FILE = "wandb.json"
ASKED = "asked"
"""In :attr:`MirroredRun.more`: those of the user's wishes that a later ``hf-monitor wandb`` must know."""
BASE = "base"
"""In :attr:`MirroredRun.more`: lines that the W&B run has of elsewhere; unknown before the first opening."""
BEFORE = "attempts_before"
"""In :attr:`MirroredRun.more`: attempts that the W&B run has of elsewhere."""
_INSTEAD = "instead_of"
THEIRS = "told_while_open"
"""In :attr:`MirroredRun.more`: attempts that were told to a run that the user had open."""
_FORMAT = 1


@dataclass(frozen=True)
class MirroredRun:
    """A W&B run of a run folder.

    Attributes
    ----------
    id : str
    attempts : tuple of int
        Of the run folder, that are in it.
    project, entity, name, url : str or None
        As W&B said; None before, and offline.
    mode : str or None
        ``"online"``, ``"offline"``, ``"disabled"``; None before it was opened.
    folders : tuple of str
        Where wandb keeps it on this disk, one an opening; relative to the run folder where they are within it.
    state : str
        ``"opening"``, ``"running"``, ``"finished"`` (all was sent, or all is in the offline file), ``"unsent"``.
    why : str
        Why it is offline or not all was sent; empty where nothing is amiss.
    pid : int
        The mirror's process.
    """

    id: str
    attempts: tuple[int, ...] = ()
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    url: str | None = None
    mode: str | None = None
    folders: tuple[str, ...] = ()
    state: str = "opening"
    why: str = ""
    pid: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> tuple[int, ...]:
        """Those attempts that are ours to tell: a run that the user opened was told them while it was open."""
        theirs = set(self.more.get(THEIRS) or ())
        return tuple(one for one in self.attempts if one not in theirs)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read an entry."""
        found = {one.name: values[one.name] for one in fields(cls) if one.name in values}
        for name in ("attempts", "folders"):
            found[name] = tuple(found.get(name) or ())
        return cls(**found)


def mirrored_runs(run_dir: Path) -> list[MirroredRun]:
    """Read the W&B runs of a run folder, in order; empty where there are none, or the file is broken."""
    try:
        known = decode_line((run_dir / IDENTITY_FILE).read_bytes())
        entries = known.get("runs") if known.get("format") == _FORMAT else None
        return [MirroredRun.from_dict(entry) for entry in entries or ()]
    except (OSError, ValueError, TypeError, AttributeError):
        return []


def put(run_dir: Path, run: MirroredRun) -> None:
    """Write an entry, in the place of an older one with the same id; see :func:`update`."""
    update(run_dir, run.id, lambda known: run)


def update(run_dir: Path, wandb_id: str, change: Callable[[MirroredRun], MirroredRun]) -> MirroredRun:
    """Change an entry. Attempts and folders that it has stay, whatever an older mirror knows of them.

    Parameters
    ----------
    run_dir : Path
    wandb_id : str
    change : callable
        Given the entry as it is now, an empty one where there is none; gives the new one.

    Returns
    -------
    MirroredRun
        As it was written.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with folder_lock(run_dir):  # another mirror may still be sending
        runs = mirrored_runs(run_dir)
        at = next((number for number, one in enumerate(runs) if one.id == wandb_id), len(runs))
        known = runs[at] if at < len(runs) else MirroredRun(wandb_id)
        run = change(known)
        run = replace(
            run,
            attempts=tuple(sorted({*known.attempts, *run.attempts})),
            folders=(*(one for one in known.folders if one not in run.folders), *run.folders),
        )
        runs[at : at + 1] = [run]
        entries = [asdict(one) for one in runs]
        replace_file(run_dir / IDENTITY_FILE, encode_row({"format": _FORMAT, "runs": entries}), sync=False)
    return run


def set_apart(run_dir: Path, run: MirroredRun) -> MirroredRun:
    """Give a run folder a W&B run of its own in the place of `run`, which another folder goes on with: a copy.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    kept = {name: value for name, value in run.more.items() if name in (ASKED, BEFORE, "process")}
    instead = [*run.more.get(_INSTEAD, ()), run.id]
    own = MirroredRun(
        f"{run.id}-{secrets.token_hex(2)}",
        run.attempts,
        run.project,
        run.entity,
        run.name,
        pid=run.pid,
        more={**kept, _INSTEAD: instead},
    )
    with folder_lock(run_dir):
        entries = [asdict(own if one.id == run.id else one) for one in mirrored_runs(run_dir)]
        replace_file(run_dir / IDENTITY_FILE, encode_row({"format": _FORMAT, "runs": entries}), sync=False)
    return own


def successor(run_dir: Path, wandb_id: str) -> str:
    """Give the id of the W&B run that this folder has in the place of one (:func:`set_apart`), else that one's."""
    return next((one.id for one in mirrored_runs(run_dir) if wandb_id in one.more.get(_INSTEAD, ())), wandb_id)


def choose(
    run_dir: Path,
    run_id: str,
    attempt: int,
    *,
    resumed: bool,
    from_checkpoint: str | None = None,
    attempt_before: int | None = None,
) -> tuple[MirroredRun, bool]:
    """Choose the W&B run of an attempt.

    Parameters
    ----------
    run_dir : Path
    run_id : str
        Of the run folder.
    attempt : int
    resumed : bool
        Whether the attempt goes on from a checkpoint, or only evaluates what is there.
    from_checkpoint : str, optional
        Id in the checkpoint.
    attempt_before : int, optional
        What W&B was told as the number of the attempt that saved it.

    Returns
    -------
    run : MirroredRun
        With `attempt` among its attempts; not yet written.
    continued : bool
        Whether it was opened before.
    """
    known = mirrored_runs(run_dir)
    mine = next((one for one in known if attempt in one.attempts), None)
    if mine is not None and (not resumed or from_checkpoint in (None, mine.id)):
        return mine, True
    if resumed:
        if from_checkpoint is not None:
            from_checkpoint = successor(run_dir, from_checkpoint)
        before = next((one for one in known if one.id == from_checkpoint), None)
        if before is None and from_checkpoint is not None:  # the folder was moved or emptied, the checkpoint knows
            more = {BEFORE: 0 if attempt_before is None else attempt_before + 1 - attempt}
            return MirroredRun(from_checkpoint, (attempt,), more=more), True
        if before is None and known:
            before = max(known, key=lambda one: max(one.attempts, default=0))
        if before is not None:
            attempts = tuple(sorted({*before.attempts, attempt}))
            return replace(before, attempts=attempts, state="opening", why=""), True
    taken = {one.id for one in known}
    fresh = run_id if run_id not in taken and attempt == 1 else f"{run_id}-{attempt}"
    return MirroredRun(fresh, (attempt,)), False
