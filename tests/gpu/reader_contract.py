"""What holds for every reader, of fakes and of real hardware."""

import re

from hf_monitor.gpu.readings import METRICS

WORDS = {"idle", "app_clocks", "sw_power_cap", "hw_slowdown", "sync_boost", "sw_thermal", "hw_thermal"} | {
    "hw_power_brake",
    "display_clocks",
    "board_limit",
    "reliability",
    "other",
}
FACTS = {
    "gpu",
    "name",
    "uuid",
    "pci_address",
    "matched_by",
    "mig",
    "memory_total_mib",
    "memory_source",
    "power_limit_w",
    "sm_clock_max_mhz",
    "temperature_slowdown_c",
}
RANGES = {
    "memory_used_mib": (float, 0, 2**21),
    "utilization_percent": (int, 0, 100),
    "power_w": (float, 0, 3000),
    "temperature_c": (int, 0, 120),
    "sm_clock_mhz": (int, 0, 5000),
    "energy_j": (float, 0, 1e12),
}


def assert_contract(reader):
    """Facts, a sample, its reasons and its news fit together; gives the sample."""
    facts = reader.facts()
    assert set(facts) - {"scope"} == FACTS
    assert ("scope" in facts) == reader.is_mig
    assert (facts["gpu"], facts["name"]) == (reader.index, reader.name)
    assert (facts["uuid"], facts["pci_address"], facts["matched_by"]) == (
        reader.uuid,
        reader.pci_address,
        reader.matched_by,
    )
    assert reader.matched_by in ("uuid", "pci", None)
    if reader.matched_by is not None:
        assert reader.uuid.startswith(("GPU-", "MIG-"))
        assert re.fullmatch(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.0", reader.pci_address)
    assert facts["memory_total_mib"] > 0
    assert facts["memory_source"] in ("nvml_v2", "nvml_v1", "torch", None)

    sample = reader.read()
    assert tuple(sample) == METRICS
    for name, (kind, low, high) in RANGES.items():
        if sample[name] is not None:
            assert type(sample[name]) is kind, name
            assert low <= sample[name] <= high, (name, sample[name])
    if sample["throttle"] is not None:
        assert type(sample["throttle"]) is list
        assert set(sample["throttle"]) <= WORDS
    if sample["memory_used_mib"] is not None:
        assert facts["memory_source"] is not None
        assert sample["memory_used_mib"] <= facts["memory_total_mib"]

    unsaid = {name for name in METRICS if sample[name] is None}
    if "device" not in reader.reasons:
        assert unsaid == set(reader.reasons) - {"other_processes"}
    assert all(reader.reasons.values())
    news = reader.news()
    for one in news:
        assert set(one) == {"gpu", "metric", "reason", "code", "lasting"}
        assert one["gpu"] == reader.index
        assert one["metric"] in (*METRICS, "device", "other_processes")
        assert one["code"]
        assert one["reason"]
    told = [(one["metric"], one["code"]) for one in news]
    assert len(told) == len(set(told))
    assert reader.news() == []
    return sample
