"""Charts: data first, drawing second; no pyplot, no global state."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Curve": "hf_monitor.charts.curves",
        "LossChart": "hf_monitor.charts.history",
        "TrainingHistoryChart": "hf_monitor.charts.history",
        "draw_history": "hf_monitor.charts.history",
    },
)
