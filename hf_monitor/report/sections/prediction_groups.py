"""Which texts of an evaluation are shown, and what is said of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hf_monitor.report.sections.prediction_samples import Ranking, Sample
from hf_monitor.report.text_cut import shown
from hf_monitor.report.word_diff import Diff, Piece, diff_texts
from hf_monitor.report.words import number

__all__ = ["Group", "Shown", "examples", "ranked_groups"]

#: References that a prediction is compared with.
MAX_REFERENCES = 8


@dataclass(frozen=True)
class Shown:
    """One prediction beside its reference."""

    label: str
    notes: list[str]
    """Its rank, its score, what is special about it."""
    prediction: list[Piece]
    """Empty where the model wrote nothing."""
    reference: list[Piece] | None
    """None where there is none, and where it is the prediction."""
    is_reference: bool
    input: list[Piece] | None
    n_input: int
    """Characters of the input."""


@dataclass(frozen=True)
class Group:
    """The best ones, or the worst ones."""

    title: str
    samples: list[Shown]
    note: str = ""


def examples(samples: Sequence[Sample], same: Counter[str], why: str) -> Group:
    """Take the first three where nothing can be ranked.

    Parameters
    ----------
    samples : sequence of Sample
    same : Counter of str
        How often each prediction is there.
    why : str
        Why they cannot be ranked.

    Returns
    -------
    Group
    """
    first = [_shown(sample, same) for sample in _once(_distinct(samples), same)[:3]]
    return Group(f"The first {len(first)}" if len(samples) > 1 else "The only one", first, f"Not ranked: {why}.")


def ranked_groups(ranking: Ranking, same: Counter[str], many: int) -> list[Group]:
    """Take the best and the worst, of equals the first ones; where all are equal, examples.

    Parameters
    ----------
    ranking : Ranking
    same : Counter of str
        How often each prediction is there.
    many : int
        Best and worst ones at most, each.

    Returns
    -------
    list of Group
    """
    order, metric = ranking.order, shown(ranking.metric[:60])
    values = [value for value, _ in order]
    if len(order) == 1:
        return [Group("The only one", [_shown(order[0][1], same, ranking)])]
    if values[0] == values[-1]:
        return [examples([sample for _, sample in order], same, f"all have {metric} {number(values[0])}")]
    sign = 1 if values[0] < values[-1] else -1
    upwards = sorted(order, key=lambda pair: sign * pair[0], reverse=True)  # stable: of equals the first one first
    distinct, others = (_distinct([sample for _, sample in pairs]) for pairs in (order, upwards))
    n_worst = min(many, (len(distinct) + 1) // 2)
    best = _once(distinct, same)[: min(many, len(distinct) - n_worst)]
    worst = _once([sample for sample in others if all(sample is not one for one in best)], same)[:n_worst]
    groups = []
    for word, chosen, value in (("best", best, values[0]), ("worst", worst, values[-1])):
        title = (
            f"The {word} {len(chosen)} of {number(len(order))} by {metric}" if len(chosen) > 1 else f"The {word} one"
        )
        ties = values.count(value)
        all_tied = all(ranking.score_of(sample) == value for sample in chosen)
        note = f"{ties} texts have this {metric}, {number(value)}; the first ones are shown."
        note = note if all_tied and ties > len(chosen) else ""
        groups.append(Group(title, [_shown(sample, same, ranking) for sample in chosen], note))
    return [group for group in groups if group.samples]


def _distinct(samples: Sequence[Sample]) -> list[Sample]:
    """Leave what is there twice, input and all, once: its first one."""
    first: dict[tuple[object, ...], Sample] = {}
    for sample in samples:
        first.setdefault(sample.texts, sample)
    return list(first.values())


def _once(samples: Sequence[Sample], same: Counter[str]) -> list[Sample]:
    """Of a prediction that is there very often leave the first one: the same text five times over shows nothing."""
    often = max(2, same.total() // 20)
    seen: set[str] = set()
    kept = []
    for sample in samples:
        text = sample.prediction.strip()
        if text not in seen or same[sample.prediction] <= often:
            kept.append(sample)
        seen.add(text)
    return kept


def _shown(sample: Sample, same: Counter[str], ranking: Ranking | None = None) -> Shown:
    notes = []
    if ranking is not None:
        value = ranking.score_of(sample)
        rank, ties = ranking.place(value)
        equal = f" ({ties} share it)" if ties > 1 else ""
        notes += [f"{shown(ranking.metric[:60])} {number(value)}", f"rank {rank} of {len(ranking.order)}{equal}"]
    confidence = sample.row.get("confidence")
    if isinstance(confidence, float) and 0 <= confidence <= 1:
        notes.append(f"confidence {confidence:.2f}")
    if sample.row.get("ended") is False:
        notes.append("ended by the length limit")
    if same[sample.prediction] > 1 and sample.prediction.strip():
        others = same[sample.prediction] - 1
        notes.append(f"{others} other prediction{'s are' if others > 1 else ' is'} the same text")
    diff, text = _best_reference(sample)
    if len(sample.references) > 1:
        notes.append(f"of {len(sample.references)} references the one with most words in common")
    is_reference = text is not None and text == sample.prediction
    if text is not None and not is_reference and diff.shared == 1:
        notes.append("the same words; only blanks or the way they are encoded differ")
    prediction = [] if not sample.prediction.strip() else diff.left
    return Shown(
        label=sample.label,
        notes=notes,
        prediction=[Piece(sample.prediction)] if text is None and prediction else prediction,
        reference=None if text is None or is_reference else diff.right,
        is_reference=is_reference,
        input=None if sample.input is None else [Piece(sample.input)],
        n_input=len(sample.input or ""),
    )


def _best_reference(sample: Sample) -> tuple[Diff, str | None]:
    if not sample.references:
        return Diff([Piece(sample.prediction)], [], 0.0), None
    diffs = [(diff_texts(sample.prediction, text), text) for text in sample.references[:MAX_REFERENCES]]
    return max(diffs, key=lambda pair: (pair[1] == sample.prediction, pair[0].shared))
