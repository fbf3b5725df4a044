"""On a real GPU: trainings whose truth is known by how they were made. `-s` prints the figures for docs/gpu.md."""

import time

import pytest
import torch

from hf_monitor import GpuMonitorCallback, attach, hardware_findings, load_run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device that torch can use"),
]


class Rows(torch.utils.data.Dataset):
    def __init__(self, size, seconds):
        self.size, self.seconds = size, seconds

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return {"x": torch.zeros(self.size), "labels": torch.zeros(1)}


class Products(torch.nn.Module):
    """As many matrix products a step as are asked for."""

    def __init__(self, size, products):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((size, size), 1 / size))
        self.products = products

    def forward(self, x, labels):
        y = x.unsqueeze(1).expand(-1, x.shape[-1], -1).reshape(-1, x.shape[-1])
        for _ in range(self.products):
            y = y @ self.weight
        return {"loss": y.mean() + labels.mean() * 0}


@pytest.fixture
def train(tmp_path):
    def run(size, products, seconds, for_s):
        from transformers import Trainer, TrainerCallback, TrainingArguments

        class Stop(TrainerCallback):  # cards differ by 20 times: the same time on each, not the same steps
            def on_train_begin(self, args, state, control, **_):
                self.until = time.monotonic() + for_s

            def on_step_end(self, args, state, control, **_):
                control.should_training_stop |= time.monotonic() > self.until

        args = TrainingArguments(
            str(tmp_path / "out"), max_steps=100_000, per_device_train_batch_size=2, logging_steps=5, report_to="none",
            disable_tqdm=True, save_strategy="no",
        )  # fmt: skip
        trainer = Trainer(Products(size, products), args, train_dataset=Rows(size, seconds), callbacks=[Stop()])
        monitor = attach(trainer, tmp_path / "run")
        monitor.find(GpuMonitorCallback).interval_s = 0.2
        trainer.train()
        return load_run(tmp_path / "run")

    return run


def verdicts(run):
    found = {finding.rule: finding.verdict for finding in hardware_findings(run)}
    print("\n".join(str(finding) for finding in hardware_findings(run)))
    return found


def test_a_sleeping_data_set_is_called_data_bound(train):
    run = train(size=256, products=4, seconds=0.1, for_s=40)
    found = verdicts(run)
    assert found["data_bound"] == "found"
    assert found["compute_bound"] != "found"


def test_a_loop_of_matrix_products_is_called_compute_bound(train):
    run = train(size=4096, products=20, seconds=0.0, for_s=40)
    found = verdicts(run)
    assert found["compute_bound"] == "found"
    assert found["data_bound"] != "found"


def test_samples_are_plausible_and_torch_agrees_with_the_card(train):
    run = train(size=4096, products=20, seconds=0.0, for_s=8)
    rows = run.system.of("gpu")
    begin = run.system.of("event")[0]["gpus"][0]
    assert begin["matched_by"] in ("uuid", "pci")
    print(begin, rows[-1])
    busy = [row for row in rows if row["step"] > 10]
    assert all(row["torch_reserved_peak_mib"] <= row["memory_used_mib"] for row in busy)
    assert all(row["memory_used_mib"] <= begin["memory_total_mib"] for row in rows)
    energy = [row["energy_j"] for row in rows if row["energy_j"] is not None]
    assert energy == sorted(energy)


def test_sampling_costs_less_than_a_hundredth_of_a_core(tmp_path):
    from hf_monitor import RunWriter
    from hf_monitor.gpu import SystemSampler

    torch.zeros(1, device="cuda")
    sampler = SystemSampler(RunWriter(tmp_path / "run")).start()
    before, began = time.process_time(), time.monotonic()
    time.sleep(20)  # this thread sleeps: the process's time is the sampler's
    share = (time.process_time() - before) / (time.monotonic() - began)
    sampler.stop()
    print(f"sampler: {100 * share:.3f} % of a core at {sampler.interval_s} s")
    assert share < 0.01
