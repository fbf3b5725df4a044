"""Fingerprints of a data set's samples: which input and which target each has, in eight bytes."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.columns import Columns, find_columns

__all__ = ["Basis", "Integers", "Prints", "SamplePrints", "bases_of", "sample_prints"]

Basis = Literal["ids", "texts"]
Prints = npt.NDArray[np.uint64]
Integers = npt.NDArray[np.int64]

_LABELS = ("labels", "label")  # what DataCollatorForSeq2Seq takes
_PADDING = -100

# What is read at most, about two seconds each: Arrow's ids, ids in Python lists, texts.
_ARROW_BYTES = 512 << 20
_LIST_IDS = 12_000_000
_TEXT_BYTES = 96 << 20
_MOST_ROWS = 1_000_000
_BATCH = 1000  # rows read at a time, and of a sample in one piece

SHORT_IDS = 8
"""An input of fewer token ids is short: with its end token a few words, which two dialogues may share by chance."""

SHORT_CHARACTERS = 20
"""An input of fewer characters without blanks is short, as above. A Hangul syllable, a Han or a Kana character counts
twice: ten of them are a whole sentence."""

_EMPTY_IDS = 2  # what a tokenizer puts around nothing: begin and end
_WIDE = re.compile("[\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3]")


class SamplePrints(NamedTuple):
    """What was read of a data set.

    Attributes
    ----------
    n_samples : int
        Samples in the data set.
    rows : ndarray of int64, shape (n_read,)
        Which of them were read, ascending.
    inputs : ndarray of uint64, shape (n_read,)
        Fingerprint of each input.
    short : ndarray of bool, shape (n_read,)
        Inputs that say too little to be told from each other without their targets.
    empty : ndarray of bool, shape (n_read,)
        Inputs that say nothing; they are short, too.
    targets : ndarray of uint64, shape (n_targets,)
        Fingerprints of the targets; a sample may have several references, or none.
    owners : ndarray of int64, shape (n_targets,)
        Position (in `rows`) of the sample that each target belongs to.
    """

    n_samples: int
    rows: Integers
    inputs: Prints
    short: npt.NDArray[np.bool_]
    empty: npt.NDArray[np.bool_]
    targets: Prints
    owners: Integers


def bases_of(dataset: Any, text_column: str | None = None, summary_column: str | None = None) -> dict[Basis, Columns]:
    """Tell what a data set can be compared by, and in which columns it stands, without reading more than one sample.

    Parameters
    ----------
    dataset : any
    text_column, summary_column : str, optional
        See :func:`hf_monitor.seq2seq.find_columns`; None: the usual names.

    Returns
    -------
    dict
        ``"ids"`` (``input_ids`` and ``labels``), ``"texts"``; empty for what cannot be read without side effects: a
        stream, a class of the user's own, whose ``__getitem__`` may draw random numbers.
    """
    names: Sequence[str]
    if _is_dataset(dataset):
        names = list(dataset.column_names)
    elif isinstance(dataset, list | tuple) and len(dataset) and isinstance(dataset[0], Mapping):
        names = [str(name) for name in dataset[0]]
    elif isinstance(dataset, list | tuple) and len(dataset) and _is_pair(dataset[0]):
        return {"texts": Columns("0", ("1",))}
    else:
        return {}
    found: dict[Basis, Columns] = {}
    if "input_ids" in names:
        found["ids"] = Columns("input_ids", tuple(name for name in _LABELS if name in names)[:1])
    try:
        texts = find_columns(names, "the data set", text_column, summary_column, summary_needed=False)
    except InputError:
        if text_column is not None:
            raise
    else:
        if _holds_texts(dataset, texts.text):
            found["texts"] = texts
    return found


def sample_prints(dataset: Any, basis: Basis, columns: Columns, *, pad_id: int | None = None) -> SamplePrints | None:
    """Fingerprint a data set's samples; of a large one those of blocks of rows at even distances.

    Nothing is drawn at random, and a transform of the user's (``set_transform``) is passed by. Padding is left out:
    -100 and `pad_id` in the labels, what ``attention_mask`` (or else `pad_id`) leaves out of the inputs. Texts are
    compared composed (NFC), in lower case, with one blank for any run of blanks.

    Parameters
    ----------
    dataset : datasets.Dataset, list or tuple
        Rows are mappings, or pairs of texts.
    basis : {"ids", "texts"}
    columns : Columns
        From `bases_of`.
    pad_id : int, optional
        The tokenizer's ``pad_token_id``.

    Returns
    -------
    SamplePrints or None
        None where the columns hold something else than they should.
    """
    names = [columns.text, *columns.summaries]
    if basis == "ids" and "attention_mask" in _names(dataset):
        names.append("attention_mask")
    if _is_dataset(dataset):
        selected = dataset.select_columns(names)
        size = selected.data.nbytes / max(1, len(selected.data))
        limit = (_ARROW_BYTES if basis == "ids" else _TEXT_BYTES) / max(1.0, size)
    else:
        size = _mean_size(dataset, names)
        limit = (_LIST_IDS if basis == "ids" else _TEXT_BYTES) / max(1.0, size)
    n_samples = len(dataset)
    blocks = _blocks(n_samples, int(min(limit, _MOST_ROWS)))
    parts = []
    try:
        for block in blocks:
            if _is_dataset(dataset):
                table = selected.with_format("arrow")[block.start : block.stop]
                part = _of_ids(table, columns, pad_id) if basis == "ids" else _of_texts(table.to_pydict(), columns)
            else:
                batch = {name: [_cell(dataset[row], name) for row in block] for name in names}
                part = _of_ids(batch, columns, pad_id) if basis == "ids" else _of_texts(batch, columns)
            parts.append(part)
    except (TypeError, ValueError, KeyError, OverflowError):  # a cell that is neither text nor ids
        return None
    rows = np.concatenate([np.arange(block.start, block.stop) for block in blocks] or [np.arange(0)])
    starts = np.cumsum([0] + [len(block) for block in blocks])
    owners = [part[4] + start for part, start in zip(parts, starts, strict=False)]
    return SamplePrints(
        n_samples,
        rows,
        _joined([part[0] for part in parts], np.uint64),
        _joined([part[1] for part in parts], np.bool_),
        _joined([part[2] for part in parts], np.bool_),
        _joined([part[3] for part in parts], np.uint64),
        _joined(owners, np.int64),
    )


Part = tuple[Prints, npt.NDArray[np.bool_], npt.NDArray[np.bool_], Prints, Integers]


def _of_ids(batch: Any, columns: Columns, pad_id: int | None) -> Part:
    mask = _flat(batch["attention_mask"])[0] if "attention_mask" in _names(batch) else None
    values, lengths = _flat(batch[columns.text])
    if mask is not None and len(mask) == len(values):
        dropped = mask == 0
    else:
        dropped = np.zeros(len(values), np.bool_) if pad_id is None else values == pad_id
    values, lengths = _without(values, lengths, dropped)
    inputs, short, empty = _digests_of_ids(values, lengths), lengths < SHORT_IDS, lengths <= _EMPTY_IDS
    if not columns.summaries:
        return inputs, short, empty, np.zeros(0, np.uint64), np.zeros(0, np.int64)
    values, lengths = _flat(batch[columns.summaries[0]])
    dropped = values == _PADDING
    if pad_id is not None:
        dropped |= values == pad_id
    values, lengths = _without(values, lengths, dropped)
    return inputs, short, empty, _digests_of_ids(values, lengths), np.arange(len(lengths))


def _of_texts(batch: Mapping[str, Sequence[Any]], columns: Columns) -> Part:
    inputs = [_plain(text) for text in batch[columns.text]]
    short = np.array([_is_short(text) for text in inputs], np.bool_)
    targets: list[str] = []
    owners: list[int] = []
    for name in columns.summaries:
        for position, value in enumerate(batch[name]):
            found = [_plain(text) for text in (value if isinstance(value, list | tuple) else [value])]
            targets += [text for text in found if text]
            owners += [position for text in found if text]
    return (
        _digests(text.encode("utf-8", "surrogatepass") for text in inputs),
        short,
        np.array([not text for text in inputs], np.bool_),
        _digests(text.encode("utf-8", "surrogatepass") for text in targets),
        np.array(owners, np.int64),
    )


def _is_short(text: str) -> bool:
    bare = text.replace(" ", "")
    return len(bare) < SHORT_CHARACTERS and len(bare) + len(_WIDE.findall(bare)) < SHORT_CHARACTERS


def _plain(text: Any) -> str:
    if text is None:
        return ""
    if not isinstance(text, str | int | float):
        raise TypeError(f"a {type(text).__name__}, not a text")
    return " ".join(unicodedata.normalize("NFC", str(text)).casefold().split())


def _flat(column: Any) -> tuple[npt.NDArray[np.int32], Integers]:
    """Give the ids of all rows in a row, and how many each has."""
    if hasattr(column, "combine_chunks"):
        import pyarrow as pa
        import pyarrow.compute as pc

        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):  # combine_chunks leaves one where a column has no chunks
            column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], pa.list_(pa.int32()))
        if not hasattr(column, "flatten"):
            raise TypeError(f"{column.type}, not lists of token ids")
        values, lengths = column.flatten(), pc.fill_null(pc.list_value_length(column), 0)
        if not pa.types.is_integer(values.type) or values.null_count:
            raise TypeError(f"{values.type}, not token ids")
        return values.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), lengths.to_numpy().astype(np.int64)
    rows = [np.asarray(row if row is not None else [], dtype=np.int64).reshape(-1) for row in column]
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    return np.concatenate(rows or [np.zeros(0, np.int64)]).astype(np.int32), lengths


def _without(
    values: npt.NDArray[np.int32], lengths: Integers, dropped: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int32], Integers]:
    if not dropped.any():
        return values, lengths
    ends = np.concatenate([[0], np.cumsum(lengths)])
    kept = np.concatenate([[0], np.cumsum(~dropped)])[ends]
    return values[~dropped], np.diff(kept)


def _digests_of_ids(values: npt.NDArray[np.int32], lengths: Integers) -> Prints:
    content = np.ascontiguousarray(values).view(np.uint8).data
    ends = (4 * np.concatenate([[0], np.cumsum(lengths)])).tolist()
    return _digests(content[start:end] for start, end in pairwise(ends))


def _digests(contents: Iterable[bytes | memoryview]) -> Prints:
    return np.frombuffer(b"".join(blake2b(one, digest_size=8).digest() for one in contents), np.uint64)


def _joined(parts: list[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _blocks(n_samples: int, limit: int) -> list[range]:
    """Choose the rows to read: all, in blocks; else at most `limit` (one at least), in blocks at even distances."""
    if limit >= n_samples:
        return [range(start, min(start + _BATCH, n_samples)) for start in range(0, n_samples, _BATCH)]
    width = max(1, min(_BATCH, limit // 10))
    starts = np.linspace(0, n_samples - width, max(1, limit // width)).astype(int)
    return [range(start, start + width) for start in np.unique(starts).tolist()]


def _mean_size(rows: Sequence[Any], names: Sequence[str]) -> float:
    """Mean number of ids or characters of a row in a list, judged by a hundred of them."""
    picked = [rows[place] for place in range(0, len(rows), max(1, len(rows) // 100))]
    return sum(_size(_cell(row, name)) for row in picked for name in names) / max(1, len(picked))


def _size(cell: Any) -> int:
    return len(cell) if hasattr(cell, "__len__") else 1


def _cell(row: Any, name: str) -> Any:
    return row.get(name) if isinstance(row, Mapping) else row[int(name)]


def _is_pair(row: Any) -> bool:
    return isinstance(row, list | tuple) and len(row) == 2 and all(isinstance(text, str) for text in row)


def _is_dataset(dataset: Any) -> bool:
    datasets = sys.modules.get("datasets")  # without it there is none
    return datasets is not None and isinstance(dataset, datasets.Dataset)


def _names(batch: Any) -> list[str]:
    if isinstance(batch, list | tuple):
        return [str(name) for name in batch[0]] if isinstance(batch[0], Mapping) else []
    return list(getattr(batch, "column_names", batch))


def _holds_texts(dataset: Any, name: str) -> bool:
    if _is_dataset(dataset):
        return str(getattr(dataset.features[name], "dtype", "")) in ("string", "large_string")
    return isinstance(dataset[0][name], str)
