"""Names of folds: what they are called, and which rows of a table are no folds but their mean and the like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

__all__ = ["FoldName", "brief", "few", "fold_column", "fold_said", "fold_text", "plain_names", "without_summaries"]

FoldName: TypeAlias = int | str

_SUMMARY = re.compile(
    r"(macro |weighted |overall )?(mean|avg|average|sd|std|stdev|stddev|standard deviation|se|sem|var|variance|median|"
    r"min|minimum|max|maximum|sum|total|count|overall|all|25%|50%|75%|"
    r"평균|표준편차|표준 편차|중앙값|중간값|최소|최솟값|최대|최댓값|합계|전체)(?!\w)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(fold|cv|split|run|폴드)?[_\- ]?\d+(\.0+)?", re.IGNORECASE)


def brief(text: str) -> str:
    """Shorten a name for a note or an error."""
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:59]}…"


def few(texts: Iterable[str], most: int = 8) -> str:
    """Give the first of some texts, and how many more there are."""
    every = list(texts)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def fold_text(fold: FoldName) -> str:
    """Name a fold: ``fold 3``, or its own name."""
    return f"fold {fold}" if isinstance(fold, int) else brief(fold)


def fold_said(fold: FoldName) -> str:
    """Name a fold within a sentence: ``fold 3``, ``fold 'a'``."""
    return f"fold {fold}" if isinstance(fold, int) else f"fold {brief(fold)!r}"


def fold_column(columns: Sequence[str]) -> str | None:
    """Find the column that the names of the folds stand in."""
    return "fold" if "fold" in columns else next((c for c in columns if c.casefold() == "fold"), None)


def without_summaries(
    records: Sequence[dict[str, Any]], names: Sequence[Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Leave out the rows called mean, sd, median and the like that stand below numbered folds, and say so.

    Parameters
    ----------
    records : sequence of dict
    names : sequence of object
        What each row is called.

    Returns
    -------
    list of dict, list of str
        The second: what to say.
    """
    summaries = [isinstance(name, str) and bool(_SUMMARY.match(name.strip())) for name in names]
    others = [name for name, is_summary in zip(names, summaries, strict=True) if not is_summary]
    if not others or not any(summaries) or not all(_NUMBERED.fullmatch(str(name).strip()) for name in others):
        return list(records), []
    left_out = [repr(brief(name)) for name, is_summary in zip(names, summaries, strict=True) if is_summary]
    kept = [record for record, is_summary in zip(records, summaries, strict=True) if not is_summary]
    return kept, [f"left out: {few(left_out)} {'is no fold' if len(left_out) == 1 else 'are no folds'}"]


def plain_names(folds: Sequence[FoldName]) -> list[FoldName]:
    """Make numbers of texts where all are numbers: a table with one row called ``mean`` has texts in all of them."""
    if all(isinstance(fold, int) or _is_whole(fold) for fold in folds):
        return [int(fold) for fold in folds]
    return list(folds)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16 and str(int(text)) == text
