"""The seven charts of a training: five of its folds, two of its history."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from hf_monitor.charts.chart import Chart
from hf_monitor.charts.curves import curves_of
from hf_monitor.charts.fold_chart import FoldChart
from hf_monitor.charts.fold_charts import FoldAccuracyChart, FoldF1Chart
from hf_monitor.charts.fold_scatter import FoldScatterChart
from hf_monitor.charts.fold_spread import FoldDistributionChart, FoldStatisticsChart
from hf_monitor.charts.folds import FoldResults
from hf_monitor.charts.history import LossChart, TrainingHistoryChart
from hf_monitor.charts.pictures import NotGiven, Pictures, save_charts
from hf_monitor.errors import InputError

__all__ = ["create_training_visualizations"]

_FOLDS: tuple[tuple[str, type[FoldChart]], ...] = (
    ("01_fold_f1_performance.png", FoldF1Chart),
    ("02_fold_accuracy_comparison.png", FoldAccuracyChart),
    ("03_f1_vs_accuracy_scatter.png", FoldScatterChart),
    ("04_performance_distribution.png", FoldDistributionChart),
    ("05_performance_statistics.png", FoldStatisticsChart),
)
_HISTORY: tuple[tuple[str, type[TrainingHistoryChart] | type[LossChart]], ...] = (
    ("06_training_history.png", TrainingHistoryChart),
    ("07_loss_comparison.png", LossChart),
)


def create_training_visualizations(
    fold_results: Any = None,
    model_name: object = None,
    output_dir: str | os.PathLike[str] = "plots",
    history_data: Any = None,
) -> Pictures:
    """Draw the seven charts of a training; what is missing is left out and said.

    Parameters
    ----------
    fold_results : list of mappings, DataFrame, path, or list of paths or Runs, optional
        For each fold ``fold``, ``f1``, ``accuracy`` and further metrics; or one parent folder that holds a run folder
        for each fold (``train_summarizer.py --num_folds``), or a list of run folders.
    model_name : object, optional
        Stands in the titles.
    output_dir : path-like
        Made when missing; pictures of these names are replaced.
    history_data : list of mappings, DataFrame, Run or path, optional
        ``trainer.state.log_history``, or a run.

    Returns
    -------
    Pictures
        The paths of the pictures; ``left_out`` and ``notes`` say what is missing.

    Raises
    ------
    InputError
        If nothing was given, or something in it cannot be right; no picture is written then.
    RunFolderError
        If a folder is not there or holds no run.

    Examples
    --------
    >>> folds = [{"fold": 1, "f1": 0.81, "accuracy": 0.84}, {"fold": 2, "f1": 0.83, "accuracy": 0.86}]
    >>> pictures = create_training_visualizations(fold_results=folds, model_name="KoBART", output_dir="plots")
    >>> [path.name[:2] for path in pictures]
    ['01', '02', '03', '04', '05']
    >>> sorted(pictures.left_out)
    ['06_training_history.png', '07_loss_comparison.png']
    """
    if fold_results is None and history_data is None:
        raise InputError("there is nothing to draw: pass fold_results=, history_data= or both.")
    # Read before the first picture, so that what is wrong leaves none behind.
    results = None if fold_results is None else FoldResults.read(fold_results)
    curves = None if history_data is None else curves_of(history_data)
    makers: list[tuple[str, Callable[[], Chart]]] = []
    for name, fold_chart in _FOLDS:
        if results is None:
            makers.append((name, partial(_missing, "no fold_results were given")))
        else:
            makers.append((name, partial(fold_chart.from_results, results, model_name=model_name)))
    for name, chart in _HISTORY:
        if curves is None:
            makers.append((name, partial(_missing, "no history_data was given")))
        else:
            makers.append((name, partial(chart.from_rows, curves, model_name=model_name)))
    return save_charts(makers, output_dir)


def _missing(why: str) -> Chart:
    raise NotGiven(why)
