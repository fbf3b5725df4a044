"""The checklist before a training, and after it."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "Check": "hf_monitor.preflight.checklist",
        "Checklist": "hf_monitor.preflight.checklist",
        "backup": "hf_monitor.preflight.backup_archive",
        "check_after": "hf_monitor.preflight.after",
        "check_before": "hf_monitor.preflight.before",
        "checkpoint_problem": "hf_monitor.preflight.loadable",
        "verify_backup": "hf_monitor.preflight.backup_manifest",
    },
)
