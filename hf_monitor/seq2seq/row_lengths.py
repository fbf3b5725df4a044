"""How many tokens each row of a tokenized data set has."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np

from hf_monitor.errors import InputError

__all__ = ["RowLengths", "row_lengths"]

RowLengths = np.ndarray[tuple[int], np.dtype[np.int64]]

_LABELS = ("labels", "label")  # what DataCollatorForSeq2Seq takes
_INSTEAD = "hand over source_length and target_length, or make_batch, instead of the data set"


def row_lengths(dataset: Any) -> tuple[RowLengths, RowLengths]:
    """Count the tokens of each row; of a ``datasets.Dataset`` without reading the rows (a million takes 0.1 s).

    Parameters
    ----------
    dataset : datasets.Dataset, or any sized thing that gives rows by their number
        A row is a mapping with ``input_ids`` and ``labels``.

    Returns
    -------
    tuple of numpy.ndarray
        int64, (rows,) each: of the sources, of the targets.

    Raises
    ------
    InputError
        For a data set that is empty, has no length or has no token ids.
    """
    _check(dataset)
    names = getattr(dataset, "column_names", None)
    if isinstance(names, list) and dataset.format["type"] != "custom":  # a set_transform makes rows of its own
        _check_columns(names)
        labels = next(name for name in _LABELS if name in names)
        source, target = _arrow_lengths(dataset, "input_ids"), _arrow_lengths(dataset, labels)
    else:
        pairs = [_row(dataset[number], number) for number in range(len(dataset))]
        source, target = (np.array(side, dtype=np.int64) for side in zip(*pairs, strict=True))
    for name, lengths in (("input_ids", source), ("labels", target)):
        if not lengths.max():
            raise InputError(f"{name} is empty in each of the {len(lengths)} rows of the data set")
    return source, target


def _check(dataset: Any) -> None:
    import torch

    kind = type(dataset).__name__
    if isinstance(dataset, Mapping):
        raise InputError(f"a {kind} holds several data sets ({', '.join(map(str, dataset))}): hand over one of them")
    sized = isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")
    if not sized or isinstance(dataset, torch.utils.data.IterableDataset):
        raise InputError(
            f"a {kind} gives no row by its number, so that its longest samples are not known: hand over some thousand "
            f"of them, list(itertools.islice(dataset, 5000)), or {_INSTEAD}"
        )
    if not len(dataset):
        raise InputError(f"the data set ({kind}) is empty: there is no sample to make a batch of")


def _check_columns(names: Any) -> None:
    for name, among in (("input_ids", ("input_ids",)), ("labels", _LABELS)):
        if not any(column in names for column in among):
            raise InputError(
                f"the data set has no column {name!r} (columns: {', '.join(map(str, names))}): tokenize it first, as "
                f"for the Trainer, or {_INSTEAD}"
            )


def _arrow_lengths(dataset: Any, column: str) -> RowLengths:
    import pyarrow as pa
    import pyarrow.compute as pc

    def count(values: Any) -> Any:
        kind = values.type
        if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
            raise InputError(
                f"column {column!r} holds {kind}, not lists of token ids: tokenize it first, as for the Trainer"
            )
        if values.null_count:
            raise InputError(f"column {column!r} is None in {values.null_count} of the rows: leave those out")
        return pc.list_value_length(values).to_numpy()

    if hasattr(dataset, "_indices"):  # private, but after a shuffle a hundred times as fast as the public way below
        lengths = count(dataset.data.column(column))
        if dataset._indices is not None:
            lengths = lengths[dataset._indices.column(0).to_numpy()]
    else:
        tables = dataset.select_columns([column]).with_format("arrow").iter(batch_size=10_000)
        lengths = np.concatenate([count(table.column(column)) for table in tables])
    return lengths.astype(np.int64)  # type: ignore[no-any-return]


def _row(row: Any, number: int) -> tuple[int, int]:
    if not isinstance(row, Mapping):
        raise InputError(
            f"row {number} of the data set is a {type(row).__name__}, not a mapping with input_ids, labels"
        )
    _check_columns(list(row))
    labels = next(name for name in _LABELS if name in row)
    for name in ("input_ids", labels):
        if isinstance(row[name], str) or not isinstance(row[name], Sized):
            raise InputError(
                f"{name!r} of row {number} is a {type(row[name]).__name__}, not a list of token ids: tokenize the data "
                "set first, as for the Trainer"
            )
    return len(row["input_ids"]), len(row[labels])
