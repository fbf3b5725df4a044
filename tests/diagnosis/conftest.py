import pytest

from hf_monitor.run import load_run
from hf_monitor.run.rows import encode_row

ARGUMENTS = {
    "dataloader_num_workers": 0,
    "dataloader_pin_memory": True,
    "bf16": False,
    "fp16": False,
    "activation_checkpointing": False,
    "gradient_checkpointing": False,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "train_sampling_strategy": "random",
    "save_strategy": "steps",
    "save_total_limit": None,
}
GPU = {
    "gpu": 0,
    "name": "NVIDIA GeForce RTX 4090",
    "memory_total_mib": 24564.0,
    "power_limit_w": 450.0,
    "sm_clock_max_mhz": 3105.0,
    "temperature_slowdown_c": 95.0,
    "bf16": True,
}
BEGIN = 1_000_000.0


def timings(shares, seconds, steps, time, step):
    return [
        {"time": time + k * seconds, "step": step + k * steps, "kind": "timing"}
        | {"steps": steps, "seconds": seconds, "step_seconds": seconds / steps, "other_seconds": 0.0}
        | {"data_wait_seconds": share * seconds / steps, "data_wait_share": share}
        for k, share in enumerate(shares, start=1)
    ]


class Folder:
    """Writes a run folder by hand, as the sampler and the callback write it: one window of ten steps every 10 s."""

    def __init__(self, path):
        self.path = path
        self.metrics, self.system, self.ranks = [], [], {}
        self.facts = {
            "format": 1,
            "run_id": "test",
            "arguments": dict(ARGUMENTS),
            "devices": {"device": "cuda:0", "world_size": 1, "threads": 4},
            "precision": "fp32",
            "model": {"n_parameters": 60_000_000, "n_trainable": 60_000_000},
            "attempts": [],
        }

    def begin(self, attempt=1, *, step=0, time=BEGIN, device="cuda:0", gpus=(GPU,), cpu_count=8):
        self.facts["attempts"].append({"attempt": attempt, "launch": "a launch", "host": "here", "boot_id": "boot"})
        self.metrics.append({"time": time, "attempt": attempt, "step": step, "kind": "event", "event": "train_begin"})
        self.system.append(
            {"time": time, "attempt": attempt, "step": step, "kind": "event", "event": "sampler_begin"}
            | {"interval_s": 1.0, "gpus": list(gpus), "cpu_count": cpu_count, "device": device}
        )
        return self

    def windows(self, shares, *, attempt=1, seconds=10.0, steps=10, time=BEGIN, step=0):
        rows = timings(shares, seconds, steps, time, step)
        self.metrics += [row | {"attempt": attempt} for row in rows]
        return self

    def rank(self, rank, shares, *, device=None, host="here", seconds=10.0, steps=10, time=BEGIN, step=0):
        """Add what a process above rank 0 writes into its own file; the attempt is rank 0's to settle."""
        begin = {"time": time + 0.5, "step": step, "kind": "event", "event": "sampler_begin", "interval_s": 1.0}
        begin |= {"device": device or f"cuda:{rank}", "launch": "a launch", "host": host, "boot_id": "boot"}
        rows = [begin, *timings(shares, seconds, steps, time, step)]
        self.ranks.setdefault(rank, []).extend(row | {"attempt": 0, "rank": rank} for row in rows)
        self.facts["devices"]["world_size"] = max(self.facts["devices"]["world_size"], rank + 1)
        return self

    def gpu(self, n=100, *, attempt=1, gpu=0, time=BEGIN, phase="train", every=1.0, **values):
        """Add `n` samples; a value may be a function of the sample's number."""
        defaults = {
            "memory_used_mib": 18000.0,
            "utilization_percent": 80.0,
            "power_w": 300.0,
            "temperature_c": 70.0,
            "sm_clock_mhz": 2600.0,
            "throttle": [],
            "other_processes": 0,
            "torch_allocated_mib": 15000.0,
            "torch_reserved_mib": 17000.0,
            "torch_allocated_peak_mib": 16000.0,
            "torch_reserved_peak_mib": 17000.0,
        }
        for k in range(n):
            row = {"time": time + (k + 1) * every, "attempt": attempt, "step": k, "kind": "gpu", "gpu": gpu}
            row |= {"phase": phase} | defaults | values
            self.system.append({key: value(k) if callable(value) else value for key, value in row.items()})
        return self

    def host(self, n=100, *, attempt=1, time=BEGIN, phase="train", **values):
        defaults = {
            "cpu_percent": 30.0,
            "ram_used_mib": 8000.0,
            "ram_total_mib": 32000.0,
            "disk_free_mib": 100_000.0,
            "process_rss_mib": 3000.0,
            "process_cpu_percent": 100.0,
        }
        for k in range(n):
            row = {"time": time + k + 1.0, "attempt": attempt, "step": k, "kind": "host", "phase": phase}
            row |= defaults | values
            self.system.append({key: value(k) if callable(value) else value for key, value in row.items()})
        return self

    def arguments(self, **changes):
        self.facts["arguments"] |= changes
        return self

    def run(self):
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "run.json").write_bytes(encode_row(self.facts))
        (self.path / "metrics.jsonl").write_bytes(b"".join(map(encode_row, self.metrics)))
        (self.path / "system.jsonl").write_bytes(b"".join(map(encode_row, self.system)))
        for rank, rows in self.ranks.items():
            (self.path / f"system.rank{rank}.jsonl").write_bytes(b"".join(map(encode_row, rows)))
        return load_run(self.path)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path / "monitor")
