"""Alerts of a real training: where they go, that they stop it only where asked, and cost it nothing."""

import functools
import logging
import math

import pytest
import torch
import wandb_file
from transformers import EarlyStoppingCallback

from hf_monitor import AlertCallback, attach, default_callbacks, diagnose, load_run
from hf_monitor.errors import InputError


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Drawing takes longer than these trainings."""
    monkeypatch.setattr("hf_monitor.charts.history.draw_history", lambda rows, folder: [])


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
        save_total_limit=1,
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


def test_callbacks_by_themselves_find_the_same(make_trainer, make_model, tmp_path):
    callbacks = [AlertCallback(tmp_path / "run", stop_on="nan")]
    trainer = make_trainer(model=broken_from(make_model(), 2), callbacks=callbacks)
    trainer.train()
    run = load_run(tmp_path / "run")
    assert trainer.state.global_step == 2  # alone it hears of the loss through the gradient: 0.0 is logged for it
    assert alerts(run)[0][0] == "nan"
    assert [row["step"] for row in run.rows.of("train")] == [1, 2]


def test_muted_rules_say_nothing_and_the_record_says_it_as_before(make_trainer, make_model, said):
    callbacks = [AlertCallback(mute={"nan"})]
    trainer = make_trainer(model=broken_from(make_model(), 3), callbacks=callbacks)
    monitor = attach(trainer)
    trainer.train()
    assert not alerts(monitor.run())
    (message,) = said(logging.WARNING)
    assert "not a finite number" in message


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
    found = [record.alert for record in wandb_file.records(file) if record.HasField("alert")]
    assert [(alert.title, alert.level) for alert in found] == [("hf_monitor: nan", "ERROR")]
    assert "Try: " in found[0].text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stop_on": {"overfitting"}}, r"stop_on takes 'divergence' and 'nan', got 'overfitting'.*EarlyStopping"),
        ({"mute": {"nam"}}, r"no rule 'nam' to mute\. There are: .*nan"),
        ({"stop_on": "nan", "mute": "nan"}, "'nan' is both in stop_on and in mute"),
        ({"thresholds": {"overfiting_rise": 1}}, r"no threshold 'overfiting_rise'\. There are: .*overfitting_rise"),
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
