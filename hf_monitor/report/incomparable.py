"""What forbids to say which of two groups of runs is better."""

from __future__ import annotations

from collections.abc import Sequence

from hf_monitor.report.compared_facts import Absent, canonical
from hf_monitor.report.compared_runs import ComparedRun

__all__ = ["is_unfinished", "scored_otherwise", "scoring_of", "why_incomparable"]

_TEXT_METRICS = "text_metrics."
_NAMED = 3
#: A loss with smoothing is larger, that of texts depends on the vocabulary, and the Trainer multiplies it by the number
#: of processes where it averages over tokens (``Trainer.compute_loss``, transformers 5). That is taken out of what is
#: recorded where ``eval_loss_scaling`` says so; older records do not say.
_OF_LOSS = ("arguments.label_smoothing_factor", "model.config.vocab_size", "devices.world_size")


def is_unfinished(run: ComparedRun) -> bool:
    """Tell whether steps of a run are still missing, or never came."""
    return run.status != "finished" and (run.max_steps is None or run.step < run.max_steps)


def scoring_of(run: ComparedRun, metric: str) -> dict[str, str]:
    """Give what a run records of how a metric is computed: ``"rouge.tokenizer.en"``, ``"label_smoothing_factor"``."""
    if metric.endswith("loss"):
        is_known = run.facts.get("eval_loss_scaling.verdict") in ("as logged", "scaled")
        return {
            name.rpartition(".")[2]: canonical(1 if is_known and name == "devices.world_size" else run.facts[name])
            for name in _OF_LOSS
            if run.facts.get(name) is not None and not isinstance(run.facts[name], Absent)
        }
    found = {}
    for name, value in run.facts.items():
        evaluation, _, key = name.removeprefix(_TEXT_METRICS).partition(".")
        if name.startswith(_TEXT_METRICS) and metric.startswith(f"{evaluation}_") and _is_of(key, metric):
            found[key] = canonical(value)
    return found


def scored_otherwise(runs: Sequence[ComparedRun], metric: str) -> list[str]:
    """Give what is not the same in how runs compute a metric; what a run does not record is not different."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for key, value in scoring_of(run, metric).items():
            found.setdefault(key, set()).add(value)
    return [key for key, values in found.items() if len(values) > 1]


def _is_of(key: str, metric: str) -> bool:
    """Tell whether a part of the signature is of a metric: BLEU's says nothing about ROUGE."""
    family = key.partition(".")[0]
    if family == "bleu":
        return "bleu" in metric
    return family != "rouge" or "rouge" in metric or metric.endswith("_score")


def why_incomparable(runs: Sequence[ComparedRun], first: Sequence[int], second: Sequence[int], metric: str) -> str:
    """Say why the runs at some places and those at others cannot be compared; empty where they can.

    Parameters
    ----------
    runs : sequence of ComparedRun
    first, second : sequence of int
        Places of the runs whose values would be compared.
    metric : str
    """
    both = [runs[place] for place in (*first, *second)]
    if keys := scored_otherwise(both, metric):
        more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
        return f"their scores were computed in different ways: {', '.join(keys[:_NAMED])}{more}"
    open_ended = [run for run in both if is_unfinished(run)]
    if open_ended and len({run.step for run in both}) > 1:
        said = [
            f"{run.name} is not finished: {run.status} at step {run.step:,}"
            + (f" of {run.max_steps:,}" if run.max_steps else "")
            for run in open_ended[:_NAMED]
        ]
        more = f"; {len(open_ended) - _NAMED} more are not finished" if len(open_ended) > _NAMED else ""
        return "; ".join(said) + more
    return ""
