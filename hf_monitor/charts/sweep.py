"""Several runs as one sweep: which hyperparameters differ among them, and what score each run reached."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.charts.scales import is_drawable
from hf_monitor.charts.sweep_columns import NOT_TUNED, NOT_TUNED_BEGINNINGS, parameters_of, plain_value, score_column
from hf_monitor.charts.sweep_metric import named_metric, usual_metric
from hf_monitor.charts.sweep_runs import effective_batch_size, named
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run import Run
from hf_monitor.run.better import lower_is_better, name_says_lower

__all__ = ["Sweep", "SweepRun"]

_UNSAID = ("value", "values_0", "objective")  # Optuna's and transformers' names: up or down is said elsewhere


@dataclass
class SweepRun:
    """One run of a sweep.

    Attributes
    ----------
    name : str
    parameters : dict of str to object
        Hyperparameters: numbers, texts, True or False, None where the run has none.
    score : float
        Finite.
    effective_batch_size : int or None
        Samples of one optimizer step.
    samples_per_second : float or None
        Of the whole training, as the Trainer says (``train_samples_per_second``).
    """

    name: str
    parameters: dict[str, Any]
    score: float
    effective_batch_size: int | None = None
    samples_per_second: float | None = None


@dataclass
class Sweep:
    """Runs with a score.

    Attributes
    ----------
    runs : list of SweepRun
    metric : str
        What the score is.
    greater_is_better : bool or None
        None where nothing says it.
    notes : list of str
        What was left out, and why.
    """

    runs: list[SweepRun]
    metric: str
    greater_is_better: bool | None = None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def from_rows(
        cls,
        rows: Sequence[Mapping[str, Any]],
        *,
        metric: str | None = None,
        greater_is_better: bool | None = None,
    ) -> Sweep:
        """Take runs from a table, one a row.

        Parameters
        ----------
        rows : sequence of mapping
            Hyperparameters are the columns that begin with ``params_`` (Optuna's ``trials_dataframe``), or the mapping
            under ``params`` or ``hyperparameters``, else all columns that are neither scores nor names, times or seeds.
        metric : str, optional
            The column of the score; by default ``value``, ``objective``, ``score`` or the only one that begins with
            ``eval_``.
        greater_is_better : bool, optional
            By default False for names that end with ``loss``, not known for Optuna's ``value``, else True.

        Raises
        ------
        InputError
            If no column is the score, or one is a text.
        NothingToDraw
            If no row has a score.
        """
        column = score_column(rows, metric)
        notes: list[str] = []
        states = [str(row["state"]).rpartition(".")[2] for row in rows if row.get("state") is not None]
        ended = [row for row in rows if row.get("state") is None or str(row["state"]).rpartition(".")[2] == "COMPLETE"]
        if len(ended) < len(rows):
            others = sorted({state for state in states if state != "COMPLETE"})
            notes.append(f"{len(rows) - len(ended)} of {len(rows)} trials are not complete ({', '.join(others)})")
        runs, lost = [], 0
        for number, row in enumerate(ended):
            score = _score(row.get(column), column, number)
            if score is None:
                lost += 1
                continue
            found = parameters_of(row, column)
            name = next((str(row[key]) for key in ("run_name", "run", "name", "number") if key in row), str(number))
            runs.append(SweepRun(name, found, score, effective_batch_size(found)))
        return cls._of(runs, column, greater_is_better, notes, lost)

    @classmethod
    def from_runs(
        cls, runs: Sequence[Run], *, metric: str | None = None, greater_is_better: bool | None = None
    ) -> Sweep:
        """Take the training arguments and the best evaluation of runs.

        Parameters
        ----------
        runs : sequence of Run
        metric : str, optional
            By default ``metric_for_best_model``, else ROUGE-L, ROUGE-1, BLEU or the loss, of the evaluations.
        greater_is_better : bool, optional
            By default as the runs' arguments say, else False for names that end with ``loss``.

        Raises
        ------
        InputError
            If no run has `metric`, but they have others.
        NothingToDraw
            If no run was evaluated.
        """
        wanted = {run.config.get("metric_for_best_model") for run in runs} - {None}
        found = usual_metric(runs, wanted) if metric is None else named_metric(runs, metric)
        if greater_is_better is None and found.removeprefix("eval_") in {
            str(name).removeprefix("eval_") for name in wanted
        }:
            said = {run.config.get("greater_is_better") for run in runs} - {None}
            if said == {False} or (said == {True} and not name_says_lower(found)):  # the Trainer's own True for a WER
                greater_is_better = said.pop()
        scored, lost, fingerprints = [], 0, set()
        for name, run in zip(named(runs), runs, strict=True):
            best = run.best(found, greater_is_better=greater_is_better)
            if best is None or not is_drawable(best.value):
                lost += 1
                continue
            scored.append(
                SweepRun(name, _tuned(run), best.value, effective_batch_size(run.config, run.facts), _throughput(run))
            )
            fingerprints.add(_data(run))
        sweep = cls._of(scored, found, greater_is_better, [], lost)
        if len(fingerprints - {None}) > 1:
            sweep.notes.append("the runs were not all trained on the same data")
        return sweep

    @classmethod
    def _of(cls, runs: list[SweepRun], metric: str, greater: bool | None, notes: list[str], lost: int) -> Sweep:
        if greater is None and metric not in _UNSAID:
            greater = not lower_is_better(metric)
        if lost:
            notes.append(f"{lost} run{'s' * (lost > 1)} without a finite {metric} left out")
        if not runs:
            raise NothingToDraw(f"no run has a finite score ({metric}): evaluate the runs, or pass metric=.")
        names = list(dict.fromkeys(name for run in runs for name in run.parameters))
        for run in runs:
            run.parameters = {name: run.parameters.get(name) for name in names}
        return cls(runs, metric, greater, notes)

    @property
    def varied(self) -> dict[str, list[Any]]:
        """Hyperparameters that are not the same in all runs: name -> a value a run, in order."""
        columns = self._columns()
        return {name: values for name, values in columns.items() if len({_key(value) for value in values}) > 1}

    @property
    def constant(self) -> list[str]:
        """Names of the hyperparameters that are the same in all runs."""
        varied = self.varied
        return [name for name in self._columns() if name not in varied]

    @property
    def configurations(self) -> list[int]:
        """A number a run, the same for runs that differ in no hyperparameter (repeats with another seed)."""
        numbers: dict[tuple[Any, ...], int] = {}
        columns = self.varied.values()
        keys = list(zip(*([_key(value) for value in values] for values in columns), strict=True)) or [()] * len(
            self.runs
        )
        return [numbers.setdefault(key, len(numbers)) for key in keys]

    @property
    def best(self) -> SweepRun | None:
        """The run with the best score, the first of equals; None where it is not known which way is better."""
        if self.greater_is_better is None:
            return None
        return (max if self.greater_is_better else min)(self.runs, key=lambda run: run.score)

    def _columns(self) -> dict[str, list[Any]]:
        return {name: [run.parameters[name] for run in self.runs] for name in self.runs[0].parameters}


def _key(value: Any) -> Any:
    return (type(value).__name__ if isinstance(value, bool | str) else "", value)


def _score(value: Any, column: str, number: int) -> float | None:
    value = value.item() if hasattr(value, "item") else value
    if value is None or (isinstance(value, int | float) and not is_drawable(value)):
        return None
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        raise InputError(
            f"the score {column!r} of row {number} must be a number, got {value!r}. "
            "Pass metric= with the column of the score."
        )
    return float(value)


def _tuned(run: Run) -> dict[str, Any]:
    found = {
        name: plain_value(value)
        if isinstance(value, int | float | str | None)
        else json.dumps(value, sort_keys=True, default=str)
        for name, value in run.config.items()
        if name not in NOT_TUNED and not name.startswith(NOT_TUNED_BEGINNINGS)
    }
    model = run.facts.get("model")
    if isinstance(model, dict) and model.get("name_or_path"):
        found["model"] = str(model["name_or_path"])
    return found


def _data(run: Run) -> str | None:
    data = run.facts.get("data")
    train = data.get("train") if isinstance(data, dict) else None
    return train.get("fingerprint") if isinstance(train, dict) else None


def _throughput(run: Run) -> float | None:
    values = [row.get("train_samples_per_second") for row in run.metrics.of("train_summary")]
    found = [value for value in values if isinstance(value, int | float) and is_drawable(value) and value > 0]
    return float(found[-1]) if found else None
