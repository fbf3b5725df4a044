"""Callbacks for the Hugging Face Trainer, and attach(), which wires them."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AlertCallback": "hf_monitor.callbacks.alerts",
        "FileLoggingCallback": "hf_monitor.callbacks.file_logging",
        "GpuMonitorCallback": "hf_monitor.callbacks.gpu_monitor",
        "Monitor": "hf_monitor.callbacks.attach",
        "NotebookCallback": "hf_monitor.callbacks.notebook",
        "PlottingCallback": "hf_monitor.callbacks.plotting",
        "ReportCallback": "hf_monitor.callbacks.report",
        "TextMetricsCallback": "hf_monitor.callbacks.text_metrics",
        "WandBCallback": "hf_monitor.callbacks.wandb",
        "attach": "hf_monitor.callbacks.attach",
        "default_callbacks": "hf_monitor.callbacks.defaults",
    },
)
