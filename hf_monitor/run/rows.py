"""Rows <-> lines: one row is one strict JSON object on one line.

Strict JSON has no NaN and no infinities, and 64 bits for an integer, so the values outside it are written as an object
with a single marker key: ``{"$float": "nan" | "inf" | "-inf"}`` and ``{"$int": "<digits>"}``. Any JSON parser reads the
file; :func:`decode_line` gives the numbers back. A user's own object that looks like a marker gets one more ``$``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from enum import Enum
from os import PathLike, fspath
from typing import Any

import orjson

__all__ = ["decode_line", "encode_row", "iter_lines", "plain", "restore"]

_EXACT = frozenset({int, str, bool, type(None)})
_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1
_MAX_DEPTH = 32  # deeper than any metric; a guard against objects that hold themselves
_MARKERS = ("$float", "$int")


def _is_marker_like(mapping: Mapping[Any, Any]) -> bool:
    if len(mapping) != 1:
        return False
    key = next(iter(mapping))
    return isinstance(key, str) and key.startswith("$") and "$" + key.lstrip("$") in _MARKERS


def plain(value: Any, _depth: int = 0) -> Any:
    """Turn any value into what strict JSON can hold.

    Numpy and torch scalars become Python numbers, arrays become lists, paths become strings, sets become sorted lists,
    dataclass instances and mappings become objects; what is left is written as its ``repr`` (at most 1000 characters).

    Parameters
    ----------
    value : object

    Returns
    -------
    object
        ``None``, bool, int, float (finite), str, list or dict of these.
    """
    kind = type(value)
    if kind is float:
        if math.isfinite(value):
            return value
        return {"$float": "nan" if value != value else ("inf" if value > 0 else "-inf")}
    if kind is bool or value is None:
        return value
    if kind is int:
        return value if _INT64_MIN <= value <= _UINT64_MAX else {"$int": str(value)}
    if kind is str:
        # A lone surrogate (from a broken decode) cannot be written as UTF-8.
        return value.encode("utf-8", "replace").decode("utf-8") if _has_surrogate(value) else value
    if _depth >= _MAX_DEPTH:
        return repr(value)[:1000]
    if isinstance(value, Mapping):
        if _is_marker_like(value):
            key = next(iter(value))
            return {"$" + key: plain(value[key], _depth + 1)}
        return {plain(str(k)): plain(v, _depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, _depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return [plain(item, _depth + 1) for item in sorted(value, key=str)]
    return _plain_object(value, _depth)


def _plain_object(value: Any, depth: int) -> Any:
    """Everything that is not a built-in container or scalar."""
    if isinstance(value, bool | int | float | str):  # subclasses: enums with values, numpy.float64
        for base in (bool, int, float, str):
            if isinstance(value, base):
                return plain(base(value), depth + 1)
    if isinstance(value, bytes):
        return plain(value.decode("utf-8", "replace"), depth + 1)
    if isinstance(value, PathLike):
        return plain(str(fspath(value)), depth + 1)
    tolist = getattr(value, "tolist", None)  # numpy scalars and arrays, torch tensors
    if callable(tolist):
        try:
            return plain(tolist(), depth + 1)
        except (RuntimeError, TypeError, ValueError):  # e.g. a meta tensor has no values
            return repr(value)[:1000]
    if hasattr(value, "__dataclass_fields__") and not isinstance(value, type):
        return {name: plain(getattr(value, name, None), depth + 1) for name in value.__dataclass_fields__}
    if isinstance(value, Enum):
        return plain(value.value, depth + 1)
    return plain(repr(value)[:1000], depth + 1)


def _has_surrogate(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def encode_row(row: Mapping[str, Any]) -> bytes:
    r"""Encode one row as one line of strict JSON, newline included.

    Parameters
    ----------
    row : mapping of str to object
        Values may be anything (see :func:`plain`).

    Returns
    -------
    bytes
        UTF-8, exactly one ``\n``, at the end.

    Examples
    --------
    >>> encode_row({"step": 1, "loss": float("nan")})
    b'{"step":1,"loss":{"$float":"nan"}}\n'
    """
    # Fast path, for the row of a logged step: a flat dict of finite floats, ints and strings.
    for value in row.values():
        kind = type(value)
        if kind is float:
            if value - value != 0.0:  # true for NaN and both infinities
                break
        elif kind not in _EXACT:
            break
    else:
        try:
            return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # an integer over 64 bits, a lone surrogate, a key that is no string
            pass
    return orjson.dumps(plain(row), option=orjson.OPT_APPEND_NEWLINE)


def restore(value: Any) -> Any:
    """Give back what :func:`plain` made of a value: numbers in the place of markers.

    Raises
    ------
    ValueError
        If a marker holds no number.
    """
    if type(value) is dict:
        if len(value) == 1:
            key = next(iter(value))
            if key == "$float":
                return float(value[key])
            if key == "$int":
                return int(value[key])
            if key.startswith("$$") and _is_marker_like(value):
                return {key[1:]: restore(value[key])}
        return {k: restore(v) for k, v in value.items()}
    if type(value) is list:
        return [restore(item) for item in value]
    return value


def decode_line(line: bytes) -> dict[str, Any]:
    """Decode one line into a row; the numbers that strict JSON cannot hold come back as they were.

    Parameters
    ----------
    line : bytes
        With or without its newline.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the line is not one JSON object (a torn line, a stray text).
    """
    row = orjson.loads(line)
    if type(row) is not dict:
        raise ValueError(f"a row must be a JSON object, got {type(row).__name__}: {line[:80]!r}")
    return restore(row) if b'"$' in line else row


def iter_lines(data: bytes) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Yield ``(line number from 1, row)`` for each line that is not blank; the row is None where a line is broken."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            yield number, decode_line(line)
        except (ValueError, json.JSONDecodeError):
            yield number, None
