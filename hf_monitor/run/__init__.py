"""The run folder: rows, facts, writer and reader. Knows neither torch nor transformers."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Best": "hf_monitor.run.reader",
        "Rows": "hf_monitor.run.reader",
        "Run": "hf_monitor.run.reader",
        "RunWriter": "hf_monitor.run.writer",
        "load_run": "hf_monitor.run.reader",
    },
)
