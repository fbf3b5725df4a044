"""Which metric is the score of several runs."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run import Run

__all__ = ["named_metric", "usual_metric"]

_FAVOURITES = ("eval_rougeL", "eval_rouge1", "eval_bleu", "eval_loss")
_NO_SCORES = ("time", "step", "epoch", "attempt")
_NO_SCORE_ENDINGS = ("_runtime", "_per_second", "_samples", "_loss_raw", "_loss_scale")


def named_metric(runs: Sequence[Run], metric: str) -> str:
    """Find the name that a metric has in the rows: with or without ``eval_`` in front.

    Raises
    ------
    InputError
        If no run has it, and there are others to choose from.
    """
    there = sorted(
        {
            key
            for run in runs
            for row in run.metrics
            for key, value in row.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and key not in _NO_SCORES
        }
    )
    found = [name for name in (metric, f"eval_{metric}") if name in there]
    if not found and any(name.startswith("eval_") for name in there):
        scores = [name for name in there if name.startswith("eval_") and not name.endswith(_NO_SCORE_ENDINGS)]
        close = difflib.get_close_matches(metric, [*there, *(name.removeprefix("eval_") for name in scores)], 1)
        meant = f" (did you mean {close[0]!r}?)" if close else ""
        listed = ", ".join(scores[:12]) + (f" and {len(scores) - 12} more" if len(scores) > 12 else "")
        raise InputError(f"no run has a metric {metric!r}{meant}. Pass metric= with one that there is: {listed}.")
    return found[0] if found else metric


def usual_metric(runs: Sequence[Run], wanted: Iterable[Any]) -> str:
    """Find the score of runs for which none was named.

    It is their ``metric_for_best_model`` (`wanted`), else the one of ROUGE-L, ROUGE-1, BLEU and loss that most have.

    Raises
    ------
    NothingToDraw
        If they have none of these.
    """
    there = [
        {key for row in run.metrics.of("eval") for key, value in row.items() if isinstance(value, int | float)}
        for run in runs
    ]
    chosen = list(wanted)
    candidates = [name for one in chosen for name in (str(one), f"eval_{one}")] if len(chosen) == 1 else []
    counts = {name: sum(name in keys for keys in there) for name in (*candidates, *_FAVOURITES)}
    for names in (candidates, _FAVOURITES):
        most = max((counts[name] for name in names), default=0)
        if most:
            return next(name for name in names if counts[name] == most)
    raise NothingToDraw(
        f"{len(runs)} run{'s' * (len(runs) > 1)} without evaluations of {', '.join(_FAVOURITES)}: evaluate during "
        "training, or pass metric= with a name that is in metrics.jsonl."
    )
