"""A training that goes on from a checkpoint goes on in the same run."""

import json
import logging
import shutil

import pytest
from transformers import TrainerCallback

from hf_monitor import TextMetrics, attach, load_run
from hf_monitor.callbacks._state import STATE_FILE
from hf_monitor.run import RunWriter


class Fails(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise RuntimeError(f"at {self.step}")


@pytest.fixture
def train(make_trainer, tokenizer, tmp_path):
    def begin(fails=None, resume=None, out=None, run_dir=None, **changes):
        settings = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2, "eval_steps": 2}
        trainer = make_trainer(
            output_dir=out or tmp_path / "out",
            compute_metrics=TextMetrics(tokenizer),
            callbacks=[Fails(fails)] if fails else [],
            **(settings | changes),
        )
        monitor = attach(trainer, run_dir)
        if fails:
            with pytest.raises(RuntimeError):
                trainer.train(resume_from_checkpoint=resume)
        else:
            trainer.train(resume_from_checkpoint=resume)
        return monitor

    return begin


def steps(rows, kind="train"):
    return [(row["attempt"], row["step"]) for row in rows.of(kind)]


def test_a_resumed_training_is_a_new_attempt_of_the_same_run(train, tmp_path):
    train(fails=6)
    train(resume=True)
    run = load_run(tmp_path / "out")
    assert (run.status, len(run.attempts), run.ending.step) == ("finished", 2, 8)
    assert steps(run.metrics) == [*((1, s) for s in (1, 2, 3, 4)), *((2, s) for s in (5, 6, 7, 8))]
    assert steps(run.metrics, "eval") == [(1, 2), (1, 4), (2, 6), (2, 8)]
    assert steps(run.rows) == [*((1, s) for s in range(1, 6)), *((2, s) for s in range(5, 9))]  # raw: all of it
    assert [(row["attempt"], row["step"], row["lost_to"]) for row in run.lost.of("train")] == [(1, 5, 2)]
    assert {(row["attempt"], row["step"], row["lost_to"]) for row in run.lost} == {(1, 5, 2)}  # with its timing
    assert run.lost_steps == [(1, 5, 6, 2)]  # step 6 was taken, and not logged
    begin = [row for row in run.events if row["event"] == "train_begin"][-1]
    assert begin["resumed_attempt"] == 1
    assert begin["resumed_from"].endswith("checkpoint-4")
    assert "steps 5 to 6 of attempt 1 are done again" in (run.path / "train.log").read_text()


@pytest.mark.no_cover
def test_the_values_are_those_of_a_training_that_never_stopped(train, tmp_path):
    train(fails=6)
    train(resume=True)
    train(out=tmp_path / "whole")
    resumed, whole = load_run(tmp_path / "out"), load_run(tmp_path / "whole")
    values = [
        [(row["step"], row["loss"], row["grad_norm"]) for row in run.metrics.of("train")] for run in (resumed, whole)
    ]
    assert values[0] == values[1]


@pytest.mark.no_cover
def test_the_best_score_of_before_is_still_the_best(train, tmp_path):
    train(fails=6)
    run = load_run(tmp_path / "out")
    state = json.loads((tmp_path / "out" / "checkpoint-4" / STATE_FILE).read_text())
    assert state["callbacks"]["text_metrics"]["best"] == run.rows.of("text_scores")[-1]["best"]
    state["callbacks"]["text_metrics"]["best"] |= {"value": 99.0, "step": 2}
    (tmp_path / "out" / "checkpoint-4" / STATE_FILE).write_text(json.dumps(state))
    monitor = train(resume=True)
    assert monitor.callbacks[1].best["value"] == 99.0
    assert load_run(tmp_path / "out").rows.of("text_scores")[-1]["best"] == monitor.callbacks[1].best


@pytest.mark.no_cover
def test_it_goes_on_from_the_attempt_that_saved_the_checkpoint(train, tmp_path):
    """Attempt 2 began anew and is not what attempt 3 goes on from."""
    train(fails=6, learning_rate=1e-3)
    shutil.copytree(tmp_path / "out" / "checkpoint-4", tmp_path / "kept")
    train(fails=3, learning_rate=1e-4)
    train(resume=str(tmp_path / "kept"), learning_rate=1e-3)
    run = load_run(tmp_path / "out")
    assert steps(run.metrics) == [*((1, s) for s in (1, 2, 3, 4)), *((3, s) for s in (5, 6, 7, 8))]
    assert run.attempts[1]["facts"]["arguments"]["learning_rate"] == 1e-4


@pytest.mark.no_cover
def test_two_resumes_from_one_checkpoint(train, tmp_path):
    train(fails=4, save_steps=2)
    train(fails=7, resume=str(tmp_path / "out" / "checkpoint-2"), save_steps=100)
    train(resume=str(tmp_path / "out" / "checkpoint-2"))
    run = load_run(tmp_path / "out")
    assert steps(run.metrics) == [(1, 1), (1, 2), *((3, s) for s in range(3, 9))]
    assert run.lost_steps == [(1, 3, 4, 2), (2, 3, 7, 3)]


@pytest.mark.no_cover
def test_a_fresh_training_into_the_same_folder_overwrites_nothing(train, tmp_path):
    train()
    before = (tmp_path / "out" / "monitor" / "metrics.jsonl").read_bytes()
    train(max_steps=3)
    run = load_run(tmp_path / "out")
    assert (tmp_path / "out" / "monitor" / "metrics.jsonl").read_bytes().startswith(before)
    assert steps(run.metrics) == [(2, 1), (2, 2), (2, 3)]
    assert run.lost == []  # begun anew, not gone back over


@pytest.mark.no_cover
def test_a_checkpoint_of_a_training_without_us_can_be_resumed(train, make_trainer, tmp_path):
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2}
    make_trainer(output_dir=tmp_path / "out", **settings).train()
    train(resume=True)
    run = load_run(tmp_path / "out")
    assert steps(run.metrics) == [(1, s) for s in range(5, 9)]
    assert run.status == "finished"


@pytest.mark.no_cover
def test_a_checkpoint_of_ours_can_be_resumed_without_us(train, make_trainer, tmp_path):
    train(fails=6)
    trainer = make_trainer(output_dir=tmp_path / "out", max_steps=8)
    trainer.train(resume_from_checkpoint=True)
    assert trainer.state.global_step == 8


def test_a_checkpoint_of_another_run_is_named(train, tmp_path, caplog):
    train(fails=6)
    train(resume=str(tmp_path / "out" / "checkpoint-4"), out=tmp_path / "other")
    run, other = load_run(tmp_path / "out"), load_run(tmp_path / "other")
    begin = [row for row in other.events if row["event"] == "train_begin"][-1]
    assert [record for record in caplog.records if f"run_dir={str(run.path)!r}" in record.getMessage()]
    assert str(tmp_path) not in (tmp_path / "out" / "checkpoint-4" / STATE_FILE).read_text()  # it may go to the hub
    assert begin["resumed_run"] == {"run_id": run.facts["run_id"], "run_dir": str(run.path), "attempt": 1}
    assert steps(other.metrics) == [(1, s) for s in range(5, 9)]
    assert run.status == "crashed"  # nothing was written there


@pytest.mark.no_cover
@pytest.mark.parametrize("broken", [b"", b'{"format":1,"run_id"', b'{"format":99}', b"[]"])
def test_a_broken_state_of_ours_is_no_obstacle(train, tmp_path, broken):
    train(fails=6)
    (tmp_path / "out" / "checkpoint-4" / STATE_FILE).write_bytes(broken)
    train(resume=True)
    assert steps(load_run(tmp_path / "out").metrics) == [
        *((1, s) for s in (1, 2, 3, 4)),
        *((2, s) for s in range(5, 9)),
    ]


def test_two_writers_in_one_folder_keep_their_attempts_apart(tmp_path, caplog):
    """Two scripts started with the same output_dir: neither overwrites what the other has written."""
    first, second = RunWriter(tmp_path / "run"), RunWriter(tmp_path / "run")
    first.begin_attempt({"seed": 1})
    first.event("train_begin", 0)
    second.begin_attempt({"seed": 2})
    second.event("train_begin", 0)
    first.row("train", 1, {"loss": 1.0})
    second.row("train", 1, {"loss": 2.0})
    first.update_facts({"signature": "a"})
    second.update_facts({"signature": "b"})
    first.row("train", 2, {"loss": 1.5})
    run = load_run(tmp_path / "run")
    assert [entry["attempt"] for entry in run.attempts] == [1, 2]
    assert (run.facts["seed"], run.facts["signature"]) == (2, "b")
    assert run.attempts[0]["facts"] == {"seed": 1, "signature": "a"}
    assert [(row["attempt"], row["loss"]) for row in run.metrics] == [(2, 2.0)]
    assert len(run.rows.of("train")) == 3
    assert not caplog.records  # one process: no other one


def test_another_process_at_work_in_the_folder_is_said(tmp_path, caplog):
    writer = RunWriter(tmp_path / "run")
    writer.begin_attempt()
    writer.event("train_begin", 0)
    path = tmp_path / "run" / "run.json"
    facts = json.loads(path.read_text())
    from hf_monitor.run.process import _start_ticks

    facts["attempts"][0] |= {"pid": 1, "pid_ticks": _start_ticks(1)}  # init: alive, and not us
    path.write_text(json.dumps(facts))
    with caplog.at_level(logging.WARNING, logger="hf_monitor"):
        RunWriter(tmp_path / "run").begin_attempt()
    assert [record.getMessage() for record in caplog.records if "another process (pid 1)" in record.getMessage()]
    caplog.clear()
    writer.event("train_end", 3)  # it is done: no reason to warn
    RunWriter(tmp_path / "run").begin_attempt()
    assert not caplog.records
