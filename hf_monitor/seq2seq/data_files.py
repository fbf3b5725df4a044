"""JSON, JSONL and CSV files -> rows, with errors that name the file and the line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["EXTENSIONS", "read_rows"]

EXTENSIONS = (".json", ".jsonl", ".csv", ".tsv")

_LARGEST_FIELD = 2**31 - 1  # the csv module's own limit of 131072 characters is less than some documents have

Row = dict[str, Any]


def read_rows(path: str | os.PathLike[str], limit: int | None = None) -> list[Row]:
    """Read a file of records.

    Parameters
    ----------
    path : path-like
        ``.jsonl``, one object a line; ``.json``, an array of objects, an object with such an array under ``data``, or
        one object a line; ``.csv`` and ``.tsv`` with a header line. UTF-8, with or without a byte order mark.
    limit : int, optional
        Read at most so many records.

    Returns
    -------
    list of dict
        One a record, in the file's order.

    Raises
    ------
    InputError
        If the file is missing, of another kind, broken (the line is named), or holds no records.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if not file.is_file():
        raise InputError(f"{str(file)!r} is {'a folder, not a file' if file.is_dir() else 'no file that exists'}.")
    if kind not in EXTENSIONS:
        raise InputError(f"{str(file)!r} has an unknown extension {kind!r}: use {', '.join(EXTENSIONS)}.")
    readers = {".json": _json, ".jsonl": _json_lines}
    try:
        rows = list(islice(readers.get(kind, _table)(file), limit))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(file)!r} is not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}). "
            "Save it as UTF-8; in Excel that is 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
    if not rows:
        raise InputError(f"{str(file)!r} holds no samples.")
    return rows


def _json_lines(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8-sig", newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"line {number} of {str(file)!r} is broken JSON: {_problem(error)}.") from error
            yield _object(row, f"line {number}", file)


def _json(file: Path) -> Iterator[Row]:
    text = file.read_text(encoding="utf-8-sig")
    try:
        found = json.loads(text) if text.strip() else []
    except json.JSONDecodeError as error:
        if text.lstrip().startswith("{") and error.msg == "Extra data":  # one object a line, under the name .json
            yield from _json_lines(file)
            return
        raise InputError(f"line {error.lineno} of {str(file)!r} is broken JSON: {_problem(error)}.") from error
    if isinstance(found, dict):
        found = found["data"] if isinstance(found.get("data"), list) else [found]
    if not isinstance(found, list):
        raise InputError(f"{str(file)!r} must hold an array of objects, not {type(found).__name__}.")
    for number, row in enumerate(found, start=1):
        yield _object(row, f"record {number}", file)


def _problem(error: json.JSONDecodeError) -> str:
    return f"{error.msg.removesuffix(' at')} at column {error.colno}"  # "Unterminated string starting at"


def _object(row: Any, where: str, file: Path) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where} of {str(file)!r} must be a JSON object, got {type(row).__name__}.")
    return row


def _table(file: Path) -> Iterator[Row]:
    before = csv.field_size_limit(_LARGEST_FIELD)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.reader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            header = [name.strip() for name in next(reader, [])]
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice:
                raise InputError(f"{str(file)!r} has the column {twice[0]!r} more than once in its header.")
            for values in reader:
                if not values:
                    continue
                if len(values) != len(header):
                    raise InputError(
                        f"line {reader.line_num} of {str(file)!r} has {len(values)} fields, its header {len(header)}. "
                        'Texts with commas, quotes or line breaks stand in "double quotes".'
                    )
                yield dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num} of {str(file)!r} is broken CSV: {error}.") from error
    finally:
        csv.field_size_limit(before)
