"""backup: a run folder in one archive, with a manifest and checksums; verify_backup looks whether it still is that.

A zip archive, because it opens everywhere by a double click, because files that do not shrink (pictures, weights) are
stored as they are, and because its directory stands at the end: one that was cut off does not open. What a tar would
add (owners, permissions, links) a run folder does not need; times are kept to the second.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import time
import zipfile
from pathlib import Path
from typing import get_args

from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.preflight.backup_files import RUN_FOLDER, Changed, Selection, list_files, pieces
from hf_monitor.preflight.backup_manifest import MANIFEST, SUMS, manifest_text, sums_text
from hf_monitor.run.reader import Run, load_run

__all__ = ["backup"]

_TRIES = 3
_STORED = frozenset({".png", ".jpg", ".safetensors", ".bin", ".pt", ".pth", ".zip", ".gz"})
_MODE = (0o100644 << 16) & 0xFFFFFFFF
_ZIP_YEARS = (315532800, 4354819198)  # 1980 to 2107, in epoch seconds


def backup(
    run: Run | str | os.PathLike[str],
    destination: str | os.PathLike[str] | None = None,
    *,
    checkpoints: Selection = "none",
    output_dir: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Path:
    """Pack a run into one zip archive, with a manifest and checksums.

    Packed is what hf_monitor wrote: rows, texts, facts, log, charts, report. Unpacked it is ``<run id>/monitor`` beside
    ``<run id>/checkpoint-500``, as they were in the Trainer's ``output_dir``: :func:`hf_monitor.load_run` reads it, a
    training resumes from it, and ``sha256sum -c SHA256SUMS`` checks it. Links that lead out of the folder are not
    followed. ``MANIFEST.json``, the first entry, lists every file with its size and checksum, and what was left out.

    A run that is still going can be packed: of each file what was there at the first look, of rows whole lines only.
    Packed twice, a run that has ended gives the same bytes. The archive is written under another name and renamed when
    it is whole.

    Parameters
    ----------
    run : Run or path-like
        From :func:`hf_monitor.load_run`, or what that takes.
    destination : path-like, optional
        The archive (``.zip``), or a folder for it. By default ``<folder>-<run id>.zip`` beside the run
        folder, where ``<folder>`` is the Trainer's ``output_dir``.
    checkpoints : str
        ``"none"``; ``"best"`` (the one that the Trainer holds for the best); ``"all"`` of this run.
    output_dir : path-like, optional
        Where the checkpoints lie, if not where the run says.
    overwrite : bool
        Whether an archive that is there may be replaced.

    Returns
    -------
    Path
        The archive.

    Raises
    ------
    InputError
        If the archive is there already, its name does not end with ``.zip``, or no such checkpoint is there.
    RunFolderError
        If there is no run, a file of it cannot be read, or the archive cannot be written (disk full ...).
    """
    if checkpoints not in get_args(Selection):
        raise InputError(f"checkpoints must be one of {', '.join(get_args(Selection))}, got {checkpoints!r}.")
    run = load_run(run.path if isinstance(run, Run) else run)  # what it is now
    name = re.sub(r"[^\w.-]+", "_", str(run.facts.get("run_id") or run.path.resolve().name)).lstrip(".") or "run"
    archive = _archive_path(run, name, destination, overwrite)
    where = None if output_dir is None else Path(output_dir).expanduser()
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}.tmp")
    try:
        for last in range(1, _TRIES + 1):
            try:
                _write(temporary, name, run, checkpoints, where)
                break
            except Changed as change:
                if last == _TRIES:
                    raise RunFolderError(
                        f"the run changed while it was packed, {_TRIES} times ({change}). Pack it when the training "
                        "has ended, or without its checkpoints."
                    ) from change
                run = load_run(run.path)
        if archive.exists() and not overwrite:
            raise _exists(archive)
        temporary.replace(archive)
    except OSError as error:
        if isinstance(error, RunFolderError):
            raise
        raise RunFolderError(
            f"the backup cannot be written to {str(archive)!r}: {error.strerror or error}. Nothing was left there. "
            "Make room, or name another place (-o)."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # also after Ctrl-C
    return archive


def _archive_path(run: Run, name: str, destination: str | os.PathLike[str] | None, overwrite: bool) -> Path:
    archive = run.path.resolve().parent if destination is None else Path(destination).expanduser()
    if archive.is_dir():
        archive = archive / f"{_of_folder(run)}{name}.zip"
    if archive.suffix.lower() != ".zip":
        raise InputError(f"a backup is a zip archive: its name must end with .zip, got {archive.name!r}.")
    if not archive.parent.is_dir():
        raise InputError(f"there is no folder {str(archive.parent)!r} for the backup. Make it, or name another place.")
    if archive.exists() and not overwrite:
        raise _exists(archive)
    return archive


def _of_folder(run: Run) -> str:
    """Give the name that a user gave the training: of its output_dir, or of its run folder where that has one."""
    folder = run.path.resolve()
    name = folder.parent.name if folder.name == RUN_FOLDER else folder.name
    name = re.sub(r"[^\w.-]+", "_", name).strip("._-")[:60]
    return f"{name}-" if name and name != str(run.facts.get("run_id")) else ""


def _exists(archive: Path) -> InputError:
    return InputError(
        f"{str(archive)!r} exists. Name another file (-o), or have it replaced: --overwrite (in Python overwrite=True)."
    )


def _write(path: Path, name: str, run: Run, checkpoints: Selection, output_dir: Path | None) -> None:
    running = run.status in ("running", "unknown")
    listing = list_files(run, checkpoints, output_dir, running)
    when = max((row["time"] for row in run.rows if isinstance(row.get("time"), int | float)), default=None)
    manifest = manifest_text(run, listing, checkpoints, running, when)
    mtime = int(when or 0)
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr(_entry(f"{name}/{MANIFEST}", mtime, len(manifest)), manifest)
            sums = sums_text(manifest, listing.members)
            archive.writestr(_entry(f"{name}/{SUMS}", mtime, len(sums)), sums)
            for member in listing.members:
                entry = _entry(f"{name}/{member.path}", member.mtime, member.n_bytes)
                with archive.open(entry, "w") as written:
                    for piece in pieces(member):
                        written.write(piece)
        file.flush()
        os.fsync(file.fileno())


def _entry(name: str, mtime: int, n_bytes: int) -> zipfile.ZipInfo:
    first, last = _ZIP_YEARS
    entry = zipfile.ZipInfo(name, time.gmtime(min(max(mtime, first), last))[:6])
    entry.compress_type = zipfile.ZIP_STORED if Path(name).suffix.lower() in _STORED else zipfile.ZIP_DEFLATED
    entry.external_attr = _MODE
    entry.create_system = 3  # Unix, wherever it was packed
    entry.file_size = n_bytes  # whether it needs the larger form
    if 0 < mtime < 1 << 31:  # without this a zip holds local time
        entry.extra = struct.pack("<HHBl", 0x5455, 5, 1, mtime)
    return entry
