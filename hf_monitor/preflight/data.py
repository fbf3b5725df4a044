"""What a training reads: files, rows, texts or a tokenized data set -> Part, and what is to be said about it."""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.preflight.checklist import Check, ok, warning
from hf_monitor.preflight.thresholds import DUPLICATES_WARNING, EMPTY_WARNING
from hf_monitor.seq2seq.columns import Pairs, find_columns, take_pairs
from hf_monitor.seq2seq.data_files import read_rows
from hf_monitor.seq2seq.overlap import without_subset

__all__ = ["Part", "check_part", "read_part"]

_LABELS = ("labels", "label")


@dataclass(frozen=True)
class Part:
    """The training data, or one set of evaluation data.

    Attributes
    ----------
    name : str
        ``"training data"``, ``"evaluation data"`` ...
    n : int
        Samples.
    inputs, targets : list of str, or None
        Texts; of several references of a sample the first is the target. None where there are none, and for what is
        tokenized already.
    references : list of list of str, or None
        All references of each sample.
    tokenized : object or None
        A ``datasets.Dataset`` or a list of rows, with ``input_ids`` and maybe ``labels``.
    n_dropped : int
        Samples that were left out before because they were empty.
    where : str
        The file and its columns, for people.
    trained : bool
        Whether it is what is trained on.
    """

    name: str
    n: int
    inputs: list[str] | None = None
    targets: list[str] | None = None
    references: list[list[str]] | None = None
    tokenized: Any = None
    n_dropped: int = 0
    where: str = ""
    trained: bool = False

    def sample(self, most: int, seed: int) -> list[int]:
        """Give the numbers of at most so many samples, drawn without touching the global random numbers."""
        return (
            list(range(self.n))
            if self.n <= most
            else sorted(random.Random(f"{seed} {self.name}").sample(range(self.n), most))
        )

    def rows(self, numbers: Sequence[int]) -> list[Mapping[str, Any]]:
        """Give rows of a tokenized part, as they are stored: a transform of the user's is not run."""
        if hasattr(self.tokenized, "with_format"):
            return list(self.tokenized.with_format(None).select(numbers))
        return [self.tokenized[number] for number in numbers]

    def samples(self) -> list[dict[str, Any]]:
        """Give the texts as rows with ``text`` and, where there are any, ``references``."""
        if self.references is None:
            return [{"text": text} for text in self.inputs or []]
        return [
            {"text": text, "references": found} for text, found in zip(self.inputs or [], self.references, strict=True)
        ]


def read_part(
    name: str,
    data: Any,
    source_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    *,
    targets_needed: bool = False,
) -> Part:
    """Read a part of the data.

    Parameters
    ----------
    name : str
        For people: ``"training data"`` ...
    data : path-like, Pairs, datasets.Dataset or sequence of mappings
        A file of texts; texts; rows of texts, or rows that are tokenized already (``input_ids``).
    source_column, target_column : str, optional
        As ``--text_column`` and ``--summary_column`` of the script; found by their usual names where None.
    targets_needed : bool
        For what is trained on.

    Raises
    ------
    InputError
        If a file cannot be read, a column is missing, or there is no sample.
    TypeError
        For what cannot be read without using it up or changing it: iterators, a class of the user's own.
    """
    if isinstance(data, Pairs):
        return _of_pairs(name, data, str(data.columns), targets_needed)
    where, rows = name, without_subset(data)
    if isinstance(data, (str, os.PathLike)):
        where = os.fspath(data)
        rows = read_rows(where)
    if isinstance(rows, Mapping):  # a DatasetDict
        raise InputError(f"the {name} are a {type(rows).__name__} of {', '.join(map(str, rows))}: pass one of them.")
    hub = hasattr(rows, "column_names") and hasattr(rows, "with_format") and hasattr(rows, "__len__")
    if not hub and not isinstance(rows, (list, tuple)):
        raise TypeError(
            f"{_a(type(rows).__name__)} is read by the training only: to look into it would use it up or run its code"
        )
    if not len(rows):
        raise InputError(f"the {name} hold no sample.")
    if hub:
        columns = list(rows.column_names)
    elif all(isinstance(row, Mapping) for row in rows):
        columns = list(dict.fromkeys(column for row in rows for column in row))
    else:
        raise InputError(f"a row of the {name} is a {type(rows[0]).__name__}, not a mapping of columns to values.")
    if "input_ids" in columns and source_column is None:
        return Part(name, len(rows), tokenized=rows, where="tokenized", trained=targets_needed)
    found = find_columns(columns, where, source_column, target_column, summary_needed=targets_needed)
    return _of_pairs(
        name, take_pairs(_plain(rows), found, where, drop_empty=False), f"{where}, columns {found}", targets_needed
    )


def _a(name: str) -> str:
    return f"a{'n' if name[:1] in 'AEIOUaeio' else ''} {name}"


def _plain(rows: Any) -> Iterable[Mapping[str, Any]]:
    return rows.with_format(None) if hasattr(rows, "with_format") else rows  # type: ignore[no-any-return]


def _of_pairs(name: str, pairs: Pairs, where: str, trained: bool) -> Part:
    targets = (
        None if pairs.references is None else [references[0] if references else "" for references in pairs.references]
    )
    return Part(
        name, len(pairs.texts), pairs.texts, targets, pairs.references, n_dropped=pairs.n_dropped, where=where,
        trained=trained,
    )  # fmt: skip


def check_part(part: Part) -> Check:
    """Say how many samples there are, how many of them are empty, and how many stand there twice."""
    if part.tokenized is not None:
        return _check_tokenized(part)
    inputs = [text.strip() for text in part.inputs or []]
    targets = [text.strip() for text in part.targets or []]
    empty_inputs = sum(not text for text in inputs)
    empty_targets = sum(not text for text in targets)
    seen = list(zip(inputs, targets, strict=True)) if part.targets is not None else inputs
    duplicates = part.n - len(set(seen))
    evidence: dict[str, Any] = {
        "n": part.n,
        "empty_inputs": empty_inputs,
        "empty_targets": empty_targets,
        "left_out": part.n_dropped,
        "duplicates": duplicates,
    }
    said = [f"{part.n:,} samples" + (f" ({part.where})" if part.where else "")]
    if empty_inputs:
        said.append(f"{empty_inputs:,} without a text")
    if empty_targets:
        said.append(f"{empty_targets:,} without a summary")
    if part.n_dropped:
        said.append(f"{part.n_dropped:,} more are left out: text or summary are empty")
    if part.targets is None:
        said.append("no summaries: nothing can be scored")
    if duplicates:
        said.append(f"{duplicates:,} ({duplicates / part.n:.1%}) stand there more than once")
    sentence = "; ".join(said) + "."
    total = part.n + part.n_dropped
    if (empty_inputs + empty_targets + part.n_dropped) / total > EMPTY_WARNING:
        return warning(part.name, sentence, "Look at the empty samples: is it the right column?", **evidence)
    if part.trained and duplicates / part.n > DUPLICATES_WARNING:
        return warning(
            part.name, sentence, "Leave the repeated samples out: each counts as often as it stands there.", **evidence
        )
    return ok(part.name, sentence, **evidence)


def _check_tokenized(part: Part) -> Check:
    columns = getattr(part.tokenized, "column_names", None) or list(part.tokenized[0])
    if not any(name in columns for name in _LABELS):
        if part.trained:
            raise InputError(
                f"the {part.name} have no column 'labels' (columns: {', '.join(columns)}): tokenize the summaries, too."
            )
        return ok(part.name, f"{part.n:,} samples, tokenized, without labels: nothing can be scored.", n=part.n)
    return ok(part.name, f"{part.n:,} samples, tokenized already.", n=part.n)
