"""GpuMonitorCallback in real trainings on the CPU: where the time goes, samples joined to steps, and no trace left."""

import os
import threading
import time

import pytest
import torch
from transformers import TrainerCallback

from hf_monitor import GpuMonitorCallback, attach, hardware_findings, load_run
from hf_monitor.errors import InputError
from hf_monitor.gpu.sampler import SystemSampler


def sampler_threads():
    return [thread for thread in threading.enumerate() if thread.name == "hf_monitor sampler"]


@pytest.fixture
def monitored(make_trainer, tmp_path):
    """Train with attach() and quick samples; give trainer and run."""

    def train(**settings):
        trainer = make_trainer(**settings)
        monitor = attach(trainer, tmp_path / "run")
        monitor.find(GpuMonitorCallback).interval_s = 0.02
        trainer.train()
        return trainer, load_run(tmp_path / "run")

    return train


class Slow(torch.utils.data.Dataset):
    """A data set whose every sample takes a while."""

    def __init__(self, dataset, seconds):
        self.rows, self.seconds = list(dataset), seconds

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return self.rows[index]


def test_each_logged_window_says_how_its_time_was_spent(monitored):
    _, run = monitored(max_steps=5, logging_steps=2, eval_steps=2)
    rows = run.metrics.of("timing")
    assert [(row["step"], row["steps"]) for row in rows] == [(2, 2), (4, 2), (5, 1)]  # the last with the summary
    for row in rows:
        total = row["steps"] * (row["step_seconds"] + row["data_wait_seconds"])
        assert row["seconds"] == pytest.approx(total, abs=1e-4)
        assert 0 <= row["data_wait_share"] <= 1
        assert row["step_seconds_max"] >= row["step_seconds"] > 0
    assert rows[1]["other_seconds"] > 0  # the evaluation of step 2


def test_samples_and_tokens_are_those_that_came(make_trainer, make_dataset, tmp_path):
    trainer = make_trainer(
        train=make_dataset(6),  # batches of 4 and 2
        max_steps=4,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=2,
        logging_steps=1,
        eval_strategy="no",
    )
    collate, came = trainer.data_collator, []

    def collator(rows):
        batch = collate(rows)
        came.append((len(rows), batch["input_ids"].numel() + batch["labels"].numel()))
        return batch

    trainer.data_collator = collator
    attach(trainer, tmp_path / "run")
    trainer.train()
    rows = load_run(tmp_path / "run").metrics.of("timing")
    steps = [came[0:2], came[2:3], came[3:5], came[5:6]]
    for row, batches in zip(rows, steps, strict=True):
        samples, tokens = (sum(numbers) for numbers in zip(*batches, strict=True))
        assert row["samples_per_second"] * row["seconds"] == pytest.approx(samples, rel=1e-3)
        assert row["tokens_per_second"] * row["seconds"] == pytest.approx(tokens, rel=1e-3)


def test_without_attach_samples_are_what_the_arguments_promise_and_tokens_are_not_guessed(make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[GpuMonitorCallback(tmp_path / "run")], max_steps=2, gradient_accumulation_steps=2)
    trainer.train()
    row = load_run(tmp_path / "run").metrics.of("timing")[0]
    assert row["samples_per_second"] * row["seconds"] == pytest.approx(4, rel=1e-3)
    assert "tokens_per_second" not in row


def test_a_sleeping_data_set_is_seen_as_wait_for_data(monitored, make_dataset):
    _, run = monitored(train=Slow(make_dataset(8), 0.03), max_steps=6, logging_steps=3, eval_strategy="no")
    second = run.metrics.of("timing")[1]
    assert second["data_wait_seconds"] >= 2 * 0.03


def test_an_evaluation_and_a_checkpoint_are_not(monitored, make_dataset):
    _, run = monitored(
        evaluation=Slow(make_dataset(4), 0.05),
        max_steps=4,
        logging_steps=1,
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
    )
    for row in run.metrics.of("timing")[1:]:
        assert row["other_seconds"] >= 4 * 0.05


def test_a_training_that_waits_for_its_data_is_called_so_in_the_log(monitored, make_dataset, tmp_path):
    _, run = monitored(train=Slow(make_dataset(8), 0.02), max_steps=80, logging_steps=20, eval_strategy="no")
    (finding,) = [finding for finding in hardware_findings(run) if finding.rule == "data_bound"]
    assert (finding.verdict, finding.severity) == ("found", "warning")
    assert finding.value > 0.5  # two samples of 20 ms a step of a model this small
    assert any("dataloader_num_workers" in text or "map" in text for text in finding.suggestions)
    log = (tmp_path / "run/train.log").read_text()
    assert log.count("data_bound") == 1


class Computing(TrainerCallback):
    """Makes a step take as long as that of a larger model."""

    def on_optimizer_step(self, args, state, control, **kwargs):
        time.sleep(0.05)


def test_a_training_that_does_not_is_not(monitored, tmp_path):
    _, run = monitored(max_steps=80, logging_steps=20, eval_strategy="no", callbacks=[Computing()])
    verdicts = {finding.rule: finding.verdict for finding in hardware_findings(run)}
    assert verdicts["data_bound"] == "clear"
    assert "data_bound" not in (tmp_path / "run/train.log").read_text()


def test_samples_know_their_step_and_phase(monitored, make_dataset):
    _, run = monitored(
        train=Slow(make_dataset(8), 0.02), evaluation=Slow(make_dataset(4), 0.05), max_steps=4, eval_steps=2
    )
    begin = run.system.of("event")[0]
    assert begin["event"] == "sampler_begin"
    assert (begin["device"], begin["gpus"]) == ("cpu", [])
    assert begin["cpu_count"] >= 1
    rows = run.system.of("host")
    assert {"data", "evaluate"} <= {row["phase"] for row in rows}
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert rows[-1]["step"] == 4
    assert {row["attempt"] for row in run.system} == {1}
    for name in ("ram_used_mib", "ram_total_mib", "process_rss_mib"):
        assert all(row[name] > 0 for row in rows)
    assert rows[0]["disk_free_mib"] > 0  # asked for every ten seconds
    assert any(row["process_cpu_percent"] > 0 for row in rows[1:])


def test_the_thread_ends_with_the_training_and_begins_with_the_next(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=2)
    attach(trainer, tmp_path / "run")
    for attempt in (1, 2):
        trainer.train()
        assert sampler_threads() == []
        assert {row["attempt"] for row in load_run(tmp_path / "run").system} == set(range(1, attempt + 1))


@pytest.mark.parametrize("error", [RuntimeError("CUDA error: an illegal memory access"), KeyboardInterrupt()])
def test_the_thread_ends_with_an_error(make_trainer, tmp_path, error):
    trainer = make_trainer(max_steps=4)
    attach(trainer, tmp_path / "run")

    def fail(*args, **kwargs):
        assert sampler_threads()
        raise error

    trainer.compute_loss = fail
    with pytest.raises(type(error)):
        trainer.train()
    assert sampler_threads() == []


def test_without_attach_a_trainer_that_is_given_up_takes_the_thread_along(make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[GpuMonitorCallback(tmp_path / "run")])

    def fail(*args, **kwargs):
        raise RuntimeError("boom")

    trainer.compute_loss = fail
    with pytest.raises(RuntimeError):
        trainer.train()
    assert sampler_threads()
    import gc

    del trainer
    gc.collect()
    assert sampler_threads() == []


def test_the_weights_are_the_same_as_without(make_trainer, make_model, tmp_path):
    def train(callbacks):
        trainer = make_trainer(model=make_model(), callbacks=callbacks, output_dir=tmp_path / str(len(callbacks)))
        trainer.train()
        return trainer.model.state_dict()

    with_it, without = train([GpuMonitorCallback(tmp_path / "run", interval_s=0.005)]), train([])
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_workers_are_forked_and_the_sampler_goes_on(monitored, make_dataset):
    _, run = monitored(train=Slow(make_dataset(8), 0.02), max_steps=6, dataloader_num_workers=2, eval_strategy="no")
    assert run.status == "finished"
    assert {row["step"] for row in run.system.of("host")} >= {6}
    assert run.broken_lines["system.jsonl"] == 0


def test_a_forked_child_has_no_sampler_and_may_begin_its_own(tmp_path):
    from hf_monitor import RunWriter

    sampler = SystemSampler(RunWriter(tmp_path / "run"), interval_s=0.001).start()
    while not sampler.samples:
        time.sleep(0.001)
    for _ in range(20):  # at moments of which some are within a sample
        pid = os.fork()
        if not pid:
            code = 1
            try:
                before = (tmp_path / "run/system.jsonl").read_bytes().count(b"\n")
                sampler.stop()
                own = SystemSampler(RunWriter(tmp_path / f"child{os.getpid()}"), interval_s=0.001).start()
                time.sleep(0.01)
                code = 0 if own.stop() and before else 1
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert sampler.stop()
    run = load_run(tmp_path / "run")
    assert len(run.system.of("host")) == sampler.samples
    assert run.broken_lines["system.jsonl"] == 0


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), "1", None, True])
def test_an_interval_that_is_none_is_refused_before_the_training(make_trainer, tmp_path, interval):
    trainer = make_trainer(callbacks=[GpuMonitorCallback(tmp_path / "run", interval_s=interval)])
    with pytest.raises(InputError, match="interval_s must be a number of seconds above 0, got"):
        trainer.train()
