"""What the rules must know of disk and time, which no log says: the checkpoint just saved, and when the job ends."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["checkpoint_event", "deadline_event", "saves_left"]

_MIB = 2**20
_LONGEST_S = 10 * 366 * 86400.0
"""A deadline further away than this is none: schedulers write such times for jobs without a limit."""


def checkpoint_event(
    args: Any, state: Any, checkpoint: str | os.PathLike[str], problem: str | None = None
) -> dict[str, Any]:
    """Describe a checkpoint that was just saved, and what room is left for those to come.

    Parameters
    ----------
    args : transformers.TrainingArguments
    state : transformers.TrainerState
    checkpoint : path-like
        Its folder.
    problem : str, optional
        Why it cannot be loaded back, where somebody looked.

    Returns
    -------
    dict
        Of an event ``checkpoint``: ``checkpoint``, ``size_mib`` (of its files; None where they cannot be read),
        ``disk_free_mib`` (for this user; None where the system does not say; a quota is not seen), ``saves_left``
        (None where nobody can know), ``kept`` (checkpoints that stay, of ``save_total_limit``; None without one),
        ``there`` (checkpoints on the disk now), ``problem``.
    """
    folder = Path(checkpoint)
    return {
        "checkpoint": str(folder),
        "size_mib": _size_mib(folder),
        "disk_free_mib": _free_mib(folder),
        "saves_left": saves_left(args, state),
        "kept": _kept(args),
        "there": _there(folder.parent),
        "problem": problem,
    }


def saves_left(args: Any, state: Any) -> int | None:
    """Count the saves that are still to come, as the Trainer's own ``DefaultFlowCallback`` asks for them.

    Returns
    -------
    int or None
        None with ``save_strategy="best"``: how often the score improves nobody knows.
    """
    step, end = int(state.global_step), int(state.max_steps)
    strategy = str(getattr(args.save_strategy, "value", args.save_strategy))
    if strategy == "no" or step >= end:
        return 0
    if strategy == "steps":
        every = getattr(state, "save_steps", 0) or args.save_steps
        every = math.ceil(end * every) if 0 < every < 1 else int(every)
        # The last step is saved in any case.
        return end // every - step // every + (1 if end % every else 0) if every > 0 else 1
    if strategy == "epoch":
        epochs = (end - step) * float(state.epoch) / step if step and state.epoch else float(state.num_train_epochs)
        return max(1, math.ceil(epochs - 0.01))
    return None


def _kept(args: Any) -> int | None:
    """Give how many checkpoints stay: of two that are always kept, the latest and the best, each may be one."""
    limit = args.save_total_limit
    if limit is None or limit <= 0:
        return None
    return max(int(limit), 2 if getattr(args, "metric_for_best_model", None) else 1)


def _size_mib(folder: Path) -> float | None:
    try:
        if not folder.is_dir():
            return None
        return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MIB, 3)
    except OSError:
        return None


def _free_mib(folder: Path) -> float | None:
    try:
        return round(shutil.disk_usage(folder).free / _MIB, 1)  # what statvfs gives those who are not root
    except OSError:
        return None


def _there(folder: Path) -> int | None:
    try:
        return sum(entry.name.startswith("checkpoint-") and entry.is_dir() for entry in os.scandir(folder))
    except OSError:
        return None


def deadline_event(
    environ: Mapping[str, str], time_limit_s: float | None = None, now: float | None = None
) -> dict[str, Any] | None:
    """Say when this job is ended from outside, as far as it is known.

    ``SLURM_JOB_END_TIME`` is the time that Slurm documents for it (scrun(1), https://slurm.schedmd.com/scrun.html: the
    UNIX timestamp for a job's projected end time). LSF documents none (IBM, "Environment variables set for job
    execution"), and others tell a job at most how long it may run and not since when; there, and in notebooks, the user
    has to say it.

    Parameters
    ----------
    environ : mapping
        ``os.environ``.
    time_limit_s : float, optional
        What the user said: seconds from now.
    now : float, optional
        Seconds since the epoch.

    Returns
    -------
    dict or None
        Of an event ``deadline``: ``at`` (seconds since the epoch), ``source``; the earlier one where there are two.
    """
    now = time.time() if now is None else now
    found: list[tuple[float, str]] = []
    if time_limit_s is not None:
        found.append((now + time_limit_s, "time_limit_s"))
    try:
        end = float(environ.get("SLURM_JOB_END_TIME", ""))
    except ValueError:
        end = math.nan
    if now < end < now + _LONGEST_S:
        found.append((end, "SLURM_JOB_END_TIME"))
    if not found:
        return None
    at, source = min(found)
    return {"at": at, "source": source}
