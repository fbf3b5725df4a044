"""Which runs are better, and whether that is more than chance: sentences with their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.charts.comparing import compare
from hf_monitor.charts.prediction_scores import add_scores
from hf_monitor.charts.predictions import read_predictions
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.report import chance
from hf_monitor.report.alike import Group, groups_of
from hf_monitor.report.compared_runs import ComparedRun, greater_is_better, main_metric
from hf_monitor.report.differences import Difference
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

    @property
    def clear(self) -> bool | None:
        """Whether the difference is more than chance; None where it cannot be told."""
        return None if self.p is None else self.p <= chance.LEVEL


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
        pairs = [Pair(**{**vars(pair), "p": p}) for pair, p in zip(pairs, corrected, strict=True)]
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
    shared = sorted(a.folds.keys() & b.folds.keys())
    if len(shared) > 1 and len(shared) == len(a.folds) == len(b.folds) and _same_folds(runs, a, b):
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
    return Pair(best, other, method, metric, *found, n, why)


def _same_folds(runs: Sequence[ComparedRun], a: Group, b: Group) -> bool:
    """Tell whether the folds of two groups hold out the same samples."""

    def held_out(group: Group) -> dict[Any, Any]:
        return {
            runs[place].facts.get("fold"): repr(runs[place].facts.get("data.eval", runs[place].facts.get("data.test")))
            for place in group.runs
        }

    return held_out(a) == held_out(b)


class _Texts:
    """Single runs, compared by the scores of their samples; texts are read when they are first asked for."""

    def __init__(self, runs: Sequence[ComparedRun], groups: Sequence[Group], metric: str) -> None:
        self._runs, self._groups, self._metric = runs, groups, metric
        self._read: dict[int, Any] = {}

    def pair(self, best: int, other: int, difference: float) -> Pair:
        """Compare two groups of one run each."""
        no = Pair(best, other, "", self._metric, difference, why_not="one run each: a second seed would tell")
        if other not in self._read and len(self._read) > _PREDICTIONS_READ:
            return Pair(**{**vars(no), "why_not": f"only the {_PREDICTIONS_READ} nearest to the best are compared"})
        try:
            first, second = self._predictions(best), self._predictions(other)
            if first is None or second is None:
                return no
            metric = self._metric.removeprefix("eval_")
            names = [name for name in (metric, "score", "rougeL") if name in first.scores and name in second.scores]
            if not names or [*map(tuple, first.references)] != [*map(tuple, second.references)]:
                return Pair(**{**vars(no), "why_not": "one run each, and not of the same samples"})
            pairs = compare(first, second, names[0]).pairs
        except (InputError, NothingToDraw) as error:
            return Pair(**{**vars(no), "why_not": f"one run each; their texts cannot be compared: {error}"})
        if len(pairs) < chance.MIN_SAMPLES:
            return Pair(**{**vars(no), "why_not": f"one run each, and only {len(pairs)} samples that both have"})
        found = chance.resampled([a - b for a, b in pairs])
        why = "" if found.p is not None else "each sample differs by the same"
        return Pair(best, other, "samples", names[0], *found, len(pairs), why)

    def _predictions(self, group: int) -> Any:
        if group not in self._read:
            run = Run(self._runs[self._groups[group].runs[0]].path)
            self._read[group] = None
            if (run.path / "predictions.jsonl").is_file():
                step = self._runs[self._groups[group].runs[0]].metrics[self._metric].step
                own = [
                    row
                    for row in run.iter_rows("predictions.jsonl")  # those of the other steps are not kept
                    if row.get("step") == step and row.get("name", "eval") == "eval"
                ]
                if own := own or run.latest_predictions("eval"):
                    last = [row for row in own if row.get("time") == own[-1].get("time")]
                    found = read_predictions(last)
                    if not found.scores:
                        add_scores(found)
                    self._read[group] = found
        return self._read[group]
