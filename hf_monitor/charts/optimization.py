"""The four charts of optimization, by their names."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from hf_monitor.charts.batch_size import BatchSizeChart
from hf_monitor.charts.chart import Chart
from hf_monitor.charts.gpu_memory import GpuMemoryChart
from hf_monitor.charts.importance import HyperparameterImportanceChart
from hf_monitor.charts.learning_rate import LearningRateChart
from hf_monitor.charts.pictures import Pictures, save_charts
from hf_monitor.charts.sweep import Sweep
from hf_monitor.charts.sweep_columns import as_rows, is_batch_trial, is_run_trial
from hf_monitor.charts.sweep_runs import named, read_runs
from hf_monitor.errors import InputError, NothingToDraw
from hf_monitor.run import Run

__all__ = ["create_optimization_visualizations"]


def create_optimization_visualizations(
    runs: Any = None,
    trials: Any = None,
    *,
    history_data: Any = None,
    system: Any = None,
    metric: str | None = None,
    greater_is_better: bool | None = None,
    model_name: str | None = None,
    output_dir: str | os.PathLike[str] = "plots/optimization",
) -> Pictures:
    """Draw influence of hyperparameters, learning-rate schedule, batch size and GPU memory.

    ``01_hyperparameter_importance.png``, ``02_learning_rate_schedule.png``, ``03_batch_size.png``,
    ``04_gpu_memory.png``. What is not there is left out, and said in a warning and in what is returned.

    Parameters
    ----------
    runs : path, Run, sequence of these, DataFrame, or list of mappings
        Run folders, or one folder with several of them; or a table with hyperparameters and a score, one run a row
        (Optuna's ``study.trials_dataframe()``, or the study).
    trials : list of mappings, DataFrame, Run or path
        Rows of ``trials.jsonl`` (trials of batch sizes), rows of a search of hyperparameters, or both; or the run, or
        the folder of several runs, that has them.
    history_data : rows, DataFrame, Run or path
        Where the learning rate is taken from, instead of `runs`; also the Trainer's ``trainer_state.json``.
    system : rows, DataFrame, Run or path
        Where the GPU's memory is taken from, instead of `runs` (of several: the one with the best score).
    metric : str, optional
        The score; by default ``metric_for_best_model``, else ROUGE-L, ROUGE-1, BLEU or the loss of the evaluations.
    greater_is_better : bool, optional
    model_name : str, optional
        Stands in the titles.
    output_dir : path-like

    Returns
    -------
    Pictures

    Raises
    ------
    InputError
        If something given cannot be used; before anything is drawn.
    RunFolderError
        If there is no such run.

    Examples
    --------
    >>> from hf_monitor import create_optimization_visualizations
    >>> create_optimization_visualizations("outputs/sweep", metric="eval_rougeL")  # doctest: +SKIP
    """
    if metric is not None and not isinstance(metric, str):
        raise InputError(f"metric must be the name of a score, got {metric!r}: metric='eval_rougeL'.")
    if greater_is_better is not None and not isinstance(greater_is_better, bool):
        raise InputError(f"greater_is_better must be True, False or None, got {greater_is_better!r}.")
    table, folders, notes = _runs(runs)
    batch_runs, batch_rows, searched, batch_notes = _sorted_out(trials, metric)
    sweeps: list[Sweep] = []

    def sweep_of() -> Sweep:
        if table or searched:
            found = Sweep.from_rows([*table, *searched], metric=metric, greater_is_better=greater_is_better)
            if folders:
                found.notes.append("the scores are those of the trials, not of the run folders")
        elif folders:
            found = Sweep.from_runs(folders, metric=metric, greater_is_better=greater_is_better)
        else:
            raise NothingToDraw("no runs were given: pass runs= (run folders, or a table with a score).")
        found.notes += notes
        sweeps.append(found)
        return found

    def importance() -> Chart:
        return HyperparameterImportanceChart.from_sweep(sweep_of(), model_name)

    def learning_rate() -> Chart:
        best = _best_name(sweeps)
        is_state = isinstance(history_data, str | os.PathLike) and str(history_data).endswith(".json")
        if isinstance(history_data, Run | str | os.PathLike) and not is_state:
            return LearningRateChart.from_run(history_data, model_name=model_name)
        if history_data is not None:
            return LearningRateChart.from_rows(history_data, model_name=model_name)
        return LearningRateChart.from_run(folders, best=best, model_name=model_name)

    def batch_size() -> Chart:
        sweep = sweeps[0] if sweeps else None
        if batch_rows:
            return BatchSizeChart.from_rows(batch_rows, sweep=sweep, model_name=model_name)
        chart = BatchSizeChart.from_run(batch_runs or folders, sweep=sweep, model_name=model_name)
        chart.notes += batch_notes
        return chart

    def gpu_memory() -> Chart:
        if isinstance(system, Run | str | os.PathLike):
            return GpuMemoryChart.from_run(system, model_name=model_name)
        if system is not None:
            return GpuMemoryChart.from_rows(system, model_name=model_name)
        return _memory_of_one(folders, _best_name(sweeps), model_name)

    # All are made before the first is drawn: what is wrong is said before there is a picture.
    makers = {
        "01_hyperparameter_importance.png": importance,
        "02_learning_rate_schedule.png": learning_rate,
        "03_batch_size.png": batch_size,
        "04_gpu_memory.png": gpu_memory,
    }
    made: dict[str, Chart | NothingToDraw] = {}
    for name, make in makers.items():
        try:
            made[name] = make()
        except NothingToDraw as error:
            made[name] = error
    return save_charts([(name, _giver(made, name)) for name in makers], output_dir)


def _giver(made: dict[str, Chart | NothingToDraw], name: str) -> Callable[[], Chart]:
    def give() -> Chart:
        found = made.pop(name)  # so that only one figure is in memory
        if isinstance(found, NothingToDraw):
            raise found
        return found

    return give


def _runs(given: Any) -> tuple[list[Mapping[str, Any]], list[Run], list[str]]:
    """Tell a table of runs from run folders."""
    if given is None:
        return [], [], []
    is_table = hasattr(given, "columns") or callable(getattr(given, "trials_dataframe", None))
    if not is_table and not isinstance(given, Run | str | os.PathLike) and hasattr(given, "__iter__"):
        given = given if isinstance(given, Mapping) else list(given)
        is_table = isinstance(given, list) and bool(given) and all(isinstance(one, Mapping) for one in given)
    if is_table:
        return as_rows(given, "runs"), [], []
    found, notes = read_runs(given)
    return [], found, notes


def _sorted_out(
    trials: Any, metric: str | None
) -> tuple[list[Run], list[Mapping[str, Any]], list[Mapping[str, Any]], list[str]]:
    """Tell trials of batch sizes (runs that have some, or rows) from those of hyperparameters; refuse what is neither.

    Runs stay runs, since each has a limit of memory, and trials of several are not one series.
    """
    batches: list[Mapping[str, Any]] = []
    if trials is None:
        return [], batches, [], []
    if isinstance(trials, Run | str | os.PathLike):
        runs, notes = read_runs(trials)
        having = [run for run in runs if any(map(is_batch_trial, run.trials))]
        rows = [row for run in runs for row in run.trials if not is_batch_trial(row)]
        return having, batches, [row for row in rows if is_run_trial(row, metric)], notes
    searched: list[Mapping[str, Any]] = []
    for number, row in enumerate(as_rows(trials, "trials")):
        if is_batch_trial(row):
            batches.append(row)
        elif is_run_trial(row, metric):
            searched.append(row)
        else:
            raise InputError(
                f"row {number} of trials is neither a trial of a batch size (batch_size and fits, out_of_memory or "
                "peak_bytes) nor one of hyperparameters (params, params_..., value, score): its keys are "
                f"{', '.join(map(str, list(row)[:8])) or 'none'}."
            )
    return [], batches, searched, []


def _best_name(sweeps: list[Sweep]) -> str | None:
    best = sweeps[0].best if sweeps else None
    return None if best is None else best.name


def _memory_of_one(folders: list[Run], best: str | None, model_name: str | None) -> GpuMemoryChart:
    if not folders:
        raise NothingToDraw("no memory was recorded: pass runs= or system= (rows of system.jsonl).")
    order = sorted(zip(named(folders), folders, strict=True), key=lambda pair: pair[0] != best)
    for name, run in order:
        if not run.system and len(order) > 1:
            continue
        chart = GpuMemoryChart.from_run(run, model_name=model_name)
        if len(order) > 1:
            said = "the one with the best score" if name == best else "the first that has samples"
            chart.notes.append(f"of {len(order)} runs this is {name}: {said}")
        return chart
    raise NothingToDraw(
        f"no memory was recorded of {len(folders)} runs: attach() or SystemSampler writes system.jsonl."
    )
