"""Which files of a run go into its backup: those that hf_monitor wrote, by their names, and checkpoints."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from hf_monitor.diagnosis.checkpoint_files import checkpoint_step
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.preflight.backup_wandb import parts_to_sync
from hf_monitor.preflight.checkpoints import Checkpoints
from hf_monitor.run.reader import Run

__all__ = ["RUN_FOLDER", "Changed", "Listing", "Member", "Selection", "list_files", "pieces"]

Selection = Literal["none", "best", "all"]
Kind = Literal["source", "derived", "checkpoint"]

_SOURCES = re.compile(
    r"run\.json(\.broken-.*)?|wandb\.jsonl?|(metrics|predictions|trials)\.jsonl|system(\.rank\d+)?\.jsonl"
    r"|rank\d+\.(jsonl|log)|train\.log"
)
_DERIVED = re.compile(r"plan\.json|report\.html|plots")
RUN_FOLDER = "monitor"
"""Name of the run folder within a backup: where ``attach`` puts it by default, so that paths between them hold."""
_PIECE_BYTES = 1 << 20
_ARGUMENTS = "training_args.bin"


class Changed(Exception):
    """A file is not what it was at the first look: whoever packs begins again."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a backup, as it was at the first look.

    Attributes
    ----------
    path : str
        Within the backup: ``monitor/metrics.jsonl``.
    source : Path
    kind : str
        ``"source"``, ``"derived"`` (can be made again) or ``"checkpoint"``.
    n_bytes : int
        What is packed of it; a file that is still written may have more by now.
    sha256 : str
        Of these bytes.
    mtime : int
        When it was last written, in whole epoch seconds.
    """

    path: str
    source: Path
    kind: Kind
    n_bytes: int
    sha256: str
    mtime: int

    def to_dict(self) -> dict[str, Any]:
        """Give what the manifest says of it."""
        return {
            "path": self.path,
            "bytes": self.n_bytes,
            "sha256": self.sha256,
            "kind": self.kind,
            "mtime": self.mtime,
        }


@dataclass(frozen=True, slots=True)
class Listing:
    """What goes into a backup, and what does not.

    Attributes
    ----------
    members : tuple of Member
        By path.
    left_out : tuple of (str, str)
        What lies in the folders and is not packed, and why.
    """

    members: tuple[Member, ...]
    left_out: tuple[tuple[str, str], ...]


def list_files(run: Run, checkpoints: Selection, output_dir: Path | None, running: bool) -> Listing:
    """Find the files, and read each once for its checksum.

    Parameters
    ----------
    run : Run
    checkpoints : str
        ``"none"``, ``"best"`` or ``"all"``.
    output_dir : Path or None
        Where the checkpoints lie, if not where the run says.
    running : bool
        Whether rows may be appended meanwhile: then only whole lines are taken.

    Raises
    ------
    InputError
        If there is no checkpoint of the kind asked for.
    Changed
        If a file went away meanwhile.
    RunFolderError
        If one cannot be read.
    """
    left_out: list[tuple[str, str]] = []
    chosen = _chosen(run, checkpoints, output_dir)
    try:
        found = list(_of_run(run.path, left_out))
        for checkpoint in chosen:
            found += _of_folder(checkpoint, checkpoint.name, "checkpoint", left_out, checkpoint.parent)
    except FileNotFoundError as error:
        raise Changed(str(error.filename)) from error
    except OSError as error:
        raise _unreadable(Path(error.filename or run.path), error) from error
    members = [_look(path, name, kind, running) for name, path, kind in found]
    return Listing(tuple(sorted(members, key=lambda one: one.path)), tuple(sorted(left_out)))


def _chosen(run: Run, checkpoints: Selection, output_dir: Path | None) -> list[Path]:
    if checkpoints == "none":
        return []
    there = Checkpoints(run, output_dir)
    if checkpoints == "all":
        chosen = [one.path for one in there.own]
    else:
        chosen = [] if there.best is None else [there.best.path]
    if not chosen:
        raise _none_there(there, checkpoints)
    return chosen


def _none_there(there: Checkpoints, checkpoints: Selection) -> InputError:
    looked = ", ".join(repr(str(folder)) for folder in there.searched)
    names = ", ".join(one.path.name for one in there.own[:8]) or "none"
    found = f"looked in {looked}; checkpoints of this run there: {names}"
    elsewhere = "If they lie elsewhere, say where: --output_dir (in Python output_dir=)."
    if checkpoints == "all":
        return InputError(f"there is no checkpoint to pack ({found}). {elsewhere}")
    others = "Pack those that are there with --checkpoints all, or " if there.own else "Pack "
    others += "none with --checkpoints none."
    if there.best_step is None:
        scored = there.run.metrics.of("text_scores")
        why = "the Trainer held none for the best (it does with metric_for_best_model)" if there.own else found
        step = next((row["best"].get("step") for row in reversed(scored) if isinstance(row.get("best"), dict)), None)
        if step is not None:
            kept = next((one.path.name for one in there.own if one.step == step), "no longer kept")
            why += f"; the texts scored best at step {step}, whose checkpoint is {kept}"
        return InputError(f"there is no best checkpoint to pack: {why}. {others} {elsewhere}")
    return InputError(
        f"the best checkpoint was checkpoint-{there.best_step}, and it is not there any more: save_total_limit deletes "
        f"old ones, or it was moved ({found}). {others} {elsewhere}"
    )


_Found = tuple[str, Path, Kind]


def _of_run(run_dir: Path, left_out: list[tuple[str, str]]) -> Iterator[_Found]:
    for path in sorted(run_dir.iterdir()):
        name = f"{RUN_FOLDER}/{path.name}"
        if path.name == "signals" and path.is_dir() and not path.is_symlink():
            yield from (one for one in _of_folder(path, name, "source", left_out, run_dir) if one[1].stat().st_size)
        elif path.name == "media" and path.is_dir() and not path.is_symlink():
            yield from _of_folder(path, name, "source", left_out, run_dir)
        elif path.name == "wandb" and path.is_dir() and not path.is_symlink():
            yield from _of_wandb(run_dir, left_out)
        elif path.name == "plots" and path.is_dir() and not path.is_symlink():
            yield from _of_folder(path, name, "derived", left_out, run_dir)
        elif _SOURCES.fullmatch(path.name) or _DERIVED.fullmatch(path.name):
            yield from _one(path, name, "source" if _SOURCES.fullmatch(path.name) else "derived", left_out, run_dir)
        elif not path.name.startswith(".") and checkpoint_step(path) is None:
            left_out.append((name, "not written by hf_monitor into its run folder"))


def _of_wandb(run_dir: Path, left_out: list[tuple[str, str]]) -> Iterator[_Found]:
    for path, why in parts_to_sync(run_dir):
        name = f"{RUN_FOLDER}/{path.relative_to(run_dir).as_posix()}"
        if why:
            left_out.append((name, why))
        elif path.is_dir() and not path.is_symlink():
            yield from _of_folder(path, name, "source", left_out, run_dir)
        else:
            yield from _one(path, name, "source", left_out, run_dir)


def _of_folder(folder: Path, name: str, kind: Kind, left_out: list[tuple[str, str]], root: Path) -> Iterator[_Found]:
    for path in sorted(folder.iterdir()):
        inner = f"{name}/{path.name}"
        if path.is_dir() and not path.is_symlink():
            yield from _of_folder(path, inner, kind, left_out, root)
        elif path.name.startswith(".") and path.name.endswith(".tmp"):
            continue  # a file that is being written
        elif kind == "checkpoint" and path.name == _ARGUMENTS:
            left_out.append((inner, "may hold a token (hub_token), and is not needed to load or resume"))
        else:
            yield from _one(path, inner, kind, left_out, root)


def _one(path: Path, name: str, kind: Kind, left_out: list[tuple[str, str]], root: Path) -> Iterator[_Found]:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        left_out.append((ascii(name), "its name is no UTF-8"))
        return
    real = path.resolve()
    if path.is_symlink() and not real.is_relative_to(root.resolve()):
        left_out.append((name, "a link that leads out of the folder, or nowhere"))
    elif not real.exists():
        raise Changed(str(path))
    elif not stat.S_ISREG(real.stat().st_mode):
        left_out.append((name, "no regular file"))
    else:
        yield name, real, kind


def _look(path: Path, name: str, kind: Kind, running: bool) -> Member:
    with _opened(path) as file:
        known = os.fstat(file.fileno())
        size = known.st_size
        if running and path.suffix == ".jsonl":
            size = _whole_lines(file, size)
        digest = hashlib.sha256()
        for piece in _read(file, path, size):
            digest.update(piece)
    return Member(name, path, kind, size, digest.hexdigest(), int(known.st_mtime))


def _whole_lines(file: BinaryIO, size: int) -> int:
    """Give where the last whole line ends."""
    end = size
    while end:
        begin = max(0, end - 65536)
        file.seek(begin)
        found = file.read(end - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        end = begin
    return 0


def pieces(member: Member) -> Iterator[bytes]:
    """Read a file again.

    Raises
    ------
    Changed
        If it is another one by now, after the last piece.
    RunFolderError
        If it cannot be read.
    """
    digest = hashlib.sha256()
    with _opened(member.source) as file:
        for piece in _read(file, member.source, member.n_bytes):
            digest.update(piece)
            yield piece
    if digest.hexdigest() != member.sha256:
        raise Changed(member.path)


def _opened(path: Path) -> BinaryIO:
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        return os.fdopen(os.open(path, flags | getattr(os, "O_NONBLOCK", 0)), "rb")
    except FileNotFoundError as error:
        raise Changed(str(path)) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def _read(file: BinaryIO, path: Path, size: int) -> Iterator[bytes]:
    try:
        file.seek(0)
        while size:
            piece = file.read(min(size, _PIECE_BYTES))
            if not piece:
                raise Changed(str(path))
            size -= len(piece)
            yield piece
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"{str(path)!r} cannot be read: {error.strerror or error}. Mend its permissions, or the disk, and pack again."
    )
