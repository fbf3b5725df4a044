"""A checkpoint's files as they are now, for as long as it takes to send them.

The Trainer deletes old checkpoints (``save_total_limit``) and may write over one; W&B sends them when it can. Large
files are linked, which costs no room; small ones, which are written anew in their place more often, are copied.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from hf_monitor.run.trouble import reason_of

__all__ = ["SHOWN", "STAGING", "Staged", "as_it_is", "stage"]

STAGING = Path("wandb") / "staging"
"""Within the run folder."""

SHOWN = Path("wandb") / "shown"
"""Within the run folder: pictures and pages as they were when they were to be shown."""

_COPIED_BYTES = 2**20
_FOR_A_RESUME = ("optimizer*", "scheduler*", "scaler*", "rng_state*")


class Staged(NamedTuple):
    """Where W&B finds a checkpoint's files.

    Attributes
    ----------
    folder : Path
    ours : bool
        Whether `folder` was made here, and is to be deleted when it is sent.
    why : str
        Why it was not.
    """

    folder: Path
    ours: bool
    why: str = ""


def stage(
    checkpoint: Path, run_dir: Path, name: str, *, weights_only: bool = False, left_out: Collection[str] = ()
) -> Staged:
    """Link and copy the files of a checkpoint into ``<run_dir>/wandb/staging/<name>``.

    Parameters
    ----------
    checkpoint, run_dir : Path
    name : str
        A number is added where it is taken.
    weights_only : bool
        Whether to leave out what only a resume needs: optimizer, schedule, random states.
    left_out : collection of str
        Names of more files to leave out.

    Returns
    -------
    Staged
        Where the files cannot be linked (another file system, one without links) the checkpoint's own folder.

    Raises
    ------
    FileNotFoundError
        If there is no such folder, or it holds no file.
    OSError
        If it cannot be read, or small files cannot be copied.
    """
    files = [
        path
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file()
        and path.name not in left_out
        and not (weights_only and any(fnmatch(path.name, one) for one in _FOR_A_RESUME))
    ]
    if not files:
        raise FileNotFoundError(2, "no files of a checkpoint are there", str(checkpoint))
    folder = _new_folder(run_dir / STAGING, name)
    try:
        for path in files:
            place = folder / path.relative_to(checkpoint)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.stat().st_size < _COPIED_BYTES:
                shutil.copyfile(path, place)
                continue
            try:
                os.link(path.resolve(), place)
            except OSError as error:
                shutil.rmtree(folder, ignore_errors=True)
                return Staged(checkpoint.absolute(), False, reason_of(error))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Staged(folder, True)


def as_it_is(path: Path, run_dir: Path, name: str) -> Path:
    """Keep a file as it is now, of those that are replaced and never changed in place: pictures, the page.

    Parameters
    ----------
    path, run_dir : Path
    name : str
        Of what it is kept for; a number is added where it is taken.

    Returns
    -------
    Path
        A link to it, or a copy, in ``<run_dir>/wandb/shown``.

    Raises
    ------
    OSError
        If neither can be made.
    """
    folder = run_dir / SHOWN
    folder.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        place = folder / f"{path.stem}-{name}{f'-{number}' if number > 1 else ''}{path.suffix}"
        try:
            os.link(path.resolve(), place)
        except FileExistsError:
            continue
        except OSError:
            if place.exists():
                continue
            shutil.copyfile(path, place)
        return place
    raise AssertionError


def _new_folder(parent: Path, name: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(1):
        folder = parent / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise AssertionError
