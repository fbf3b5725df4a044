"""The largest batch that fits a device, measured in a handful of steps, and the training arguments that follow."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "BatchDoesNotFit": "hf_monitor.errors",
        "ProbeResult": "hf_monitor.auto_batch.shapes",
        "StepSettings": "hf_monitor.auto_batch.shapes",
        "Trial": "hf_monitor.auto_batch.shapes",
        "TrainingPlan": "hf_monitor.auto_batch.plan",
        "estimate_peak": "hf_monitor.auto_batch.estimate",
        "find_optimal_batch_size": "hf_monitor.auto_batch.probe",
        "is_out_of_memory": "hf_monitor.auto_batch.oom",
        "plan_training": "hf_monitor.auto_batch.plan",
        "probe_batch_size": "hf_monitor.auto_batch.probe",
    },
)
