"""Trainings with the real wandb, offline: what its files hold is what the run folder holds."""

import sys
from collections import Counter

import orjson
import pytest
import wandb_file

from hf_monitor import WandBCallback, attach, load_run
from hf_monitor.loggers.mirror.identity import mirrored_runs


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_PROJECT", "WANDB_LOG_MODEL", "WANDB_WATCH", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def told(files):
    """Give what ``run.log`` was called with: one dict a call."""
    for file in files:
        wandb_file.wait_for_exit(file)
    return [values for file in files for values in wandb_file.history(file)]


def rows_of(run_dir, attempts):
    rows = [orjson.loads(line) for line in (run_dir / "metrics.jsonl").read_bytes().splitlines()]
    return Counter((row["attempt"], row["kind"], row["step"]) for row in rows if row["attempt"] in attempts)


def rows_told(calls):
    return Counter((one["attempt"], one["kind"], one["train/global_step"]) for one in calls if "kind" in one)


@pytest.mark.no_cover
def test_every_row_is_in_wandbs_file_over_a_resume_and_another_training(
    make_trainer, tmp_path, monkeypatch, no_pictures
):
    monkeypatch.setenv("WANDB_LOG_MODEL", "checkpoint")
    run_dir = tmp_path / "out" / "monitor"
    saves = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, "report_to": "wandb"}
    first = make_trainer(**saves)
    with attach(first):
        first.train()
        first.predict(first.eval_dataset)
    resumed = make_trainer(**saves, max_steps=6)
    with attach(resumed):
        resumed.train(resume_from_checkpoint=True)
        one = mirrored_runs(run_dir)[0]
        resumed.train()  # from the beginning: a run of its own, and the former one is finished
    one, other = mirrored_runs(run_dir)
    assert (one.attempts, other.attempts) == ((1, 2), (3,))
    assert (one.state, other.state) == ("finished", "finished")
    assert other.id == f"{one.id}-3"
    for run in (one, other):
        files = sorted(run_dir.glob(f"wandb/offline-run-*/run-{run.id}.wandb"))
        calls = told(files)
        assert rows_told(calls) == rows_of(run_dir, run.attempts)
        losses = {(c["attempt"], c["train/global_step"]): c["train/loss"] for c in calls if c.get("kind") == "train"}
        train = [row for row in load_run(run_dir).rows.of("train") if row["attempt"] in run.attempts]
        assert losses == {(row["attempt"], row["step"]): row["loss"] for row in train}
        pages = {call["report"]["sha256"] for call in calls if "report" in call}
        assert len(pages) == (3 if run is one else 1)  # two trainings and a prediction; the same page is shown once
    assert "cannot be" not in (run_dir / "train.log").read_text()
    files = [file for run in (one, other) for file in run_dir.glob(f"wandb/offline-run-*/run-{run.id}.wandb")]
    saved = [artifact for file in files for artifact in wandb_file.artifacts(file)]
    models = [artifact for artifact in saved if artifact.type == "model"]
    last = {path.name for path in (tmp_path / "out" / "checkpoint-6").iterdir()}
    assert len(models) == 2 + 1 + 3
    for artifact in models:
        assert {entry.path for entry in artifact.manifest.contents} == last


@pytest.mark.no_cover
@pytest.mark.parametrize("first", ["wandb", "ours"])
def test_a_run_that_is_open_gets_all_and_stays_open(make_trainer, make_dataset, tmp_path, no_pictures, capsys, first):
    import wandb

    def init():
        return wandb.init(mode="offline", dir=tmp_path, project="mine", settings={"console": "wrap"})

    written = sys.stdout.write
    same = make_dataset(8)  # an alert before the first step
    trainer = make_trainer(callbacks=[WandBCallback()], train=same, evaluation=same)
    run = init() if first == "wandb" else None
    with attach(trainer) as monitor:
        run = run or init()
        print("a line of mine")
        trainer.train()
        trainer.evaluate()
        run.log({"own": 1.0})
        if first == "ours":
            run.finish()
    if first == "wandb":
        run.finish()
    assert sys.stdout.write == written
    said = capsys.readouterr().out
    assert said.count("a line of mine\n") == 1
    assert "cannot be" not in said
    assert (monitor.run_dir / "train.log").read_text().count("a line of mine") == 1
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    calls = told([file])
    assert rows_told(calls) == rows_of(monitor.run_dir, (1,))
    summary = wandb_file.summary(file)
    assert (summary["status"], summary["best_metric"]) == ("finished", "eval_loss")
    titles = [title for title, *_ in wandb_file.alerts(file)]
    assert titles.count("hf_monitor: data_overlap") == 1
    assert any(call.get("own") == 1.0 for call in calls)
    assert [one.id for one in mirrored_runs(monitor.run_dir)] == [run.id]
