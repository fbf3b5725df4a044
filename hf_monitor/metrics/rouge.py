"""ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum F1: the numbers of rouge_score 0.1.2, with bit-parallel LCS.

rouge_score fills a Python table of m x n cells for each pair; here a column of that table is one Python integer
(Hyyrö, "Bit-parallel LCS-length computation revisited", AWOCA 2004). ROUGE-Lsum depends on *which* longest common
subsequence is taken, so rouge_score's way back through the table is followed cell by cell.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from hf_monitor.metrics.language import split_sentences

__all__ = ["ROUGE_KEYS", "TokenizedText", "lcs_length", "rouge_f1", "rouge_multi", "tokenize_text"]

ROUGE_KEYS = ("rouge1", "rouge2", "rougeL", "rougeLsum")


@dataclass(frozen=True)
class TokenizedText:
    """A text ready for ROUGE.

    Parameters
    ----------
    tokens
        Tokens of the whole text.
    sentences
        Tokens sentence by sentence, for ROUGE-Lsum.
    """

    tokens: list[str]
    sentences: list[list[str]]


def tokenize_text(text: str, tokens: Callable[[str], list[str]], *, split: bool = False) -> TokenizedText:
    """Tokenize a text as a whole and sentence by sentence.

    Parameters
    ----------
    text
        Any text.
    tokens
        Text -> tokens.
    split
        False: sentences are lines, as in rouge_score and in ``evaluate``'s rouge. True: lines are cut further by
        `split_sentences`, as Hugging Face's summarization example does before it calls the metric.

    Returns
    -------
    TokenizedText
        The tokens.
    """
    whole = tokens(text)
    lines = split_sentences(text) if split else [line for line in text.split("\n") if line]
    return TokenizedText(whole, [whole] if len(lines) == 1 else [tokens(line) for line in lines])


def rouge_f1(reference: TokenizedText, prediction: TokenizedText) -> tuple[float, float, float, float]:
    """Score one prediction against one reference.

    Parameters
    ----------
    reference, prediction
        Tokenized by the same tokenizer.

    Returns
    -------
    tuple of float
        F1 of ROUGE-1, ROUGE-2, ROUGE-L and ROUGE-Lsum, 0 to 1.
    """
    ref, pred = reference.tokens, prediction.tokens
    if not ref or not pred:
        return 0.0, 0.0, 0.0, _summary_level_f1(reference.sentences, prediction.sentences)
    rouge1 = _overlap_f1(Counter(ref), Counter(pred), len(ref), len(pred))
    rouge2 = _overlap_f1(
        Counter(pairwise(ref)),
        Counter(pairwise(pred)),
        len(ref) - 1,
        len(pred) - 1,
    )
    rouge_l = _f1(lcs_length(ref, pred), len(ref), len(pred))
    if len(reference.sentences) == len(prediction.sentences) == 1:
        return rouge1, rouge2, rouge_l, rouge_l
    return rouge1, rouge2, rouge_l, _summary_level_f1(reference.sentences, prediction.sentences)


def rouge_multi(
    references: Sequence[TokenizedText], prediction: TokenizedText, multi_reference: str = "max"
) -> tuple[float, float, float, float]:
    """Score one prediction against several references.

    Parameters
    ----------
    references
        At least one.
    prediction
        Tokenized by the same tokenizer.
    multi_reference
        ``"max"``: the best reference for each metric on its own (rouge_score's ``score_multi``); ``"mean"``: the mean
        over the references.

    Returns
    -------
    tuple of float
        As `rouge_f1`.
    """
    scores = [rouge_f1(reference, prediction) for reference in references]
    if len(scores) == 1:
        return scores[0]
    columns = zip(*scores, strict=True)
    if multi_reference == "mean":
        one, two, lcs, lsum = (sum(column) / len(scores) for column in columns)
    else:
        one, two, lcs, lsum = (max(column) for column in columns)
    return one, two, lcs, lsum


def lcs_length(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest common subsequence.

    Parameters
    ----------
    first, second
        Tokens.

    Returns
    -------
    int
        0 to ``min(len(first), len(second))``.
    """
    columns = _lcs_columns(first, second)
    return len(first) - columns[-1].bit_count()


def _lcs_columns(ref: Sequence[str], pred: Sequence[str]) -> list[int]:
    """Columns of the LCS table; bit i of column j is 0 where cell (i+1, j) is one more than the cell above it."""
    places: dict[str, int] = {}
    for position, token in enumerate(ref):
        places[token] = places.get(token, 0) | (1 << position)
    full = (1 << len(ref)) - 1
    column = full
    columns = [full]
    for token in pred:
        matches = places.get(token)
        if matches is not None:
            step = column & matches
            column = ((column + step) | (column - step)) & full
        columns.append(column)
    return columns


def _lcs_positions(ref: Sequence[str], pred: Sequence[str]) -> set[int]:
    """Positions in ref of the LCS that rouge_score's way back through the table finds."""
    columns = _lcs_columns(ref, pred)
    found: set[int] = set()
    i, j = len(ref), len(pred)
    while i > 0 and j > 0:
        if ref[i - 1] == pred[j - 1]:
            found.add(i - 1)
            i -= 1
            j -= 1
        elif not columns[j] >> (i - 1) & 1:
            # No match here, so a cell larger than the one above it has its value from the left: left > above.
            j -= 1
        else:
            i -= 1
    return found


def _summary_level_f1(references: Sequence[list[str]], predictions: Sequence[list[str]]) -> float:
    """Union LCS over sentences with rouge_score's guard against counting a token twice."""
    n_ref, n_pred = sum(map(len, references)), sum(map(len, predictions))
    if not n_ref or not n_pred:
        return 0.0
    left_ref: Counter[str] = Counter()
    left_pred: Counter[str] = Counter()
    for sentence in references:
        left_ref.update(sentence)
    for sentence in predictions:
        left_pred.update(sentence)
    hits = 0
    for ref in references:
        union: set[int] = set()
        for pred in predictions:
            union |= _lcs_positions(ref, pred)
        for position in sorted(union):
            token = ref[position]
            if left_pred[token] > 0 and left_ref[token] > 0:
                hits += 1
                left_pred[token] -= 1
                left_ref[token] -= 1
    return _f1(hits, n_ref, n_pred)


def _overlap_f1(ref: Counter[Any], pred: Counter[Any], n_ref: int, n_pred: int) -> float:
    if len(ref) > len(pred):
        ref, pred = pred, ref
    hits = sum(min(count, pred[gram]) for gram, count in ref.items() if gram in pred)
    return _f1(hits, n_ref, n_pred)


def _f1(hits: int, n_ref: int, n_pred: int) -> float:
    if not hits:
        return 0.0
    precision, recall = hits / n_pred, hits / n_ref
    return 2 * precision * recall / (precision + recall)
