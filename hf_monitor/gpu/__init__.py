"""Is the GPU usable and why not, which tier it is in, what it is doing."""

from hf_monitor._lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "GpuDevice": "hf_monitor.gpu.report",
        "GpuReport": "hf_monitor.gpu.report",
        "Problem": "hf_monitor.gpu.report",
        "SystemSampler": "hf_monitor.gpu.sampler",
        "Tier": "hf_monitor.gpu.tiers",
        "TierMatch": "hf_monitor.gpu.tiers",
        "check_gpu_compatibility": "hf_monitor.gpu.compatibility",
        "tier_of": "hf_monitor.gpu.tiers",
    },
)
