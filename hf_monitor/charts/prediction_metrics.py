"""What is known of a score by its name: which number of a row is one, which end of it is good, where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_monitor.charts.prediction_rows import CONFIDENCE_KEYS, PREDICTION_KEYS, REFERENCE_KEYS, is_missing
from hf_monitor.charts.scales import LARGEST, is_drawable
from hf_monitor.errors import InputError
from hf_monitor.run.better import lower_is_better

__all__ = ["is_graded", "is_known", "known_first", "known_tops", "lower_is_better", "metric_label", "read_scores"]

#: The usual scores, the one to sort by first.
_KNOWN = [
    *("correct", "score", "rougeL", "rouge1", "rouge2", "rougeLsum", "bleu", "sacrebleu", "chrf", "meteor"),
    *("bertscore", "f1", "exact_match", "accuracy"),
]
#: From 0 to 100 in the files of a run, and in other rows where one of them is above 1.
_HUNDRED = frozenset(("rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "sacrebleu", "chrf"))
#: Beside these, ``score`` is their mean, as in the files of a run.
_MEAN_OF = {"rouge1", "rouge2", "rougeL"}
#: Words of names of numbers that name, count or place a sample, and say nothing of how good it is.
_NO_SCORE = {"id", "ids", "idx", "index", "row", "line", "position", "sample", "rank", "fold", "seed", "step", "epoch"}
_NO_SCORE |= {"attempt", "time", "timestamp", "seconds", "year", "n", "num", "count", "counts", "length", "lengths"}
_NO_SCORE |= {"len", "tokens", "words", "characters", "chars", "size"}
#: Keys of a row that have a meaning of their own, and are no scores.
_NO_METRIC = {"index", "step", "weights_step", "time", "attempt", "epoch", "n_tokens", "ended", "text", "input"}
_NO_METRIC |= {"standalone", "label", "sampled", *CONFIDENCE_KEYS, *PREDICTION_KEYS, *REFERENCE_KEYS}


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]


def _may_be_score(name: str) -> bool:
    """Tell whether a number of this name may be a score: ``sample_id``, ``n_words`` and ``length`` are none."""
    return _NO_SCORE.isdisjoint(_words(name))


def is_known(name: str) -> bool:
    """Tell whether it is one of the usual scores."""
    return name in _KNOWN or lower_is_better(name)


def is_graded(name: str) -> bool:
    """Tell whether it is more than right or wrong by its nature, though all values may be 0: ROUGE, BLEU, chrF."""
    return name in _HUNDRED


def known_first(names: Iterable[str]) -> list[str]:
    """Sort names of scores: ``score``, ROUGE-L, ROUGE-1 and the other usual ones first, the rest as they come."""
    place = {name: i for i, name in enumerate(_KNOWN)}
    return sorted(names, key=lambda name: place.get(name, len(_KNOWN)))


def known_tops(scores: Mapping[str, Sequence[float | None]], ours: bool) -> dict[str, float]:
    """Give the upper ends of the scores that are known to lie between 0 and it.

    Parameters
    ----------
    scores : mapping of str to sequence of (float or None)
    ours : bool
        Whether we computed them, or a run holds them: then they are from 0 to 100, however poor they are. In rows of
        the user's ROUGE, BLEU and chrF are so where one value is above 1; otherwise nothing is known, since 0.9 may
        be nearly perfect or nearly nothing.

    Returns
    -------
    dict of str to float
        1 for ``correct``, else 100.
    """
    tops: dict[str, float] = {}
    for name, column in sorted(scores.items(), key=lambda item: item[0] == "score"):
        values = [value for value in column if value is not None]
        if name == "correct":
            tops[name] = 1.0
        elif not values or min(values) < 0 or max(values) > 100 + 1e-6:
            continue
        elif (name in _HUNDRED and (ours or max(values) > 1)) or (
            name == "score" and (ours or tops.keys() >= _MEAN_OF)
        ):
            tops[name] = 100.0
    return tops


def metric_label(metric: str, top: float | None) -> str:
    """Name a score for an axis, with its range where it is 0 to 100."""
    return f"{metric} (0-100)" if top == 100 else metric


def read_scores(
    kept: list[tuple[int, dict[str, Any]]], metrics: Sequence[str] | None, notes: list[str]
) -> dict[str, list[float | None]]:
    """Read the scores of rows, those asked for or all numbers that may be scores; what is left out is noted.

    Raises
    ------
    InputError
        If a value of a score that was asked for is no number.
    """
    if isinstance(metrics, str):
        raise InputError(f"metrics={metrics!r} is one text: give a list of names, [{metrics!r}].")
    names = list(metrics) if metrics is not None else _metric_names(kept, notes)
    scores: dict[str, list[float | None]] = {}
    for name in names:
        column: list[float | None] = []
        odd = 0
        for position, row in kept:
            value = row.get(name)
            if is_missing(value) or (isinstance(value, int | float) and not is_drawable(value)):
                odd += value is not None
                column.append(None)
            elif isinstance(value, bool | int | float):
                column.append(float(value))
            else:
                raise InputError(
                    f"{name} of sample {position} is {str(value)[:40]!r} ({type(value).__name__}): a score is a number."
                )
        if odd:
            notes.append(f"{name}: {odd} value(s) that are not finite, or beyond {LARGEST:g}, are left out")
        if any(value is not None for value in column):
            scores[name] = column
    return scores


def _metric_names(kept: list[tuple[int, dict[str, Any]]], notes: list[str]) -> list[str]:
    """Find the columns of numbers that may be scores, the usual ones first; which are not, is said."""
    kinds: dict[str, set[str]] = {}
    for _, row in kept:
        for key, value in row.items():
            if key in _NO_METRIC or is_missing(value):
                continue  # the NaN that stands for a missing text in a data frame, too
            number = isinstance(value, int | float) and not isinstance(value, bool)
            kinds.setdefault(key, set()).add("number" if number else "flag" if isinstance(value, bool) else "other")
    numbers = [name for name, kind in kinds.items() if "number" in kind]
    mixed = [name for name in numbers if "other" in kinds[name]]
    if mixed:
        notes.append(f"not only numbers, so no scores: {', '.join(mixed)[:80]}")
    other = [name for name in numbers if name not in mixed and not _may_be_score(name)]
    if other:
        notes.append(f"taken for no scores by their names (metrics=[...] asks for them): {', '.join(other)[:80]}")
    return known_first(name for name in numbers if name not in mixed and name not in other)
