"""The manifest of a backup and its checksums, written, and an archive held against them."""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import orjson

from hf_monitor._version import __version__
from hf_monitor.errors import InputError
from hf_monitor.preflight.backup_files import Listing, Member, Selection
from hf_monitor.run.reader import Run

__all__ = ["FORMAT", "MANIFEST", "SUMS", "manifest_of", "manifest_text", "sums_text", "verify_backup"]

FORMAT = 1
"""Number of the backup's format, in its manifest."""
MANIFEST, SUMS = "MANIFEST.json", "SHA256SUMS"

_PIECE_BYTES = 1 << 20
# What a damaged archive raises: a flipped bit turns a stored file into an encrypted one, or into one of another method.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OSError,
)
_SECRETS = (
    "hf_monitor masks secrets when it writes; files of others are not packed, nor is a checkpoint's training_args.bin"
)


def manifest_text(run: Run, listing: Listing, checkpoints: Selection, running: bool, when: float | None) -> bytes:
    """Give ``MANIFEST.json``.

    Parameters
    ----------
    run : Run
    listing : Listing
    checkpoints : str
    running : bool
        Whether the run may have gone on after it was packed.
    when : float or None
        Epoch seconds of its last row.
    """
    manifest = {
        "format": FORMAT,
        "run_id": run.facts.get("run_id"),
        "status": run.status,
        "ending": str(run.ending),
        "running": running,
        "step": run.last_step,
        "when": when,
        "when_utc": None if when is None else datetime.fromtimestamp(int(when), UTC).isoformat(),
        "hf_monitor": __version__,
        "checkpoints": checkpoints,
        "secrets": _SECRETS,
        "files": [member.to_dict() for member in listing.members],
        "left_out": [{"path": path, "reason": reason} for path, reason in listing.left_out],
    }
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def manifest_of(archive: Path) -> dict[str, Any]:
    """Read the manifest of a backup that was just made."""
    with zipfile.ZipFile(archive) as file:
        manifest: dict[str, Any] = orjson.loads(file.read(file.namelist()[0]))
    return manifest


def sums_text(manifest: bytes, members: Iterable[Member]) -> bytes:
    """Give ``SHA256SUMS``, as ``sha256sum`` writes and reads it: of the manifest and of all files."""
    sums = {MANIFEST: hashlib.sha256(manifest).hexdigest(), **{member.path: member.sha256 for member in members}}
    return "".join(_sum_line(path, digest) for path, digest in sums.items()).encode()


def _sum_line(path: str, digest: str) -> str:
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != path else ""  # as sha256sum marks such a line
    return f"{mark}{digest}  {escaped}\n"


def verify_backup(path: str | os.PathLike[str]) -> list[str]:
    """Hold a backup against its manifest: every file is read, and its checksum compared.

    Parameters
    ----------
    path : path-like
        The archive that :func:`hf_monitor.preflight.backup_archive.backup` made.

    Returns
    -------
    list of str
        What is wrong, a sentence each: damaged, missing and additional files; empty where all is as it was packed.

    Raises
    ------
    InputError
        If there is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"there is no backup {str(path)!r}. Pass the archive that hf-monitor backup wrote.")
    try:
        with zipfile.ZipFile(path) as archive:
            return list(_problems(archive))
    except _DAMAGED as error:
        return [f"{path.name} is no zip archive, or was cut off or damaged ({error}). Use another copy of it."]


def _problems(archive: zipfile.ZipFile) -> Iterator[str]:
    entries = archive.namelist()
    yield from (f"{name} is in the archive {n} times." for name, n in Counter(entries).items() if n > 1)
    top, _, first = entries[0].partition("/") if entries else ("", "", "")
    if first != MANIFEST:
        yield f"its first entry is not {MANIFEST}: this is no backup that hf-monitor wrote, or it was packed anew."
        return
    try:
        text = archive.read(f"{top}/{MANIFEST}")
        manifest = orjson.loads(text)
        files = {str(one["path"]): one for one in manifest["files"]}
    except (*_DAMAGED, TypeError, KeyError) as error:
        yield f"{MANIFEST} is damaged ({error}): nothing can be said of the files."
        return
    if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
        yield (
            f"it has format {manifest.get('format')!r}, this hf_monitor knows up to {FORMAT}. Update it: "
            "pip install -U hf-monitor"
        )
        return
    yield from (f"{name}: a path that leads out of the folder." for name in files if not _is_inside(name))
    there = {name.removeprefix(f"{top}/") if name.startswith(f"{top}/") else f"/{name}" for name in entries}
    known = {MANIFEST, SUMS, *files}
    yield from (f"{name} is missing." for name in sorted(known - there))
    yield from (f"{name.removeprefix('/')} is not in the manifest: it was added." for name in sorted(there - known))
    for name in sorted(there & set(files)):
        if (problem := _differs(archive, f"{top}/{name}", files[name])) is not None:
            yield f"{name} {problem}."
    if SUMS in there:
        sums = {MANIFEST: hashlib.sha256(text).hexdigest(), **{name: one.get("sha256") for name, one in files.items()}}
        wanted = "".join(_sum_line(name, str(digest)) for name, digest in sums.items()).encode()
        try:
            same = archive.read(f"{top}/{SUMS}") == wanted
        except _DAMAGED:
            same = False
        if not same:
            yield f"{SUMS} is damaged, or does not belong to the manifest."


def _differs(archive: zipfile.ZipFile, name: str, known: Mapping[str, Any]) -> str | None:
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(name) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size += len(piece)
    except _DAMAGED as error:
        return f"is damaged ({error})"
    if size != known.get("bytes"):
        return f"has {size:,} bytes, it was packed with {known.get('bytes'):,}"
    return None if digest.hexdigest() == known.get("sha256") else "is damaged: its checksum is another one"


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts
