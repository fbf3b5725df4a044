"""Runs that are alike but for seed or fold, as groups."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.report.compared_facts import canonical
from hf_monitor.report.compared_runs import ComparedRun
from hf_monitor.report.differences import Difference, seeds_of, shown
from hf_monitor.report.incomparable import is_unfinished, scored_otherwise, scoring_of

__all__ = ["Group", "groups_of"]

_SETTINGS = 3  # in a label
_LONGEST = 80  # characters of them
_BESIDE_NAME = 40


@dataclass(frozen=True)
class Group:
    """Runs that are alike but for seed or fold.

    Attributes
    ----------
    label : str
        Its settings where groups differ: ``"learning_rate=0.001"``; of a single run its name.
    runs : list of int
        Places of its runs.
    values : dict of str to float
        Value of the metric of each repetition that has one. Runs of the same seed and fold are one: it has their mean.
    folds : dict of int to float
        Those values by fold; empty unless every run is a fold.
    same_seed : int
        Runs that share seed and fold with another one of the group.
    diverged : list of int
        Places of runs that ended without a finite value of the metric, and no other run of their seed and fold has one.
    left_out : tuple of int
        Places of runs that are not finished, where others of the group are: no value is taken of them.
    """

    label: str
    runs: list[int]
    values: dict[str, float]
    folds: dict[int, float]
    same_seed: int = 0
    diverged: list[int] = field(default_factory=list)
    left_out: tuple[int, ...] = ()

    @property
    def used(self) -> list[int]:
        """Places of the runs whose values count."""
        return [place for place in self.runs if place not in self.left_out]

    @property
    def mean(self) -> float:
        """Of the repetitions."""
        return statistics.fmean(self.values.values())

    @property
    def sd(self) -> float | None:
        """Standard deviation over the repetitions (n - 1); None for one."""
        return statistics.stdev(self.values.values()) if len(self.values) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain data."""
        mean = self.mean if self.values else None
        return {"label": self.label, "runs": self.runs, "n": len(self.values), "mean": mean, "sd": self.sd}


def groups_of(runs: Sequence[ComparedRun], differences: Sequence[Difference], metric: str | None) -> list[Group]:
    """Make groups, in the order of their first run: what may change what is learnt parts them, seed and fold do not.

    Parameters
    ----------
    runs : sequence of ComparedRun
    differences : sequence of Difference
        Between all of them.
    metric : str or None
    """
    parting = [row for row in differences if row.parts]
    places: dict[tuple[str, ...], list[int]] = {}
    scoring = [] if metric is None else scored_otherwise(runs, metric)
    for place, run in enumerate(runs):
        own = scoring_of(run, metric) if metric is not None and scoring else {}
        settings = (*(canonical(row.values[place]) for row in parting), *(own.get(key, "") for key in scoring))
        places.setdefault(settings, []).append(place)
    labels = [_label(runs, parting, own) for own in places.values()]
    return [_group(runs, own, metric, label) for own, label in zip(places.values(), labels, strict=True)]


def _label(runs: Sequence[ComparedRun], parting: Sequence[Difference], own: Sequence[int]) -> str:
    name = runs[own[0]].name
    settings = [row for row in parting if row.area == "configuration"] or (parting if len(own) > 1 else [])
    if not settings or len(settings) > _SETTINGS:
        return name if len(own) == 1 else f"{name} and {len(own) - 1} more"
    text = ", ".join(f"{row.short}={shown(row.values[own[0]])}" for row in settings)
    if len(own) == 1:
        return f"{name} ({text})" if len(text) <= _BESIDE_NAME else name
    return text if len(text) <= _LONGEST else f"{name} and {len(own) - 1} more"


def _group(runs: Sequence[ComparedRun], own: Sequence[int], metric: str | None, label: str) -> Group:
    found: dict[str, list[float]] = {}
    by_fold: dict[int, list[float]] = {}
    all_folds = True
    empty: dict[int, str] = {}
    open_ended = tuple(place for place in own if is_unfinished(runs[place]))
    left_out = open_ended if len(open_ended) < len(own) else ()
    for place in own:
        run = runs[place]
        scored = run.metrics.get(metric) if metric is not None and place not in left_out else None
        if scored is None:
            if _has_diverged(run, metric):
                empty[place] = _repetition(run.facts, place)
            continue
        fold = run.facts.get("fold")
        found.setdefault(_repetition(run.facts, place), []).append(scored.best)
        if isinstance(fold, int):
            by_fold.setdefault(fold, []).append(scored.best)
        else:
            all_folds = False
    return Group(
        label,
        list(own),
        {key: statistics.fmean(values) for key, values in found.items()},
        {fold: statistics.fmean(values) for fold, values in sorted(by_fold.items())} if all_folds else {},
        sum(len(values) for values in found.values() if len(values) > 1),
        [place for place, key in empty.items() if key not in found],
        left_out,
    )


def _has_diverged(run: ComparedRun, metric: str | None) -> bool:
    """Tell whether a run without a value may have none since it diverged, also where it was ended before evaluated."""
    if metric in run.not_finite:
        return True
    return metric not in run.metrics and (run.status == "finished" or "loss" in run.not_finite)


def _repetition(facts: Mapping[str, Any], place: int) -> str:
    """Name a repetition by its seeds and fold; a run without a seed on record is one of its own."""
    (seeds,) = seeds_of([facts])
    return f"run {place}" if seeds is None else " ".join(seeds)
