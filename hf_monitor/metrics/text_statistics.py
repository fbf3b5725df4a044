"""What the texts of one evaluation are like as a whole: empty, repeated, all the same, at the length limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from hf_monitor.metrics.text_errors import REPETITION_SHARE, SAME_TEXTS, has_loop, repetition, words

__all__ = ["Fit", "fit_of", "text_statistics"]

_EXAMINED = 200
"""Texts that are searched for repetition, at even distances: a share of 0.5 is then known to 0.07 (Wilson, 95 %)."""

_CHARACTERS = 1000
"""Of a text, for the same search: a text that repeats itself does so within them."""

_EXAMPLE = 80
_OTHERS = 5  # references of other samples that a text is compared with

# Dots, one letter over and over: no words, and too narrow for a loop.
_FEW_CHARACTERS, _LONG = 4, 40


class Fit(NamedTuple):
    """How well texts fit their own references, beside those of other inputs.

    Attributes
    ----------
    own : float
        Mean F1 of the words of a text and of its reference, 0 to 1.
    others : float
        The same with references of other samples.
    z : float
        Mean of the differences, sample by sample, over its standard error: above 1.64 chance alone is too little to
        explain it (one-sided, 95 %). A model that does not look at its input has about 0.
    """

    own: float
    others: float
    z: float


def fit_of(predictions: Sequence[str], references: Sequence[str]) -> Fit | None:
    """Tell whether texts follow their inputs: whether they fit their own references better than those of others.

    Parameters
    ----------
    predictions, references : sequence of str
        One each a sample, of different inputs. At most 200 samples, at even distances, are looked at.

    Returns
    -------
    Fit or None
        None for less than three samples.
    """
    import numpy as np

    places = _spread(len(predictions), _EXAMINED)
    n = len(places)
    if n < 3:
        return None
    said = [set(words(predictions[place][:_CHARACTERS])) for place in places]
    wanted = [set(words(references[place][:_CHARACTERS])) for place in places]
    steps = sorted({1 + (n - 1) * k // _OTHERS for k in range(_OTHERS)})
    own = np.array([_f1(a, b) for a, b in zip(said, wanted, strict=True)])
    others = np.array([sum(_f1(said[i], wanted[(i + k) % n]) for k in steps) / len(steps) for i in range(n)])
    gain = own - others
    error = float(gain.std(ddof=1)) / n**0.5
    return Fit(float(own.mean()), float(others.mean()), float(gain.mean()) / error if error else 0.0)


def _f1(a: set[str], b: set[str]) -> float:
    return 2 * len(a & b) / (len(a) + len(b)) if a and b else 0.0


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
        ``n``; ``n_inputs`` that are different; ``n_distinct`` texts among these; ``n_examined`` (for `repeated`);
        ``words``, their mean number. Shares, 0 to 1: ``empty``; ``repeated`` (a fifth of the 4-grams or a loop, see
        `text_errors`; or four characters make up a long text); ``same`` (the most frequent text, apart from empty
        ones); ``shared`` (texts that stand for three or more different inputs); ``at_limit`` (not ended by the model;
        None where not known for all). ``fit``: see `Fit`; None where it is not known. ``references``: the shares and
        ``words`` of the references. ``examples``: the most frequent text and the first one that is repeated, 80
        characters of each, where there are any.
    """
    first = [sample[0] if sample else "" for sample in references]
    chosen = _different(inputs, len(predictions))
    found, examples = _shares([predictions[i] for i in chosen], predictions)
    truth, _ = _shares([first[i] for i in chosen if i < len(first)], first)
    fit = (
        fit_of([predictions[i] for i in chosen], [first[i] for i in chosen]) if len(first) == len(predictions) else None
    )
    found["at_limit"] = _cut(ended)
    truth["at_limit"] = _cut(references_ended)
    return {
        "n": len(predictions),
        "n_inputs": len(chosen),
        **found,
        "fit": None if fit is None else fit._asdict(),
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
