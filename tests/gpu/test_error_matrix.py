"""Every error code of NVML x every metric x every event of a training: it ends as if nothing had been."""

import itertools
import logging
from collections import Counter

import fake_nvml as fake
import pynvml
import pytest
import torch
from transformers import TrainerCallback
from transformers.trainer_callback import PrinterCallback

from hf_monitor import GpuMonitorCallback, RunWriter, load_run
from hf_monitor.gpu import sampler as sampler_module
from hf_monitor.gpu.readings import METRICS, open_devices
from hf_monitor.gpu.sampler import SystemSampler

CODES = sorted(value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_"))
ASKED = [*METRICS, "other_processes", "device"]
AT_ONCE = 5  # combinations at each event: a step of a training takes longer than they do
# Without what a training does not do: the hub, the making of the Trainer, a prediction.
EVENTS = {name for name in vars(TrainerCallback) if name.startswith("on_")} - {
    "on_push_begin",
    "on_init_end",
    "on_predict",
}


def warnings(caplog):
    """Give the lines that are about the GPU (the loss has one of its own)."""
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.message for record in found if record.module == "sampler"]


class Chaos(TrainerCallback):
    """At each event of a training: the next codes for the next metrics, each time a reader that has not seen it yet."""

    def __init__(self, scenario, ours):
        self.scenario, self.ours = scenario, ours
        self.combinations = {name: itertools.cycle(itertools.product(CODES, ASKED)) for name in EVENTS}
        self.met = Counter()

    def __getattribute__(self, name):
        if name not in EVENTS:
            return super().__getattribute__(name)

        def event(*args, **kwargs):
            sampler = self.ours._sampler
            if sampler is None:
                return
            errors = self.scenario.gpus[0].errors
            for code, metric in itertools.islice(self.combinations[name], AT_ONCE):
                sampler._readers = open_devices(self.scenario.visible())
                errors[metric] = code
                sampler._look_around_at = 0.0
                sampler.sample()
                sampler.sample()
                errors.clear()
                sampler.sample()
                sampler._readers.close()
                self.met[name] += 1

        return event


@pytest.mark.slow
@pytest.mark.no_cover  # for the time that CI has: the same few lines, 500 times
def test_a_training_ends_as_without_us(
    fake_nvml, make_trainer, make_model, make_dataset, monkeypatch, tmp_path, caplog
):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    monkeypatch.setattr(sampler_module, "torch_devices", scenario.visible)

    def train(callbacks, folder, steps, save):
        trainer = make_trainer(
            model=make_model(),
            callbacks=callbacks,
            output_dir=tmp_path / folder,
            train=make_dataset(4),  # an epoch is one step of two micro-batches
            evaluation=make_dataset(1),
            gradient_accumulation_steps=2,
            max_steps=steps,
            eval_steps=1,
            save_strategy=save,
            save_steps=1,
            save_total_limit=1,
            save_only_model=True,
            predict_with_generate=False,
        )
        trainer.remove_callback(PrinterCallback)  # 500 lines that nobody reads
        trainer.train()
        return trainer.model.state_dict()

    combinations = len(CODES) * len(ASKED)
    steps = -(-combinations // AT_ONCE)
    ours = GpuMonitorCallback(tmp_path / "run", interval_s=1e4)
    chaos = Chaos(scenario, ours)
    with_it = train([ours, chaos], "with", steps, "steps")
    run = load_run(tmp_path / "run")
    assert run.status == "finished"
    assert run.last_step == steps
    seldom = {"on_train_begin", "on_train_end"}  # once a training; see below
    assert {name for name, times in chaos.met.items() if times >= combinations} == EVENTS - seldom
    (line,) = warnings(caplog)  # of 279 errors at each of 11 events
    assert "GPU 0 (NVIDIA GeForce RTX 4090) gives no readings any more" in line
    powers = [row["power_w"] for row in run.system.of("gpu")]
    assert powers.count(350.25) > len(powers) / 2  # it was there whenever it was not the one that failed
    without = train([], "without", steps, "no")
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_it_begins_and_ends_with_every_error_too(fake_nvml, tmp_path, caplog):
    scenario = fake.one_4090()
    fake_nvml(scenario)
    writer = RunWriter(tmp_path / "run")
    errors = scenario.gpus[0].errors
    for code, metric in itertools.product(CODES, ASKED):
        errors[metric] = code
        sampler = SystemSampler(writer, interval_s=1e4, devices=scenario.visible()).start()
        sampler._thread.join(0.001)
        assert sampler.stop()
        errors.clear()
        assert sampler.samples >= 1
    system = load_run(tmp_path / "run").system
    assert len([row for row in system.of("event") if row["event"] == "sampler_begin"]) == len(CODES) * len(ASKED)
    told = Counter(warnings(caplog))
    assert all("gives no readings any more" in line for line in told)


@pytest.mark.no_cover
@pytest.mark.parametrize("code", CODES)
def test_a_driver_that_does_not_open_is_one_line(fake_nvml, tmp_path, caplog, code):
    scenario = fake.one_4090()
    scenario.init_error = code
    fake_nvml(scenario)
    sampler = SystemSampler(RunWriter(tmp_path / "run"), interval_s=1e4, devices=scenario.visible()).start()
    assert sampler.stop()
    (line,) = warnings(caplog)
    assert "only torch's own readings" in line
    assert load_run(tmp_path / "run").system.of("gpu")[-1]["memory_used_mib"] == 900.0
