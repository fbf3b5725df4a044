"""Which way a metric is better, where that is known: what nobody knows has no best value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hf_monitor.charts.metric_names import is_bookkeeping
from hf_monitor.run.better import greater_is_better, is_direction_known

__all__ = ["direction"]


def direction(metric: str, config: Mapping[str, Any]) -> bool | None:
    """Tell whether greater is better.

    Parameters
    ----------
    metric : str
    config : mapping
        ``greater_is_better`` counts for its ``metric_for_best_model``, as :mod:`hf_monitor.run.better` has it.

    Returns
    -------
    bool or None
        None where neither the config nor a word of the name tells.
    """
    if is_bookkeeping(metric) or not is_direction_known(metric, config):
        return None
    return greater_is_better(metric, config)
