"""Many rows at once: files of rows read in blocks, from the begin or from the end, at the speed of the JSON parser."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from hf_monitor.run.rows import iter_lines, restore

__all__ = ["collector_paused", "row_blocks", "rows_backwards"]

_BLOCK = 1 << 18  # bytes: lines, and what they become, stay in the processor's cache
_LOCK = threading.Lock()
_paused = 0
_was_on = False


@contextmanager
def collector_paused() -> Iterator[None]:
    """Keep the cyclic garbage collector from walking over rows while they are made: they hold no cycles.

    It is the whole process's; of several threads that read at the same time the last one puts it back.
    """
    global _paused, _was_on
    with _LOCK:
        if not _paused:
            _was_on = gc.isenabled()
            gc.disable()
        _paused += 1
    try:
        yield
    finally:
        with _LOCK:
            _paused -= 1
            if not _paused and _was_on:
                gc.enable()


def row_blocks(path: str | os.PathLike[str], size: int = _BLOCK) -> Iterator[tuple[list[dict[str, Any]], int, int]]:
    """Read a file of rows in blocks.

    Parameters
    ----------
    path : path-like
    size : int
        Bytes to read at a time.

    Yields
    ------
    rows : list of dict
        In the order written.
    n_broken : int
        Lines of this block that could not be read.
    n_bytes : int
        Length of this block.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb", buffering=0) as file:
        parts: list[bytes] = []  # of a line whose end is still to come
        while data := file.read(size):
            cut = data.rfind(b"\n") + 1
            if cut:
                parts.append(data[:cut])
                yield _rows_of(b"".join(parts))
                parts = []
            if cut < len(data):
                parts.append(data[cut:])
        if parts:
            yield _rows_of(b"".join(parts))


def rows_backwards(path: str | os.PathLike[str], size: int = _BLOCK) -> Iterator[dict[str, Any]]:
    """Read the rows of a file from the last to the first; broken lines are passed over.

    Parameters
    ----------
    path : path-like
    size : int
        Bytes to read at a time.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with Path(path).open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        parts: list[bytes] = []  # of a line whose begin is still to come, the last first
        while place:
            step = min(size, place)
            place -= step
            file.seek(place)
            data = file.read(step)
            cut = data.find(b"\n") + 1 if place else 0
            if place and not cut:
                parts.append(data)
                continue
            yield from reversed(_rows_of(b"".join([data[cut:], *reversed(parts)]))[0])
            parts = [data[:cut]]


def _rows_of(data: bytes) -> tuple[list[dict[str, Any]], int, int]:
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    try:
        rows = list(map(orjson.loads, lines))
        if set(map(type, rows)) == {dict}:
            if b'"$' in data:
                rows = [restore(row) if b'"$' in line else row for row, line in zip(rows, lines, strict=True)]
            return rows, 0, len(data)
    except ValueError:  # a broken line, or a blank one
        pass
    found = [row for _, row in iter_lines(data)]
    kept = [row for row in found if row is not None]
    return kept, len(found) - len(kept), len(data)
