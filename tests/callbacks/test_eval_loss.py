"""The recorded loss of evaluations on several processes: as it was, where the Trainer multiplies it.

Here one process is told that it is two: what the Trainer multiplies by is real. Two real ones: endings/test_ranks.py.
"""

import functools
import logging
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from transformers import Seq2SeqTrainer

from hf_monitor import attach
from hf_monitor.callbacks import _eval_loss
from hf_monitor.callbacks._eval_loss import EvaluationLosses
from hf_monitor.callbacks.plotting import _honest


@pytest.fixture(autouse=True)
def two(monkeypatch):
    monkeypatch.setattr("hf_monitor.charts.history.draw_history", lambda rows, folder: [])
    monkeypatch.setattr(Accelerator, "num_processes", property(lambda self: 2))


@pytest.fixture
def make(make_trainer):
    return functools.partial(make_trainer, predict_with_generate=False)


def evaluated(trainer, **more):
    """Evaluate; gives what the Trainer gave, the row, and the verdict."""
    monitor = attach(trainer)
    metrics = trainer.evaluate(**more)
    assert "compute_loss" not in vars(trainer)
    run = monitor.run()
    (row,) = run.rows.of("eval")
    return metrics, row, run.facts.get("eval_loss_scaling", {}).get("verdict")


def heeds(model):
    """Make a model divide its loss by the number of items that it is given."""
    forward = model.forward

    @functools.wraps(forward)  # the Trainer looks at its signature
    def heeding(*args, num_items_in_batch=None, **kwargs):
        found = forward(*args, **kwargs)
        if num_items_in_batch is not None:
            found.loss = found.loss * (kwargs["labels"] != -100).sum() / num_items_in_batch
        return found

    model.forward = heeding
    return model


class OwnLoss(Seq2SeqTrainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


class OwnStep(Seq2SeqTrainer):
    def prediction_step(self, *args, **kwargs):
        return super().prediction_step(*args, **kwargs)


class OwnLog(Seq2SeqTrainer):
    def log(self, logs, *args, **kwargs):
        super().log({**logs, "eval_loss": round(logs["eval_loss"], 2)}, *args, **kwargs)


class OwnLoop(Seq2SeqTrainer):
    def evaluation_loop(self, *args, **kwargs):
        return super().evaluation_loop(*args, **kwargs)


def test_what_the_trainer_doubles_is_recorded_as_it_was(make, make_model, caplog):
    mended = make_model()
    mended.accepts_loss_kwargs = False
    true = make(model=mended).evaluate()["eval_loss"]
    trainer = make(model=make_model())
    caplog.set_level(logging.WARNING, logger="hf_monitor")
    metrics, row, verdict = evaluated(trainer)
    assert row["eval_loss"] == pytest.approx(true)
    assert metrics["eval_loss"] == pytest.approx(2 * true)  # nothing of ours changes what the user gets
    assert (row["eval_loss_raw"], row["eval_loss_scale"], verdict) == (metrics["eval_loss"], 0.5, "scaled")
    (said,) = (record.getMessage() for record in caplog.records if record.name == "hf_monitor")
    assert "eval_loss is logged 2 times too large" in said
    folder = trainer._hf_monitor.run_dir
    assert [one["eval_loss"] for one in _honest(trainer.state.log_history, folder)] == [row["eval_loss"]]
    assert f"eval_loss {row['eval_loss']:.4g}  eval_loss_raw" in (folder / "train.log").read_text()


@pytest.mark.parametrize(
    ("settings", "verdict"),
    [
        ({"predict_with_generate": True, "compute_metrics": lambda found: {}}, "as logged"),  # counts no items
        ({"heeds": True}, "as logged"),
        ({"label_smoothing_factor": 0.1}, "as logged"),
        ({"accepts": False}, "as logged"),
        ({"average_tokens_across_devices": False}, None),  # nothing is multiplied
        ({"cls": OwnLoss}, "undetermined"),
        ({"cls": OwnStep}, "undetermined"),
        ({"cls": OwnLoop}, "undetermined"),
        ({"cls": OwnLog}, "undetermined"),
    ],
    ids=["generates", "heeds", "smoothed", "mended", "not averaged", "own loss", "own step", "own loop", "own log"],
)
def test_what_is_right_or_not_known_is_left(make, make_model, settings, verdict):
    model = make_model()
    if settings.pop("heeds", False):
        heeds(model)
    if not settings.pop("accepts", True):
        model.accepts_loss_kwargs = False
    trainer = make(model=model, **settings)
    metrics, row, found = evaluated(trainer)
    assert found == verdict
    assert (
        row["eval_loss"] == trainer.state.log_history[-1]["eval_loss"] == pytest.approx(metrics["eval_loss"], abs=0.01)
    )
    assert "eval_loss_raw" not in row
    assert row.get("eval_loss_scale") == ("undetermined" if verdict == "undetermined" else None)


def test_a_model_that_cannot_be_tried_is_said_to_be(make, monkeypatch, caplog):
    monkeypatch.setattr(_eval_loss, "uses_num_items", lambda *args: None)
    caplog.set_level(logging.WARNING, logger="hf_monitor")
    metrics, row, verdict = evaluated(make())
    assert (row["eval_loss"], row["eval_loss_scale"], verdict) == (metrics["eval_loss"], "undetermined", "undetermined")
    assert "whether eval_loss is right is not known" in caplog.text


def test_our_own_errors_and_those_of_others_leave_the_trainer_as_it_was(make, make_model, monkeypatch):
    model = make_model()
    trainer = make(model=model)
    attach(trainer)
    with monkeypatch.context() as patch:
        patch.setattr(model, "forward", functools.wraps(model.forward)(lambda **kwargs: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            trainer.evaluate()
    monkeypatch.setattr(_eval_loss, "n_processes", lambda *args: 1 / 0)
    metrics, row, verdict = evaluated(trainer)
    assert (row["eval_loss"], verdict) == (metrics["eval_loss"], None)


def test_callbacks_alone_say_that_they_do_not_know():
    values = {"eval_a_loss": 2.0, "eval_a_runtime": 1.0, "eval_kl_loss": 3.0}
    losses = EvaluationLosses(SimpleNamespace(is_unseen=lambda state: True))
    assert losses.row(None, values) == {**values, "eval_a_loss_scale": "undetermined"}
    losses = EvaluationLosses(SimpleNamespace(is_unseen=lambda state: False))
    assert losses.row(None, values) is values


def test_of_several_evaluations_the_least_that_is_known_is_kept():
    losses = EvaluationLosses(SimpleNamespace())
    told = []
    for verdict, attempt in (("scaled", 1), ("as logged", 1), ("undetermined", 1), ("scaled", 1), ("as logged", 2)):
        losses.news = SimpleNamespace(verdict=verdict, reason="")
        told += [(attempt, fact["verdict"]) for fact in losses.facts(attempt).values()]
    assert told == [(1, "scaled"), (1, "undetermined"), (2, "as logged")]
