import json
import math
import subprocess
import sys
import time

import pytest

from hf_monitor.errors import RunFolderError
from hf_monitor.run import RunWriter, load_run


@pytest.fixture
def run_dir(tmp_path):
    writer = RunWriter(tmp_path / "out" / "monitor")
    writer.begin_attempt()
    writer.event("train_begin", 0, max_steps=3)
    for step, loss in ((1, 3.0), (2, math.nan), (3, 2.0)):
        writer.row("train", step, {"loss": loss})
    writer.row("eval", 3, {"eval_a_rougeL": 10.0, "eval_a_loss": 2.0})
    writer.row("eval", 3, {"eval_b_rougeL": 30.0, "eval_b_loss": 1.0})
    writer.row("train_summary", 3, {"train_loss": 2.5})
    return tmp_path / "out" / "monitor"


def test_metrics_give_each_kind_and_step_once(run_dir):
    run = load_run(run_dir)
    assert [(row["kind"], row["step"]) for row in run.metrics] == [
        ("train", 1),
        ("train", 2),
        ("train", 3),
        ("eval", 3),
        ("train_summary", 3),
    ]
    (evaluation,) = run.metrics.of("eval")
    assert (evaluation["eval_a_rougeL"], evaluation["eval_b_rougeL"]) == (10.0, 30.0)


def test_best_follows_the_trainers_rule_and_skips_nan(run_dir):
    run = load_run(run_dir)
    assert run.best("loss") == (2.0, 3, 1)
    assert run.best("eval_a_rougeL") == (10.0, 3, 1)
    assert run.best("loss", greater_is_better=True).value == 3.0
    assert run.best("nothing") is None


def test_evaluations_outside_of_the_training_take_no_measurement_away(run_dir):
    writer = RunWriter(run_dir)
    writer.begin_attempt()
    writer.event("train_begin", 0)
    for step, loss in ((1, 3.0), (2, 2.0), (3, 2.5)):
        writer.row("train", step, {"loss": loss})
        writer.row("eval", step, {"eval_loss": loss})
    writer.event("train_end", 3)
    writer.row("eval", 3, {"eval_loss": 1.0, "standalone": True, "weights_step": 2})  # other data, say
    writer = RunWriter(run_dir)
    writer.begin_attempt()  # another day, another process: only an evaluation
    writer.row("eval", 0, {"eval_loss": 0.5, "standalone": True, "test_loss": 0.25})
    run = load_run(run_dir)
    losses = [(row["step"], row["eval_loss"], row.get("standalone", False)) for row in run.metrics.of("eval")]
    assert sorted(losses) == [(0, 0.5, True), (1, 3.0, False), (2, 2.0, False), (3, 1.0, True), (3, 2.5, False)]
    assert run.best("eval_loss") == (2.0, 2, 2)
    assert run.best("test_loss") == (0.25, 0, 3)  # there is no other
    assert (run.status, run.last_step) == ("finished", 3)


def test_evaluations_outside_of_the_training_take_no_place_from_each_other(run_dir):
    writer = RunWriter(run_dir)
    writer.begin_attempt()
    for loss in (5.0, 12.0):
        writer.row("eval", 0, {"eval_loss": loss, "standalone": True}, now=loss)
    losses = [row["eval_loss"] for row in load_run(run_dir).metrics.of("eval") if row.get("standalone")]
    assert losses == [5.0, 12.0]


def test_the_texts_of_the_latest_evaluation_each_once(run_dir):
    writer = RunWriter(run_dir)
    for attempt in (1, 2):
        writer.begin_attempt()
        for name in ("eval", "test"):
            writer.rows("predictions.jsonl", [{"name": name, "step": 3, "index": i, "n": attempt} for i in range(2)])
    run = load_run(run_dir)
    assert [(row["index"], row["n"]) for row in run.latest_predictions()] == [(0, 2), (1, 2)]
    assert len(run.latest_predictions("test")) == 2
    assert run.latest_predictions("nothing") == []


def test_output_dir_is_taken_for_the_run_in_it(run_dir):
    assert load_run(run_dir.parent).path == run_dir


def test_status_finished_crashed_interrupted(run_dir):
    assert load_run(run_dir).status == "running"
    writer = RunWriter(run_dir)
    for name, extra, status in (
        ("error", {"type": "ValueError"}, "crashed"),
        ("error", {"type": "KeyboardInterrupt"}, "interrupted"),
        ("train_end", {}, "finished"),
    ):
        writer.begin_attempt()
        writer.event("train_begin", 0)
        assert load_run(run_dir).status == "running"
        writer.event(name, 3, **extra)
        assert load_run(run_dir).status == status


@pytest.mark.parametrize(
    ("change", "booted_ago", "status"),
    [
        ({}, 1000, "running"),
        ({"host": "renamed"}, 1000, "running"),  # the same boot, the same table of processes
        ({"pid_ticks": 1}, 1000, "killed"),  # the pid belongs to another process by now
        ({"pid_ticks": None}, 1000, "running"),  # a system that does not tell
        ({"pid_ticks": None, "pid_started": 1.0}, 1000, "killed"),
        ({"pid": 2**22 + 1}, 1000, "killed"),
        ({"pid_namespace": "pid:[1]"}, 1000, "unknown"),  # another container on this machine
        ({"host": "elsewhere", "boot_id": "other"}, 1000, "unknown"),
        ({"boot_id": "before"}, -1000, "killed"),  # this machine, started anew since
        ({"boot_id": "before"}, 1000, "unknown"),  # written after our boot: another machine of the same name
    ],
)
def test_the_process_decides_where_no_end_was_recorded(run_dir, monkeypatch, change, booted_ago, status):
    monkeypatch.setattr("psutil.boot_time", lambda: time.time() - booted_ago)
    facts = json.loads((run_dir / "run.json").read_text())
    facts["attempts"][-1].update(change)
    (run_dir / "run.json").write_text(json.dumps(facts))
    assert load_run(run_dir).status == status


def test_a_dead_process_that_nobody_has_collected_is_dead(run_dir):
    """A killed child stays in the table of processes, as a zombie, until its parent asks for it."""
    from hf_monitor.run.process import _start_ticks

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    facts = json.loads((run_dir / "run.json").read_text())
    facts["attempts"][-1] |= {"pid": child.pid, "pid_ticks": _start_ticks(child.pid)}
    (run_dir / "run.json").write_text(json.dumps(facts))
    with child:
        assert load_run(run_dir).status == "running"
        child.kill()
        time.sleep(0.2)
        assert load_run(run_dir).status == "killed"


def test_an_evaluation_alone_reads_as_finished(tmp_path):
    writer = RunWriter(tmp_path)
    writer.begin_attempt()
    writer.row("eval", 0, {"eval_loss": 1.0})
    assert load_run(tmp_path).status == "finished"
    facts = json.loads((tmp_path / "run.json").read_text())
    facts["attempts"][-1]["pid_ticks"] = 1
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert load_run(tmp_path).status == "finished"


def test_pandas_on_demand(run_dir):
    frame = load_run(run_dir).metrics.of("train").to_pandas()
    assert list(frame["step"]) == [1, 2, 3]


def test_what_is_not_a_run_is_named_with_what_is_missing(tmp_path):
    with pytest.raises(RunFolderError, match="no run folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(RunFolderError, match=r"run\.json and metrics\.jsonl are missing \(found: nothing\)"):
        load_run(tmp_path)
    (tmp_path / "run.json").write_text('{"model": "of another program"}')
    with pytest.raises(RunFolderError, match="is not a run folder"):
        load_run(tmp_path)
    (tmp_path / "run.json").unlink()
    (tmp_path / "model.bin").write_text("")
    with pytest.raises(RunFolderError, match=r"found: model\.bin"):
        load_run(tmp_path)
    with pytest.raises(RunFolderError, match="is a file"):
        load_run(tmp_path / "model.bin")


def test_a_process_that_ends_between_the_reading_and_the_look_at_it_was_not_killed(run_dir):
    facts = json.loads((run_dir / "run.json").read_text())
    facts["attempts"][0] |= {"pid": 2**22 + 1, "pid_ticks": 1}  # no such process any more
    (run_dir / "run.json").write_text(json.dumps(facts))
    assert load_run(run_dir).status == "killed"
    run = load_run(run_dir)
    assert len(run.rows) == 7  # read while it ran
    with (run_dir / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"time": time.time(), "attempt": 1, "step": 3, "kind": "event", "event": "train_end"}))
    assert run.status == "finished"
