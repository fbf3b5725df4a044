"""WandBCallback and attach(): which W&B run is told, what is ordered for it, who speaks. The mirror is a stand-in."""

import logging
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from mirrors import FakeMirror
from transformers import TrainerCallback

from hf_monitor import WandBCallback, attach, default_callbacks, load_run
from hf_monitor.callbacks import _exit, _mirrored
from hf_monitor.errors import InputError
from hf_monitor.loggers.mirror.identity import mirrored_runs


@pytest.fixture(autouse=True)
def made(monkeypatch):
    """The mirrors that were made; no run of wandb is open."""
    monkeypatch.setattr(FakeMirror, "made", [])
    for name in ("ProcessMirror", "ThreadMirror"):
        monkeypatch.setattr(f"hf_monitor.loggers.mirror.link.{name}", FakeMirror)
    monkeypatch.setattr(_exit, "_last", {})
    monkeypatch.setattr(_mirrored, "_all", weakref.WeakSet())
    for name in ("WANDB_PROJECT", "WANDB_LOG_MODEL", "WANDB_WATCH", "WANDB_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    return FakeMirror.made


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "out" / "monitor"


def at_exit():
    for owing in list(_exit._last.values()):
        owing.settle()


def ordered(run_dir, do):
    file = run_dir / "wandb.jsonl"
    found = [orjson.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
    return [order for order in found if order["do"] == do]


@pytest.mark.no_cover
def test_a_resumed_training_goes_on_in_its_wandb_run_and_another_one_has_its_own(make_trainer, run_dir, made):
    first = make_trainer(
        callbacks=[WandBCallback(log_model="all")], save_strategy="steps", save_steps=2, save_total_limit=1
    )
    with attach(first) as monitor:
        callback = monitor.find(WandBCallback)
        names = [type(one).__name__ for one in first.callback_handler.callbacks]
        assert names.index("ReportCallback") + 1 == names.index("WandBCallback") < names.index("PrinterCallback")
        first.train()
        assert [order["step"] for order in ordered(run_dir, "html")] == [4]
        assert made[0].calls == ["start"]
        first.evaluate()
        first.predict(first.eval_dataset)
    assert made[0].calls == ["start", ("finish", None)]
    spec = made[0].spec
    assert (spec.project, spec.attempts, spec.resumed, spec.rewrite) == ("huggingface", (1,), False, True)
    assert callback.id == spec.wandb_id == load_run(run_dir).facts["run_id"]
    assert len(ordered(run_dir, "html")) == 2  # the page after the prediction, too
    assert "06_training_history" in {name for order in ordered(run_dir, "images") for name in order["pictures"]}
    kept = ordered(run_dir, "checkpoint")
    assert [(order["aliases"], order["staged"]) for order in kept] == [
        *((["step-2", "latest"], True), (["step-4", "latest"], True))
    ]
    last = run_dir.parent / "checkpoint-4"
    assert not (run_dir.parent / "checkpoint-2").exists()
    for order in kept:
        assert {path.name for path in Path(order["folder"]).iterdir()} == {path.name for path in last.iterdir()}
    state = orjson.loads((last / "hf_monitor.json").read_bytes())
    assert state["callbacks"]["wandb"] == {"id": spec.wandb_id, "attempt": 1, "project": "huggingface"}

    resumed = make_trainer(callbacks=[*default_callbacks(), WandBCallback(log_model="best")], max_steps=5)
    resumed.train(resume_from_checkpoint=str(last))
    assert (made[1].spec.wandb_id, made[1].spec.attempts, made[1].spec.resumed) == (spec.wandb_id, (1, 2), True)
    resumed.train()  # from the beginning
    assert made[1].calls == ["start", ("finish", None)]
    assert made[2].spec.attempts == (3,)
    assert not made[2].spec.resumed
    assert [one.attempts for one in mirrored_runs(run_dir)] == [(1, 2), (3,)]
    at_exit()
    assert [one.calls[-1] for one in made] == [("finish", None)] * 3
    assert not _exit._last


@pytest.mark.no_cover
def test_a_callback_that_two_trainers_share_goes_into_the_folder_of_each(make_trainer, made, no_pictures, tmp_path):
    callback, folders = WandBCallback(), [tmp_path / name for name in "ab"]
    for folder in folders:
        trainer = make_trainer(output_dir=str(folder), callbacks=[callback], max_steps=1, eval_strategy="no")
        with attach(trainer):
            trainer.train()
    assert [one.spec.run_dir for one in made] == [str(folder / "monitor") for folder in folders]
    assert [one.attempts for folder in folders for one in mirrored_runs(folder / "monitor")] == [(1,), (1,)]
    assert [one.calls[-1] for one in made] == [("finish", None)] * 2


@pytest.mark.no_cover
def test_the_best_checkpoint_is_sent_at_the_end_without_what_only_a_resume_needs(
    make_trainer, run_dir, made, no_pictures
):
    trainer = make_trainer(
        **{"save_strategy": "steps", "save_steps": 2, "load_best_model_at_end": True, "save_total_limit": 1},
        callbacks=[WandBCallback("mine", name="n", log_model="best")],
    )
    attach(trainer)
    trainer.train()
    (order,) = ordered(run_dir, "checkpoint")
    assert order["aliases"] == ["best"]
    assert Path(trainer.state.best_model_checkpoint).name == f"checkpoint-{order['step']}"
    names = {path.name for path in Path(order["folder"]).iterdir()}
    assert "model.safetensors" in names
    assert not {"optimizer.pt", "scheduler.pt", "rng_state.pth"} & names
    assert (made[0].spec.project, made[0].spec.name) == ("mine", "n")


@pytest.mark.no_cover
def test_an_error_is_shown_and_a_run_that_is_open_is_told_but_not_finished(
    make_trainer, run_dir, made, monkeypatch, no_pictures
):
    alerts, run = [], SimpleNamespace(id="mine", log=print, summary={})
    run.alert = lambda **given: alerts.append(given)
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(run=run))

    class Broken(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_log = True
            if state.global_step == 3:
                raise ZeroDivisionError

        def on_log(self, args, state, control, logs, **kwargs):
            logs["loss"] = float("nan")  # before ours: an alert

    trainer = make_trainer(callbacks=[Broken(), WandBCallback()])
    with pytest.raises(ZeroDivisionError), attach(trainer):
        trainer.train()
    (mirror,) = made
    assert (mirror.run, mirror.spec.wandb_id) == (run, "mine")
    assert mirror.calls == ["start", "drain", "drain"]
    assert len(ordered(run_dir, "html")) == 1
    assert load_run(run_dir).rows.of("alert")
    assert alerts == []  # the mirror tells of them
    assert [one.id for one in mirrored_runs(run_dir)] == ["mine"]


@pytest.mark.no_cover
def test_an_evaluation_alone_belongs_to_the_last_run_unless_a_training_comes(make_trainer, run_dir, made, no_pictures):
    alone = make_trainer(callbacks=[WandBCallback()])
    alone.evaluate()
    assert made[0].spec.attempts == (1,)
    at_exit()
    again = make_trainer(callbacks=[WandBCallback()])
    alone.callback_handler.callbacks[:] = []  # the recorder of the folder is that of another process
    del alone
    again.evaluate()
    assert len(made) == 1
    at_exit()
    assert (made[1].spec.attempts, made[1].spec.resumed) == ((1, 2), True)
    again.callback_handler.callbacks[:] = []
    third = make_trainer(callbacks=[WandBCallback()])
    third.evaluate()
    third.train()
    at_exit()
    assert [one.spec.attempts for one in made[2:]] == [(3,)]
    assert not made[2].spec.resumed
    assert {row["attempt"] for row in load_run(run_dir).rows.of("eval")} == {1, 2, 3}


@pytest.mark.no_cover
def test_report_to_is_noticed_and_one_of_the_two_speaks(make_trainer, made, monkeypatch, capsys, caplog, no_pictures):
    from transformers.integrations import WandbCallback

    theirs = {"report_to": "wandb", "max_steps": 1, "eval_strategy": "no"}

    def kinds(trainer):
        return [type(c) for c in trainer.callback_handler.callbacks if "wandb" in type(c).__name__.lower()]

    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    trainer = make_trainer(**theirs, run_name="named")
    attach(trainer)
    assert kinds(trainer) == [WandBCallback]
    trainer.train()
    assert (made[0].spec.project, made[0].spec.name) == ("huggingface", "named")
    said = capsys.readouterr().out
    assert said.count("hf_monitor's WandBCallback, in the place of transformers' own (report_to), log_model='all'") == 1
    both = make_trainer(**theirs, callbacks=[WandBCallback("mine")])
    attach(both)
    assert kinds(both) == [WandBCallback]
    assert capsys.readouterr().out.count("transformers' own callback (report_to) is taken out") == 1
    assert caplog.records == []

    monkeypatch.setenv("WANDB_WATCH", "gradients")
    watching = make_trainer(**theirs, callbacks=[WandBCallback()])
    attach(watching)
    assert set(kinds(watching)) == {WandBCallback, WandbCallback}
    watching.remove_callback(WandbCallback)  # it would open a run
    watching.train()
    without = make_trainer(**theirs, callbacks=[WandBCallback("mine", log_model="all")])
    without.remove_callback(WandbCallback)
    without.train()
    without.evaluate()
    assert len(made) == 1
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [text[12:48] for text in said] == [
        "W&B is told by WandbCallback, not by",
        'report_to has "wandb", so that trans',
    ]
    assert "keeps silent, so that project_name, log_model have no effect. Take it out" in said[1]


@pytest.mark.no_cover
def test_switched_off_and_twice_in_a_trainer(make_trainer, made, monkeypatch, capsys, caplog, tmp_path):
    few = {"max_steps": 1, "eval_strategy": "no"}
    twice = make_trainer(**few, callbacks=[WandBCallback(), WandBCallback()])
    twice.train()
    assert len(made) == 1
    (record,) = [record for record in caplog.records if record.name == "hf_monitor"]
    assert "several WandBCallbacks" in record.getMessage()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    off = make_trainer(**few, callbacks=[WandBCallback()], output_dir=tmp_path / "other")
    off.train()
    off.train()
    assert len(made) == 1
    assert capsys.readouterr().out.count("W&B: it is switched off by WANDB_MODE;") == 1
    assert load_run(tmp_path / "other" / "monitor").rows.of("train")


def test_what_cannot_be_used_is_refused_in_words():
    with pytest.raises(InputError, match='log_model is None, "best" or "all"; got True'):
        WandBCallback(log_model=True)
    with pytest.raises(InputError, match="log_predictions must be a number of rows"):
        WandBCallback(log_predictions=-1)
