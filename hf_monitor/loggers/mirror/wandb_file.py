"""The steps in a ``.wandb`` file: LevelDB's log format with protobuf records; read without asking wandb.

The format: 7 bytes of header (``:W&B``, 0xBEE1, a version), then blocks of 32 KiB with records of ``<IHB`` (checksum,
length, kind: whole, first, middle, last) and their data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["files_of", "last_step", "raw_records"]

_HEADER, _BLOCK, _HEAD = 7, 32 * 1024, struct.Struct("<IHB")
_WHOLE, _LAST = 1, 4
_HISTORY = 2  # field of Record
_STEP = 2  # field of HistoryRecord
_NUM = 1  # field of HistoryStep


def raw_records(path: Path) -> Iterator[bytes]:
    """Give the records of a file in order, each a serialized ``Record``; what a kill tore off at its end is left out.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    parts, at = b"", _HEADER
    with path.open("rb") as file:
        if file.read(_HEADER)[:4] != b":W&B":
            return
        while True:
            left = _BLOCK - at % _BLOCK
            if left < _HEAD.size:  # too little for a header: the next block
                at += len(file.read(left))
                continue
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            _, length, kind = _HEAD.unpack(head)
            part = file.read(length)
            if not kind or len(part) < length:
                return
            at += _HEAD.size + length
            parts += part
            if kind in (_WHOLE, _LAST):
                yield parts
                parts = b""


def files_of(folder: Path, wandb_id: str) -> list[Path]:
    """Give the ``.wandb`` files of a W&B run in a folder such as ``<run folder>/wandb``, oldest first."""
    return sorted(folder.glob(f"*run-*-{_escaped(wandb_id)}/run-{_escaped(wandb_id)}.wandb"), key=_stamp)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _stamp(path: Path) -> str:
    return path.parent.name.partition("run-")[2]


def last_step(paths: Iterable[Path]) -> int:
    """Give the largest ``_step`` in the history of these files; -1 where there is none."""
    largest = -1
    for path in paths:
        try:
            for record in raw_records(path):
                for value in _fields(record, _HISTORY):
                    for step in _fields(value, _STEP):
                        largest = max(largest, *_numbers(step, _NUM), largest)
        except (OSError, ValueError, IndexError):
            continue
    return largest


def _fields(data: bytes, wanted: int) -> Iterator[bytes]:
    """Give the values of a field that is a message itself, by protobuf's wire format."""
    for number, value in _values(data):
        if number == wanted and isinstance(value, bytes):
            yield value


def _numbers(data: bytes, wanted: int) -> Iterator[int]:
    for number, value in _values(data):
        if number == wanted and isinstance(value, int):
            yield value
            return
    yield 0  # protobuf leaves out what is zero


def _values(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, form = tag >> 3, tag & 7
        if form == 0:
            value, at = _varint(data, at)
            yield number, value
        elif form == 2:
            length, at = _varint(data, at)
            yield number, data[at : at + length]
            at += length
        else:
            at += {1: 8, 5: 4}[form]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
