"""Which predictions are the worst, and how often each kind of error occurs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hf_monitor.charts.prediction_metrics import lower_is_better, metric_label
from hf_monitor.charts.prediction_scores import primary_metric
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
    confusions : dict of str to tuple of (str, str)
        Of classes: such a kind -> true and predicted class.
    n_checked : int
        Samples in which `kinds` were counted.
    metric : str
        By which the cases were chosen; empty without scores.
    notes : list of str
    """

    cases: list[ErrorCase] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    confusions: dict[str, tuple[str, str]] = field(default_factory=dict)
    n_checked: int = 0
    metric: str = ""
    notes: list[str] = field(default_factory=list)


def find_errors(predictions: Predictions, max_errors: int) -> Errors:
    """Find the worst cases and count the kinds.

    Worst is the lowest score (of losses and error rates the highest); a perfect one is no error, where it is known
    which is perfect. After them come samples without a score that have a kind of error, the gravest first; without any
    scores only these. Of equal predictions one is shown. Of classes: the wrong ones, the surest first.

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
    confused = Counter((str(pairs[place][0]), str(pairs[place][1])) for place in wrong)
    often = sorted(confused.items(), key=lambda item: (-item[1], item[0]))
    for pair, count in often[:MAX_CONFUSIONS]:
        kind = " → ".join(pair)
        found.kinds[kind], found.confusions[kind] = count, pair
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
    scores: Sequence[float | None] = [None] * n
    if metric is None:
        found.notes.append("no scores: the cases are the texts with the gravest kinds of errors")
    else:
        scores = predictions.scores[metric]
        found.metric = metric_label(metric, predictions.tops.get(metric))
        if without := scores.count(None):
            found.notes.append(
                f"{metric}: {without} of {n} samples have no value; those with a kind of error come after the others"
            )
    sign = -1.0 if metric is not None and predictions.lower(metric) else 1.0
    best = None if metric is None else _perfect(predictions, metric)
    graded = sorted(
        (sign * value, _gravity(kinds.get(place, ())), place)
        for place, value in enumerate(scores)
        if value is not None and (best is None or abs(value - best) > 1e-9)
    )
    ungraded = sorted((_gravity(own), place) for place, own in kinds.items() if own and scores[place] is None)
    for place in _once([*(case[-1] for case in graded), *(place for _, place in ungraded)], predictions, max_errors):
        own = kinds[place] if place in kinds else _kinds(predictions, place, shared)
        found.cases.append(_case(predictions, place, own, scores[place]))
    return found


def _perfect(predictions: Predictions, metric: str) -> float | None:
    """Give the best value that there can be, where it is known."""
    if predictions.lower(metric):
        known = lower_is_better(metric) and all(value is None or value >= 0 for value in predictions.scores[metric])
        return 0.0 if known else None
    return predictions.tops.get(metric)


def _once(places: Sequence[int], predictions: Predictions, max_errors: int) -> list[int]:
    """Take the first places, of equal texts (the empty ones, too) only one: the rest has nothing more to show."""
    seen: set[str] = set()
    chosen = []
    for place in places:
        text = " ".join(predictions.predictions[place].split())
        if text not in seen:
            seen.add(text)
            chosen.append(place)
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
