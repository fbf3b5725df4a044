"""What people do in notebooks and with Trainers of their own."""

import functools
import gc
import os
import sys
import weakref
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from transformers import TrainerCallback

from hf_monitor import FileLoggingCallback, RunWriter, TextMetrics, attach, default_callbacks, load_run
from hf_monitor.callbacks._recorder import recorder_for


class Says(TrainerCallback):
    def __init__(self, text):
        self.text = text

    def on_step_end(self, args, state, control, **kwargs):
        print(self.text)


def break_at(model, call, error):
    forward, calls = model.forward, []

    @functools.wraps(forward)
    def failing(*args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            raise error
        return forward(*args, **kwargs)

    model.forward = failing
    return model


@pytest.mark.no_cover
@pytest.mark.parametrize("by_attach", [True, False])
def test_a_new_trainer_after_a_crash_is_a_new_attempt_in_the_same_folder(make_trainer, make_model, tmp_path, by_attach):
    folder = tmp_path / "run"
    write = sys.stdout.write

    def record(**settings):
        if by_attach:
            trainer = make_trainer(eval_strategy="no", **settings)
            attach(trainer, folder)
        else:
            trainer = make_trainer(eval_strategy="no", callbacks=default_callbacks(folder), **settings)
        return trainer

    broken = record(model=break_at(make_model(), 3, RuntimeError("bad")))
    with pytest.raises(RuntimeError, match="bad"):
        broken.train()
    fine = record(learning_rate=1e-4)
    fine.train()
    run = load_run(folder)
    assert [(row["attempt"], row["step"]) for row in run.rows.of("train")] == [
        (1, 1),
        (1, 2),
        *((2, s) for s in range(1, 5)),
    ]
    assert run.status == "finished"
    assert run.config["learning_rate"] == 1e-4
    assert run.attempts[0]["facts"]["arguments"]["learning_rate"] == 5e-5
    assert sys.stdout.write == write  # without attach: since the second training began
    assert (folder / "train.log").read_text().count("step 4/4  loss") == 1


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_a_shorter_training_leaves_nothing_of_a_longer_one_in_the_metrics(make_trainer, tmp_path):
    for steps in (6, 2):
        trainer = make_trainer(max_steps=steps, output_dir=tmp_path / "out")
        attach(trainer)
        trainer.train()
    run = load_run(tmp_path / "out")
    assert [row["step"] for row in run.metrics.of("train")] == [1, 2]
    assert run.best("eval_loss").attempt == 2
    assert len(run.rows.of("train")) == 8


def test_rows_before_the_step_of_a_resume_are_kept(tmp_path):
    writer = RunWriter(tmp_path)
    for begin, end in ((0, 6), (4, 5)):
        writer.begin_attempt()
        writer.event("train_begin", begin)
        for step in range(begin + 1, end + 1):
            writer.row("train", step, {"loss": float(step)})
    assert [(row["attempt"], row["step"]) for row in load_run(tmp_path).metrics] == [(1, s) for s in range(1, 5)] + [
        (2, 5)
    ]


def test_a_refused_second_training_does_not_make_the_first_one_a_crash(make_trainer):
    trainer = make_trainer(eval_strategy="no")
    monitor = attach(trainer)
    trainer.train()
    with pytest.raises((ValueError, OSError)):
        trainer.train(resume_from_checkpoint="/nonexistent")
    run = monitor.run()
    assert [(row["attempt"], row["event"]) for row in run.events] == [
        (1, "train_begin"),
        (1, "data_overlap"),
        (1, "train_end"),
        (2, "error"),
    ]
    assert run.status == "crashed"


def test_an_error_before_the_first_step_is_recorded(make_trainer):
    trainer = make_trainer(eval_strategy="no")
    trainer.create_optimizer = None
    monitor = attach(trainer)
    with pytest.raises(TypeError):
        trainer.train()
    run = monitor.run()
    assert run.status == "crashed"
    assert run.events[0]["type"] == "TypeError"


def test_the_model_is_free_as_soon_as_the_trainer_is(make_trainer, tokenizer):
    gc.collect()
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer))
    attach(trainer)
    model = weakref.ref(trainer.model)
    gc.disable()
    try:
        del trainer
        assert model() is None
    finally:
        gc.enable()


def test_an_evaluation_that_is_not_in_order_is_scored_against_its_labels(make_trainer, make_dataset, tokenizer, caplog):
    from transformers import Seq2SeqTrainer

    class Shuffled(Seq2SeqTrainer):
        def _get_eval_sampler(self, dataset):
            return torch.utils.data.RandomSampler(dataset)

        def prediction_step(self, model, inputs, *args, **kwargs):
            loss, _, labels = super().prediction_step(model, inputs, *args, **kwargs)
            return loss, labels, labels  # predictions as good as can be

    data = make_dataset(8, references=[[f"text {i}"] for i in range(8)])
    trainer = make_trainer(cls=Shuffled, compute_metrics=TextMetrics(tokenizer), evaluation=data)
    monitor = attach(trainer)
    metrics = trainer.evaluate()
    assert metrics["eval_rougeL"] == pytest.approx(100.0)
    assert {row["input"] for row in monitor.run().predictions} == {None}
    assert "cannot be matched" in "".join(record.getMessage() for record in caplog.records)


@pytest.mark.usefixtures("no_pictures")
def test_a_data_set_that_cannot_be_read_costs_its_texts_not_the_training(make_trainer, make_dataset, tokenizer, caplog):
    from datasets import Dataset

    class Stubborn(Dataset):
        def with_format(self, *args, **kwargs):
            raise KeyError("no such column")

    data = make_dataset(4, references=[["a"]] * 4)
    data.__class__ = Stubborn
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), evaluation=data, predict_with_generate=False)
    monitor = attach(trainer)
    trainer.train()
    assert monitor.run().status == "finished"
    said = [record.getMessage() for record in caplog.records if record.name == "hf_monitor"]
    assert any("cannot be read" in text for text in said)
    assert any("predict_with_generate" in text for text in said)


def test_a_broken_off_evaluation_does_not_reach_into_the_next(
    make_trainer, make_model, make_dataset, tokenizer, tmp_path
):
    metrics = TextMetrics(tokenizer)
    trainer = make_trainer(
        model=break_at(make_model(), 2, KeyboardInterrupt()),
        compute_metrics=metrics,
        callbacks=default_callbacks(tmp_path / "run", metrics),
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.evaluate(make_dataset(4))
    trainer.evaluate(make_dataset(8))
    assert len(load_run(tmp_path / "run").predictions) == 8


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_a_trainer_that_copies_its_logs_is_recorded_once(make_trainer, tokenizer):
    from transformers import Seq2SeqTrainer

    class Copies(Seq2SeqTrainer):
        def log(self, logs, *args, **kwargs):
            super().log({**logs, "extra": 1.0}, *args, **kwargs)

    trainer = make_trainer(cls=Copies, compute_metrics=TextMetrics(tokenizer))
    monitor = attach(trainer)
    trainer.train()
    assert [row["step"] for row in monitor.run().rows.of("eval")] == [2, 4]


@pytest.mark.no_cover
def test_an_evaluation_called_train_is_no_summary(make_trainer, tokenizer):
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), eval_strategy="no")
    monitor = attach(trainer)
    result = trainer.train()
    trainer.evaluate(trainer.train_dataset, metric_key_prefix="train")
    run = monitor.run()
    (summary,) = run.metrics.of("train_summary")
    assert summary["train_loss"] == result.training_loss
    assert "train_rougeL" in run.metrics.of("eval")[0]


@pytest.mark.no_cover
@pytest.mark.usefixtures("no_pictures")
def test_texts_of_several_sets_stay_apart(make_trainer, make_dataset, tokenizer):
    sets = {"a": make_dataset(2), "b": make_dataset(3)}
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), evaluation=sets, max_steps=2)
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    assert [(row["name"], row["n_samples"]) for row in run.metrics.of("text_scores")] == [("eval_a", 2), ("eval_b", 3)]
    assert set(run.facts["text_metrics"]) == {"eval_a", "eval_b"}


def test_a_training_set_whose_length_raises_is_no_obstacle(tmp_path):
    from hf_monitor.callbacks._facts import data_facts

    class Stream:
        def __len__(self):
            raise TypeError("a stream has no length")

    assert data_facts(Stream()) == {"class": "Stream"}


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts the descriptors that Linux shows in /proc")
def test_writers_that_are_gone_leave_no_descriptor(tmp_path):
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a plain count
    for number in range(10):
        RunWriter(tmp_path / str(number)).row("train", 1, {"loss": 1.0})
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_two_folders_of_one_training_both_get_the_console(make_trainer, tmp_path):
    trainer = make_trainer(
        callbacks=[FileLoggingCallback(tmp_path / "a"), FileLoggingCallback(tmp_path / "b"), Says("in the middle")],
        eval_strategy="no",
        max_steps=1,
    )
    trainer.train()
    for name in ("a", "b"):
        assert (tmp_path / name / "train.log").read_text().count("in the middle") == 1


@pytest.mark.no_cover
@pytest.mark.parametrize("by_attach", [True, False])
def test_a_training_that_changes_the_working_directory_is_recorded_where_it_began(
    make_trainer, tmp_path, monkeypatch, by_attach
):
    class Away(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                monkeypatch.chdir(elsewhere)
                recorder_for(tmp_path / "out" / "monitor").writer._tend_at = 0.0  # a second later

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    ours = [] if by_attach else default_callbacks("out/monitor")
    trainer = make_trainer(output_dir="out", callbacks=[*ours, Away()])
    if by_attach:
        attach(trainer)
    trainer.train()
    assert list(elsewhere.iterdir()) == []
    run = load_run(tmp_path / "out")
    assert (run.status, run.last_step) == ("finished", 4)
    assert (run.path / "plots" / "06_training_history.png").exists()


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (Mute(), "<exception str() failed>"),
        (ValueError("half a character: \udc80, and none: \0"), "half a character: ?, and none: \0"),
        (ValueError("x" * 3_000_000 + " the end"), "x" * 2000),
    ],
    ids=["mute", "surrogate", "huge"],
)
@pytest.mark.usefixtures("no_pictures")
def test_an_error_with_a_strange_text_is_recorded_with_its_place(make_trainer, make_model, error, message):
    model = make_model()
    break_at(model, 3, error)
    trainer = make_trainer(model=model)
    monitor = attach(trainer)
    with pytest.raises(type(error)) as raised:
        trainer.train()
    assert raised.value is error
    ending = monitor.run().ending
    assert (ending.status, ending.type, ending.message) == ("crashed", type(error).__name__, message)
    assert "in failing" in ending.traceback
    assert not message.startswith("xx") or ending.traceback.rstrip().endswith("the end")
    log = (monitor.run_dir / "train.log").read_text()
    assert "in failing" in log
    assert len(log) < 100_000


@pytest.mark.no_cover
def test_an_error_without_a_text_inside_our_callbacks_ends_no_training(make_trainer, make_dataset, tokenizer, caplog):
    class Unreadable(torch.utils.data.Dataset):
        """Looks like a data set with columns; raises what cannot even be shown."""

        column_names: ClassVar = ["input_ids", "references"]

        def __init__(self):
            self.rows = make_dataset(5)

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return self.rows[index]

        def with_format(self, kind):
            raise Mute

    trainer = make_trainer(evaluation=Unreadable(), compute_metrics=TextMetrics(tokenizer), remove_unused_columns=False)
    monitor = attach(trainer)
    trainer.train()
    assert monitor.run().status == "finished"
    assert "Mute: <exception str() failed>" in caplog.text
