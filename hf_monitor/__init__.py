"""hf_monitor: a Hugging Face training that records itself, explains itself and never runs out of GPU memory."""

from hf_monitor._lazy import lazy_names
from hf_monitor._version import __version__ as __version__

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AlertCallback": "hf_monitor.callbacks.alerts",
        "AlertThresholds": "hf_monitor.diagnosis.alert_thresholds",
        "BatchDoesNotFit": "hf_monitor.errors",
        "FileLoggingCallback": "hf_monitor.callbacks.file_logging",
        "GpuMonitorCallback": "hf_monitor.callbacks.gpu_monitor",
        "GeneratedText": "hf_monitor.seq2seq.predict",
        "Logger": "hf_monitor.loggers.file_logger",
        "PlottingCallback": "hf_monitor.callbacks.plotting",
        "ReportCallback": "hf_monitor.callbacks.report",
        "Run": "hf_monitor.run.reader",
        "RunWriter": "hf_monitor.run.writer",
        "TextMetrics": "hf_monitor.metrics.text_metrics",
        "TextMetricsCallback": "hf_monitor.callbacks.text_metrics",
        "attach": "hf_monitor.callbacks.attach",
        "backup": "hf_monitor.preflight.backup_archive",
        "check_after": "hf_monitor.preflight.after",
        "check_before": "hf_monitor.preflight.before",
        "check_gpu_compatibility": "hf_monitor.gpu.compatibility",
        "compare_runs": "hf_monitor.report.comparison",
        "create_inference_visualizations": "hf_monitor.charts.inference",
        "create_optimization_visualizations": "hf_monitor.charts.optimization",
        "create_training_visualizations": "hf_monitor.charts.training",
        "diagnose": "hf_monitor.diagnosis.findings",
        "default_callbacks": "hf_monitor.callbacks.defaults",
        "ensure_loss_scaling": "hf_monitor.seq2seq.loss_scaling",
        "find_optimal_batch_size": "hf_monitor.auto_batch.probe",
        "hardware_findings": "hf_monitor.diagnosis.hardware",
        "load_run": "hf_monitor.run.reader",
        "plan_training": "hf_monitor.auto_batch.plan",
        "predict_texts": "hf_monitor.seq2seq.predict",
        "probe_batch_size": "hf_monitor.auto_batch.probe",
        "score_texts": "hf_monitor.metrics.scoring",
        "verify_backup": "hf_monitor.preflight.backup_manifest",
    },
)
