"""What W&B's config and summary hold of a run: its facts, and its best scores at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.run.reader import Rows, Run

__all__ = ["config_of", "final_summary"]

_NESTED = ("model", "data")
_LEFT_OUT = frozenset(("arguments", "attempts", "format", "created", *_NESTED))
_ROUGES = ("rougel", "rougelsum", "rouge1", "rouge2", "rouge")
_SPEEDS = ("_runtime", "_per_second", "_gen_len")
_OTHERS = ("predict_", "test_", "train_")  # no score of an evaluation during the training
_OWN = frozenset(("time", "attempt", "step", "epoch", "weights_step"))


class _Part(Run):
    """Those attempts of a run folder that are one W&B run."""

    def __init__(self, path: Path, attempts: Collection[int]) -> None:
        super().__init__(path)
        self._only = frozenset(attempts)

    @cached_property
    def rows(self) -> Rows:
        return Rows(row for row in self._read("metrics.jsonl") if row.get("attempt") in self._only)


def config_of(spec: MirrorSpec) -> dict[str, Any]:
    """Collect the config: the arguments one by one, the user's own last, and all else under ``hf_monitor``.

    Parameters
    ----------
    spec : MirrorSpec

    Returns
    -------
    dict
        Empty keys are left out (W&B has no name for them).
    """
    facts = _Part(spec.folder, spec.attempts).training_facts
    arguments = facts.get("arguments")
    found: dict[str, Any] = dict(arguments) if isinstance(arguments, dict) else {}
    found |= {name: facts[name] for name in _NESTED if name in facts}
    model = facts.get("model")
    if isinstance(model, dict) and isinstance(model.get("n_parameters"), int):
        found["model/num_parameters"] = model["n_parameters"]  # as transformers names it
    ours = {name: value for name, value in facts.items() if name not in _LEFT_OUT}
    found["hf_monitor"] = {**ours, "run_dir": spec.run_dir}
    found |= spec.config
    return {str(name): value for name, value in found.items() if str(name).strip("-")}


def final_summary(run_dir: Path, attempts: Collection[int]) -> dict[str, Any]:
    """Say how a run came out.

    Parameters
    ----------
    run_dir : Path
    attempts : collection of int
        Of the W&B run.

    Returns
    -------
    dict
        ``status``; ``total_time`` (seconds of training, all attempts); of the metric that ``best_metric`` names
        ``best_value``, ``best_step``, ``best_epoch``, and ``best_rouge`` where it is a ROUGE; the scores of the last
        evaluation of test data under their names in the row. What is not known is not there.
    """
    run = _Part(run_dir, attempts)
    found: dict[str, Any] = {"status": str(run.status)}
    seconds = run.duration_seconds
    if seconds is None:
        seconds = _logged_seconds(run.rows)
    if seconds is not None:
        found["total_time"] = round(seconds, 3)
    metric = _main_metric(run.metric_names, run.config)
    best = None if metric is None else run.best(metric)
    if metric is not None and best is not None:
        found |= {"best_metric": metric, "best_value": best.value, "best_step": best.step}
        if "rouge" in metric.lower():
            found["best_rouge"] = best.value
        epoch = _epoch_of(run.metrics, metric, best.value)
        if epoch is not None:
            found["best_epoch"] = epoch
    tested = [row for row in run.rows if row.get("kind") == "predict" or any(str(k).startswith("test_") for k in row)]
    found |= _scores_of(tested[-1]) if tested else {}
    return found


def _main_metric(names: list[str], config: Mapping[str, Any]) -> str | None:
    """Choose the metric that "best" is said of: ROUGE, else the one for the best model, else BLEU, else the loss."""
    own = [
        name for name in names if not name.startswith(("predict_", "test_", "train_")) and not name.endswith(_SPEEDS)
    ]
    own.sort(key=lambda name: not name.startswith("eval_"))
    wanted = str(config.get("metric_for_best_model") or "")
    said = [name for name in own if wanted and name.removeprefix("eval_") == wanted.removeprefix("eval_")]
    if said and "rouge" in said[0].lower():
        return said[0]
    for end in _ROUGES:
        found = [name for name in own if name.lower().endswith(end)]
        if found:
            return found[0]
    bleu = [name for name in own if name.lower().endswith("bleu")]
    loss = [name for name in own if name.endswith("loss") and name != "loss"]
    return next(iter([*said, *bleu, *loss]), None)


def _epoch_of(rows: Rows, metric: str, value: Any) -> Any:
    return next((row["epoch"] for row in rows if row.get(metric) == value and row.get("epoch") is not None), None)


def _logged_seconds(rows: Rows) -> float | None:
    """Add up the time from first to last row of each attempt, where no training said when it began."""
    times: dict[Any, list[float]] = {}
    for row in rows:
        if isinstance(row.get("time"), int | float):
            times.setdefault(row.get("attempt"), []).append(float(row["time"]))
    return sum(max(one) - min(one) for one in times.values()) if times else None


def _scores_of(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if isinstance(value, int | float)
        and not isinstance(value, bool)
        and name not in _OWN
        and not name.endswith(_SPEEDS)
        and name.startswith(("predict_", "test_"))
    }
