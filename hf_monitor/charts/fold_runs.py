"""Results of folds from their run folders."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from hf_monitor.charts.fold_names import few
from hf_monitor.charts.table_files import refuse_table_file
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.run.reader import Run, load_run

__all__ = ["RUN_LABELS", "fold_table_of", "read_folds"]

RUN_LABELS = {"f1": "F1 (mean of ROUGE-1/2/L F1, 0-1)", "accuracy": "token accuracy (teacher forced)"}
"""What f1 and accuracy are in the runs of ``train_summarizer.py``."""

_Notes: TypeAlias = list[tuple[str, str]]  # whom it is about, and what is said

_TABLE = "fold_results.json"
_FOLD = re.compile(r"fold[_\- ]?(\d+)$", re.IGNORECASE)
_ROUGES = ("eval_rouge1", "eval_rouge2", "eval_rougeL")


def read_folds(runs: Any) -> tuple[list[dict[str, Any]], list[str], dict[str, str]]:
    """Read the results of folds.

    A run's row of kind ``fold`` tells them; without one its best evaluation does: f1 is then the mean of ROUGE-1, 2 and
    L, divided by 100 (``eval_f1`` where there is no ROUGE), accuracy is ``eval_token_accuracy`` or ``eval_accuracy``.

    Parameters
    ----------
    runs : path, Run, or iterable of them
        One path is a parent folder with a run folder for each fold, or a single run. A ``fold_results.json`` among
        several is left out.

    Returns
    -------
    rows : list of dict
        ``fold`` and the metrics.
    notes : list of str
        Folds left out, crashed, or taken from an evaluation.
    labels : dict of str to str
        What f1 and accuracy are.
    """
    notes: _Notes = []
    rows = []
    labels: dict[str, set[str]] = {}
    for place in _places(runs, notes):
        run = place if isinstance(place, Run) else load_run(place)
        row, meanings = _result(run, notes)
        if row:
            rows.append(row)
        for metric, meaning in meanings.items():
            labels.setdefault(metric, set()).add(meaning)
    for metric, found in labels.items():
        if len(found) > 1:
            notes.append(("", f"{metric} is not the same thing in all folds: {', '.join(sorted(found))}"))
    return rows, _together(notes), {metric: " or ".join(sorted(found)) for metric, found in labels.items()}


def fold_table_of(runs: Any) -> list[Any] | None:
    """Give the rows of a ``fold_results.json``, where that is what was given; else None.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    given = [runs] if isinstance(runs, str | os.PathLike) else runs
    if not isinstance(given, Sequence) or len(given) != 1 or not _is_table(given[0]):
        return None
    path = Path(given[0]).expanduser()
    try:
        rows = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError(f"{str(path)!r} is no JSON ({error}). Pass the run folders of the folds instead.") from error
    if not isinstance(rows, list):
        raise InputError(
            f"{str(path)!r} must hold a list with a row for each fold, got {type(rows).__name__}. "
            "Pass the run folders of the folds instead."
        )
    return rows


def _is_table(path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and Path(path).name == _TABLE and Path(path).expanduser().is_file()


def _together(notes: _Notes) -> list[str]:
    """Say once what is true of several folds."""
    whom: dict[str, list[str]] = {}
    for who, what in notes:
        whom.setdefault(what, []).append(who)
    return [f"{few(names, 5)}: {what}" if names[0] else what for what, names in whom.items()]


def _places(runs: Any, notes: _Notes) -> list[Run | Path]:
    if isinstance(runs, Run):
        return [runs]
    if not isinstance(runs, str | os.PathLike):
        if not isinstance(runs, Iterable):
            raise InputError(f"run folders of folds must be paths or Runs, got {type(runs).__name__}.")
        places: list[Run | Path] = []
        for run in runs:
            if not isinstance(run, str | os.PathLike | Run):
                raise InputError(f"the run folder of a fold must be a path or a Run, got {type(run).__name__}.")
            if _is_table(run):
                notes.append((_TABLE, "not read, it is the table of the same folds"))
                continue
            refuse_table_file(run)
            places.append(run if isinstance(run, Run) else Path(run))
        return places
    refuse_table_file(runs)
    parent = Path(runs).expanduser()
    if not parent.is_dir():
        return [load_run(parent)]  # says what is wrong
    inside = sorted((entry for entry in parent.iterdir() if entry.is_dir()), key=_natural)
    with_run = [entry for entry in inside if _is_run(entry)]
    named = [entry for entry in inside if _FOLD.match(entry.name)]
    if not named:
        if _is_run(parent):
            return [parent]
        if not with_run:
            raise RunFolderError(
                f"{str(parent)!r} holds no run folders of folds (found: {[e.name for e in inside][:8]}). "
                "Pass the folder that holds fold_1, fold_2 ..., or a list of run folders."
            )
        return list(with_run)
    notes += [(entry.name, "left out, there is no run in it") for entry in named if entry not in with_run]
    notes += [(entry.name, "left out, its name is not that of a fold") for entry in with_run if entry not in named]
    return [entry for entry in named if entry in with_run]


def _is_run(folder: Path) -> bool:
    try:
        load_run(folder)
    except RunFolderError:
        return any((place / "metrics.jsonl").is_file() for place in (folder, folder / "monitor"))  # of a newer format
    return True


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """fold_2 before fold_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", path.name)], path.name


def _name(run: Run) -> int | str:
    folder = run.path.resolve()
    folder = folder.parent if folder.name == "monitor" else folder
    number = _FOLD.match(folder.name)
    return int(number[1]) if number else folder.name


def _result(run: Run, notes: _Notes) -> tuple[dict[str, Any] | None, dict[str, str]]:
    rows = run.metrics.of("fold")
    if rows:
        name = rows[-1].get("fold", _name(run))
        return {**rows[-1], "fold": name}, dict(RUN_LABELS)
    fold = _name(run)
    who = f"fold {fold}" if isinstance(fold, int) else fold
    ended = "" if run.status == "finished" else f", the run is {run.status} at step {run.ending.step}"
    evaluations = [row for row in run.metrics.of("eval") if any(k.startswith("eval_") for k in row)]
    evaluations = [row for row in evaluations if not row.get("standalone")] or evaluations
    if not evaluations:
        notes.append((who, f"left out, it has no evaluation{ended}"))
        return None, {}
    highest = max((row[key] for row in evaluations for key in _ROUGES if _is_finite(row.get(key))), default=None)
    clear = highest is None or highest > 1 or "text_metrics" in run.facts
    if not clear:
        notes.append((who, "no f1, its ROUGE values are at most 1 and not TextMetrics': 0-1 or 0-100 is not clear"))
    best, by = _best(run, evaluations, clear)
    row, labels = _of_evaluation(best, clear)
    n = len(evaluations)
    which = f"the best of {n} evaluations by {by} (step {best.get('step')})" if n > 1 else "its only evaluation"
    notes.append((who, f"no row of kind 'fold', taken from {which}{ended}"))
    return {"fold": fold, **row}, labels


def _best(run: Run, evaluations: list[dict[str, Any]], clear: bool) -> tuple[dict[str, Any], str]:
    """Find the evaluation that the run itself would call its best, else that of the highest f1, else of lowest loss."""
    wanted = run.config.get("metric_for_best_model")
    if isinstance(wanted, str):
        wanted = wanted if wanted.startswith("eval_") else f"eval_{wanted}"
        greater = run.config.get("greater_is_better")
        sign = 1 if (not wanted.endswith("loss") if greater is None else greater) else -1
        found = [row for row in evaluations if _is_finite(row.get(wanted))]
        if found:
            return max(found, key=lambda row: sign * row[wanted]), wanted
    f1s = [(_of_evaluation(row, clear)[0].get("f1"), row) for row in evaluations]
    known = [(float(f1), row) for f1, row in f1s if f1 is not None and _is_finite(f1)]
    if known:
        return max(known, key=lambda pair: pair[0])[1], "f1"
    with_loss = [row for row in evaluations if _is_finite(row.get("eval_loss"))]
    return (min(with_loss, key=lambda row: row["eval_loss"]), "eval_loss") if with_loss else (evaluations[-1], "time")


def _of_evaluation(row: dict[str, Any], clear: bool) -> tuple[dict[str, Any], dict[str, str]]:
    values = {
        key if key == "eval_loss" else key.removeprefix("eval_"): value
        for key, value in row.items()
        if key.startswith("eval_") and isinstance(value, int | float) and not isinstance(value, bool)
    }
    labels = {}
    if clear and all(_is_finite(row.get(name)) for name in _ROUGES):
        values["f1"], labels["f1"] = sum(row[name] for name in _ROUGES) / 300, RUN_LABELS["f1"]
    elif "f1" in values:
        labels["f1"] = "eval_f1"
    if "token_accuracy" in values:
        values["accuracy"], labels["accuracy"] = values.pop("token_accuracy"), RUN_LABELS["accuracy"]
    elif "accuracy" in values:
        labels["accuracy"] = "eval_accuracy"
    return values, labels


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
