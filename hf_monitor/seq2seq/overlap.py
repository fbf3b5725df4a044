"""Evaluation samples that stand in the training set: a score on them is no score on what the model has not seen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hf_monitor.seq2seq.sample_prints import Basis, Integers, Prints, SamplePrints, bases_of, sample_prints

__all__ = ["Overlap", "text_overlap", "text_overlaps", "without_subset"]

_EXAMPLES = 5

PROMPT_TARGETS = 10
"""An input that has more different targets than this in the training set does not tell its target: it is a prompt that
many samples share (several references of one text are a few: three in DialogSum's test set), and no leak."""


class Overlap(NamedTuple):
    """How many evaluation samples stand in the training set. Counts are of what was read.

    Attributes
    ----------
    n_evaluation : int
        Samples of the evaluation set.
    n_shared_inputs : int
        Evaluation samples whose input is that of a training sample, whatever the target. A very short input counts
        only where its target is that of the training sample, too. Not counted: what is left out, see below.
    n_shared_pairs : int or None
        Those of them whose target (one of its references) is that of the training sample, too. None where one of the
        sets has no targets.
    n_train : int
        Samples of the training set.
    n_duplicates_train : int
        Training samples that repeat an earlier one, input and target.
    examples : tuple of (int, int)
        Up to five shared samples: row in the training set, row in the evaluation set. Pairs first.
    basis : str
        ``"ids"``: compared as the model sees them, cut at the length limit; ``"texts"``.
    n_train_read, n_evaluation_read : int
        Of large sets not all is read (about two seconds' worth).
    n_left_out : int
        Evaluation samples (of those read) that cannot be judged: their input is empty, very short without a target to
        tell it by, or one with many different targets (a prompt that samples share).
    """

    n_evaluation: int
    n_shared_inputs: int
    n_shared_pairs: int | None
    n_train: int
    n_duplicates_train: int
    examples: tuple[tuple[int, int], ...]
    basis: Basis
    n_train_read: int
    n_evaluation_read: int
    n_left_out: int

    @property
    def sampled(self) -> bool:
        """Whether only a part was read: then what was not found may still be there."""
        return self.n_train_read < self.n_train or self.n_evaluation_read < self.n_evaluation

    @property
    def n_judged(self) -> int:
        """Evaluation samples that were read and not left out."""
        return self.n_evaluation_read - self.n_left_out


def text_overlap(
    train: Any,
    evaluation: Any,
    *,
    text_column: str | None = None,
    summary_column: str | None = None,
    pad_id: int | None = None,
) -> Overlap | None:
    """Count the evaluation samples that stand in the training set, by fingerprints of their content.

    Token ids (``input_ids``, ``labels``) are compared where both sets have them, else texts: composed (NFC), in lower
    case, with one blank for any run of blanks. Neither a random number is drawn nor a transform of yours run.

    Parameters
    ----------
    train, evaluation : datasets.Dataset, or list of mappings or of pairs of texts
    text_column, summary_column : str, optional
        Names of the columns with texts; None: the usual ones (:func:`hf_monitor.seq2seq.find_columns`).
    pad_id : int, optional
        The tokenizer's ``pad_token_id``, where inputs are padded and have no ``attention_mask``.

    Returns
    -------
    Overlap or None
        None where it cannot be told: a stream, a class of your own, columns that are not known, an empty set.

    Raises
    ------
    InputError
        If a set has no column `text_column` or `summary_column`.
    """
    return text_overlaps(
        train, {"": evaluation}, text_column=text_column, summary_column=summary_column, pad_id=pad_id
    )[""]


def text_overlaps(
    train: Any,
    evaluations: Mapping[str, Any],
    *,
    text_column: str | None = None,
    summary_column: str | None = None,
    pad_id: int | None = None,
) -> dict[str, Overlap | None]:
    """As `text_overlap`, for several evaluation sets: the training set is read once.

    Parameters
    ----------
    train
        See `text_overlap`.
    evaluations : mapping of str to data set
    text_column, summary_column, pad_id
        See `text_overlap`.

    Returns
    -------
    dict of str to (Overlap or None)
    """
    train = without_subset(train)
    own = bases_of(train, text_column, summary_column)
    read: dict[Basis, SamplePrints | None] = {}
    found: dict[str, Overlap | None] = {}
    for name, given in evaluations.items():
        evaluation = without_subset(given)
        theirs = bases_of(evaluation, text_column, summary_column)
        basis: Basis | None = next((one for one in ("ids", "texts") if one in own and one in theirs), None)
        found[name] = None
        if basis is None or not len(train) or not len(evaluation):
            continue
        if basis not in read:
            read[basis] = sample_prints(train, basis, own[basis], pad_id=pad_id)
        known, asked = read[basis], sample_prints(evaluation, basis, theirs[basis], pad_id=pad_id)
        if known is not None and asked is not None:
            has_targets = bool(own[basis].summaries and theirs[basis].summaries)
            found[name] = _compared(known, asked, basis, has_targets)
    return found


def _compared(train: SamplePrints, evaluation: SamplePrints, basis: Basis, has_targets: bool) -> Overlap:
    train_pairs, pairs = _pairs(train), _pairs(evaluation)
    different, first = np.unique(train_pairs, return_index=True)
    inputs, n_targets = np.unique(train.inputs[train.owners[first]], return_counts=True)
    has_target = np.zeros(len(evaluation.inputs), np.bool_)
    if has_targets:
        has_target[evaluation.owners] = True
    left_out = evaluation.empty | (evaluation.short & ~has_target)
    left_out |= np.isin(evaluation.inputs, inputs[n_targets > PROMPT_TARGETS])
    as_pair = np.zeros(len(left_out), np.bool_)
    as_pair[evaluation.owners[np.isin(pairs, different)]] = True
    shared = np.isin(evaluation.inputs, train.inputs) & ~left_out & (as_pair | ~evaluation.short)
    as_pair &= shared
    return Overlap(
        n_evaluation=evaluation.n_samples,
        n_shared_inputs=int(shared.sum()),
        n_shared_pairs=int(as_pair.sum()) if has_targets else None,
        n_train=train.n_samples,
        n_duplicates_train=len(train.inputs) - len(np.unique(_whole(train))),
        examples=_examples(train, evaluation, np.flatnonzero(as_pair if as_pair.any() else shared)),
        basis=basis,
        n_train_read=len(train.rows),
        n_evaluation_read=len(evaluation.rows),
        n_left_out=int(left_out.sum()),
    )


def _pairs(prints: SamplePrints) -> Prints:
    """One fingerprint an input with one of its targets."""
    pairs: Prints = prints.inputs[prints.owners] * np.uint64(0x9E3779B97F4A7C15) + prints.targets
    return pairs


def _whole(prints: SamplePrints) -> Prints:
    """One fingerprint an input with all of its targets."""
    whole = prints.inputs * np.uint64(0x9E3779B97F4A7C15)
    np.add.at(whole, prints.owners, prints.targets)
    return whole


def _examples(train: SamplePrints, evaluation: SamplePrints, positions: Integers) -> tuple[tuple[int, int], ...]:
    train_pairs, pairs = _pairs(train), _pairs(evaluation)
    found = []
    for position in positions[:_EXAMPLES].tolist():
        same = train.owners[np.isin(train_pairs, pairs[evaluation.owners == position])]
        match = same if len(same) else np.flatnonzero(train.inputs == evaluation.inputs[position])
        found.append((int(train.rows[match[0]]), int(evaluation.rows[position])))
    return tuple(found)


def without_subset(dataset: Any) -> Any:
    """Give the rows of a ``torch.utils.data.Subset`` (``random_split``) of what can be read, as a data set or list."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(dataset, torch.utils.data.Subset):
        return dataset
    whole, rows = dataset.dataset, [int(row) for row in dataset.indices]
    if isinstance(whole, list | tuple):
        return [whole[row] for row in rows]
    return whole.select(rows) if bases_of(whole) else dataset
