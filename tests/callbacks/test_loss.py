"""The recorded loss: as it was, where the Trainer logs another."""

import datetime
import functools
import logging
import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import Seq2SeqTrainer, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_monitor import FileLoggingCallback, attach, default_callbacks, ensure_loss_scaling, load_run
from hf_monitor.callbacks import _loss, _loss_share
from hf_monitor.callbacks import plotting as plotting_module

OWN = ("loss", "loss_raw", "loss_scale", "train_loss", "train_loss_raw", "nonfinite_steps", "loss_suspect")


@pytest.fixture(autouse=True)
def drawn(monkeypatch):
    """Rows that charts were to be drawn from: drawing takes longer than these trainings."""
    drawn = []
    monkeypatch.setattr("hf_monitor.charts.history.draw_history", lambda rows, folder: drawn.append(list(rows)) or [])
    return drawn


def own(row):
    return {key: row[key] for key in OWN if key in row}


@pytest.fixture
def said(caplog):
    """What hf_monitor warned of."""
    caplog.set_level(logging.WARNING, logger="hf_monitor")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "hf_monitor"]


@pytest.fixture
def make(make_trainer, make_dataset):
    """Make a Trainer of 10 micro-batches an epoch: steps of 4, 4 and 2 with accumulation 4."""

    def make(**settings):
        defaults = {"eval_strategy": "no", "gradient_accumulation_steps": 4, "max_steps": 6}
        return make_trainer(train=make_dataset(20, opening="Later. "), **(defaults | settings))

    return make


def broken_at(model, *calls, value=math.nan):
    """Make the loss of some training forwards (counted from 1) not finite."""
    forward, seen = model.forward, []

    @functools.wraps(forward)
    def broken(*args, **kwargs):
        found = forward(*args, **kwargs)
        if model.training:
            seen.append(1)
            if len(seen) in calls:
                found.loss = found.loss * value
        return found

    model.forward = broken
    return model


# --- scaling


@pytest.mark.no_cover
def test_each_step_is_scaled_by_the_micro_batches_that_it_took(make, make_model, said):
    trainer = make(model=make_model(1))
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    rows = run.rows.of("train")
    assert [row["loss_scale"] for row in rows] == [1 / 4, 1 / 4, 1 / 2] * 2  # the last step of an epoch is short
    for row, logged in zip(rows, trainer.state.log_history, strict=False):
        assert row["loss_raw"] == logged["loss"]
        assert row["loss"] == row["loss_raw"] * row["loss_scale"]
        assert "loss_raw" not in logged
    (summary,) = run.rows.of("train_summary")
    assert summary["train_loss"] == pytest.approx(sum(row["loss"] for row in rows) / 6)
    assert summary["train_loss_raw"] == trainer.state.log_history[-1]["train_loss"]
    assert run.facts["loss_scaling"]["verdict"] == "scaled"
    assert "T5ForConditionalGeneration ignores" in run.facts["loss_scaling"]["reason"]
    (message,) = said()
    assert "4 times too large" in message
    assert "ensure_loss_scaling(model)" in message
    assert f"loss {rows[0]['loss']:.4g}  loss_raw" in (monitor.run_dir / "train.log").read_text()

    plain = make(model=make_model(1))  # with dropout: a random number more or less would show
    plain.train()
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[key])


@pytest.mark.no_cover
@pytest.mark.parametrize("attached", [True, False])
def test_a_callback_added_behind_the_one_that_prints(make, attached):
    """That one takes from the summary by what it is known."""
    trainer = make(disable_tqdm=True)
    trainer.add_callback(FileLoggingCallback())
    if attached:
        attach(trainer)
    trainer.train()
    rows = load_run(Path(trainer.args.output_dir) / "monitor").rows
    (summary,) = rows.of("train_summary")
    assert not rows.of("eval")
    assert summary["train_loss"] == pytest.approx(sum(row["loss"] for row in rows.of("train")) / 6)


def test_a_window_of_steps_of_different_lengths_and_a_rest(make):
    trainer = make(logging_steps=5, max_steps=6)
    monitor = attach(trainer)
    seen = []
    trainer.add_callback(Sees(trainer, seen))
    trainer.train()
    (row,) = monitor.run().rows.of("train")
    steps = [sum(step) / len(step) for step in seen]
    assert row["loss"] == pytest.approx(sum(steps[:5]) / 5, rel=1e-4)
    assert row["loss_scale"] == pytest.approx(row["loss"] / row["loss_raw"])
    assert monitor.run().rows.of("train_summary")[0]["train_loss"] == pytest.approx(sum(steps) / 6, rel=1e-4)


class Sees(TrainerCallback):
    """Reads the Trainer's own sum after each micro-batch: the loss of each, another way than ours."""

    def __init__(self, trainer, steps):
        self.trainer, self.steps, self.before, self.step = trainer, steps, 0.0, []

    def _see(self):
        total = float(self.trainer._tr_loss)
        self.step.append(total - self.before)
        self.before = total

    def on_substep_end(self, *args, **kwargs):
        self._see()

    def on_step_end(self, args, state, control, **kwargs):
        self._see()
        self.steps.append(self.step)
        self.step = []
        if control.should_log or state.global_step % args.logging_steps == 0:
            self.before = 0.0


def test_a_model_that_was_mended_is_left_alone_silently(make, make_model, said):
    model = make_model()
    ensure_loss_scaling(model)
    trainer = make(model=model)
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert [own(row) for row in run.rows.of("train")] == [{"loss": loss} for loss in logged]
    assert own(run.rows.of("train_summary")[0]) == {"train_loss": trainer.state.log_history[-1]["train_loss"]}
    assert run.facts["loss_scaling"]["verdict"] == "as logged"
    assert said() == []


def test_without_attach_nothing_is_corrected_where_it_is_not_certain(make, tmp_path, said):
    trainer = make(callbacks=default_callbacks(tmp_path / "run"))
    trainer.train()
    run = load_run(tmp_path / "run")
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert [own(row) for row in run.rows.of("train")] == [
        {"loss": loss, "loss_scale": "undetermined"} for loss in logged
    ]
    assert run.rows.of("train_summary")[0]["loss_scale"] == "undetermined"
    assert run.facts["loss_scaling"]["verdict"] == "undetermined"
    (message,) = said()
    assert "compute_loss_func" in message
    assert "attach(trainer)" in message


def no_extra_arguments(model):
    forward = model.forward
    model.forward = lambda input_ids=None, attention_mask=None, labels=None, decoder_input_ids=None: forward(
        input_ids=input_ids, attention_mask=attention_mask, labels=labels
    )


def counting(model):
    forward = model.forward

    def counts(input_ids=None, labels=None, num_items_in_batch=None, **kwargs):
        found = forward(input_ids=input_ids, labels=labels)
        if num_items_in_batch is not None:
            found.loss = found.loss * labels.ne(-100).sum() / num_items_in_batch
        return found

    model.forward = counts


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        ({"gradient_accumulation_steps": 1}, None),
        ({"label_smoothing_factor": 0.1}, None),
        ({}, no_extra_arguments),
        ({}, counting),
        ({}, ensure_loss_scaling),
    ],
    ids=["no accumulation", "smoothing", "no extra arguments", "counting", "mended"],
)
@pytest.mark.parametrize("attached", [False, True])
def test_what_is_certainly_right_is_recorded_as_it_is(make, make_model, tmp_path, said, settings, change, attached):
    model = make_model()
    if change is not None:
        change(model)
    trainer = make(
        model=model, max_steps=3, **settings, callbacks=None if attached else [FileLoggingCallback(tmp_path / "run")]
    )
    if attached:
        attach(trainer, tmp_path / "run")
    trainer.train()
    run = load_run(tmp_path / "run")
    assert run.facts["loss_scaling"]["verdict"] == "as logged"
    assert all(set(own(row)) == {"loss"} for row in run.rows.of("train"))
    assert said() == []


class OwnLoss(Seq2SeqTrainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


class OwnStep(Seq2SeqTrainer):
    calls = 0

    def training_step(self, *args, **kwargs):
        self.calls += 1
        return super().training_step(*args, **kwargs)


class Declares(Seq2SeqTrainer):
    loss_is_scaled_for_ga = False


class OwnLossDeclared(OwnLoss):
    loss_is_scaled_for_ga = False


def mean_over_tokens(outputs, labels, num_items_in_batch=None):
    return torch.nn.functional.cross_entropy(outputs.logits.transpose(1, 2), labels, reduction="sum") / (
        num_items_in_batch
    )


@pytest.mark.parametrize(
    ("cls", "verdict", "scales"),
    [
        (OwnLoss, "undetermined", {"undetermined"}),
        (OwnStep, "undetermined", {"undetermined"}),
        (Declares, "as logged", {None}),  # it divides by the accumulation, and on one process that is all
        (OwnLossDeclared, "as logged", {None}),
        (Seq2SeqTrainer, "as logged", {None}),  # with a compute_loss_func
    ],
)
def test_the_trainers_own_loss_path_decides(make, cls, verdict, scales, said):
    trainer = make(cls=cls, max_steps=3)
    if cls is Seq2SeqTrainer:
        trainer.compute_loss_func = mean_over_tokens
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    assert run.facts["loss_scaling"]["verdict"] == verdict
    assert {row.get("loss_scale") for row in run.rows.of("train")} == scales
    if verdict == "undetermined":  # told once, with what it would be if
        (told,) = said()
        assert "is not known" in told
        assert "4 times too large" in told
    else:
        assert said() == []
    if cls is OwnStep:
        assert trainer.calls == 10


def test_methods_put_into_the_trainer_after_attach_count_too(make):
    trainer = make(max_steps=2)
    monitor = attach(trainer)
    ours = trainer.training_step
    trainer.training_step = functools.wraps(ours)(lambda *args, **kwargs: ours(*args, **kwargs) * 2)
    trainer.train()
    assert monitor.run().facts["loss_scaling"]["verdict"] == "undetermined"


def test_a_model_of_other_inputs_is_tried_with_the_first_batch(tmp_path, said):
    """Four tokens of ours, each with a label, do not suit a classifier."""
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    config = BertConfig(vocab_size=20, num_labels=3, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **sizes)
    samples = [{"input_ids": [2, 3 + i], "labels": i % 3} for i in range(8)]
    runs = []
    for mended in (False, True):
        torch.manual_seed(0)
        model = BertForSequenceClassification(config)
        if mended:
            model.accepts_loss_kwargs = False
        arguments = TrainingArguments(
            str(tmp_path / str(mended)),
            max_steps=2,
            logging_steps=1,
            per_device_train_batch_size=2,
            gradient_accumulation_steps=2,
            learning_rate=0.0,
            report_to="none",
            use_cpu=True,
            dataloader_pin_memory=False,
            disable_tqdm=True,
            save_strategy="no",
        )
        monitor = attach(trainer := Trainer(model=model, args=arguments, train_dataset=samples))
        trainer.train()
        runs.append(monitor.run())
    found, right = runs
    assert found.facts["loss_scaling"]["verdict"] == "scaled"
    assert right.facts["loss_scaling"]["verdict"] == "as logged"
    assert [row["loss_scale"] for row in found.rows.of("train")] == [0.5, 0.5]
    wanted = [row["loss"] for row in right.rows.of("train")]
    assert [row["loss"] for row in found.rows.of("train")] == pytest.approx(wanted, rel=1e-6)
    assert len(said()) == 1


def test_what_the_user_logs_himself_is_left_as_it_is(make):
    class Logs(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            trainer.log({"loss": 0.0, "mine": float(state.global_step)})

        def on_train_end(self, *args, **kwargs):
            trainer.log({"loss": 8.0})

    trainer = make(max_steps=3, callbacks=[Logs()])
    monitor = attach(trainer)
    trainer.train()
    rows = monitor.run().rows.of("train")
    assert [own(row) for row in rows if "mine" in row] == [{"loss": 0.0}] * 3
    assert own(rows[-1]) == {"loss": 8.0}
    assert [row["loss_scale"] for row in rows if "grad_norm" in row] == [1 / 4, 1 / 4, 1 / 2]


def test_training_twice_and_a_step_outside_of_a_training(make, said):
    trainer = make(max_steps=3)
    monitor = attach(trainer)
    trainer.train()
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.training_step(trainer.model, batch, torch.tensor(3))
    trainer.train()
    rows = monitor.run().rows.of("train")
    assert [row["loss_scale"] for row in rows] == [1 / 4, 1 / 4, 1 / 2] * 2
    assert len(said()) == 2  # once a training


def test_a_resumed_training_has_the_loss_of_its_own_steps(make, make_model):
    settings = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 2}
    attach(first := make(model=make_model(1), max_steps=4, **settings))
    first.train()
    monitor = attach(second := make(model=make_model(1), max_steps=6, **settings))
    second.train(resume_from_checkpoint=True)
    rows, summary = monitor.run().rows.of("train"), monitor.run().rows.of("train_summary")[-1]
    assert [(row["attempt"], row["step"]) for row in rows] == [(1, 2), (1, 4), (2, 6)]
    assert summary["train_loss"] == pytest.approx(rows[-1]["loss"])


def test_a_train_loss_that_the_trainer_divides_by_all_steps_is_mended(make, make_model):
    """transformers up to 5.17 does so where a training was resumed."""

    class Old(Seq2SeqTrainer):
        def log(self, logs, *args, **kwargs):
            if "train_loss" in logs:
                logs["train_loss"] *= 2 / 6
            return super().log(logs, *args, **kwargs)

    settings = {"save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 1}
    make(model=make_model(1), max_steps=4, **settings).train()
    monitor = attach(second := make(cls=Old, model=make_model(1), max_steps=6, **settings))
    second.train(resume_from_checkpoint=True)
    (summary,) = monitor.run().rows.of("train_summary")
    losses = [row["loss"] for row in monitor.run().rows.of("train")]
    assert summary["train_loss"] == pytest.approx(sum(losses) / 2)
    assert summary["train_loss_raw"] == pytest.approx(sum(losses) / 6)


def test_a_batch_size_that_is_found_by_itself_begins_anew(make, make_model):
    model = make_model()
    forward, seen = model.forward, []

    @functools.wraps(forward)
    def too_large(*args, **kwargs):
        if model.training:
            seen.append(1)
            if len(seen) == 7:
                raise RuntimeError("CUDA out of memory.")
        return forward(*args, **kwargs)

    model.forward = too_large
    trainer = make(
        model=model,
        auto_find_batch_size=True,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        max_steps=5,
    )
    monitor = attach(trainer)
    trainer.train()
    rows = monitor.run().metrics.of("train")
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["loss_scale"] for row in rows] == [1 / 2, 1 / 2, 1 / 2, 1, 1 / 2]  # 7 micro-batches an epoch
    assert all(row["loss"] < 20 for row in rows)  # nothing of the training that was broken off is in it


def test_long_windows_are_read_in_between(make, monkeypatch):
    monkeypatch.setattr(_loss, "_LONGEST_WINDOW", 3)
    trainer = make(logging_steps=3, max_steps=3)
    monitor = attach(trainer)
    trainer.train()
    (row,) = monitor.run().rows.of("train")
    assert 1 / 4 < row["loss_scale"] < 1 / 3
    assert not monitor._recorder.loss._pending


class Elsewhere(torch.Tensor):
    """As on a GPU."""

    is_cpu = False


def test_losses_on_another_device_are_read_together():
    found = []
    for kind in (torch.Tensor, Elsewhere):
        record = _loss.LossRecord()
        record._args = SimpleNamespace(average_tokens_across_devices=True, n_gpu=0, world_size=1)
        values = [torch.tensor(2.0), torch.tensor([3.0], dtype=torch.bfloat16), torch.tensor(math.nan)]
        record._pending = [(value.as_subclass(kind), 4, True, step) for step, value in enumerate(values)]
        record._fold()
        window = record._window
        found.append((window.n, window.steps, math.isnan(window.total), record._pending))
    assert found[0] == found[1] == (3, {2}, True, [])


def test_a_correction_that_fails_leaves_the_row(make, monkeypatch, said):
    def fails(*args):
        raise ValueError("ours")

    monkeypatch.setattr(_loss.LossRecord, "_train_row", fails)
    monkeypatch.setattr(_loss.LossRecord, "add", fails)
    trainer = make(max_steps=3)
    monitor = attach(trainer)
    trainer.train()
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert [row["loss"] for row in monitor.run().rows.of("train")] == logged
    assert sum("recorded as logged: ValueError: ours" in message for message in said()) == 1


def test_charts_show_the_loss_as_it_was(make, make_model, tmp_path, drawn):
    trainer = make(model=broken_at(make_model(), 9, 10), max_steps=3)
    monitor = attach(trainer)
    trainer.train()
    recorded = [row["loss"] for row in monitor.run().rows.of("train")]
    assert math.isnan(recorded[2])
    (rows,) = drawn
    assert [row["loss"] for row in rows if "loss" in row] == pytest.approx(recorded, nan_ok=True)
    assert [row["loss"] for row in trainer.state.log_history if "loss" in row][2] == 0.0

    history = trainer.state.log_history
    assert plotting_module._honest(history, tmp_path / "nowhere") == history


def test_other_processes_leave_their_sums_in_the_store(monkeypatch):
    store = torch.distributed.HashStore()
    monkeypatch.setattr(_loss_share, "_store", lambda: store)
    monkeypatch.setattr(_loss_share, "_WAIT", datetime.timedelta(milliseconds=50))
    _loss_share.tell("loss/1/3", 1, (2.0, 0.5))
    assert _loss_share.ask("loss/1/3", [1]) == [(2.0, 0.5)]
    with pytest.raises(RuntimeError):  # it is gone
        _loss_share.ask("loss/1/3", [1])


def test_losses_of_other_processes_join_or_are_done_without(monkeypatch, said):
    def window():
        return _loss._Window(total=3.0, honest=1.0, n=2, scales={1 / 4, 1 / 2})

    def record_of(process):
        record = _loss.LossRecord()
        record._args, record._joins = SimpleNamespace(process_index=process, world_size=3), True
        return record

    monkeypatch.setattr(_loss_share, "ask", lambda key, ranks: [(1.0, 0.5), (math.nan, math.nan)])
    joined = window()
    record_of(0)._join(joined, 3)
    assert (joined.total, joined.honest, joined.scale) == (4.0, 1.5, 1.5 / 4)

    alone, record = window(), record_of(0)
    monkeypatch.undo()
    record._join(alone, 3)  # no process group: as where attach() was called on one process only
    assert alone == window()
    assert not record._joins  # asked once, not at every window
    assert "on every process" in said()[0]
    record_of(1)._join(window(), 3)
    assert len(said()) == 1


# --- what is not finite


class Skips(TrainerCallback):
    """Throws the gradient of a step away, so that what was NaN in it does not get into the weights."""

    def __init__(self, after):
        self.after = after

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if state.global_step == self.after:
            model.zero_grad()


def test_a_step_that_was_nan_is_nan_in_its_window(make, make_model, said):
    """The second micro-batch of step 2: the Trainer logs the mean of the others in its place."""
    trainer = make(model=broken_at(make_model(), 6), logging_steps=3, max_grad_norm=0.0, callbacks=[Skips(1)])
    monitor = attach(trainer)
    trainer.train()
    run = monitor.run()
    first, second = run.rows.of("train")
    raw = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert 0 < first["loss_raw"] == raw[0]
    assert math.isnan(first["loss"])
    assert first["nonfinite_steps"] == 1
    (event,) = (row for row in run.events if row["event"] == "nonfinite")
    assert event["step"] == 3
    assert event["evidence"][0] == "loss"
    assert own(second).keys() == {"loss", "loss_raw", "loss_scale"}
    (summary,) = run.rows.of("train_summary")
    assert math.isnan(summary["train_loss"])
    assert math.isfinite(summary["train_loss_raw"])
    assert sum("not a finite number" in message for message in said()) == 1


@pytest.mark.parametrize("kept", [True, False])
def test_all_steps_nan_with_and_without_the_filter(make, make_model, kept):
    trainer = make(model=broken_at(make_model(), *range(1, 99)), max_steps=3, logging_nan_inf_filter=kept)
    monitor = attach(trainer)
    trainer.train()
    rows = monitor.run().rows.of("train")
    assert all(math.isnan(row["loss"]) and row["nonfinite_steps"] == 1 for row in rows)
    assert all(row["loss_raw"] == 0.0 if kept else math.isnan(row["loss_raw"]) for row in rows)
    assert monitor.run().rows.of("train_summary")[0]["nonfinite_steps"] == 3
    assert sum(row["event"] == "nonfinite" for row in monitor.run().events) == 1


def test_an_infinite_loss_is_infinite(make, make_model):
    trainer = make(model=broken_at(make_model(), 1, value=math.inf), max_steps=1, gradient_accumulation_steps=1)
    monitor = attach(trainer)
    trainer.train()
    (row,) = monitor.run().rows.of("train")
    assert own(row) == {"loss": math.inf, "loss_raw": 0.0, "nonfinite_steps": 1}


def test_without_the_filter_the_sum_of_the_trainer_never_recovers_but_the_record_does(make, make_model):
    model = broken_at(make_model(), 1)
    trainer = make(
        model=model,
        max_steps=3,
        logging_nan_inf_filter=False,
        callbacks=[Skips(0)],
        gradient_accumulation_steps=1,
        max_grad_norm=0.0,
    )
    monitor = attach(trainer)
    trainer.train()
    assert all(math.isnan(row["loss"]) for row in trainer.state.log_history if "loss" in row)
    assert [math.isfinite(row["loss"]) for row in monitor.run().rows.of("train")] == [False, True, True]


def test_without_attach_a_nan_is_seen_by_the_gradient(make, make_model, tmp_path, said):
    trainer = make(
        model=broken_at(make_model(), 2),
        max_steps=3,
        gradient_accumulation_steps=1,
        callbacks=default_callbacks(tmp_path / "run"),
    )
    trainer.train()
    run = load_run(tmp_path / "run")
    first, *rest = run.rows.of("train")
    assert own(first) == {"loss": first["loss"]}
    assert first["loss"] > 0
    for row in rest:
        assert math.isnan(row["loss"])
        assert row["loss_raw"] == 0.0
        assert math.isnan(row["grad_norm"])
    assert math.isnan(run.rows.of("train_summary")[0]["train_loss"])
    (event,) = (row for row in run.events if row["event"] == "nonfinite")
    assert (event["step"], event["evidence"]) == (2, ["loss", "loss_raw", "grad_norm"])
    assert len(said()) == 1


def logged(tmp_path, logs, **settings):
    args = TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)
    for name, value in settings.items():
        setattr(args, name, value)
    state, control = TrainerState(max_steps=3), TrainerControl()
    callback = FileLoggingCallback(tmp_path / "run", redirect=False)
    callback.on_train_begin(args, state, control, model=torch.nn.Linear(1, 1))
    state.global_step = 1
    before = dict(logs)
    callback.on_log(args, state, control, logs=logs)
    assert logs == before
    run = load_run(tmp_path / "run")
    return run.rows.of("train")[0], [row for row in run.events if row["event"] == "nonfinite"]


def test_a_loss_of_exactly_zero(tmp_path, said):
    row, events = logged(tmp_path / "a", {"loss": 0.0, "learning_rate": 1.0})
    assert own(row) == {"loss": 0.0, "loss_suspect": True}
    assert not events
    row, events = logged(tmp_path / "b", {"loss": 0.0, "grad_norm": 0.5, "learning_rate": 1.0})
    assert own(row) == {"loss": 0.0}
    assert not events
    assert said() == []


def test_the_loss_scaling_of_fp16_is_no_nan(tmp_path, said):
    logs = {"loss": 2.0, "grad_norm": math.inf, "learning_rate": 1.0}
    row, events = logged(tmp_path / "a", logs, fp16=True)
    assert own(row) == {"loss": 2.0}
    assert row["grad_norm"] == math.inf
    assert not events
    row, events = logged(tmp_path / "b", logs)
    assert own(row) == {"loss": 2.0}
    assert events[0]["evidence"] == ["grad_norm"]
    assert len(said()) == 1


@pytest.mark.parametrize("attached", [True, False])
def test_an_evaluation_that_is_nan_is_told_once(make_trainer, make_model, tmp_path, attached, said):
    class Spoils(TrainerCallback):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:  # after the loss of this step
                with torch.no_grad():
                    model.shared.weight.fill_(math.nan)

    callbacks = [Spoils()] if attached else [Spoils(), *default_callbacks(tmp_path / "run")]
    trainer = make_trainer(max_steps=2, callbacks=callbacks, predict_with_generate=False)
    if attached:
        attach(trainer, tmp_path / "run")
    trainer.train()
    trainer.evaluate()
    run = load_run(tmp_path / "run")
    assert all(math.isnan(row["eval_loss"]) for row in run.rows.of("eval"))
    (event,) = (row for row in run.events if row["event"] == "nonfinite")
    assert (event["step"], event["evidence"]) == (2, ["eval_loss"])
    assert len(said()) == 1
