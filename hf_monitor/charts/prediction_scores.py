"""Scores of single samples: computed where only references were given, and the samples of several models matched."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from hf_monitor.charts.prediction_metrics import known_first, known_tops
from hf_monitor.charts.prediction_rows import REFERENCE_KEYS
from hf_monitor.charts.predictions import Predictions
from hf_monitor.errors import InputError

__all__ = ["MAX_SCORED", "Matched", "add_scores", "match", "no_scores", "primary_metric"]

#: Samples that are scored where the rows have no scores: a seeded sample of more (ROUGE takes about 1 ms a sample).
MAX_SCORED = 2000


def primary_metric(predictions: Predictions) -> str | None:
    """Give the metric by which samples are sorted: ``correct``, ``score``, or the first one; None without scores."""
    return next(iter(predictions.scores), None)


def no_scores(predictions: Predictions) -> str:
    """Say that samples without scores cannot be compared, and what to give."""
    if predictions.classes:
        return "samples are compared by their scores, and the predictions have no labels: give labels=[...]"
    return (
        "samples are compared by their scores, and the predictions have no scores or references: give "
        f"references=[...], or texts in the rows under one of {', '.join(map(repr, REFERENCE_KEYS))}"
    )


def add_scores(
    predictions: Predictions, metrics: Sequence[str] | None = None, only: Iterable[int] | None = None
) -> None:
    """Score texts against their references, per sample, where their rows have no scores (or not the asked for).

    At most `MAX_SCORED` samples, chosen by a fixed seed; what is left out is said in ``notes``.

    Parameters
    ----------
    predictions : Predictions
        ``scores`` and ``notes`` are added to.
    metrics : sequence of str, optional
        Those wanted; all of ROUGE by default, and only where there are no scores at all.
    only : iterable of int, optional
        Positions (as in ``predictions.positions``) to score, instead of a sample.

    Raises
    ------
    InputError
        If a metric asked for is neither there nor one of ROUGE's.
    """
    from hf_monitor.metrics.rouge import ROUGE_KEYS

    known = (*ROUGE_KEYS, "score")
    missing = [name for name in metrics or () if name not in predictions.scores]
    with_reference = [i for i, texts in enumerate(predictions.references) if texts]
    can = bool(with_reference) and not predictions.classes
    if unknown := [name for name in missing if not (can and name in known)]:
        there = list(dict.fromkeys([*predictions.scores, *(known if can else ())]))
        raise InputError(
            f"metrics: {', '.join(map(repr, unknown))} is in no row of the predictions; there are "
            f"{', '.join(map(repr, there)) or 'no scores and no references'}."
        )
    if not can or not (missing or (metrics is None and not predictions.scores)):
        return
    if without := len(predictions) - len(with_reference):
        predictions.notes.append(f"{without} of {len(predictions)} samples have no reference and no score")
    chosen = with_reference
    if only is not None:
        wanted = set(only)
        chosen = [i for i in chosen if predictions.positions[i] in wanted]
    if len(chosen) > MAX_SCORED:
        chosen = sorted(random.Random(0).sample(chosen, MAX_SCORED))
        predictions.notes.append(
            f"{MAX_SCORED} of {len(with_reference)} samples are scored (seeded sample); give rows with scores for all"
        )
    if not chosen:
        return
    for name, values in _rouge(predictions, chosen).items():
        if name in missing or metrics is None:
            column: list[float | None] = [None] * len(predictions)
            for i, value in zip(chosen, values, strict=True):
                column[i] = value
            predictions.scores[name] = column
            predictions.tops |= known_tops({name: column}, ours=True)
    order = list(metrics) if metrics is not None else known_first(predictions.scores)
    predictions.scores = {name: predictions.scores[name] for name in order if name in predictions.scores}


def _rouge(predictions: Predictions, chosen: list[int]) -> dict[str, list[float]]:
    from hf_monitor.metrics.scoring import ScoreOptions, score_samples
    from hf_monitor.metrics.tokenization import resolve_tokenization

    references = [predictions.references[i] for i in chosen]
    tokenization, notes = resolve_tokenization(references)
    texts = [predictions.predictions[i] for i in chosen]
    scored, more = score_samples(texts, references, tokenization, ScoreOptions(), Counter())
    predictions.notes.extend([*notes, *more])
    return {name: [row[name] for row in scored.per_sample] for name in scored.per_sample[0]}


@dataclass
class Matched:
    """The samples that two models have in common.

    Attributes
    ----------
    pairs : list of (int, int)
        Places of a sample in the first and in the other `Predictions`.
    by : str
        ``"index"``, ``"input"`` or ``"position"``.
    only_first, only_other : int
        Samples that only one of them has.
    other_inputs : int
        Samples of one index (or place) whose inputs differ: they are not the same, and were matched by their inputs, or
        not at all.
    """

    pairs: list[tuple[int, int]]
    by: str
    only_first: int
    only_other: int
    other_inputs: int


def match(first: Predictions, other: Predictions) -> Matched:
    """Match the samples of two models: by ``index``, else by the input, else by their order.

    What is there twice is matched in order. Where index or order say that two samples are the same and their inputs
    say that they are not, the inputs are believed.

    Raises
    ------
    InputError
        If only the order is left, and the numbers differ.
    """
    keys: list[Sequence[Hashable]]
    if first.indices is not None and other.indices is not None:
        by, keys = "index", [first.indices, other.indices]
    elif None not in first.inputs and None not in other.inputs:
        by, keys = "input", [first.inputs, other.inputs]
    elif first.n_given == other.n_given:
        by, keys = "position", [first.positions, other.positions]
    else:
        raise InputError(
            f"{other.short or 'the other model'} has {other.n_given} predictions, {first.short or 'the first'} has "
            f"{first.n_given}, and nothing says which belong together: give rows with 'index' or 'input'."
        )
    every = _common(keys[0], range(len(first)), keys[1], range(len(other)))
    pairs = [
        (i, j) for i, j in every if None in (first.inputs[i], other.inputs[j]) or first.inputs[i] == other.inputs[j]
    ]
    odd = len(every) - len(pairs)
    if odd:  # what was matched well stays; the others are looked for by their inputs
        ours, theirs = {i for i, _ in pairs}, {j for _, j in pairs}
        pairs += _common(
            first.inputs,
            [i for i in range(len(first)) if i not in ours and first.inputs[i] is not None],
            other.inputs,
            [j for j in range(len(other)) if j not in theirs and other.inputs[j] is not None],
        )
    return Matched(sorted(pairs), by, len(first) - len(pairs), len(other) - len(pairs), odd)


def _common(
    first: Sequence[Hashable], ours: Iterable[int], other: Sequence[Hashable], theirs: Iterable[int]
) -> list[tuple[int, int]]:
    """Pair the places of equal keys; what is there twice in order."""
    places = {key: place for place, key in _numbered(other, theirs)}
    return [(place, places[key]) for place, key in _numbered(first, ours) if key in places]


def _numbered(keys: Sequence[Hashable], places: Iterable[int]) -> list[tuple[int, tuple[Hashable, int]]]:
    seen: Counter[Hashable] = Counter()
    numbered = []
    for place in places:
        key = keys[place]
        numbered.append((place, (key, seen[key])))
        seen[key] += 1
    return numbered
