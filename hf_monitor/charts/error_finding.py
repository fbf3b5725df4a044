"""Which predictions are the worst, and how often each kind of error occurs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hf_monitor.charts.prediction_chart import metric_label, top_of
from hf_monitor.charts.prediction_scores import lower_is_better, primary_metric
from hf_monitor.charts.predictions import Predictions
from hf_monitor.metrics.text_errors import ERROR_KINDS, shared_texts, text_errors

__all__ = ["MAX_CHECKED", "ErrorCase", "Errors", "find_errors"]

#: Texts in which kinds of errors are counted: a seeded sample of more.
MAX_CHECKED = 5000
MAX_CONFUSIONS = 10


@dataclass(frozen=True)
class ErrorCase:
    """One bad prediction.

    Attributes
    ----------
    sample : int
        Its ``index``, or its place in what was given.
    score : float or None
    confidence : float or None
    kinds : tuple of str
        See `hf_monitor.metrics.text_errors.ERROR_KINDS`; of a class empty.
    prediction : str
    references : tuple of str
        Of a class its true label.
    input : str or None
    """

    sample: int
    score: float | None
    confidence: float | None
    kinds: tuple[str, ...]
    prediction: str
    references: tuple[str, ...]
    input: str | None


@dataclass
class Errors:
    """What :func:`find_errors` found.

    Attributes
    ----------
    cases : list of ErrorCase
    kinds : dict of str to int
        Kind of error (of classes ``"true → predicted"``) -> samples that have it; a sample may have several.
    n_checked : int
        Samples in which `kinds` were counted.
    metric : str
        By which the cases were chosen; empty without scores.
    notes : list of str
    """

    cases: list[ErrorCase] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    n_checked: int = 0
    metric: str = ""
    notes: list[str] = field(default_factory=list)


def find_errors(predictions: Predictions, max_errors: int) -> Errors:
    """Find the worst cases and count the kinds.

    Worst is the lowest score; a perfect one is no error. Without scores, the gravest kind of error. Of equal
    predictions one is shown. Of classes: the wrong ones, the surest first.

    Parameters
    ----------
    predictions : Predictions
    max_errors : int
        Cases.
    """
    return (_confusions if predictions.classes else _errors)(predictions, max_errors)


def _confusions(predictions: Predictions, max_errors: int) -> Errors:
    found = Errors()
    pairs = list(zip(predictions.labels, predictions.predictions, strict=True))
    known = [place for place, (true, _) in enumerate(pairs) if true is not None]
    if not known:
        found.notes.append("no labels: which predictions are wrong is not known")
    found.n_checked, found.metric = len(known), "correct"
    wrong = [place for place in known if pairs[place][0] != pairs[place][1]]
    confused = Counter(f"{pairs[place][0]} → {pairs[place][1]}" for place in wrong)
    often = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    found.kinds = dict(often[:MAX_CONFUSIONS])
    if len(often) > MAX_CONFUSIONS:
        found.notes.append(f"the {MAX_CONFUSIONS} most frequent of {len(often)} confusions are drawn")
    sure = predictions.confidences
    wrong.sort(key=lambda place: (-(sure[place] or 0.0), place))
    found.cases = [_case(predictions, place, (), None) for place in wrong[:max_errors]]
    return found


def _errors(predictions: Predictions, max_errors: int) -> Errors:
    found = Errors()
    n = len(predictions)
    shared = shared_texts(predictions.predictions, predictions.inputs)
    checked = range(n) if n <= MAX_CHECKED else sorted(random.Random(0).sample(range(n), MAX_CHECKED))
    kinds = {place: _kinds(predictions, place, shared) for place in checked}
    found.n_checked = len(kinds)
    if n > MAX_CHECKED:
        found.notes.append(f"kinds of errors are counted in {MAX_CHECKED} of {n} samples (seeded sample)")
    counts = Counter(kind for own in kinds.values() for kind in own)
    found.kinds = {kind: counts[kind] for kind in ERROR_KINDS if _asked(kind, predictions)}
    metric = primary_metric(predictions)
    if metric is None:
        found.notes.append("no scores: the cases are the texts with the gravest kinds of errors")
        order = sorted((place for place in kinds if kinds[place]), key=lambda place: (_gravity(kinds[place]), place))
        chosen = _once([(0.0, [], place) for place in order], predictions, max_errors)
        found.cases = [_case(predictions, place, kinds[place], None) for *_, place in chosen]
        return found
    values = [value for value in predictions.scores[metric] if value is not None]
    found.metric = metric_label(metric, values)
    sign = -1.0 if lower_is_better(metric) else 1.0
    best = 0.0 if sign < 0 else top_of(metric, values)
    scored = [
        (sign * value, _gravity(kinds.get(place, ())), place)
        for place, value in enumerate(predictions.scores[metric])
        if value is not None and (best is None or abs(value - best) > 1e-9)
    ]
    for value, _, place in _once(sorted(scored), predictions, max_errors):
        own = kinds[place] if place in kinds else _kinds(predictions, place, shared)
        found.cases.append(_case(predictions, place, own, sign * value))
    return found


def _once(
    sorted_cases: list[tuple[float, list[int], int]], predictions: Predictions, max_errors: int
) -> list[tuple[float, list[int], int]]:
    """Take the first cases, of equal texts (the empty ones, too) only one: the rest has nothing more to show."""
    seen: set[str] = set()
    chosen = []
    for case in sorted_cases:
        text = " ".join(predictions.predictions[case[2]].split())
        if text not in seen:
            seen.add(text)
            chosen.append(case)
            if len(chosen) == max_errors:
                break
    return chosen


def _gravity(kinds: Sequence[str]) -> list[int]:
    """Sort the gravest first, and of two with the same gravest kind the one that has more."""
    grave = list(ERROR_KINDS)
    return [*(grave.index(kind) for kind in kinds), len(grave)]


def _asked(kind: str, predictions: Predictions) -> bool:
    """Whether there is what a kind of error is told by; otherwise it is not drawn as 0."""
    if kind == "copied":
        return any(predictions.inputs)
    if kind == "at the limit":
        return any(ended is not None for ended in predictions.ended)
    return not kind.startswith("too ") or any(predictions.references)


def _kinds(predictions: Predictions, place: int, shared: set[int]) -> tuple[str, ...]:
    return tuple(
        text_errors(
            predictions.predictions[place],
            input=predictions.inputs[place],
            references=predictions.references[place],
            ended=predictions.ended[place],
            shared=place in shared,
        )
    )


def _case(predictions: Predictions, place: int, kinds: Sequence[str], score: float | None) -> ErrorCase:
    references: Sequence[str] = predictions.references[place]
    if predictions.classes:
        references = [str(predictions.labels[place])]
    return ErrorCase(
        sample=predictions.positions[place] if predictions.indices is None else predictions.indices[place],
        score=score,
        confidence=predictions.confidences[place],
        kinds=tuple(kinds),
        prediction=str(predictions.predictions[place]),
        references=tuple(references),
        input=predictions.inputs[place],
    )
