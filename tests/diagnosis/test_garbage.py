"""Rows may hold anything (another program's, a later version's, a torn disk's): findings come all the same."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_monitor.diagnosis import hardware_findings
from hf_monitor.run import load_run
from hf_monitor.run.rows import encode_row

KEYS = st.sampled_from(
    [
        "time",
        "attempt",
        "step",
        "kind",
        "event",
        "gpu",
        "phase",
        "memory_used_mib",
        "utilization_percent",
        "power_w",
        "temperature_c",
        "sm_clock_mhz",
        "throttle",
        "other_processes",
        "other_memory_mib",
        "torch_allocated_mib",
        "torch_reserved_mib",
        "torch_allocated_peak_mib",
        "torch_reserved_peak_mib",
        "cpu_percent",
        "ram_used_mib",
        "ram_total_mib",
        "disk_free_mib",
        "process_rss_mib",
        "process_cpu_percent",
        "gpus",
        "cpu_count",
        "device",
        "metric",
        "reason",
        "steps",
        "seconds",
        "data_wait_share",
        "data_wait_seconds",
        "rank",
        "used_gpus",
        "host",
    ]
)
WORDS = st.sampled_from(
    [
        "gpu",
        "host",
        "event",
        "timing",
        "train",
        "data",
        "train_begin",
        "sampler_begin",
        "unavailable",
        "error",
        "cuda:0",
        "cpu",
        "0",
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    WORDS,
    st.text(max_size=5),
    st.integers(0, 100),
    st.floats(0, 100),
    st.floats(),
    st.integers(),
    st.integers(-(10**400), 10**400),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
SAMPLES = st.dictionaries(KEYS, VALUES, max_size=8)
FACTS = st.dictionaries(
    st.sampled_from(["arguments", "devices", "precision", "model", "data", "attempts", "cpu_count"]),
    VALUES
    | st.dictionaries(
        st.sampled_from(
            [
                "device",
                "world_size",
                "threads",
                "gpus",
                "n_parameters",
                "n_trainable",
                "train",
                "columns",
                "dataloader_num_workers",
                "bf16",
                "dataloader_pin_memory",
                "per_device_train_batch_size",
                "gradient_accumulation_steps",
                "train_sampling_strategy",
                "group_by_length",
                "activation_checkpointing",
                "save_total_limit",
                "save_strategy",
                "attempt",
                "facts",
            ]
        ),
        VALUES,
    ),
)
NEVER = {"suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow], "deadline": None}


def judged(path, facts, metrics, system):
    (path / "run.json").write_bytes(encode_row(facts | {"run_id": "x", "format": 1}))
    (path / "metrics.jsonl").write_bytes(b"".join(map(encode_row, metrics)))
    (path / "system.jsonl").write_bytes(b"".join(map(encode_row, system)))
    found = hardware_findings(load_run(path))
    for finding in found:
        assert finding.verdict in ("found", "clear", "inconclusive")
        assert str(finding)
        json.dumps(finding.to_dict(), allow_nan=False)
    return found


@pytest.mark.no_cover
@settings(max_examples=70, **NEVER)
@given(FACTS, st.lists(SAMPLES, max_size=8), st.lists(SAMPLES, max_size=8))
def test_no_row_makes_the_findings_raise(tmp_path, facts, metrics, system):
    assert len(judged(tmp_path, facts, metrics, system)) >= 9


@pytest.mark.no_cover
@settings(max_examples=70, **NEVER)
@given(st.data())
def test_no_value_within_a_good_training_makes_the_findings_raise(tmp_path, data):
    """Enough rows to reach every rule, with odd values strewn in."""
    gpu = {
        "attempt": 1,
        "kind": "gpu",
        "gpu": 0,
        "phase": "train",
        "memory_used_mib": 23900.0,
        "throttle": ["sw_thermal"],
    }
    gpu |= {
        "utilization_percent": 50.0,
        "other_processes": 1,
        "torch_reserved_mib": 5.0,
        "torch_reserved_peak_mib": 9.0,
    }
    host = {"attempt": 1, "kind": "host", "phase": "train", "process_cpu_percent": 50.0, "ram_used_mib": 9.0}
    host |= {"ram_total_mib": 10.0, "disk_free_mib": 10.0, "cpu_percent": 50.0}
    system = [{**row, "time": 100.0 + k, "step": k} for k in range(60) for row in (gpu, host)]
    begin = {
        "attempt": 1,
        "kind": "event",
        "event": "sampler_begin",
        "device": data.draw(st.sampled_from(["cuda:0", "cpu"])),
    }
    begin |= {"gpus": [{"gpu": 0, "memory_total_mib": 24000.0, "power_limit_w": 9.0}], "cpu_count": 8}
    metrics = [{"time": 99.0, "attempt": 1, "kind": "event", "event": "train_begin", "step": 0}]
    metrics += [
        {
            "time": 100.0 + k,
            "attempt": 1,
            "step": k,
            "kind": "timing",
            "steps": 9,
            "seconds": 1.0,
            "data_wait_share": 0.4,
        }
        for k in range(8)
    ]
    facts = data.draw(FACTS)
    of_rank = [{"attempt": 1, "kind": "event", "event": "sampler_begin", "device": "cuda:1", "host": "here", "rank": 1}]
    of_rank += [{**row, "rank": 1, "data_wait_share": 0.6} for row in metrics[1:]]
    for rows in ([begin], system, metrics, of_rank):
        for place in data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)):
            rows[place] = rows[place] | data.draw(SAMPLES)
    judged(tmp_path, facts, metrics, [begin, *system, *of_rank])
