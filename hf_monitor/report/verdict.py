"""Which runs are better, and whether that is more than chance: sentences with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hf_monitor.charts.comparing import compare
from hf_monitor.charts.prediction_scores import add_scores
from hf_monitor.charts.predictions import read_predictions
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.report import chance
from hf_monitor.report.alike import Group, groups_of
from hf_monitor.report.compared_runs import ComparedRun, greater_is_better, main_metric
from hf_monitor.report.differences import Difference
from hf_monitor.report.incomparable import why_incomparable
from hf_monitor.report.verdict_words import sentences
from hf_monitor.run.reader import Run

__all__ = ["Pair", "Verdict", "judge"]

_PREDICTIONS_READ = 8  # runs of one kind each whose texts are compared with the best one's


@dataclass(frozen=True)
class Pair:
    """The best group against another one.

    Attributes
    ----------
    best, other : int
        Places in the groups.
    method : str
        ``"welch"``, ``"folds"``, ``"one and many"``, ``"samples"``; empty where it cannot be told.
    metric : str
        What was compared; of samples it may be another one than the verdict's (BLEU and loss are no scores of samples).
    difference, low, high : float or None
        Best minus other, with its 95 % interval (of this comparison alone).
    p : float or None
        Two-sided, after the correction for many comparisons.
    n : int
        Pairs of samples or folds; else the runs of both.
    why_not : str
        Why it cannot be told.
    contrary : bool
        By `metric`, which is another one than the verdict's, the other group is ahead.
    note : str
        What to know of the test.
    """

    best: int
    other: int
    method: str
    metric: str
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int = 0
    why_not: str = ""
    contrary: bool = False
    note: str = ""

    @property
    def clear(self) -> bool | None:
        """Whether the best group is better by more than chance.

        None where it cannot be told, also since two metrics clearly say the opposite.
        """
        if self.p is None or (self.contrary and self.p <= chance.LEVEL):
            return None
        return self.p <= chance.LEVEL


@dataclass(frozen=True)
class Verdict:
    """What the comparison comes to.

    Attributes
    ----------
    outcome : str
        ``"clear difference"`` (of the best group to at least one other), ``"clear on these texts"`` (the same of single
        runs: another seed may turn it round), ``"no clear difference"``, ``"cannot be told"``.
    metric : str or None
    greater_is_better : bool or None
    groups : list of Group
        Runs that are alike but for seed or fold.
    pairs : list of Pair
        The best group against the others.
    sentences : list of str
    n_comparisons : int
        That p values are corrected for: all pairs, since the best one was chosen by its values.
    """

    outcome: str
    metric: str | None
    greater_is_better: bool | None
    groups: list[Group]
    pairs: list[Pair]
    n_comparisons: int = 0
    sentences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return " ".join(self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        pairs = [{**vars(pair), "clear": pair.clear} for pair in self.pairs]
        head = {"outcome": self.outcome, "metric": self.metric, "greater_is_better": self.greater_is_better}
        groups = [group.to_dict() for group in self.groups]
        return {**head, "sentences": self.sentences, "groups": groups, "pairs": pairs}


def judge(runs: Sequence[ComparedRun], differences: Sequence[Difference], metric: str | None = None) -> Verdict:
    """Compare the groups of some runs.

    Parameters
    ----------
    runs : sequence of ComparedRun
    differences : sequence of Difference
    metric : str, optional
        By default as :func:`main_metric` chooses.
    """
    chosen = main_metric(runs, metric)
    groups = groups_of(runs, differences, chosen)
    if chosen is None:
        words = "The runs have no metric in common: evaluate during training, or name one with metric=."
        return Verdict("cannot be told", None, None, groups, [], 0, [words])
    greater = greater_is_better(chosen, runs)
    scored = [place for place, group in enumerate(groups) if group.values]
    scored.sort(key=lambda place: -groups[place].mean if greater else groups[place].mean)
    pairs: list[Pair] = []
    n_comparisons = len(scored) * (len(scored) - 1) // 2
    if len(scored) > 1:
        best, *others = scored
        texts = _Texts(runs, groups, chosen)
        pairs = [_pair(runs, groups, best, other, chosen, texts) for other in others]
        corrected = chance.holm([pair.p for pair in pairs], n_comparisons)
        pairs = [replace(pair, p=p) for pair, p in zip(pairs, corrected, strict=True)]
    clear = [pair for pair in pairs if pair.clear]
    if any(pair.method != "samples" for pair in clear):
        outcome = "clear difference"
    elif clear:
        outcome = "clear on these texts"
    else:
        outcome = "no clear difference" if any(pair.clear is False for pair in pairs) else "cannot be told"
    found = Verdict(outcome, chosen, greater, groups, pairs, n_comparisons)
    found.sentences.extend(sentences(found, runs, differences))
    return found


def _pair(
    runs: Sequence[ComparedRun], groups: Sequence[Group], best: int, other: int, metric: str, texts: _Texts
) -> Pair:
    a, b = groups[best], groups[other]
    first, second = list(a.values.values()), list(b.values.values())
    if why := why_incomparable(runs, a.used, b.used, metric):
        return Pair(best, other, "", metric, a.mean - b.mean, why_not=why)
    if a.diverged:
        # What is left of a setting that diverges was chosen by its result. In the other group that only flatters it.
        why = f"runs of {a.label} without a finite {metric} are not in its mean"
        return Pair(best, other, "", metric, a.mean - b.mean, why_not=why)
    shared = sorted(a.folds.keys() & b.folds.keys())
    may_pair = len(shared) > 1 and len(shared) == len(a.folds) == len(b.folds)
    same = may_pair and _same_folds(runs, a, b)
    if same:
        found, method, n = chance.folds([a.folds[k] - b.folds[k] for k in shared], len(shared)), "folds", len(shared)
    elif len(first) > 1 and len(second) > 1:
        found, method, n = chance.welch(first, second), "welch", len(first) + len(second)
    elif len(first) > 1 or len(second) > 1:
        one, many, sign = (first[0], second, 1) if len(first) == 1 else (second[0], first, -1)
        found, method, n = chance.one_and_many(one, many), "one and many", len(many) + 1
        if sign < 0:
            low, high = (None, None) if found.low is None or found.high is None else (-found.high, -found.low)
            found = chance.Difference95(-found.value, low, high, found.p)
    else:
        return texts.pair(best, other, first[0] - second[0])
    why = "" if found.p is not None else "each run of a group has the same value, so that chance cannot be estimated"
    unpaired = "The folds are compared unpaired: that both hold out the same samples is not known."
    note = unpaired if may_pair and not same else ""
    return Pair(best, other, method, metric, *found, n, why, note=note)


def _same_folds(runs: Sequence[ComparedRun], a: Group, b: Group) -> bool:
    """Tell whether the folds of two groups are known, by fingerprints, to hold out the same samples."""

    def held_out(group: Group) -> set[tuple[Any, Any]]:
        found = set()
        for place in group.runs:
            facts = runs[place].facts
            data = facts.get("data.eval", facts.get("data.test"))
            found.add((facts.get("fold"), data.get("fingerprint") if isinstance(data, Mapping) else None))
        return found

    ours, theirs = held_out(a), held_out(b)
    return ours == theirs and all(fingerprint for _, fingerprint in ours)


class _Texts:
    """Single runs, compared by the scores of their samples; texts are read when they are first asked for."""

    def __init__(self, runs: Sequence[ComparedRun], groups: Sequence[Group], metric: str) -> None:
        self._runs, self._groups, self._metric = runs, groups, metric
        self._read: dict[int, Any] = {}

    def pair(self, best: int, other: int, difference: float) -> Pair:
        """Compare two groups of one repetition each, by the texts of one run of each."""
        no = Pair(best, other, "", self._metric, difference, why_not="one run each: a second seed would tell")
        if other not in self._read and len(self._read) > _PREDICTIONS_READ:
            return replace(no, why_not=f"only the {_PREDICTIONS_READ} nearest to the best are compared")
        try:
            first, second = self._predictions(best), self._predictions(other)
            if first is None or second is None:
                return no
            metric = self._metric.removeprefix(f"{first.name}_")
            names = [name for name in (metric, "score", "rougeL") if name in first.scores and name in second.scores]
            same = [*map(tuple, first.references)] == [*map(tuple, second.references)]
            if not names or first.name != second.name or not same:
                return replace(no, why_not="one run each, and not of the same samples")
            pairs = compare(first, second, names[0]).pairs
        except (InputError, NothingToDraw) as error:
            return replace(no, why_not=f"one run each; their texts cannot be compared: {error}")
        if len(pairs) < chance.MIN_SAMPLES:
            return replace(no, why_not=f"one run each, and only {len(pairs)} samples that both have")
        found = chance.resampled([a - b for a, b in pairs])
        why = "" if found.p is not None else "each sample differs by the same"
        note = "" if any(a != b for a, b in pairs) else "all samples have the same score"
        contrary = found.value > 0 if first.lower(names[0]) else found.value < 0
        return Pair(best, other, "samples", names[0], *found, len(pairs), why, contrary, note)

    def _predictions(self, group: int) -> Any:
        if group not in self._read:
            runs = [self._runs[place] for place in self._groups[group].used]
            scored = [run for run in runs if self._metric in run.metrics]  # a first try may have crashed or diverged
            with_texts = (found for run in scored if (found := self._texts_of(run)) is not None)
            self._read[group] = next(with_texts, None)
        return self._read[group]

    def _texts_of(self, compared: ComparedRun) -> Any:
        """Read the texts of the evaluation that the metric is of; of another evaluation set they tell nothing."""
        run, step = Run(compared.path), compared.metrics[self._metric].step
        if not (run.path / "predictions.jsonl").is_file():
            return None
        names: set[str] = set()
        at_step = []
        for row in run.iter_rows("predictions.jsonl"):  # those of the other steps are not kept
            name = str(row.get("name", "eval"))
            names.add(name)
            if row.get("step") == step:
                at_step.append((name, row))
        own_set = self._metric.startswith(("test_", "predict_"))
        name = max(
            (one for one in names if self._metric.startswith(f"{one}_")), key=len, default="" if own_set else "eval"
        )
        own = [row for one, row in at_step if one == name] or (run.latest_predictions(name) if name else [])
        if not own:
            return None
        found = read_predictions([row for row in own if row.get("time") == own[-1].get("time")], name=name)
        if not found.scores:
            add_scores(found)
        return found
