"""What a run says about itself: findings, each with its evidence."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Finding": "hf_monitor.diagnosis.finding",
        "hardware_findings": "hf_monitor.diagnosis.hardware",
    },
)
