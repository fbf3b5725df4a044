"""K folds: who is held out when, and what is written and shown of each."""

from __future__ import annotations

import json
import math
import random
import statistics
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.run.files import replace_file

__all__ = [
    "RESULTS_FILE",
    "Fold",
    "fold_folder",
    "fold_row",
    "fold_table",
    "foreign_folds",
    "split_folds",
    "write_folds",
]

RESULTS_FILE = "fold_results.json"
_F1_PARTS = ("rouge1", "rouge2", "rougeL")


@dataclass(frozen=True)
class Fold:
    """One fold.

    Parameters
    ----------
    number : int
        From 1.
    train, held_out : list of int
        Indices of the samples, in ascending order.
    """

    number: int
    train: list[int]
    held_out: list[int]


def split_folds(texts: Sequence[str], n_folds: int, seed: int) -> list[Fold]:
    """Split samples into folds, shuffled by `seed`; each sample is held out once.

    Samples with the same text (several summaries of one dialogue, duplicates) stay together, else a fold would be
    judged by texts that it was trained on. Texts are the same if they differ in nothing but blanks and the Unicode form
    (NFC). Sizes of the folds differ by no more than such a group.

    Parameters
    ----------
    texts : sequence of str
        The input text of each sample.
    n_folds : int
        At least 2.
    seed : int

    Returns
    -------
    list of Fold

    Raises
    ------
    InputError
        If there are fewer different texts than folds.
    """
    if n_folds < 2:
        raise InputError(
            f"--num_folds must be at least 2, got {n_folds}: of one fold nothing would be left to train on."
        )
    groups: dict[str, list[int]] = {}
    for index, text in enumerate(texts):
        groups.setdefault(" ".join(unicodedata.normalize("NFC", text).split()), []).append(index)
    if len(groups) < n_folds:
        raise InputError(
            f"--num_folds {n_folds} needs at least as many different texts, got {len(groups)} in {len(texts)} samples: "
            "give a smaller number."
        )
    shuffled = list(groups.values())
    random.Random(seed).shuffle(shuffled)
    held_out: list[list[int]] = [[] for _ in range(n_folds)]
    for group in sorted(shuffled, key=len, reverse=True):  # large ones first: the small ones even out the sizes
        min(held_out, key=len).extend(group)
    every = range(len(texts))
    folds = []
    for number, found in enumerate(held_out, start=1):
        out = set(found)
        folds.append(Fold(number, [index for index in every if index not in out], sorted(found)))
    return folds


def fold_folder(parent: Path, number: int) -> Path:
    """Give the output folder of a fold."""
    return parent / f"fold_{number}"


def foreign_folds(parent: Path, n_folds: int) -> list[str]:
    """Name the folders of folds that are no part of `n_folds` folds: of another run in the same place."""
    own = {fold_folder(parent, number).name for number in range(1, n_folds + 1)}
    found = [path.name for path in parent.glob("fold_*") if path.is_dir() and path.name.removeprefix("fold_").isdigit()]
    return sorted(set(found) - own, key=lambda name: int(name.removeprefix("fold_")))


def fold_row(
    fold: Fold, n_folds: int, values: Mapping[str, Any], accuracy: float | None, n_held_out: int
) -> dict[str, Any]:
    """Make the row of a fold: what it reached on the part that was held out.

    Where that part also chose the checkpoint (``load_best_model_at_end``), the values are too good for new data; the
    fold's run folder has that argument.

    Parameters
    ----------
    fold : Fold
    n_folds : int
    values : mapping
        Of its evaluation: ``eval_rouge1`` ..., ``eval_loss``.
    accuracy : float or None
        See :func:`hf_monitor.seq2seq.token_accuracy.token_accuracy`.
    n_held_out : int
        Samples that were evaluated.

    Returns
    -------
    dict
        ``fold``, ``n_folds``, ``f1`` (mean of the F1 values of ROUGE-1, ROUGE-2 and ROUGE-L, 0 to 1), ``accuracy`` (0
        to 1), ``rouge1``, ``rouge2``, ``rougeL``, ``bleu`` (0 to 100), ``eval_loss``, ``n_samples``,
        ``n_train_samples``. What is not known is None.
    """
    scores = {name: _number(values.get(f"eval_{name}")) for name in (*_F1_PARTS, "bleu")}
    parts = [value for name in _F1_PARTS if (value := scores[name]) is not None]
    return {
        "fold": fold.number,
        "n_folds": n_folds,
        "f1": sum(parts) / len(parts) / 100 if len(parts) == len(_F1_PARTS) else None,
        "accuracy": accuracy,
        **scores,
        "eval_loss": _number(values.get("eval_loss")),
        "n_samples": n_held_out,
        "n_train_samples": len(fold.train),
    }


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def write_folds(parent: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``fold_results.json``, a list of the rows of all folds that are finished, with ``"kind": "fold"``."""
    parent.mkdir(parents=True, exist_ok=True)
    found = [{"kind": "fold", **row} for row in rows]
    text = json.dumps(found, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    replace_file(parent / RESULTS_FILE, text.encode())


def fold_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Give the folds as lines for a console: each, their mean and their standard deviation (of a sample, n - 1)."""
    names = ("f1", "accuracy", "rougeL", "bleu", "eval_loss")
    lines = [f"{'fold':<6}{'samples':>8}" + "".join(f"{name:>11}" for name in names)]
    lines += [
        f"{row['fold']:<6}{row['n_samples']:>8}" + "".join(_cell(row.get(name)) for name in names) for row in rows
    ]
    columns = [[row[name] for row in rows if row.get(name) is not None] for name in names]
    means = [statistics.fmean(values) if values else None for values in columns]
    spreads = [statistics.stdev(values) if len(values) > 1 else None for values in columns]
    lines.append(f"{'mean':<14}" + "".join(map(_cell, means)))
    lines.append(f"{'sd':<14}" + "".join(map(_cell, spreads)))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>11}"
