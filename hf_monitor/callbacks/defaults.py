"""The callbacks that belong together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks.alerts import AlertCallback
from hf_monitor.callbacks.file_logging import FileLoggingCallback
from hf_monitor.callbacks.gpu_monitor import GpuMonitorCallback
from hf_monitor.callbacks.plotting import PlottingCallback
from hf_monitor.callbacks.report import ReportCallback
from hf_monitor.callbacks.text_metrics import TextMetricsCallback

if TYPE_CHECKING:
    from hf_monitor.metrics.text_metrics import TextMetrics

__all__ = ["default_callbacks"]


def default_callbacks(
    run_dir: str | os.PathLike[str] | None = None, text_metrics: TextMetrics | None = None
) -> list[TrainerCallback]:
    """Make the callbacks for ``Trainer(callbacks=...)``; :func:`hf_monitor.attach` does this and more.

    An AlertCallback of your own goes before them: the first one in a Trainer watches.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.
    text_metrics : TextMetrics, optional
        The object that is also given as ``compute_metrics``.

    Returns
    -------
    list of transformers.TrainerCallback
        Log and rows, scores and texts, pictures, alerts, the report, GPU and timing.

    Examples
    --------
    >>> callbacks = default_callbacks("outputs/monitor")
    >>> [type(callback).__name__ for callback in callbacks][:3]
    ['FileLoggingCallback', 'TextMetricsCallback', 'PlottingCallback']
    >>> [type(callback).__name__ for callback in callbacks][3:]
    ['AlertCallback', 'ReportCallback', 'GpuMonitorCallback']
    """
    return [
        FileLoggingCallback(run_dir),
        TextMetricsCallback(run_dir, text_metrics),
        PlottingCallback(run_dir),
        AlertCallback(run_dir),
        ReportCallback(run_dir),  # after those whose rows and pictures it shows
        GpuMonitorCallback(run_dir),  # last: what the others do at a step's end is then no wait for data
    ]
