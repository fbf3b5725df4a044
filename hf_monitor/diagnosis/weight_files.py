"""Whether a file of weights or of a state is whole, told from its headers: no torch, and no value is read."""

from __future__ import annotations

import math
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import orjson

__all__ = ["json_problem", "safetensors_names", "torch_file_problem"]

_MAX_HEADER_BYTES = 100_000_000  # the format's own limit
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E5M2", "F8_E4M3", "F8_E8M0", "I8", "U8", "BOOL"), 8),
}
_PICKLE = b"\x80"  # torch.save before torch 1.6, or with _use_new_zipfile_serialization=False


class _TornError(Exception):
    """The words of what is wrong with a file."""


def safetensors_names(path: str | os.PathLike[str]) -> tuple[frozenset[str], str | None]:
    """Read the header of a safetensors file and see whether all that it promises is there.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    names : frozenset of str
        Of the tensors; empty where the file is not whole.
    problem : str or None
        What is wrong (``"is cut off: 1,000 bytes, its header says 49,544"``); None where nothing is.

    References
    ----------
    .. [1] The format: https://github.com/huggingface/safetensors#format. Offsets must cover the rest of the file
       without holes.
    """
    try:
        return _names(Path(path)), None
    except _TornError as error:
        return frozenset(), str(error)
    except OSError as error:
        return frozenset(), _unreadable(error)


def _names(path: Path) -> frozenset[str]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            raise _TornError("is empty (0 bytes)")
        length = int.from_bytes(file.read(8), "little")
        if size < 8:
            raise _TornError(f"is cut off: {size} bytes, not even its header is there")
        if length > _MAX_HEADER_BYTES:
            raise _TornError("is no safetensors file, or its beginning is damaged")
        if size < 8 + length:
            raise _TornError(f"is cut off: {size:,} bytes, its header alone has {8 + length:,}")
        text = file.read(length)
    try:
        header = orjson.loads(text)
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise _TornError("has a damaged header: it is no JSON object")
    header.pop("__metadata__", None)
    expected = 8 + length + _end_of(header)
    if size != expected:
        what = "is cut off" if size < expected else "has more in it than its header says"
        raise _TornError(f"{what}: {size:,} bytes, its header says {expected:,}")
    return frozenset(header)


def _end_of(header: dict[str, Any]) -> int:
    """Give where the last tensor ends; all of them must lie one behind the other."""
    try:
        pieces = sorted((int(begin), int(stop), name) for name, (begin, stop) in _places(header))
        end = 0
        for begin, stop, name in pieces:
            bits = _BITS.get(header[name]["dtype"])
            needed = None if bits is None else math.prod(header[name]["shape"]) * bits // 8
            if begin != end or stop < begin or (needed is not None and stop - begin != needed):
                raise _TornError(f"has a damaged header: the place of {name!r} does not fit")
            end = stop
    except (KeyError, TypeError, ValueError) as error:
        raise _TornError(f"has a damaged header: {type(error).__name__}") from error
    return end


def _places(header: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, one["data_offsets"]) for name, one in header.items()]


def torch_file_problem(path: str | os.PathLike[str]) -> str | None:
    """See whether a file that ``torch.save`` wrote is whole: a zip archive has its directory at the end.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str or None
        What is wrong; None where nothing is, also for the format before torch 1.6, whose end says nothing.
    """
    try:
        size = os.stat(path).st_size  # noqa: PTH116 - of a str, too
        with Path(path).open("rb") as file:
            begin = file.read(4)
            if begin[:1] == _PICKLE:
                return None
            if size == 0:
                return "is empty (0 bytes)"
            if not b"PK\x03\x04".startswith(begin):
                return "is no file of torch.save, or its beginning is damaged"
            with zipfile.ZipFile(file) as archive:
                if not any(name.endswith("data.pkl") for name in archive.namelist()):
                    return "is a zip archive, but not one of torch.save (no data.pkl)"
    except OSError as error:
        return _unreadable(error)
    except (zipfile.BadZipFile, struct.error, ValueError, NotImplementedError, EOFError):
        return f"is cut off or damaged: {size:,} bytes, the directory at its end is missing"
    return None


def json_problem(path: str | os.PathLike[str]) -> tuple[dict[str, Any], str | None]:
    """Read a JSON object.

    Returns
    -------
    found : dict
        Empty where it cannot be read.
    problem : str or None
    """
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        return {}, _unreadable(error)
    if not text:
        return {}, "is empty (0 bytes)"
    try:
        found = orjson.loads(text)
    except ValueError:
        import json

        try:  # Python's own JSON, as transformers writes it, may hold NaN and Infinity
            found = json.loads(text)
        except ValueError:
            return {}, f"is cut off or damaged: {len(text):,} bytes that are no JSON"
    return (found, None) if isinstance(found, dict) else ({}, f"holds a {type(found).__name__}, not a JSON object")


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror or error}"
