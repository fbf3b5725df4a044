"""The sentences of a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hf_monitor.report.compared_runs import ComparedRun
from hf_monitor.report.differences import SEEDS, Difference, seeds_of
from hf_monitor.report.run_labels import may_be_labels
from hf_monitor.report.words import number

if TYPE_CHECKING:
    from hf_monitor.report.alike import Group
    from hf_monitor.report.verdict import Pair, Verdict

__all__ = ["pair_words", "sentences"]

_NAMED = 4
METHODS = {
    "welch": "Welch's t test over the repetitions",
    "folds": "paired t test over the folds, corrected for their common training data (Nadeau and Bengio 2003)",
    "one and many": "one run against a group, with the group's spread (Crawford and Howell 1998)",
    "samples": "paired bootstrap over the samples of the evaluation (Koehn 2004)",
    "": "",
}


def sentences(verdict: Verdict, runs: Sequence[ComparedRun], differences: Sequence[Difference]) -> list[str]:
    """Say what the comparison comes to, the answer first."""
    metric, groups = verdict.metric, verdict.groups
    there = [group for group in groups if group.values]
    if len(there) < 2:
        return [*_alone(verdict, runs, differences), *_grouping(groups, runs, differences), *_same_seed(verdict)]
    best = groups[verdict.pairs[0].best]
    end = "higher" if verdict.greater_is_better else "lower"
    clear = [pair for pair in verdict.pairs if pair.clear]
    contrary = [pair for pair in verdict.pairs if pair.clear is None and pair.p is not None]
    equal = [pair for pair in verdict.pairs if pair.method == "samples" and pair.note]
    unclear = [pair for pair in verdict.pairs if pair.clear is False and pair not in equal]
    unknown = [pair for pair in verdict.pairs if pair.p is None]
    if same := all(group.mean == best.mean for group in there):
        head = f"All have the same best {metric}, {number(best.mean)}."
    else:
        head = f"The best {metric} ({end} is better) is of {best.label}: {number(best.mean)} ({_mean_of(best)})."
    opening = "" if clear else f"{_capital(verdict.outcome)}. "
    said = [f"{opening}{head}"]
    if sure := [pair for pair in clear if pair.method != "samples"]:
        said.append(f"It is clearly better than {_listed(verdict, sure)}.")
    if here := [pair for pair in clear if pair.method == "samples"]:
        said.append(
            f"On these texts it is better than {_listed(verdict, here)}: one run each, which covers the choice of the "
            "texts, not the seed. Train each with two more seeds to know whether the setting is better."
        )
    if any(pair.method == "one and many" for pair in sure):
        said.append(
            "Of a single run it is not known how far another seed would go: as far as in the group, it is taken."
        )
    if unclear and not same:
        said.append(f"Against {_listed(verdict, unclear)} it may be chance.")
    if equal:
        names = ", ".join(groups[pair.other].label for pair in equal[:_NAMED])
        more = f" and {len(equal) - _NAMED} more" if len(equal) > _NAMED else ""
        said.append(f"With {names}{more} it has the same score of every sample.")
    said.extend(
        f"By {metric} {best.label} is ahead, by {pair.metric} of the texts {groups[pair.other].label} is clearly ahead "
        f"({pair_words(pair)}): which is better depends on what counts."
        for pair in contrary[:_NAMED]
    )
    if unknown:
        for why in dict.fromkeys(pair.why_not for pair in unknown):
            alike = [pair for pair in unknown if pair.why_not == why]
            names = ", ".join(groups[pair.other].label for pair in alike[:_NAMED])
            more = f" and {len(alike) - _NAMED} more" if len(alike) > _NAMED else ""
            said.append(f"Against {names}{more} it cannot be told ({why}).")
    said.extend(dict.fromkeys(pair.note for pair in verdict.pairs if pair.note and pair.method != "samples"))
    said.extend(_diverged(verdict))
    if not here and any(pair.method == "samples" and not pair.note for pair in verdict.pairs):
        said.append(
            "Single runs are compared by the samples of their evaluation: that covers the choice of the texts, not the "
            "seed."
        )
    said += _grouping(groups, runs, differences)
    if [row.name for row in differences if row.area == "data" and row.name not in ("fold", "data.train")]:
        said.append("The evaluation data differ: part of a difference may come from them.")
    if any(pair.method == "samples" and f"eval_{pair.metric}" != metric for pair in verdict.pairs):
        own = next(pair.metric for pair in verdict.pairs if pair.method == "samples")
        said.append(f"Samples have no {metric} of their own; they are compared by {own}.")
    if verdict.n_comparisons > 1 and any(pair.p is not None for pair in verdict.pairs):
        said.append(f"The p values are corrected for {verdict.n_comparisons:,} comparisons (Holm).")
    return said + _same_seed(verdict)


def _grouping(groups: Sequence[Group], runs: Sequence[ComparedRun], differences: Sequence[Difference]) -> list[str]:
    """Say what was taken as a label, what may be one, and which runs were left out of their group."""
    said = []
    if of_names := [row.short for row in differences if row.label]:
        said.append(f"{', '.join(of_names[:_NAMED])} of the command is taken as a name of the runs, not as a setting.")
    if all(len(group.runs) == 1 for group in groups):
        parting = {row.name: row.values for row in differences if row.parts}
        if maybe := may_be_labels(parting, seeds_of([run.facts for run in runs])):
            names = ", ".join(name.removeprefix("command.") for name in maybe[:_NAMED])
            said.append(
                f"Seeds are not grouped because of {names} of the command, which is different in every run. If that is "
                "a name and no setting, call the option --run_name."
            )
    left = [runs[place].name for group in groups for place in group.left_out]
    if left:
        more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        are = "is" if len(left) == 1 else "are"
        said.append(f"{', '.join(left[:_NAMED])}{more} {are} not finished, and no part of the group's values.")
    return said


def _alone(verdict: Verdict, runs: Sequence[ComparedRun], differences: Sequence[Difference]) -> list[str]:
    there = [group for group in verdict.groups if group.values]
    if not there and len(verdict.groups) == 1 and (lost := _diverged(verdict)):
        return lost
    if not there:
        return [f"No run has a value of {verdict.metric}."]
    if len(verdict.groups) > 1:
        only = f"Cannot be told: only {there[0].label} has a finite value of {verdict.metric}."
        return [only, *_diverged(verdict)]
    group = there[0]
    values = list(group.values.values())
    by = [row.short for row in differences if row.name in SEEDS]
    if not by:
        spread = [run.metrics[verdict.metric].best for run in runs if verdict.metric in run.metrics]
        low, high = number(min(spread)), number(max(spread))
        same = f"all have {verdict.metric} {low}" if low == high else f"their {verdict.metric} is from {low} to {high}"
        what = "changes what is learnt" if differences else "is recorded"
        return [f"Nothing that {what} differs between these {len(runs)} runs; {same}."]
    what = f"{verdict.metric} is {number(group.mean)} in the mean"
    if group.sd is not None:
        what += f", with a standard deviation of {number(group.sd, 2)} ({number(min(values))} to {number(max(values))})"
    return [
        f"These {len(runs)} runs differ by {' and '.join(by)} only: {what}.",
        "There is nothing else to compare: what differs is what chance makes.",
        *_diverged(verdict),
    ]


def _mean_of(group: Group) -> str:
    n, of = len(group.values), f" of {len(group.values) + len(group.diverged)}" if group.diverged else ""
    what = "folds" if group.folds else "runs"
    if n > 1:
        return f"mean of {n}{of} {what}"
    if group.same_seed:
        return f"mean of {group.same_seed} runs of one seed"
    return f"1{of} {what}" if of else "one run"


def _diverged(verdict: Verdict) -> list[str]:
    """Say of which groups a mean is only of the runs that are left."""
    said = []
    for group in verdict.groups:
        if group.diverged and len(group.runs) > 1:
            left = ": its mean is of those that are left" if group.values else ""
            which = f"{len(group.diverged)} of {len(group.runs)} runs of {group.label}"
            said.append(f"{which} ended without a finite {verdict.metric} (diverged?){left}.")
    return said


def _same_seed(verdict: Verdict) -> list[str]:
    if not (n := sum(group.same_seed for group in verdict.groups)):
        return []
    return [
        f"{n} runs have settings, seed and fold in common with another one: such runs count as one, since they do not "
        "show what another seed would do."
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _listed(verdict: Verdict, pairs: Sequence[Pair]) -> str:
    parts = [f"{verdict.groups[pair.other].label} ({pair_words(pair)})" for pair in pairs[:_NAMED]]
    more = [f"{len(pairs) - _NAMED} more"] if len(pairs) > _NAMED else []
    parts += more
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def pair_words(pair: Pair) -> str:
    """Write a difference with its interval and p."""
    if pair.difference is None:
        return ""
    if pair.method == "samples" and pair.note:
        return pair.note
    said = f"difference {number(pair.difference, 3)}"
    if pair.low is not None:
        said += f", 95 % interval {number(pair.low, 3)} to {number(pair.high, 3)}"
    return said if pair.p is None else f"{said}, p {'below 0.001' if pair.p < 0.001 else f'= {pair.p:.2g}'}"
