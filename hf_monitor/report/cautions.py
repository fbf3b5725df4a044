"""Why the numbers of some runs may not be comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hf_monitor.report.compared_facts import canonical
from hf_monitor.report.compared_runs import ComparedRun
from hf_monitor.report.differences import Difference
from hf_monitor.report.incomparable import scored_otherwise
from hf_monitor.report.words import number

__all__ = ["Caution", "cautions", "names_of"]

_NAMED = 4
_MAY_GO_ON = ("running", "unknown")


class Caution(NamedTuple):
    """A warning of a comparison.

    Attributes
    ----------
    code : str
        ``"scores"``, ``"evaluation data"``, ``"training data"``, ``"code"``, ``"packages"``, ``"machine"``,
        ``"diverged"``, ``"status"``, ``"steps"``, ``"evaluations"``, ``"data not known"``, ``"copy"``, ``"left out"``.
    text : str
    """

    code: str
    text: str


def names_of(runs: Sequence[ComparedRun], places: Sequence[int]) -> str:
    """Name runs by their places, a few of many."""
    if len(places) == len(runs):
        return "all runs"
    names = ", ".join(runs[place].name for place in places[:_NAMED])
    return names + (f" and {len(places) - _NAMED} more" if len(places) > _NAMED else "")


def cautions(runs: Sequence[ComparedRun], differences: Sequence[Difference], metric: str | None) -> list[Caution]:
    """Find what stands against a comparison, the gravest first."""
    by_name = {row.name: row for row in differences}
    said: list[Caution] = []

    def add(code: str, text: str) -> None:
        said.append(Caution(code, text))

    if signature := [row.name.removeprefix("text_metrics.") for row in differences if row.area == "scores"]:
        which = ", ".join(signature[:_NAMED])
        add("scores", f"Scores were computed in different ways ({which}): such scores cannot be compared at all.")
    if metric is not None and metric.endswith("loss") and (keys := scored_otherwise(runs, metric)):
        add("scores", f"{metric} is computed in different ways ({', '.join(keys)}): it cannot be compared at all.")
    data = [row.name for row in differences if row.area == "data" and row.name != "fold"]
    if held_out := [name for name in data if name != "data.train"]:
        add(
            "evaluation data",
            f"The evaluation data differ ({', '.join(held_out)}): scores are not of the same samples.",
        )
    if "data.train" in data:
        add("training data", "The training data differ (data.train).")
    if "git.commit" in by_name:
        add("code", "The code differs (git.commit).")
    dirty = [place for place, run in enumerate(runs) if run.facts.get("git.dirty") is True]
    if dirty:
        who = names_of(runs, dirty)
        add("code", f"The code of {who} had changes that were not committed: it may differ more than the commit says.")
    if packages := [row for row in differences if row.name.startswith("packages.")]:
        which = ", ".join(row.name.removeprefix("packages.") for row in packages)
        add("packages", f"Versions of packages differ ({which}).")
    if machine := [row.name for row in differences if row.name in ("devices.gpus", "devices.device", "precision")]:
        add(
            "machine",
            f"The machines differ ({', '.join(machine)}): time and memory, and the last digits of scores, too.",
        )
    if diverged := _diverged(runs, metric):
        add("diverged", diverged)
    open_ended = Counter(run.status for run in runs if run.status != "finished")
    if open_ended:
        which = "; ".join(
            f"{names_of(runs, [k for k, run in enumerate(runs) if run.status == status])}: {status}"
            for status in open_ended
        )
        add("status", f"Not all runs are finished ({which}): {_to_come(runs)}.")
    if len(steps := {run.step for run in runs}) > 1:
        add("steps", f"The runs have different numbers of steps, {min(steps):,} to {max(steps):,}.")
    counts = {scored.n for run in runs if metric is not None and (scored := run.metrics.get(metric)) is not None}
    if len(counts) > 1:
        more = "the best of more values is better by chance alone"
        add("evaluations", f"{metric} was evaluated {min(counts)} to {max(counts)} times: {more}.")
    return said + _unknown_data(runs) + _copies(runs, differences)


def _diverged(runs: Sequence[ComparedRun], metric: str | None) -> str:
    said = []
    for run in runs:
        lost: dict[str, list[str]] = {}
        for name in dict.fromkeys((metric or "loss", "eval_loss", "loss")):
            if (end := run.not_finite.get(name)) is not None:
                how = "never finite" if end.always else f"{number(end.value)} from step {end.since:,}"
                lost.setdefault(how, []).append(name)
        if lost:
            how_lost = "; ".join(f"{', '.join(names)}: {how}" for how, names in lost.items())
            said.append(f"{run.name} ({how_lost})")
    more = f" and {len(said) - _NAMED} more" if len(said) > _NAMED else ""
    return f"Values are not finite in {', '.join(said[:_NAMED])}{more}: best values are from before." if said else ""


def _to_come(runs: Sequence[ComparedRun]) -> str:
    """Say whether unfinished runs may still get better: one that ended otherwise will not."""
    going = [place for place, run in enumerate(runs) if run.status in _MAY_GO_ON]
    if not going:
        return "these have the best until their end only"
    if any(run.status not in ("finished", *_MAY_GO_ON) for run in runs):
        return f"best values may still come of {names_of(runs, going)}, of the others that are not finished none"
    return "best values may still come"


def _unknown_data(runs: Sequence[ComparedRun]) -> list[Caution]:
    said = []
    for name in sorted({name for run in runs for name in run.facts if name.startswith("data.")}):
        values = [run.facts.get(name) for run in runs]
        places = [k for k, one in enumerate(values) if isinstance(one, Mapping) and not one.get("fingerprint")]
        missing = [k for k, one in enumerate(values) if one is None and _has_used(runs[k], name)]
        if missing:
            who = names_of(runs, missing)
            said.append(Caution("data not known", f"Whether {name} is the same is not known: {who} did not record it."))
        if places:
            who = names_of(runs, places)
            said.append(
                Caution("data not known", f"Whether {name} is the same is not known: {who} could not be fingerprinted.")
            )
    return said


def _has_used(run: ComparedRun, name: str) -> bool:
    """Tell whether a run has anything of a data set: scores of ``data.eval``, a training on ``data.train``."""
    own = name.removeprefix("data.").partition(".")[0]
    recorded = any(one.startswith("data.") for one in run.facts)  # else an older version: it is said once, beside
    return recorded and (own == "train" or any(metric.startswith(f"{own}_") for metric in run.metrics))


def _copies(runs: Sequence[ComparedRun], differences: Sequence[Difference]) -> list[Caution]:
    places: dict[str, list[int]] = {}
    for place, run in enumerate(runs):
        if run.run_id:
            places.setdefault(run.run_id, []).append(place)
    said = []
    for run_id, own in places.items():
        if len(own) < 2:
            continue
        who = names_of(runs, own) if len(own) < len(runs) else "All of them"
        changed = [row.name for row in differences if len({canonical(row.values[place]) for place in own}) > 1]
        if changed:
            more = f" and {len(changed) - _NAMED} more" if len(changed) > _NAMED else ""
            by = f"{', '.join(changed[:_NAMED])}{more}"
            text = f"{who} began as copies of one run ({run_id}) and differ since ({by}): what they share counts twice."
        else:
            text = f"{who} are copies of one run ({run_id})."
        said.append(Caution("copy", text))
    return said
