"""The worst batches that a data set and the real collator can make."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np

from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import OF_SOURCE, OF_TARGET, Lengths
from hf_monitor.seq2seq.row_lengths import RowLengths, row_lengths

__all__ = ["WorstBatches", "activation_cost", "dataset_lengths", "worst_batches"]

Cost = Callable[[RowLengths, RowLengths], Any]
"""From source and target lengths, (rows,) each, to what only ranks them: (rows,)."""

_TILTS = (1.0, 0.5, 2.0)  # how wrong the cost of a target token may be against that of a source token


def activation_cost(model: Any = None) -> Cost:
    """Make a function that ranks samples by the memory of their activations.

    Bytes of a layer as in Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models", 2022
    (https://arxiv.org/abs/2205.05198, equation 1): 34·s·h + 5·a·s² in 16 bits, here in 32 (the masks of dropout stay a
    byte): 66·s·h + 9·a·s², with cross-attention and the logits beside it. No estimate: precision, fused attention and
    checkpointing change it, for which :meth:`WorstBatches.candidates` leaves room.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel, optional
        Width, heads, layers and vocabulary are its config's; T5-small's where there is none.
    """
    config = model.config.get_text_config() if hasattr(model, "config") else None

    def size(names: tuple[str, ...], otherwise: int) -> int:
        found = (getattr(config, name, None) for name in names)
        return next((value for value in found if isinstance(value, int) and value > 0), otherwise)

    width, heads = size(("hidden_size",), 512), size(("num_attention_heads",), 8)
    layers, vocabulary = size(("num_hidden_layers",), 6), size(("vocab_size",), 32_128)
    decoder_layers = size(("num_decoder_layers", "decoder_layers"), layers)

    def cost(source: RowLengths, target: RowLengths) -> Any:
        s, t = source.astype(np.float64), target.astype(np.float64)
        encoder = layers * (66 * s * width + 9 * heads * s * s)
        own = 66 * t * width + 9 * heads * t * t
        cross = 21 * t * width + 8 * s * width + 9 * heads * s * t
        return encoder + decoder_layers * (own + cross) + 12 * t * vocabulary  # logits, their softmax, its gradient

    return cost


def dataset_lengths(dataset: Any, collator: Any = None, quantile: float = 1.0, *, model: Any = None) -> Lengths:
    """Give the lengths of the worst batch that a tokenized data set makes, padding counted.

    Parameters
    ----------
    dataset : datasets.Dataset, or any sized thing that gives rows by their number
        A row is a mapping with ``input_ids`` and ``labels``.
    collator : callable, optional
        The Trainer's own. None: as long as the samples are, without padding.
    quantile : float
        In (0, 1]: the length that this part of the samples does not exceed; 1 is the longest. Source and target apart.
    model : PreTrainedModel or PeftModel, optional
        Says which columns the Trainer keeps; see :func:`worst_batches`.

    Raises
    ------
    InputError
        See :func:`worst_batches`.
    """
    if collator is not None:
        return worst_batches(dataset, collator, quantile=quantile, model=model).lengths
    source, target = row_lengths(dataset)
    return _lengths(_cut_at(source, quantile), _cut_at(target, quantile), quantile, len(source))


def worst_batches(
    dataset: Any,
    collator: Any,
    *,
    quantile: float = 1.0,
    model: Any = None,
    remove_unused_columns: bool = True,
    cost: Cost | None = None,
) -> WorstBatches:
    """Give a function from a number of samples to the worst batch of so many, for ``make_batch``.

    Parameters
    ----------
    dataset : datasets.Dataset, or any sized thing that gives rows by their number
        A row is a mapping with ``input_ids`` and ``labels``.
    collator : callable
        The Trainer's own, list of rows -> batch: what it pads is what counts.
    quantile : float
        In (0, 1]. Below 1, as if sources and targets were cut at the length that this part of them does not exceed.
    model : PreTrainedModel or PeftModel, optional
        Columns that its ``forward`` does not name are left out, as by the Trainer (texts, references). None: all but
        the usual ones are left out.
    remove_unused_columns : bool
        As in ``TrainingArguments``: False keeps every column.
    cost : callable, optional
        Ranks single samples; :func:`activation_cost` of the model where it is None.

    Returns
    -------
    WorstBatches

    Raises
    ------
    InputError
        For a data set that is empty, has no length (an ``IterableDataset``) or no token ids, for a quantile out of
        (0, 1], and where there is no collator.
    """
    if not callable(collator):
        raise InputError(
            f"collator must be what the Trainer gets as data_collator, got {collator!r}: for example "
            "DataCollatorForSeq2Seq(tokenizer, model=model)"
        )
    columns = _columns(model) if remove_unused_columns else None
    return WorstBatches(dataset, collator, quantile, columns, cost or activation_cost(model))


class WorstBatches:
    """Made by :func:`worst_batches`. Rows are read when a batch is asked for.

    Parameters
    ----------
    dataset : sized, gives rows by their number
    collator : callable
    quantile : float
    columns : collection of str or None
        Those to keep; None for all.
    cost : callable
    """

    def __init__(
        self, dataset: Any, collator: Any, quantile: float, columns: Collection[str] | None, cost: Cost
    ) -> None:
        self._dataset, self._collator, self._columns, self._quantile = dataset, collator, columns, quantile
        source, target = row_lengths(dataset)
        self._most = _cut_at(source, quantile), _cut_at(target, quantile)
        source, target = np.minimum(source, self._most[0]), np.minimum(target, self._most[1])
        without_target = cost(source, np.zeros_like(target))
        of_target = cost(source, target) - without_target
        # The other length decides between equals. Ties of both: the first row.
        longest_source = int(np.lexsort((-np.arange(len(source)), target, source))[-1])
        longest_target = int(np.lexsort((-np.arange(len(source)), source, target))[-1])
        costliest = [int(np.argmax(without_target + tilt * of_target)) for tilt in _TILTS]
        self._singles = list(dict.fromkeys([*costliest, longest_source, longest_target]))
        if target[longest_source] == target[longest_target]:  # one sample has both: beside it, one that gets padded
            self._pair = longest_source, int(np.argmin(source))
        else:
            self._pair = longest_source, longest_target
        self._others = np.argsort(without_target + of_target)[::-1]
        self._rows: dict[int, dict[str, Any]] = {}

    @property
    def lengths(self) -> Lengths:
        """The lengths of a batch of two or more, as the collator pads it."""
        batch = self(2)
        shapes = [tuple(getattr(batch.get(name), "shape", ())) for name in ("input_ids", "labels")]
        if any(len(shape) != 2 for shape in shapes):
            raise InputError(
                "the collator gives no input_ids and labels of two dimensions (samples, tokens), but "
                f"{ {name: tuple(getattr(value, 'shape', ())) for name, value in batch.items()} }: hand over "
                "source_length and target_length"
            )
        source, target = int(shapes[0][1]), int(shapes[1][1])
        found = _lengths(*self._most, self._quantile, len(self._dataset))
        if (source, target) == self._most:
            return found
        return Lengths(source, target, f"{found.why}, padded by the collator to {source} and {target}")

    def __call__(self, size: int) -> dict[str, Any]:
        """Give the worst batch of so many samples; of one sample, the one that costs most.

        Parameters
        ----------
        size : int
            Samples. More than the data set has: some of them several times.
        """
        return self.candidates(size)[0]

    def candidates(self, size: int) -> list[dict[str, Any]]:
        """Give the batches of so many samples of which one is the worst, the probable one first.

        A batch of two or more can hold the longest source and the longest target at once, in different samples: nothing
        is longer. A single sample is what it is: the costliest (also if a token of the target costs half as much, or
        twice), the longest source, the longest target.

        Parameters
        ----------
        size : int
            Samples.

        Returns
        -------
        list of dict
            One to five batches, as the collator makes them: name -> tensor.

        Raises
        ------
        InputError
            For a size below 1.
        """
        if size < 1:
            raise InputError(f"a batch has at least 1 sample, got {size}")
        if size == 1:
            return [self._collate([number]) for number in self._singles]
        others = self._others[np.arange(size - 2) % len(self._others)]
        return [self._collate([*self._pair, *map(int, others)])]

    def _collate(self, numbers: list[int]) -> dict[str, Any]:
        batch = self._collator([dict(self._row(number)) for number in numbers])  # a collator may change its rows
        return {name: value for name, value in batch.items() if value is not None}  # the Trainer's has labels: None

    def _row(self, number: int) -> dict[str, Any]:
        found = self._rows.get(number)
        if found is None:
            row: Mapping[str, Any] = self._dataset[number]
            found = {
                name: self._cut(name, value, len(row["input_ids"]))
                for name, value in row.items()
                if self._columns is None or name in self._columns
            }
            self._rows[number] = found
        return found

    def _cut(self, name: str, value: Any, source: int) -> Any:
        if isinstance(value, str) or not hasattr(value, "__len__") or getattr(value, "shape", (1,)) == ():
            return value
        if name in OF_TARGET:
            return value[: self._most[1]] if len(value) > self._most[1] else value
        return value[: self._most[0]] if len(value) == source > self._most[0] else value


def _columns(model: Any) -> frozenset[str]:
    """Give the columns that ``Trainer._set_signature_columns_if_needed`` would keep."""
    if model is None:
        return OF_SOURCE | OF_TARGET
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return frozenset(inspect.signature(base.forward).parameters) | {"label", "label_ids", "labels"}


def _cut_at(lengths: RowLengths, quantile: float) -> int:
    if not 0 < quantile <= 1:
        raise InputError(f"the quantile of the lengths must be in (0, 1], got {quantile}: 1 is the longest sample")
    return int(np.quantile(lengths, quantile, method="inverted_cdf"))  # a length that a sample has


def _lengths(source: int, target: int, quantile: float, rows: int) -> Lengths:
    share = f"the longest of {rows} samples" if quantile == 1 else f"{quantile:.4g} of {rows} samples are no longer"
    return Lengths(source, target, f"{share}: {source} and {target} tokens")
