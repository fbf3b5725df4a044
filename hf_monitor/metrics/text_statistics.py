"""What the texts of one evaluation are like as a whole: empty, repeated, all the same, at the length limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from hf_monitor.metrics.text_errors import REPETITION_SHARE, SAME_TEXTS, has_loop, repetition

__all__ = ["text_statistics"]

_EXAMINED = 200
"""Texts that are searched for repetition, at even distances: a share of 0.5 is then known to 0.07 (Wilson, 95 %)."""

_CHARACTERS = 1000
"""Of a text, for the same search: a text that repeats itself does so within them."""

_EXAMPLE = 80

# Dots, one letter over and over: no words, and too narrow for a loop.
_FEW_CHARACTERS, _LONG = 4, 40


def text_statistics(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    ended: Sequence[bool | None] = (),
    references_ended: Sequence[bool | None] = (),
    inputs: Sequence[str | None] | None = None,
) -> dict[str, Any]:
    """Count what texts have in common that a model gives without looking at its input; some 20 ms at most.

    Parameters
    ----------
    predictions : sequence of str
        At least one.
    references : sequence of sequence of str
        Per sample its references; the first one is looked at.
    ended : sequence of (bool or None)
        Per prediction whether the model ended it itself; None where that is not known.
    references_ended : sequence of (bool or None)
        The same of the labels: whether they have an end token.
    inputs : sequence of (str or None), optional
        The same input counts once for `same`, `shared` and `n_distinct`; an unknown one is different from all others.

    Returns
    -------
    dict
        ``n``; ``n_examined`` (for `repeated`); shares, 0 to 1: ``empty``, ``repeated`` (a fifth of the 4-grams or a
        loop, see `text_errors`; or four characters make up a long text), ``same`` (the most frequent text, apart from
        empty ones), ``shared`` (texts that stand for three or more different inputs), ``at_limit`` (not ended by the model; None where not known for all); ``n_distinct`` texts of
        ``n_inputs`` different inputs; ``words``, their mean number; ``references`` with ``empty``, ``repeated``,
        ``same``, ``shared``, ``at_limit`` and ``words`` of the references; ``examples``: the most frequent text and the first one
        that is repeated, 80 characters of each, where there are any.
    """
    first = [sample[0] if sample else "" for sample in references]
    chosen = _different(inputs, len(predictions))
    found, examples = _shares([predictions[i] for i in chosen], predictions)
    truth, _ = _shares([first[i] for i in chosen if i < len(first)], first)
    found["at_limit"] = _cut(ended)
    truth["at_limit"] = _cut(references_ended)
    return {
        "n": len(predictions),
        "n_inputs": len(chosen),
        **found,
        "references": {name: truth[name] for name in ("empty", "repeated", "same", "shared", "at_limit", "words")},
        "examples": examples,
    }


def _shares(different: Sequence[str], texts: Sequence[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Shares of `texts`; what they have in common among `different` ones, those of different inputs."""
    n_texts = max(1, len(texts))
    plain = [" ".join(text.split()) for text in different]
    counts = Counter(text for text in plain if text)
    common, times = counts.most_common(1)[0] if counts else ("", 0)
    examined = [texts[place] for place in _spread(len(texts), _EXAMINED)]
    repeated = [text for text in examined if _is_repeated(text[:_CHARACTERS])]
    examples = {"same": common[:_EXAMPLE]} if times > 1 else {}
    if repeated:
        examples["repeated"] = " ".join(repeated[0].split())[:_EXAMPLE]
    shares = {
        "empty": sum(not text.strip() for text in texts) / n_texts,
        "n_examined": len(examined),
        "repeated": len(repeated) / max(1, len(examined)),
        "same": times / max(1, len(plain)),
        "shared": sum(n for n in counts.values() if n >= SAME_TEXTS) / max(1, len(plain)),
        "n_distinct": len(set(plain)),
        "words": sum(len(text.split()) for text in texts) / n_texts,
    }
    return shares, examples


def _is_repeated(text: str) -> bool:
    if (repetition(text) or 0.0) >= REPETITION_SHARE or has_loop(text):
        return True
    characters = "".join(text.split())
    return len(characters) >= _LONG and len(set(characters)) <= _FEW_CHARACTERS


def _cut(ended: Sequence[bool | None]) -> float | None:
    if not len(ended) or any(one is None for one in ended):
        return None
    return sum(not one for one in ended) / len(ended)


def _different(inputs: Sequence[str | None] | None, n: int) -> list[int]:
    """Positions of the samples that have an input of their own, the first of each."""
    if inputs is None:
        return list(range(n))
    seen: set[str] = set()
    chosen = []
    for position in range(n):
        text = inputs[position]
        if text is None or text not in seen:
            chosen.append(position)
        if text is not None:
            seen.add(text)
    return chosen


def _spread(n: int, most: int) -> list[int]:
    return list(range(n)) if n <= most else [place * n // most for place in range(most)]
