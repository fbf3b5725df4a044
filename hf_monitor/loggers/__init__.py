"""Loggers that any training loop can use; no Trainer needed."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {"Logger": "hf_monitor.loggers.file_logger"})
