"""The fingerprint of a data set: two runs can tell whether they had the same data."""

from __future__ import annotations

import hashlib
from typing import Any

from hf_monitor.run.rows import encode_row

__all__ = ["fingerprint"]

_WHOLE_BYTES = 128 << 20  # of Arrow's; numbers and texts take some tenths of a second
_LIST_BYTES = 8 << 20  # of JSON
_SAMPLED = 1000
_BATCH = 1000


def fingerprint(dataset: Any) -> dict[str, Any]:
    """Compute the fingerprint of a data set's content (SHA-256, 16 hex digits).

    It covers length, column names and every sample, whatever made them (a file, a list, a selection) and in whichever
    width numbers are stored. Of large sets (a ``datasets.Dataset`` over 128 MiB, a list over about 8 MiB of JSON) only
    samples at even distances are read.

    Parameters
    ----------
    dataset : datasets.Dataset, list or tuple
        Not empty. A transform of the user's (``set_transform``) is passed by.

    Returns
    -------
    dict
        ``fingerprint``; and ``fingerprint_samples``, the number of samples read, where these are not all.
    """
    n_samples = len(dataset)
    columns = getattr(dataset, "column_names", None)
    digest = hashlib.sha256(encode_row({"n": n_samples, "columns": columns}))
    if isinstance(dataset, list | tuple):
        first = len(encode_row({"row": dataset[0]}))
        picked = _picked(n_samples, max(4, _LIST_BYTES // first))
        for index in picked:
            digest.update(encode_row({"row": dataset[index]}))
    else:
        table = dataset.with_format("arrow")
        size = dataset.data.nbytes * n_samples / max(1, len(dataset.data))  # a selection shares the table of the whole
        picked = _picked(n_samples, n_samples if size <= _WHOLE_BYTES else _SAMPLED)
        for start in range(0, len(picked), _BATCH):
            part = picked[start : start + _BATCH]
            rows = table[part.start : part.stop] if part.step == 1 else table[list(part)]
            for name in columns or rows.column_names:
                _add(digest, rows[name].combine_chunks())
    result: dict[str, Any] = {"fingerprint": digest.hexdigest()[:16]}
    return result if len(picked) == n_samples else {**result, "fingerprint_samples": len(picked)}


def _picked(n_samples: int, most: int) -> range:
    return range(0, n_samples, max(1, -(-n_samples // most)))


def _add(digest: Any, array: Any) -> None:
    """Add the content of an Arrow array, without making a Python object of each number."""
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):  # combine_chunks leaves one where a column has no chunks
        for chunk in array.chunks:
            _add(digest, chunk)
        return
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if array.null_count:
        digest.update(array.is_null().to_numpy(zero_copy_only=False).tobytes())
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        digest.update(array.value_lengths().fill_null(0).cast(pa.int64()).to_numpy(zero_copy_only=False).tobytes())
        _add(digest, array.flatten())
    elif pa.types.is_struct(kind):
        for field, values in zip(kind, array.flatten(), strict=True):
            digest.update(encode_row({"field": field.name}))
            _add(digest, values)
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        wide = pa.int64() if pa.types.is_integer(kind) and kind != pa.uint64() else kind
        wide = pa.float64() if pa.types.is_floating(kind) else wide
        digest.update(array.fill_null(0).cast(wide).to_numpy(zero_copy_only=False).tobytes())
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        for value in array.to_pylist():
            digest.update(b"%d:" % len(value or b"") + (value or b""))
    else:  # texts, and all that is rare
        digest.update(encode_row({"values": array.to_pylist()}))
