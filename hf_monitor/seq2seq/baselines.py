"""Summaries that need no model; whatever does not beat them has learnt nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

__all__ = ["first_utterance", "most_frequent"]


def first_utterance(dialogue: str) -> str:
    """Give the first line of a dialogue that is not empty, with its speaker."""
    return next((line.strip() for line in dialogue.splitlines() if line.strip()), "")


def most_frequent(summaries: Iterable[str]) -> str:
    """Give the summary that occurs most often, the first of them where several do; empty where there is none."""
    common = Counter(summaries).most_common(1)
    return common[0][0] if common else ""
