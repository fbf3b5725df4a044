"""What a run says about itself: findings, each with its evidence."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "AlertThresholds": "hf_monitor.diagnosis.alert_thresholds",
        "Finding": "hf_monitor.diagnosis.finding",
        "diagnose": "hf_monitor.diagnosis.findings",
        "hardware_findings": "hf_monitor.diagnosis.hardware",
    },
)
