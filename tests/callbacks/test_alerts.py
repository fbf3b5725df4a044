"""Alerts of a real training: where they go, that they stop it only where asked, and cost it nothing."""

import functools
import io
import logging
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import wandb_file
from tqdm import tqdm
from transformers import EarlyStoppingCallback, TrainerControl, TrainerState, TrainingArguments

from hf_monitor import AlertCallback, attach, default_callbacks, diagnose, load_run
from hf_monitor.callbacks._alert_outlets import say
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.errors import InputError

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, logger="hf_monitor")
    return lambda level: [r.getMessage() for r in caplog.records if r.name == "hf_monitor" and r.levelno >= level]


def broken_from(model, call, until=99):
    """Make the loss of training forwards NaN from one (counted from 1) on."""
    forward, seen = model.forward, []

    @functools.wraps(forward)
    def broken(*args, **kwargs):
        found = forward(*args, **kwargs)
        if model.training:
            seen.append(1)
            if call <= len(seen) < until:
                found.loss = found.loss * math.nan
        return found

    model.forward = broken
    return model


def judged(run, rule, **settings):
    return [finding.verdict for finding in diagnose(run, **settings) if finding.rule == rule]


def alerts(run):
    return [(row["rule"], row["step"], row["severity"], row["stops_training"]) for row in run.rows.of("alert")]


def test_an_alert_is_a_row_and_a_line_and_stops_nothing_unless_asked(make_trainer, make_model, said):
    trainer = make_trainer(model=broken_from(make_model(), 3))
    monitor = attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 4
    run = monitor.run()
    assert alerts(run) == [("nan", 3, "error", False)]
    (row,) = run.rows.of("alert")
    assert row["suggestions"]
    assert row["steps"] == [2, 3]
    (message,) = said(logging.ERROR)
    assert "nan" in message
    assert row["sentence"] in message
    log = (monitor.run_dir / "train.log").read_text()
    assert row["sentence"] in log
    assert not said(logging.WARNING)[1:]  # the same is not said twice in other words
    found = [finding for finding in diagnose(run) if finding.verdict == "found" and finding.severity != "info"]
    assert [finding.to_dict() | {"stops_training": False} for finding in found] == [
        {key: value for key, value in row.items() if key not in ("time", "attempt", "step", "kind")}
        | {"verdict": "found", "reason": ""}
    ]
    assert [finding.rule for finding in monitor.find(AlertCallback).findings] == ["nan"]


def test_nan_stops_the_training_before_its_weights_are_saved(make_trainer, make_model, said):
    """The best checkpoint comes back, as it does after the last step; others hear of an orderly end."""
    trainer = make_trainer(
        model=broken_from(make_model(), 4),
        callbacks=[AlertCallback(stop_on={"nan", "divergence"}), EarlyStoppingCallback(early_stopping_patience=3)],
        max_steps=8,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_loss",
    )
    monitor = attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 4
    assert all(torch.isfinite(weight).all() for weight in trainer.model.state_dict().values())
    assert [path.name for path in monitor.run_dir.parent.glob("checkpoint-*")] == ["checkpoint-2"]
    run = monitor.run()
    assert (run.status, alerts(run)) == ("finished", [("nan", 4, "error", True)])
    assert monitor.find(AlertCallback).stopped_by.rule == "nan"
    assert "The training ends here (stop_on)" in said(logging.ERROR)[0]


def test_a_stop_within_an_epoch_does_not_save_at_its_end(make_trainer, make_model):
    callbacks = [AlertCallback(stop_on={"nan"})]
    settings = {"max_steps": -1, "num_train_epochs": 3, "eval_strategy": "no"}
    trainer = make_trainer(
        model=broken_from(make_model(), 6), callbacks=callbacks, save_strategy="epoch", save_total_limit=1, **settings
    )
    monitor = attach(trainer)
    trainer.train()
    assert alerts(monitor.run()) == [("nan", 6, "error", True)]
    assert [path.name for path in monitor.run_dir.parent.glob("checkpoint-*")] == ["checkpoint-4"]


def test_a_nan_is_heard_of_long_before_the_trainer_logs(make_trainer, make_model, monkeypatch):
    monkeypatch.setattr("hf_monitor.callbacks._loss._LONGEST_WINDOW", 4)
    callbacks = [AlertCallback(stop_on="nan")]
    trainer = make_trainer(
        model=broken_from(make_model(), 3), max_steps=9, logging_steps=500, eval_strategy="no", callbacks=callbacks
    )
    monitor = attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 4
    assert [rule for rule, *_ in alerts(monitor.run())] == ["nan"]


def test_an_alert_has_lines_of_its_own_also_where_a_progress_bar_stands(said):
    finding = Finding(
        rule="overfitting", verdict="found", severity="warning", sentence="It rises.", value=0.15, unit="share",
        threshold=0.05, suggestions=("fewer steps", "more data"),
    )  # fmt: skip
    lines = [
        "hf_monitor: [warning] overfitting",
        "    It rises. Measured: 15 %, threshold: 5 %.",
        "    Try: fewer steps",
        "    Try: more data",
    ]
    say(finding, stops=False)
    with tqdm(total=2, file=io.StringIO()):
        say(finding, stops=True)
    plain, beside_a_bar = said(logging.WARNING)
    assert plain.split("\n") == lines
    assert beside_a_bar.split("\n") == ["", *lines, "    The training ends here (stop_on)."]


def test_callbacks_by_themselves_find_the_same(make_trainer, make_model, tmp_path):
    callbacks = [AlertCallback(tmp_path / "run", stop_on="nan")]
    trainer = make_trainer(model=broken_from(make_model(), 2), callbacks=callbacks)
    trainer.train()
    run = load_run(tmp_path / "run")
    assert trainer.state.global_step == 2  # alone it hears of the loss through the gradient: 0.0 is logged for it
    assert alerts(run)[0][0] == "nan"
    assert [row["step"] for row in run.rows.of("train")] == [1, 2]


def test_muted_rules_say_nothing_and_the_record_says_it_as_before(make_trainer, make_model, said):
    callbacks = [AlertCallback(mute={"nan"}, thresholds={"plateau_logs": 12})]
    trainer = make_trainer(model=broken_from(make_model(), 3), callbacks=callbacks)
    monitor = attach(trainer)
    trainer.train()
    assert not alerts(monitor.run())
    (message,) = said(logging.WARNING)
    assert "not a finite number" in message
    assert monitor.run().facts["alerts"] == {"mute": ["nan"], "thresholds": {"plateau_logs": 12}}
    assert not judged(monitor.run(), "nan")  # as the training had it
    assert judged(monitor.run(), "nan", mute=()) == ["found"]
    trainer = make_trainer()
    again = attach(trainer)
    trainer.train()
    facts = again.run().facts
    assert (facts["alerts"], facts["attempts"][0]["facts"]["alerts"]["mute"]) == ({}, ["nan"])
    assert judged(again.run(), "nan") == ["clear"]


def test_a_resumed_training_does_not_repeat_what_was_said_before_its_checkpoint(make_trainer, make_model, tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trainer = make_trainer(model=broken_from(make_model(), 1, until=2), max_grad_norm=0.0, **settings)
    attach(trainer)
    trainer.train()
    again = make_trainer(**(settings | {"max_steps": 6}))
    monitor = attach(again)
    again.train(resume_from_checkpoint=True)
    run = monitor.run()
    assert len(run.attempts) == 2
    assert [(row["attempt"], row["rule"]) for row in run.rows.of("alert")] == [(1, "nan")]
    assert [finding.rule for finding in monitor.find(AlertCallback).findings] == ["nan"]
    assert [finding.rule for finding in diagnose(run) if finding.severity == "error"] == ["nan"]


def test_stop_on_looks_again_where_a_training_goes_on_from_broken_weights(make_trainer, make_model, said):
    settings = {"save_strategy": "steps", "save_steps": 4, "eval_strategy": "no"}
    trainer = make_trainer(model=broken_from(make_model(), 3), **settings)
    attach(trainer)
    trainer.train()
    again = make_trainer(max_steps=8, callbacks=[AlertCallback(stop_on={"nan"})], **settings)
    monitor = attach(again)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 5
    run = monitor.run()
    assert alerts(run) == [("nan", 3, "error", False), ("nan", 5, "error", True)]
    (warning,) = [message for message in said(logging.WARNING) if "goes on from step 4" in message]
    assert "'nan' was found (At step 3" in warning
    live = [finding.to_dict() for finding in monitor.find(AlertCallback).findings]
    assert live[1:] == [finding.to_dict() for finding in diagnose(run) if finding.verdict == "found"]  # the later one
    assert [finding["steps"] for finding in live] == [[2, 3], [0, 5]]


def test_of_several_callbacks_the_first_watches_and_stop_on_of_all_counts(make_trainer, make_model, tmp_path, said):
    folder = tmp_path / "run"
    own = AlertCallback(folder, stop_on={"nan"}, mute={"plateau"})
    trainer = make_trainer(model=broken_from(make_model(), 2), callbacks=[*default_callbacks(folder), own])
    trainer.train()
    assert trainer.state.global_step == 2
    run = load_run(folder)
    assert [(rule, stops) for rule, _, _, stops in alerts(run)] == [("nan", True)]
    assert (own.stopped_by.rule, own.findings) == ("nan", [own.stopped_by])
    assert [message for message in said(logging.WARNING) if "several AlertCallbacks: the first one's mute" in message]
    trainer = make_trainer(callbacks=[AlertCallback(mute="nan"), AlertCallback(stop_on="nan")])
    with pytest.raises(InputError, match="'nan' is in stop_on of one AlertCallback, and in mute of another"):
        trainer.train()


def test_nothing_is_watched_after_the_training(make_trainer):
    trainer = make_trainer(max_steps=1, eval_strategy="no")
    monitor = attach(trainer)
    trainer.train()
    monitor.record("train", {"loss": math.nan, "learning_rate": 1e-4})
    assert not alerts(monitor.run())


def test_a_rule_that_fails_is_left_out_and_the_training_goes_on(make_trainer, make_model, said, monkeypatch):
    from hf_monitor.diagnosis.rules import RULES

    rule = next(rule for rule in RULES if rule.name == "divergence")
    monkeypatch.setattr(rule, "see", lambda self, row: 1 / 0)
    trainer = make_trainer(model=broken_from(make_model(), 3))
    monitor = attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 4
    assert alerts(monitor.run()) == [("nan", 3, "error", False)]
    assert [m for m in said(logging.WARNING) if "the rule 'divergence' failed and is left out" in m]


def test_the_weights_are_the_same_with_and_without(make_trainer, make_model, tmp_path):
    watched = make_trainer(model=make_model(1), callbacks=[AlertCallback(tmp_path / "run", stop_on={"divergence"})])
    watched.train()
    plain = make_trainer(model=make_model(1))
    plain.train()
    for name, weight in plain.model.state_dict().items():
        assert torch.equal(weight, watched.model.state_dict()[name])


def test_the_wandb_run_that_is_open_is_told(make_trainer, make_model, tmp_path):
    import wandb

    with wandb.init(mode="offline", dir=tmp_path, project="alerts") as run:
        trainer = make_trainer(model=broken_from(make_model(), 3), max_steps=3)
        attach(trainer)
        trainer.train()
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert file.name == f"run-{run.id}.wandb"
    wandb_file.wait_for_exit(file)
    found = [record.alert for record in wandb_file.records(file) if record.HasField("alert")]
    assert [(alert.title, alert.level) for alert in found] == [("hf_monitor: nan", "ERROR")]
    assert "Try: " in found[0].text


def test_what_wandb_is_told_is_masked_and_its_errors_are_not_ours(make_trainer, make_model, monkeypatch, said):
    from hf_monitor.diagnosis.rules import RULES

    told = []

    def alert(**values):
        told.append(values["text"])
        raise RuntimeError("no run any more")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=SimpleNamespace(alert=alert)))
    rule = next(rule for rule in RULES if rule.name == "nan")
    monkeypatch.setattr(rule, "_suggestions", lambda *args: ("log in with correct-horse",))
    trainer = make_trainer(model=broken_from(make_model(), 1), max_steps=2, hub_token="correct-horse")
    attach(trainer)
    trainer.train()
    (text,) = told
    assert text.endswith("Try: log in with ***")
    assert trainer.state.global_step == 2
    assert [message for message in said(logging.WARNING) if "could not be sent to W&B: " in message]


class OfTwo(TrainingArguments):
    """As one of two processes sees them."""

    @property
    def world_size(self):
        return 2


@pytest.fixture
def ranks(tmp_path):
    """Give logs to the callbacks of two processes; what each of them does after each."""

    def follow(logs, hidden=(), callbacks=1, **arguments):
        args = OfTwo(str(tmp_path / "out"), report_to="none", use_cpu=True)
        for name, value in arguments.items():  # no GPU, no fp16: refused when they are made
            object.__setattr__(args, name, value)
        found = []
        for rank in (0, 1):
            own = [AlertCallback(tmp_path / f"rank{rank}", stop_on=("nan",)[i:]) for i in reversed(range(callbacks))]
            state, control = TrainerState(max_steps=100, is_world_process_zero=rank == 0), TrainerControl()
            for callback in own:
                callback.on_train_begin(args, state, control)
            stopped = []
            for state.global_step, values in enumerate(logs, start=1):
                if rank == 0 and state.global_step in hidden:
                    own[0]._recorder.loss.news = {"loss": math.nan}  # what attach() finds behind the filter
                values = {"learning_rate": 1e-4, **values} if "loss" in values and "own" not in values else values
                for callback in own:
                    callback.on_log(args, state, control, logs=values)
                stopped.append(control.should_training_stop)
            found.append((stopped.index(True) + 1) if any(stopped) else None)
            if rank == 0:
                first = own[0]
            for callback in own:
                callback.on_train_end(args, state, control)
        assert not (tmp_path / "rank1").exists()
        return found, alerts(load_run(tmp_path / "rank0")), first

    return follow


FINE = {"loss": 2.0, "grad_norm": 1.0}


@pytest.mark.parametrize("callbacks", [1, 2])
def test_all_processes_stop_at_the_same_log_and_the_first_says_why(ranks, callbacks):
    logs = [FINE, {"loss": 0.0, "grad_norm": math.nan}, FINE]
    stopped, said, first = ranks(logs, callbacks=callbacks)
    assert (stopped, said) == ([2, 2], [("nan", 2, "error", True)])
    assert (first.stopped_by.rule, first.findings) == ("nan", [first.stopped_by])


@pytest.mark.parametrize("arguments", [{"fp16": True}, {"mixed_precision": "fp16"}])
def test_what_the_gradient_scaler_leaves_out_stops_no_process(ranks, arguments):
    logs = [{"loss": 2.0, "grad_norm": math.inf}, FINE, FINE]
    assert ranks(logs, **arguments)[:2] == ([None, None], [])


def test_what_only_the_first_process_knows_stops_none_and_says_so(ranks, said):
    logs = [FINE, {"loss": 2.0}, FINE, {"loss": math.nan}]
    stopped, found, first = ranks(logs, hidden=(2,))
    assert (stopped, found) == ([4, 4], [("nan", 2, "error", False), ("nan", 4, "error", True)])
    assert ["The training goes on: the other" in text for text in said(logging.ERROR)] == [True, False]
    assert [finding.steps[1] for finding in first.findings] == [2]


def test_a_process_that_cannot_record_decides_like_the_others(ranks, monkeypatch):
    monkeypatch.setattr("hf_monitor.callbacks._recorder.Recorder.values", lambda *args: 1 / 0)
    logs = [FINE, {"loss": math.nan, "grad_norm": math.nan}, FINE]
    stopped, said, first = ranks(logs)
    assert (stopped, said) == ([2, 2], [("nan", 2, "error", True)])
    assert [finding.rule for finding in first.findings] == ["nan"]


def test_what_a_user_logs_on_one_process_is_no_reason_to_stop(ranks):
    assert ranks([FINE, {"loss": math.nan, "own": 1.0}])[:2] == ([None, None], [("nan", 2, "error", False)])


def test_a_warning_stops_nothing(ranks, make_trainer, make_model, monkeypatch):
    from hf_monitor.diagnosis.rules import RULES

    rule = next(rule for rule in RULES if rule.name == "nan")
    found = rule._found
    monkeypatch.setattr(rule, "_found", lambda *args, **more: replace(found(*args, **more), severity="warning"))
    broken = {"loss": math.nan, "grad_norm": math.nan}
    assert ranks([FINE, broken, broken])[:2] == ([None, None], [("nan", 2, "warning", False)])
    trainer = make_trainer(model=broken_from(make_model(), 2), callbacks=[AlertCallback(stop_on={"nan"})], max_steps=3)
    monitor = attach(trainer)
    trainer.train()
    assert trainer.state.global_step == 3
    assert alerts(monitor.run()) == [("nan", 2, "warning", False)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop_on": {"overfitting"}}, r"stop_on takes 'divergence' and 'nan', got 'overfitting'.*EarlyStopping"),
        ({"stop_on": True}, r"stop_on takes names of rules, such as .* got True"),
        ({"mute": 3}, r"mute takes names of rules, such as .* got 3"),
        ({"mute": {"nam"}}, r"no rule 'nam' to mute\. Did you mean 'nan'"),
        ({"stop_on": "nan", "mute": "nan"}, "'nan' is both in stop_on and in mute"),
        ({"thresholds": {"overfiting_rise": 1}}, r"no threshold 'overfiting_rise'\. Did you mean 'overfitting_rise'"),
        ({"thresholds": {"overfitting_rise": math.nan}}, "'overfitting_rise' must be a finite number.*got nan"),
        ({"thresholds": 3}, "thresholds must be a dict of names and numbers"),
        ({"time_limit_s": -1}, "time_limit_s must be a number of seconds above 0, got -1"),
    ],
)
def test_wrong_input_is_refused_when_the_callback_is_made(settings, message):
    with pytest.raises(InputError, match=message):
        AlertCallback(**settings)


def test_the_default_callbacks_have_it(tmp_path):
    assert any(isinstance(callback, AlertCallback) for callback in default_callbacks(tmp_path))
