"""Which predictions are the worst, and how often each kind of error occurs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

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
    alike : int
        Other cases of the same text (the empty ones, too), which are not shown.
    """

    sample: int
    score: float | None
    confidence: float | None
    kinds: tuple[str, ...]
    prediction: str
    references: tuple[str, ...]
    input: str | None
    alike: int = 0


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
    samples : list of (int, float or None, str)
        Every sample counted in `kinds`: its ``index`` or place, its score, its kinds with commas between them.
    notes : list of str
    """

    cases: list[ErrorCase] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)
    confusions: dict[str, tuple[str, str]] = field(default_factory=dict)
    n_checked: int = 0
    metric: str = ""
    samples: list[tuple[int, float | None, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_errors(predictions: Predictions, max_errors: int) -> Errors:
    """Find the worst cases and count the kinds.

    Worst is the lowest score (of losses and error rates the highest); a perfect one is no error, where it is known
    which is perfect, nor is one that is better than the median and has no kind of error. After them come samples
    without a score that have a kind of error, the gravest first; without any scores only these. Chosen are the worst
    one, the worst of each kind that it has not, the gravest kinds first, and the next worst. Of equal predictions one
    is shown. Of classes: the wrong ones, the surest first.

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
    found.samples = [(_key(predictions, place), None, " → ".join(map(str, pairs[place]))) for place in sorted(wrong)]
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
    middle = median(sign * value for value in scores if value is not None) if graded else 0.0
    worst = [place for value, _, place in graded if value <= middle or kinds.get(place)]
    ungraded = sorted((_gravity(own), place) for place, own in kinds.items() if own and scores[place] is None)
    found.samples = [
        (_key(predictions, place), scores[place], ", ".join(own)) for place, own in sorted(kinds.items()) if own
    ]
    candidates = [*worst, *(place for _, place in ungraded)]
    if candidates and candidates[0] not in kinds:
        kinds[candidates[0]] = _kinds(predictions, candidates[0], shared)
    for place, alike in _chosen(candidates, kinds, predictions, max_errors):
        own = kinds[place] if place in kinds else _kinds(predictions, place, shared)
        found.cases.append(_case(predictions, place, own, scores[place], alike))
    if len(worst) < len(graded) and len(found.cases) < max_errors:
        found.notes.append(
            f"no cases, since without a kind of error and better than the median {metric}: {len(graded) - len(worst)}"
        )
    return found


def _perfect(predictions: Predictions, metric: str) -> float | None:
    """Give the best value that there can be, where it is known."""
    if predictions.lower(metric):
        known = lower_is_better(metric) and all(value is None or value >= 0 for value in predictions.scores[metric])
        return 0.0 if known else None
    return predictions.tops.get(metric)


def _chosen(
    candidates: Sequence[int], kinds: Mapping[int, Sequence[str]], predictions: Predictions, max_errors: int
) -> list[tuple[int, int]]:
    """Choose the first candidate, the first of each kind that is not there yet, then the next of other texts.

    Returns
    -------
    list of (int, int)
        The chosen ones in the order of the candidates, and how many others have the same text: only one of equal texts
        is shown, unless another has a kind that it has not.
    """
    chosen = list(candidates[:1])
    for kind in ERROR_KINDS:
        if len(chosen) < max_errors and not any(kind in kinds[place] for place in chosen):
            chosen += [place for place in candidates if kind in kinds.get(place, ())][:1]
    texts = {place: predictions.predictions[place].strip() for place in candidates}
    seen = {texts[place] for place in chosen}
    for place in candidates:
        if len(chosen) == max_errors:
            break
        if texts[place] not in seen:
            seen.add(texts[place])
            chosen.append(place)
    alike = Counter(texts.values())
    alike.subtract(texts[place] for place in chosen)
    rank = {place: number for number, place in enumerate(candidates)}
    # Of two chosen ones of one text the first counts the others.
    return [(place, alike.pop(texts[place], 0)) for place in sorted(chosen, key=rank.__getitem__)]


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


def _key(predictions: Predictions, place: int) -> int:
    return predictions.positions[place] if predictions.indices is None else predictions.indices[place]


def _case(predictions: Predictions, place: int, kinds: Sequence[str], score: float | None, alike: int = 0) -> ErrorCase:
    references: Sequence[str] = predictions.references[place]
    if predictions.classes:
        references = [str(predictions.labels[place])]
    return ErrorCase(
        sample=_key(predictions, place),
        score=score,
        confidence=predictions.confidences[place],
        kinds=tuple(kinds),
        prediction=str(predictions.predictions[place]),
        references=tuple(references),
        input=predictions.inputs[place],
        alike=alike,
    )
