"""Train, validation and test part: from files, from a data set on the hub, or from the embedded demo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.arguments import DataArguments
from hf_monitor.seq2seq.checks import words_of
from hf_monitor.seq2seq.columns import Columns, Pairs, find_columns, take_pairs
from hf_monitor.seq2seq.data_files import read_rows

__all__ = ["load_demo_splits", "load_splits"]

_FLAGS = {"train": "do_train", "validation": "do_eval", "test": "do_predict"}


def load_splits(
    args: DataArguments,
    wanted: Mapping[str, int | None],
    *,
    tell: Callable[[str], None],
    hub_options: Mapping[str, Any] | None = None,
) -> dict[str, Pairs]:
    """Read the parts that are wanted, each from its file or, where none is named, from the data set.

    Parameters
    ----------
    args : DataArguments
        Names files, data set and columns. Columns are found for each part on its own.
    wanted : mapping of str to (int or None)
        ``train``, ``validation``, ``test`` -> at most so many samples, the first ones.
    tell : callable
        Gets a sentence about each part: how many samples, which columns.
    hub_options : mapping, optional
        For ``datasets.load_dataset``: ``cache_dir``, ``token``.

    Returns
    -------
    dict of str to Pairs
        The test part may be without references.

    Raises
    ------
    InputError
        If a part is not named, cannot be read, misses a column or is empty.
    """
    files = {"train": args.train_file, "validation": args.validation_file, "test": args.test_file}
    hub: Any = None
    splits = {}
    for split, limit in wanted.items():
        path = files[split]
        rows: Any
        if path is not None:
            where = path
            rows = read_rows(path, limit)
            names = list(dict.fromkeys(name for row in rows for name in row))
        elif args.dataset_name is not None:
            where = f"split {split!r} of {args.dataset_name}"
            hub = hub if hub is not None else _load_dataset(args, hub_options or {})
            if split not in hub:
                raise InputError(f"{args.dataset_name!r} has no split {split!r}, only {', '.join(hub)}.")
            rows = hub[split] if limit is None else hub[split].select(range(min(limit, len(hub[split]))))
            names = rows.column_names
        else:
            raise InputError(f"--{_FLAGS[split]} needs data: give a --{split}_file or a --dataset_name.")
        columns = find_columns(names, where, args.text_column, args.summary_column, summary_needed=split != "test")
        found = splits[split] = take_pairs(rows, columns, where, drop_empty=split == "train")
        if split == "validation" and not any(any(summaries) for summaries in found.references or []):
            raise InputError(
                f"every summary of {where} is empty (columns {columns}): there is nothing to score against."
            )
        tell(f"{split}: {len(found.texts)} samples of {where}, columns {columns}")
        if found.n_dropped:
            tell(f"{split}: {found.n_dropped} samples with an empty text or summary are left out")
    return splits


def _load_dataset(args: DataArguments, options: Mapping[str, Any]) -> Any:
    from datasets import DatasetDict, load_dataset

    try:
        found = load_dataset(args.dataset_name, args.dataset_config_name, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"the data set {args.dataset_name!r} cannot be loaded: {words_of(error)}") from error
    if not isinstance(found, DatasetDict):
        raise InputError(f"the data set {args.dataset_name!r} has no splits.")
    return found


def load_demo_splits(wanted: Mapping[str, int | None]) -> tuple[dict[str, Pairs], dict[str, list[str]]]:
    """Read the embedded demo.

    Parameters
    ----------
    wanted : mapping of str to (int or None)
        As for `load_splits`.

    Returns
    -------
    tuple of (dict of str to Pairs, dict of str to list of str)
        The parts, and for each the language of every dialogue, ``ko`` or ``en``.
    """
    from hf_monitor.demo import load_demo

    columns = Columns("dialogue", ("summary",))
    rows = {split: load_demo(split)[:limit] for split, limit in wanted.items()}
    splits = {split: take_pairs(rows[split], columns, "the demo", drop_empty=False) for split in rows}
    return splits, {split: [row["language"] for row in rows[split]] for split in rows}
