"""Which column is the text, which are the summaries; and rows -> texts with their references."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["SUMMARY_NAMES", "TEXT_NAMES", "Columns", "Pairs", "find_columns", "split_names", "take_pairs"]

TEXT_NAMES = (
    "dialogue", "dialog", "conversation", "document", "article", "text", "passage", "source", "source_text",
    "input", "input_text", "context", "transcript", "content", "body", "대화", "본문", "원문",
)  # fmt: skip
"""Usual names of the text to summarize, the first match wins; letter case does not matter."""

SUMMARY_NAMES = (
    "summary", "references", "reference", "summaries", "highlights", "target", "target_text", "abstract",
    "output", "tldr", "tl;dr", "gold", "label", "title", "headline", "요약", "요약문",
)  # fmt: skip
"""Usual names of the summary. Each may also be numbered (``summary1``, ``summary2``): several references."""


@dataclass(frozen=True)
class Columns:
    """The columns of one file.

    Parameters
    ----------
    text : str
        The text to summarize.
    summaries : tuple of str
        The reference summaries; empty where there are none.
    """

    text: str
    summaries: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.text} -> {', '.join(self.summaries) or '(no summary)'}"


@dataclass(frozen=True)
class Pairs:
    """Texts with their references.

    Parameters
    ----------
    texts : list of str
        What is to be summarized.
    references : list of list of str, or None
        Per text its summaries, at least one (it may be empty); None where the data has none.
    columns : Columns
        Where they come from.
    n_dropped : int
        Samples left out because text or summary were empty.
    """

    texts: list[str]
    references: list[list[str]] | None
    columns: Columns
    n_dropped: int = 0


def split_names(names: str | Sequence[str] | None) -> tuple[str, ...]:
    """Split ``"summary1, summary2"``; a list stays as it is, None is empty."""
    if names is None:
        return ()
    parts = names.split(",") if isinstance(names, str) else names
    return tuple(name.strip() for name in parts if name.strip())


def find_columns(
    columns: Sequence[str],
    where: str,
    text_column: str | None = None,
    summary_column: str | Sequence[str] | None = None,
    *,
    summary_needed: bool = True,
) -> Columns:
    """Find the text and its summaries among the columns of a file.

    Parameters
    ----------
    columns : sequence of str
        Those that the file has.
    where : str
        The file's name, for errors.
    text_column : str, optional
        The name that the user gave. None: the first of `TEXT_NAMES` that is there.
    summary_column : str or sequence of str, optional
        The names that the user gave, separated by commas; all must be there. None: the first of `SUMMARY_NAMES` that is
        there, else all columns of the first of them that is there with numbers (``summary1``, ``summary2``).
    summary_needed : bool
        Whether a file without any summary is refused.

    Raises
    ------
    InputError
        If a column is missing; the message names those that are there.
    """
    has = f"(columns: {', '.join(columns)})"

    def missing(name: str, option: str) -> InputError:
        return InputError(f"column {name!r} is not in {where} {has}. Name it with --{option}.")

    if text_column is not None and text_column not in columns:
        raise missing(text_column, "text_column")
    text = text_column or _first(columns, TEXT_NAMES)
    if text is None:
        raise InputError(f"no column of {where} has a usual name for the text {has}. Name it with --text_column.")
    named = split_names(summary_column)
    absent = [name for name in named if name not in columns]
    if absent and (summary_needed or len(absent) < len(named)):
        raise missing(absent[0], "summary_column")
    summaries = (() if absent else named) if named else _summaries([name for name in columns if name != text])
    if summary_needed and not summaries:
        raise InputError(f"no column of {where} has a usual name for the summary {has}. Name it with --summary_column.")
    return Columns(text, summaries)


def _first(columns: Sequence[str], names: Sequence[str]) -> str | None:
    by_name = {column.strip().lower(): column for column in columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _summaries(columns: Sequence[str]) -> tuple[str, ...]:
    single = _first(columns, SUMMARY_NAMES)
    if single is not None:
        return (single,)
    for name in SUMMARY_NAMES:
        pattern = re.compile(rf"{re.escape(name)}[ _-]?(\d+)", re.IGNORECASE)
        numbered = [(int(found[1]), column) for column in columns if (found := pattern.fullmatch(column.strip()))]
        if numbered:
            return tuple(column for _, column in sorted(numbered))
    return ()


def take_pairs(rows: Iterable[Mapping[str, Any]], columns: Columns, where: str, *, drop_empty: bool) -> Pairs:
    """Take texts and references out of rows.

    Parameters
    ----------
    rows : iterable of mapping
        One a sample.
    columns : Columns
        From `find_columns`.
    where : str
        The file's name, for errors.
    drop_empty : bool
        Leave out samples whose text or summaries are empty (for training). Otherwise they stay, so that predictions
        keep the file's order; an empty summary then is one empty reference.

    Raises
    ------
    InputError
        If a value is neither text nor number (nor, for a summary, a list of texts), or nothing is left.
    """
    texts: list[str] = []
    references: list[list[str]] = []
    n_dropped = 0
    for number, row in enumerate(rows, start=1):
        text = _text(row.get(columns.text), columns.text, number, where)
        found: list[str] = []
        for column in columns.summaries:
            value = row.get(column)
            for item in value if isinstance(value, list) else [value]:
                summary = _text(item, column, number, where)
                if summary.strip():
                    found.append(summary)
        if drop_empty and not (text.strip() and found):
            n_dropped += 1
            continue
        texts.append(text)
        references.append(found or [""])
    if not texts:
        raise InputError(f"no sample of {where} has both a text and a summary (columns used: {columns}).")
    if not any(text.strip() for text in texts):
        raise InputError(f"every text of {where} is empty (column {columns.text!r}): name another with --text_column.")
    return Pairs(texts, references if columns.summaries else None, columns, n_dropped)


def _text(value: Any, column: str, number: int, where: str) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)
    raise InputError(f"sample {number} of {where} has a {type(value).__name__} in column {column!r}, not a text.")
