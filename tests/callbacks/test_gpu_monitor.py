"""GpuMonitorCallback in real trainings on the CPU: where the time goes, samples joined to steps, and no trace left."""

import os
import threading
import time
from collections import Counter

import pytest
import torch
from transformers import TrainerCallback

from hf_monitor import GpuMonitorCallback, attach, hardware_findings, load_run
from hf_monitor.callbacks import gpu_monitor
from hf_monitor.errors import InputError
from hf_monitor.gpu import sampler
from hf_monitor.gpu.sampler import SystemSampler

pytestmark = pytest.mark.usefixtures("no_pictures")


def sampler_threads():
    return [thread for thread in threading.enumerate() if thread.name == "hf_monitor sampler"]


@pytest.fixture(autouse=True)
def as_often_as_asked_for(monkeypatch):
    """Tests sample far more often than once a second, and under coverage each sample costs many times as much."""
    monkeypatch.setattr(sampler, "MOST_OF_A_CORE", 1.0)


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


@pytest.mark.no_cover
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


@pytest.mark.no_cover
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


@pytest.mark.no_cover
def test_a_sleeping_data_set_is_seen_as_wait_for_data(monitored, make_dataset):
    _, run = monitored(train=Slow(make_dataset(8), 0.03), max_steps=6, logging_steps=3, eval_strategy="no")
    second = run.metrics.of("timing")[1]
    assert second["data_wait_seconds"] >= 2 * 0.03


@pytest.mark.no_cover
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


@pytest.mark.no_cover
def test_a_training_that_waits_for_its_data_is_called_so_in_the_log(monitored, make_dataset, tmp_path):
    _, run = monitored(train=Slow(make_dataset(8), 0.02), max_steps=80, logging_steps=20, eval_strategy="no")
    (finding,) = [finding for finding in hardware_findings(run) if finding.rule == "data_bound"]
    assert (finding.verdict, finding.severity) == ("found", "warning")
    assert finding.value > 0.5  # two samples of 20 ms a step of a model this small
    assert any("dataloader_num_workers" in text or "__getitem__" in text for text in finding.suggestions)
    log = (tmp_path / "run/train.log").read_text()
    assert log.count("data_bound") == 1


class Computing(TrainerCallback):
    """Makes a step take as long as that of a larger model."""

    def on_optimizer_step(self, args, state, control, **kwargs):
        time.sleep(0.1)


def test_a_training_that_does_not_is_not(monitored, tmp_path):
    _, run = monitored(max_steps=40, logging_steps=10, eval_strategy="no", callbacks=[Computing()])
    verdicts = {finding.rule: finding.verdict for finding in hardware_findings(run)}
    assert verdicts["data_bound"] == "clear"
    assert "data_bound" not in (tmp_path / "run/train.log").read_text()


class Busy(TrainerCallback):
    """A callback of the user's own that takes its time between steps and at an epoch's end."""

    def on_step_end(self, args, state, control, **kwargs):
        time.sleep(0.02)

    def on_epoch_end(self, args, state, control, **kwargs):
        time.sleep(0.3)


@pytest.mark.no_cover
def test_what_other_callbacks_do_is_no_wait_for_data(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=80, logging_steps=20, eval_strategy="no")
    attach(trainer, tmp_path / "run")
    trainer.add_callback(Busy())  # after ours
    trainer.train()
    run = load_run(tmp_path / "run")
    rows = run.metrics.of("timing")
    assert all(row["other_seconds"] >= 19 * 0.02 for row in rows)
    # A fetch takes a millisecond; had they been counted, the wait would be above 20 ms a step.
    assert all(row["data_wait_seconds"] < 0.02 for row in rows[1:])


@pytest.mark.no_cover
def test_evaluations_and_checkpoints_at_an_epochs_end_are_sampled_as_such(make_trainer, make_dataset, tmp_path):
    trainer = make_trainer(
        evaluation={"ko": Slow(make_dataset(3), 0.1), "en": Slow(make_dataset(3), 0.1)},
        eval_strategy="epoch",
        logging_strategy="epoch",
        num_train_epochs=2,
        max_steps=-1,
    )
    attach(trainer, tmp_path / "run").find(GpuMonitorCallback).interval_s = 0.01
    trainer.train()
    phases = [row["phase"] for row in load_run(tmp_path / "run").system.of("host")]
    # 1.2 s of sleep, in the second set as well as the first
    assert phases.count("evaluate") > phases.count("data") + phases.count("train")


def test_alone_they_are_too(make_trainer, make_dataset, tmp_path):
    callback = GpuMonitorCallback(tmp_path / "run", interval_s=0.01)
    trainer = make_trainer(
        callbacks=[callback],
        evaluation=Slow(make_dataset(6), 0.1),
        eval_strategy="epoch",
        num_train_epochs=1,
        max_steps=-1,
    )
    trainer.train()
    phases = Counter(row["phase"] for row in load_run(tmp_path / "run").system.of("host"))
    assert phases["evaluate"] > phases["data"] + phases["train"]


def test_alone_a_warning_is_shown_where_no_log_takes_it(make_trainer, make_dataset, tmp_path, caplog):
    trainer = make_trainer(
        callbacks=[GpuMonitorCallback(tmp_path / "run")],
        train=Slow(make_dataset(8), 0.02),
        max_steps=80,
        logging_steps=20,
        eval_strategy="no",
    )
    trainer.train()
    assert [record.message.count("data_bound") for record in caplog.records if record.name == "hf_monitor"] == [1]


def test_a_long_run_is_not_read_while_the_user_waits(monitored, make_dataset, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_monitor, "MOST_BYTES", 1000)
    monitored(max_steps=3)
    log = (tmp_path / "run/train.log").read_text()
    assert "too much to judge in a moment: hardware_findings(load_run(" in log


def test_alone_the_batch_that_auto_find_batch_size_found_counts(make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[GpuMonitorCallback(tmp_path / "run")], auto_find_batch_size=True, max_steps=4)
    compute, tried = trainer.compute_loss, []

    def too_large_at_first(model, inputs, *args, **kwargs):
        if model.training and len(inputs["input_ids"]) > 1:
            tried.append(1)
            raise RuntimeError("CUDA out of memory.")
        return compute(model, inputs, *args, **kwargs)

    trainer.compute_loss = too_large_at_first
    trainer.train()
    assert tried
    rows = load_run(tmp_path / "run").metrics.of("timing")
    assert [round(row["samples_per_second"] * row["seconds"]) for row in rows] == [1, 1, 1, 1]


def test_of_a_model_without_a_decoder_of_its_own_the_labels_are_no_further_tokens():
    callback = GpuMonitorCallback()
    batch = {"input_ids": torch.zeros(2, 5), "labels": torch.zeros(2, 5)}
    callback.count(batch)
    callback._counts_labels = True
    callback.count(batch)
    callback.count({"pixel_values": torch.zeros(3, 2)})
    callback.count("nothing of the kind")
    assert (callback.clock.n_samples, callback.clock.n_tokens) == (7, 10 + 20)


def test_the_batches_are_handed_on_as_they_come():
    class Batches:
        length = 3

        def __init__(self):
            self.left = [{"a": 1}, {"b": 2}]

        def __next__(self):
            if not self.left:
                raise StopIteration
            return self.left.pop(0)

    batches = Batches()
    first, second = batches.left
    fetches = GpuMonitorCallback().timed(batches)
    assert iter(fetches) is fetches
    assert (next(fetches), next(fetches), fetches.length) == (first, second, 3)
    with pytest.raises(StopIteration):
        next(fetches)


def test_alone_an_evaluation_and_a_checkpoint_are_no_wait_for_data(make_trainer, make_dataset, tmp_path):
    trainer = make_trainer(
        callbacks=[GpuMonitorCallback(tmp_path / "run")],
        evaluation=Slow(make_dataset(4), 0.1),
        max_steps=4,
        logging_steps=1,
        eval_steps=1,
        save_strategy="steps",
        save_steps=1,
    )
    save = trainer.save_model

    def slowly(*args, **kwargs):
        time.sleep(0.4)
        return save(*args, **kwargs)

    trainer.save_model = slowly
    trainer.train()
    for row in load_run(tmp_path / "run").metrics.of("timing")[1:]:
        assert row["other_seconds"] >= 4 * 0.1 + 0.4
        assert row["data_wait_seconds"] < 4 * 0.1  # what it would be at least, had they been counted


class SlowLog(TrainerCallback):
    """A tracker that takes its time."""

    def on_log(self, args, state, control, **kwargs):
        time.sleep(0.1)


def test_alone_a_tracker_that_logs_slowly_is_no_wait_for_data(make_trainer, tmp_path):
    callbacks = [SlowLog(), GpuMonitorCallback(tmp_path / "run")]
    make_trainer(callbacks=callbacks, max_steps=4, logging_steps=1, eval_strategy="no").train()
    for row in load_run(tmp_path / "run").metrics.of("timing")[1:]:
        assert row["data_wait_seconds"] < 0.1 <= row["other_seconds"]


@pytest.mark.no_cover
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


@pytest.mark.no_cover
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


@pytest.mark.no_cover
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


@pytest.mark.parametrize("interval", [0, -1.0, float("nan"), "1", None, True, 1e9])
def test_an_interval_that_is_none_is_refused_when_the_callback_is_made(interval):
    with pytest.raises(InputError, match=r"interval_s must be a number of seconds above 0 .*, got"):
        GpuMonitorCallback("run", interval_s=interval)


@pytest.mark.parametrize("writer", [None, 3, load_run])
def test_a_sampler_wants_a_writer_or_a_path(writer):
    with pytest.raises(InputError, match=f"RunWriter or the path of a run folder, got {type(writer).__name__}"):
        SystemSampler(writer)


@pytest.mark.no_cover
def test_the_steps_before_an_error_have_their_timing(make_trainer, tmp_path):
    trainer = make_trainer(max_steps=9, logging_steps=3, eval_strategy="no")
    monitor = attach(trainer, tmp_path / "run")
    compute = trainer.compute_loss

    def fails_at_step_6(*args, **kwargs):
        if trainer.state.global_step == 5:
            raise RuntimeError("boom")
        return compute(*args, **kwargs)

    trainer.compute_loss = fails_at_step_6
    with pytest.raises(RuntimeError):
        trainer.train()
    assert [(row["step"], row["steps"]) for row in monitor.run().metrics.of("timing")] == [(3, 3), (5, 2)]
    assert monitor.run().status == "crashed"
