"""hf-monitor watch: the state of a run on its way, its view at any size, and the command as a process."""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import signal
import subprocess
import sys

import pytest
from rich.cells import cell_len

from hf_monitor import RunWriter, load_run
from hf_monitor.cli import main
from hf_monitor.errors import RunFolderError
from hf_monitor.report.watch import command
from hf_monitor.report.watch.curve import Curve, sparkline
from hf_monitor.report.watch.follow import Follower
from hf_monitor.report.watch.metric_lines import chosen
from hf_monitor.report.watch.pace import Pace
from hf_monitor.report.watch.screen import printed
from hf_monitor.report.watch.state import State
from hf_monitor.report.watch.view import Look, lines, plain_line
from hf_monitor.run.ending import Ending

BEGAN = 1_790_000_000.0
HOSTILE = "[red]eval_ \x1b[31m한국어\u202e\x07" + "가" * 60


def begin(attempt=1, step=0, **more):
    event = {"event": "train_begin", "max_steps": 100, "epochs": 2, **more}
    return {"time": BEGAN + step, "attempt": attempt, "step": step, "kind": "event", **event}


def train(step, attempt=1, **values):
    head = {"time": BEGAN + step, "attempt": attempt, "step": step, "kind": "train"}
    return {**head, **({"loss": 100.0 - step, "learning_rate": 1e-3, "epoch": step / 50} | values)}


def evaluation(step, attempt=1, **values):
    return {"time": BEGAN + step, "attempt": attempt, "step": step, "kind": "eval", "eval_runtime": 1.0, **values}


def fed(*rows, status="running"):
    state = State()
    state.feed(rows)
    state.ending = Ending(status)
    return state


def text(state, width=80, height=None, **look):
    return "\n".join(line.plain for line in lines(state, BEGAN + 50, Look(width, height, **look), name="run"))


def test_latest_change_and_best_are_those_of_the_evaluations():
    scores = [
        evaluation(step, eval_loss=loss, eval_rougeL=100 - loss) for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0))
    ]
    state = fed(begin(), *scores)
    assert (state.best("eval_loss"), state.best("eval_rougeL")) == ((1.0, 20.0), (99.0, 20.0))
    curve = state.curve("eval_loss")
    assert (curve.last, curve.before) == ((30.0, 2.0), (20.0, 1.0))
    assert "eval_runtime" not in state.curves


def test_a_resumed_attempt_goes_on_from_its_checkpoint_only():
    first = [begin(), *(row for step in (10, 20, 30) for row in (train(step), evaluation(step, eval_bleu=step)))]
    state = fed(*first, begin(2, 20, resumed_attempt=1), train(25, 2))
    assert [point.step for point in state.curves["loss"].points] == [10, 20, 25]
    assert state.best("eval_bleu") == (20, 20)  # what step 30 reached is lost
    assert (state.attempt, state.first_step, state.step) == (2, 20, 25)
    state.feed([begin(3, 0)])
    assert (state.curves, state.step) == ({}, 0)


def test_it_agrees_with_the_reader_on_real_rows(tmp_path):
    writer = RunWriter(tmp_path)
    writer.open()
    for attempt in range(3):
        writer.begin_attempt()
        start = 40 * attempt
        writer.event("train_begin", start, max_steps=200, resumed_attempt=attempt or None)
        for step in range(start + 10, start + 70, 10):
            writer.row("train", step, {"loss": 1 / step})
            writer.row("eval", step, {"eval_loss": abs(step - 95) + attempt, "eval_f1": step % 70})
    writer.close()
    follower, run = Follower(tmp_path), load_run(tmp_path)
    follower.look()
    for name in ("eval_loss", "eval_f1"):
        assert follower.state.best(name) == run.best(name)[:2]
    losses = [(row["step"], row["loss"]) for row in run.metrics.of("train")]
    assert [(point.step, point.total) for point in follower.state.curves["loss"].points] == losses
    assert follower.state.ending.status == run.status == "running"


def test_only_the_latest_rows_are_read_and_a_file_written_anew_is_a_new_run(tmp_path):
    writer = RunWriter(tmp_path / "out" / "monitor")
    follower = Follower(tmp_path / "out")
    follower.look()
    assert follower.folder is None  # waits
    writer.open()
    writer.begin_attempt()
    writer.event("train_begin", 0, max_steps=9)
    writer.row("train", 1, {"loss": 2.0})
    follower.look()
    writer.row("train", 2, {"loss": float("nan")})
    follower.look()
    assert [point.broken for point in follower.state.curves["loss"].points] == [False, True]
    path = tmp_path / "out" / "monitor" / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:90] + b"\n")
    follower.look()
    assert (follower.state.curves, follower.broken_lines) == ({}, 1)


def test_of_a_long_file_the_logs_are_thinned_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr("hf_monitor.report.watch.follow._WHOLE", 20_000)
    monkeypatch.setattr("hf_monitor.report.watch.follow._ENOUGH", 20_000)
    monkeypatch.setattr("hf_monitor.report.watch.follow.PIECE_BYTES", 10_000)
    monkeypatch.setattr("hf_monitor.run.tail.Tail.rows.__defaults__", (None, 10_000))
    writer = RunWriter(tmp_path)
    writer.open()
    writer.begin_attempt()
    writer.event("train_begin", 0, max_steps=9999)
    for step in range(1, 2001):
        writer.row("train", step, {"loss": 1.0})
        if step % 100 == 0:
            writer.row("eval", step, {"eval_f1": -abs(step - 700)})
    follower = Follower(tmp_path)
    follower.look()
    state = follower.state
    assert state.best("eval_f1") == (0, 700)
    assert state.n_evaluations == 20
    assert 100 < sum(point.n for point in state.curves["loss"].points) < 600
    assert state.curves["loss"].last == (2000, 1.0)


def test_time_left_counts_the_pauses():
    pace, now = Pace(), 0.0
    for step in range(1, 51):
        now += 1.0
        pace.log(now, step)
        if step % 10 == 0:
            pace.pause()
            now += 20.0
    assert pace.seconds_per_step == 1.0
    left = pace.end_at(100) - (now - 20.0)
    assert 50 + 4 * 20 <= left <= 50 + 6 * 20
    assert Pace().end_at(100) is None


@pytest.mark.parametrize("every", [1, 10])
def test_time_left_after_a_long_evaluation_is_right_at_once(every):
    pace, now = Pace(), 0.0
    for step in range(1, 21):
        now += 1.0
        if step % every == 0:
            pace.log(now, step)
        if step == 10:  # two sets
            pace.pause(now + 60.0, step)
            now += 100.0
            pace.pause(now, step)
        if step == 10 and every == 1:
            assert pace.end_at(20) == now + 10 + 100  # one more is to come, at the end
    assert pace.seconds_per_step == 1.0
    assert pace.end_at(40) == now + 20 + 300  # that of step 20 is about to come
    pace.pause(now + 50.0, 20)
    assert pace.end_at(40) == now + 50 + 20 + 2 * 75
    pace.log(now + 55.0, 25)
    assert pace.end_at(45) == now + 55 + 20 + 2 * 75  # none at its end


def test_while_an_evaluation_runs_no_time_is_left_that_has_passed():
    state = fed(begin(max_steps=45), train(10), train(40))
    assert "left" in text(state)
    state.phase = "evaluate"
    assert "left" not in text(state)


def test_what_is_no_metric_and_no_number_of_epochs_is_not_shown():
    state = fed(begin(epochs=2**63 - 1), train(10, loss=2.0, loss_raw=0.0, loss_scale=0.5))
    assert list(state.curves) == ["loss", "learning_rate"]
    assert "epoch 0.20" in text(state)
    assert "e+18" not in text(state)


def test_of_several_sets_loss_and_score_of_each_come_first():
    values = {f"eval_{name}_{metric}": 1.0 for name in ("en", "ko") for metric in ("loss", "rouge1", "bleu", "score")}
    state = fed(begin(), train(10, grad_norm=1.0), evaluation(10, **values))
    assert chosen(state, Look())[:6] == [
        *("loss", "eval_en_loss", "eval_ko_loss", "eval_en_score", "eval_ko_score", "learning_rate")
    ]


def test_time_left_is_not_said_where_it_is_not_known():
    assert "left" in text(fed(begin(), train(10), train(40)))
    assert "left" not in text(fed(begin(), train(40)))
    assert "left" not in text(fed(begin(max_steps=None), train(10), train(40)))
    assert "left" not in text(fed(begin(), train(10), train(40), status="unknown"))
    stalled = lines(fed(begin(), train(10), train(40)), BEGAN + 4000, Look(80))
    assert "nothing new for 1 h 06 min" in stalled[1].plain


def test_a_curve_is_bounded_and_keeps_its_extremes():
    curve = Curve()
    for step in range(1, 50_001):
        curve.add(step, float("inf") if step == 25_000 else abs(step - 12_345.0))
    assert len(curve.points) <= 1024
    assert curve.best(False) == (0.0, 12_345)
    assert curve.best(True) == (50_000 - 12_345.0, 50_000)
    line = sparkline(curve.points, 40)
    assert len(line) == 40
    assert line.count("×") == 1
    assert line[-1] == "█"
    assert line[9] == "▁"
    assert sparkline(curve.points, 40, blocks=False).isascii()


def hostile_state():
    alert = {"time": BEGAN, "attempt": 1, "step": 5, "kind": "alert", "severity": "error", "sentence": HOSTILE * 3}
    state = fed(
        begin(), train(5), evaluation(5, **{f"{HOSTILE}_loss": 3.0}), alert, evaluation(6, **{HOSTILE: 10**400})
    )
    state.feed([{"kind": ["x"], "step": "six", "time": {}, "attempt": None}, {"kind": "train", "step": 1e308}])
    state.feed_samples(
        [
            {"attempt": 1, "kind": "event", "event": "sampler_begin", "gpus": [{"gpu": 0, "name": HOSTILE}, 3]},
            {"attempt": 1, "kind": "gpu", "gpu": 0, "utilization_percent": None, "memory_used_mib": 1024.0},
            {"attempt": 1, "kind": "host", "cpu_percent": 12.0, "ram_used_mib": "much"},
        ]
    )
    state.ending = Ending("crashed", 1, 5, BEGAN, "ValueError", HOSTILE * 9)
    return state


@pytest.mark.parametrize("width", [10, 40, 76, 120])
@pytest.mark.parametrize("height", [1, 8, 24, None])
def test_the_view_fits_and_shows_hostile_texts_as_text(width, height):
    found = lines(hostile_state(), BEGAN + 9, Look(width, height), name=HOSTILE)
    assert len(found) <= (height or 99)
    assert all(cell_len(line.plain) <= width for line in found)
    assert all(line.plain.isprintable() for line in found)
    file = io.StringIO()
    printed(found, file)
    assert "\x1b" not in file.getvalue()
    if width == 120 and height is None:
        assert "[red]eval_" in file.getvalue()
        assert "busy not said" in file.getvalue()
        assert "1.0 GiB used" in file.getvalue()
    assert plain_line(hostile_state(), BEGAN).isprintable()


def test_what_matters_most_is_shown_first():
    state = fed(begin(), train(10), train(20), evaluation(20, eval_loss=1.0, eval_bleu=2.0), status="crashed")
    shown = text(state, height=3).splitlines()
    assert shown[0].startswith("crashed")
    assert "step 20 of 100" in shown[1]
    assert shown[2].startswith("crashed")
    assert "grad" not in text(state, height=8)


def test_metrics_asked_for_are_shown_and_what_is_missing_is_said():
    state = fed(begin(), train(10), evaluation(10, eval_rougeL=30.0, eval_bleu=2.0))
    shown = text(state, metrics=("rougeL", "nothing"))
    assert "eval_rougeL" in shown
    assert "eval_bleu  " not in shown
    assert "nothing: not logged so far (there are: loss, learning_rate" in shown


def test_once_says_how_it_stands_by_its_exit_code(tmp_path, capsys):
    writer = RunWriter(tmp_path / "run")
    writer.open()
    writer.begin_attempt()
    writer.event("train_begin", 0, max_steps=9)
    assert main(["watch", "--once", str(tmp_path / "run")]) == 0
    writer.event("error", 1, type="ValueError", message="bad [sample]")
    assert main(["watch", "--once", str(tmp_path / "run")]) == 1
    assert "crashed (step 1) ValueError: bad [sample]" in capsys.readouterr().out
    assert main(["watch", "--once", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.startswith("hf-monitor: error: there is no run folder")  # not: cannot be written
    (tmp_path / "file").write_text("")
    for path, why in ((tmp_path / "file", "is a file"), (tmp_path, "has runs in it")):
        with pytest.raises(RunFolderError, match=why):
            Follower(path).look()
        assert main(["watch", str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"hf-monitor: error: {str(path)!r} is ")
    for path in (tmp_path / "run").rglob("*"):
        assert path.name in ("metrics.jsonl", "run.json", ".lock")  # nothing was written there


@pytest.mark.parametrize("typo", ["baselnie", "baselnie/monitor"])
def test_a_mistyped_name_is_asked_about(tmp_path, capsys, typo):
    for name, inner in (("baseline", "monitor"), ("baselined", "")):
        (tmp_path / name / inner).mkdir(parents=True)
    RunWriter(tmp_path / "baseline" / "monitor").event("train_begin", 0)
    near = f"Did you mean {str(tmp_path / 'baseline')!r}?"  # the other one is no run
    assert main(["watch", "--once", str(tmp_path / typo)]) == 2
    assert near in capsys.readouterr().err
    options = argparse.Namespace(metric=[], follow=False, interval=None)
    watch = command._Watch(Follower(tmp_path / typo), options)
    assert watch._wanted().endswith(f"(nothing is there yet). {near}")
    assert command._Watch(Follower(tmp_path / "new"), options)._wanted().endswith("(nothing is there yet)")


def test_of_a_killed_training_one_step_is_told():
    state = fed(begin(), train(10))
    state.feed_samples([{"time": BEGAN + 11, "attempt": 1, "step": 11, "kind": "host", "phase": "train"}])
    assert "step 11 of 100" in text(state)
    state.ending = Ending("killed", step=10)
    assert "step 10 of 100" in text(state)
    assert "killed (step 10), step 10 of 100" in plain_line(state, BEGAN + 50)


WATCH = """
import sys
from hf_monitor.cli import main
from hf_monitor.report.watch import command
command._GRACE_SECONDS = 0.3
code = main(["watch", *sys.argv[1:]])
"""
LIGHT = """
heavy = {"torch", "transformers", "pandas", "matplotlib"} & {*sys.modules}
sys.exit(str(heavy) if heavy else code)
"""
TRAINING = """
import sys, time
from hf_monitor import RunWriter
writer = RunWriter(sys.argv[1]); writer.open(); writer.begin_attempt()
writer.event("train_begin", 0, max_steps=9); writer.row("train", 1, {"loss": 2.5})
print("going", flush=True); time.sleep(60)
"""


def test_a_pipe_gets_plain_lines_and_a_killed_training_is_told(tmp_path):
    command = [sys.executable, "-c", WATCH + LIGHT, str(tmp_path / "run"), "--interval", "0.1"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "waiting for a run" in watch.stdout.readline()
    with subprocess.Popen([sys.executable, "-c", TRAINING, str(tmp_path / "run")], stdout=subprocess.PIPE) as training:
        training.stdout.readline()
        line = watch.stdout.readline()
        while "loss 2.5" not in line:
            assert line
            line = watch.stdout.readline()
        assert "running, step 1 of 9 (11 %)" in line
        training.kill()
    out, err = watch.communicate(timeout=30)
    assert (watch.returncode, err) == (1, "")
    assert "killed (step 1), step 1 of 9" in out
    assert "\x1b" not in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_the_terminal_as_it_was(tmp_path, number):
    writer = RunWriter(tmp_path)
    writer.open()
    writer.begin_attempt()
    writer.event("train_begin", 0, max_steps=9)
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "60", "LINES": "20", "NO_COLOR": "1"}
    command = [sys.executable, "-c", WATCH + LIGHT, str(tmp_path), "--interval", "0.1"]
    watch = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment)
    seen = b""
    while b"running" not in seen:
        seen += os.read(ours, 4096)
    os.kill(watch.pid, number)
    _, err = watch.communicate(timeout=30)
    os.set_blocking(ours, False)
    seen += os.read(ours, 1 << 16)
    os.close(ours)
    os.close(theirs)
    assert (watch.returncode, err) == (130 if number == signal.SIGINT else 128 + number, b"")
    assert seen.startswith(b"\x1b[?1049h\x1b[?25l")
    assert seen.endswith(b"\x1b[?25h\x1b[?1049l")
    assert {*re.findall(rb"\x1b\[([0-9;]*)m", seen)} <= {b"0", b"1", b"2"}  # bold and dim are no colours
