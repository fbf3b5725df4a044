"""Runs that are alike but for seed or fold, as groups."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.report.compared_facts import Absent, canonical
from hf_monitor.report.compared_runs import ComparedRun
from hf_monitor.report.differences import SEEDS, Difference, shown

__all__ = ["Group", "groups_of"]

_SETTINGS = 3  # in a label


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
    without : list of int
        Places of runs that have no finite value of the metric, nor has another run of their seed and fold.
    """

    label: str
    runs: list[int]
    values: dict[str, float]
    folds: dict[int, float]
    same_seed: int = 0
    without: list[int] = field(default_factory=list)

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
    parting = [row for row in differences if row.matters and row.name not in SEEDS]
    places: dict[tuple[str, ...], list[int]] = {}
    for place in range(len(runs)):
        places.setdefault(tuple(canonical(row.values[place]) for row in parting), []).append(place)
    labels = [_label(runs, parting, own) for own in places.values()]
    return [_group(runs, own, metric, label) for own, label in zip(places.values(), labels, strict=True)]


def _label(runs: Sequence[ComparedRun], parting: Sequence[Difference], own: Sequence[int]) -> str:
    name = runs[own[0]].name
    settings = [row for row in parting if row.area == "configuration"] or (parting if len(own) > 1 else [])
    if not settings or len(settings) > _SETTINGS:
        return name if len(own) == 1 else f"{name} and {len(own) - 1} more"
    text = ", ".join(f"{row.short}={shown(row.values[own[0]], 40)}" for row in settings)
    return text if len(own) > 1 else f"{name} ({text})"


def _group(runs: Sequence[ComparedRun], own: Sequence[int], metric: str | None, label: str) -> Group:
    found: dict[str, list[float]] = {}
    by_fold: dict[int, list[float]] = {}
    all_folds = True
    empty: dict[int, str] = {}
    for place in own:
        run = runs[place]
        scored = run.metrics.get(metric) if metric is not None else None
        if scored is None:
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
    )


def _repetition(facts: Mapping[str, Any], place: int) -> str:
    """Name a repetition by its seeds and fold; a run without a seed on record is one of its own."""
    seeds = [facts.get(name, Absent.NOT_RECORDED) for name in sorted(SEEDS)]
    if facts.get("arguments.seed", facts.get("seed")) is None:
        return f"run {place}"
    return " ".join(map(canonical, seeds))
