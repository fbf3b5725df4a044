"""What a plan depends on of the batches it is made for, as plain values."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Mapping
from typing import Any

from hf_monitor.auto_batch.inputs import batches
from hf_monitor.seq2seq.batches import Lengths, MakeBatch
from hf_monitor.seq2seq.worst_batches import WorstBatches

__all__ = ["can_be_grouped", "rows_note", "same_random_numbers", "seen_batches"]


def seen_batches(
    model: Any,
    *,
    dataset: Any = None,
    collator: Any = None,
    tokenizer: Any = None,
    source_length: int | None = None,
    target_length: int | None = None,
    length_quantile: float = 1.0,
    make_batch: MakeBatch | None = None,
) -> tuple[Lengths, list[str]]:
    """Give the lengths that a probe would settle, and the shapes of its batches of one sample and of two.

    Two data sets with the same longest source and target may differ in what a single sample has of both: that shows in
    the batches of one.

    Parameters
    ----------
    model, dataset, collator, tokenizer, source_length, target_length, length_quantile, make_batch
        As of ``probe_batch_size``.

    Returns
    -------
    Lengths, list of str
        The second: one a batch; empty for made-up batches, whose lengths say all.

    Raises
    ------
    InputError
        As ``probe_batch_size``.
    """
    with same_random_numbers():
        lengths, make = batches(
            model, tokenizer, dataset, collator, source_length, target_length, length_quantile, make_batch
        )
        if make is None:
            return lengths, []
        if isinstance(make, WorstBatches):
            found = [batch for size in (1, 2) for batch in make.candidates(size)]
        else:
            found = [dict(make(size)) for size in (1, 2)]
    return lengths, [_shapes(batch) for batch in found]


def _shapes(batch: Mapping[str, Any]) -> str:
    def one(value: Any) -> str:
        shape = "x".join(map(str, getattr(value, "shape", ())))
        return f"{shape} {str(getattr(value, 'dtype', type(value).__name__)).removeprefix('torch.')}"

    return ", ".join(f"{name} {one(value)}" for name, value in sorted(batch.items()))


def can_be_grouped(dataset: Any, make_batch: MakeBatch | None) -> bool:
    """Say whether a Trainer can sort the samples by length: without ``input_ids`` in its rows it raises.

    Parameters
    ----------
    dataset : sized, optional
        What the batches are made of; None: lengths alone, for token ids.
    make_batch : callable, optional
        Of its rows nothing is known.
    """
    if make_batch is not None:
        return False
    if dataset is None:
        return True
    names = getattr(dataset, "column_names", None)
    if isinstance(names, list) and getattr(dataset, "format", {}).get("type") != "custom":
        return "input_ids" in names
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__") and len(dataset)):
        return False
    row = dataset[0]
    return isinstance(row, Mapping) and "input_ids" in row


def rows_note(rows: int | None, effective: int) -> str | None:
    """Say it where a data set has fewer rows than an update takes samples."""
    if rows is None or rows >= effective:
        return None
    return f"the data set has only {rows} samples: each epoch is one update of {rows}, not of {effective}"


@contextlib.contextmanager
def same_random_numbers() -> Iterator[None]:
    """Leave the random numbers of Python, numpy and torch's CPU as they are, whatever draws from them within."""
    import numpy as np
    import torch

    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])
