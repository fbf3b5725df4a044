"""Charts are refreshed while a training goes on, by a process that never is in its way."""

import gc
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_monitor import PlottingCallback, attach
from hf_monitor.callbacks import plotting as plotting_module
from hf_monitor.callbacks._drawing import Drawing, Outcome
from hf_monitor.charts.history import draw_history
from hf_monitor.errors import InputError
from hf_monitor.run.rows import encode_row

ROOT = str(Path(plotting_module.__file__).parents[2])
NAMES = ["06_training_history.png", "07_loss_comparison.png"]
ROWS = [{"step": step, "loss": 1 / step, "epoch": step / 10} for step in range(1, 30)]
ROWS += [{"step": 10, "eval_loss": 0.7}, {"step": 20, "eval_loss": float("nan")}, {"step": 29, "eval_loss": 0.4}]


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def python_is(tmp_path, monkeypatch):
    """Have a shell script run instead of the Python that draws."""

    def make(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return make


@pytest.fixture
def hanging(tmp_path):
    """A run folder of which one cannot be read to the end."""
    folder = tmp_path / "hanging"
    folder.mkdir()
    (folder / "run.json").write_text('{"run_id": "a", "format": 1}')
    os.mkfifo(folder / "metrics.jsonl")
    return folder


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.WARNING, logger="hf_monitor")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "hf_monitor"]


@pytest.mark.parametrize("alone", [False, True])
def test_pictures_appear_during_the_training(make_trainer, tmp_path, said, alone):
    class Look(TrainerCallback):
        seen = None

        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                wait_for(lambda: sorted(path.name for path in plots.iterdir()) == NAMES if plots.is_dir() else False)
                Look.seen = {path.name: path.stat().st_mtime_ns for path in plots.iterdir()}

    plots = tmp_path / "run" / "plots"
    own = PlottingCallback(tmp_path / "run", refresh_seconds=0.001)
    trainer = make_trainer(callbacks=[own, Look()])
    if not alone:
        attach(trainer)
    trainer.train()
    assert sorted(Look.seen) == NAMES
    assert {path.name: path.stat().st_mtime_ns for path in plots.iterdir()} != Look.seen  # drawn anew at the end
    assert sorted(path.name for path in own.paths) == NAMES
    assert said() == []
    assert alone == (not (tmp_path / "run" / "metrics.jsonl").exists())


def test_it_draws_what_it_was_given_before_and_now_and_no_namesake_hides_a_module(tmp_path, monkeypatch):
    """The real process, in a folder with modules of well-known names, started from a notebook."""
    for name in ("random", "json", "matplotlib", "numpy", "hf_monitor"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    lines = bytearray(b"".join(map(encode_row, ROWS[:12])))
    drawing = Drawing(tmp_path / "plots", run_dir=None, rows=ROWS[12:], lines=lines)
    drawing._thread.join()
    assert (drawing.outcome.kind, drawing.outcome.reason) == ("drawn", "")
    assert drawing.outcome.seconds > 0
    expected = draw_history(ROWS, tmp_path / "expected")
    assert [path.name for path in drawing.outcome.paths] == [path.name for path in expected] == NAMES
    for mine, other in zip(drawing.outcome.paths, expected, strict=True):
        assert mine.read_bytes() == other.read_bytes()


def test_the_process_knows_no_torch_and_no_pyplot_and_stands_back(tmp_path):
    code = """
import json, os, sys
from hf_monitor.charts.draw_process import main
code = main(json.loads(sys.argv[1]))
assert "matplotlib.figure" in sys.modules
assert not {"torch", "transformers", "matplotlib.pyplot"} & set(sys.modules)
assert os.nice(0) >= 10
sys.exit(code)
"""
    order = {"plots": str(tmp_path / "plots"), "run_dir": None, "training": os.getpid(), "limit_s": 60.0}
    lines = b"".join(map(encode_row, ROWS)) + b"torn"
    env = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(order)], input=lines, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    answer = json.loads(done.stdout.splitlines()[-1])
    assert [Path(path).name for path in answer["paths"]] == NAMES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes to hang at")
@pytest.mark.parametrize("begun", [True, False])
def test_it_goes_with_a_training_that_is_killed(hanging, tmp_path, begun):
    code = f"""
import sys, time
from pathlib import Path
from hf_monitor.callbacks._drawing import Drawing
drawing = Drawing(Path({str(tmp_path / "plots")!r}), run_dir=Path({str(hanging)!r}))
while drawing._process is None:
    time.sleep(0.01)
print(drawing._process.pid, flush=True)
time.sleep(60)
"""
    env = {**os.environ, "PYTHONPATH": ROOT}
    with subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE) as training:
        pid = int(training.stdout.readline())
        if begun:
            wait_for(lambda: psutil.Process(pid).num_threads() > 2)  # its limit, and the eye on its parent
        assert os.getsid(pid) == pid  # out of the reach of Ctrl-C
        training.kill()
    wait_for(lambda: is_gone(pid))


@pytest.mark.parametrize(
    ("end", "kind", "reason"),
    [
        (lambda drawing: drawing.stop(), "stopped", ""),
        (lambda drawing: drawing._process.kill(), "failed", "ended by SIGKILL"),  # as by the one for memory
        (lambda drawing: None, "failed", "not done after 0.5 s"),
    ],
    ids=["stopped", "killed", "hangs"],
)
def test_a_drawing_that_is_ended(python_is, tmp_path, end, kind, reason):
    python_is("exec sleep 60")
    drawing = Drawing(tmp_path, run_dir=None, rows=ROWS, lines=bytearray(), limit_s=0.5)
    wait_for(lambda: drawing._process is not None)
    end(drawing)
    drawing._thread.join()
    assert (drawing.outcome.kind, drawing.outcome.reason) == (kind, reason)
    assert is_gone(drawing._process.pid)
    drawing.stop()  # again, and nothing happens


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        ("echo noise; echo 'ValueError: broken' >&2; echo; exit 1", "failed", "ValueError: broken (exit code 1)"),
        ("exit 9", "failed", "exit code 9"),
        ("echo 'No space left on device'; exit 3", "disk", "No space left on device"),
        ('rm "$0"; head -c 1000000 /dev/zero; echo; echo last; exit 1', "failed", "last (exit code 1)"),
    ],
)
def test_a_process_that_fails_says_why_in_its_last_line(python_is, tmp_path, capfd, script, kind, reason):
    python_is(script)
    drawing = Drawing(tmp_path, run_dir=tmp_path)
    drawing._thread.join()
    assert (drawing.outcome.kind, drawing.outcome.reason) == (kind, reason)
    assert capfd.readouterr() == ("", "")


def test_a_training_whose_charts_fail_goes_on_with_one_line(python_is, make_trainer, tmp_path, said):
    class Slow(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if own._drawing is not None:
                own._drawing._thread.join()

    python_is("echo once >> $(dirname $0)/starts; echo 'ValueError: broken'; exit 1")
    own = PlottingCallback(tmp_path / "run", refresh_seconds=1e-9)
    trainer = make_trainer(callbacks=[own, Slow()], max_steps=8)
    monitor = attach(trainer)
    trainer.train()
    (message,) = said()
    assert "ValueError: broken (exit code 1)" in message
    assert message in (monitor.run_dir / "train.log").read_text()
    assert (tmp_path / "starts").read_text().count("once") == 3  # and no more
    assert trainer.state.global_step == 8
    assert sorted(path.name for path in (tmp_path / "run" / "plots").iterdir()) == NAMES


def test_a_callback_that_is_given_up_ends_its_process(python_is, tmp_path, monkeypatch):
    python_is("exec sleep 60")
    driver = Driver(PlottingCallback(tmp_path / "run"), tmp_path)
    driver.begin()
    driver.callback._refresh(driver.args, driver.state)
    drawing = driver.callback._drawing
    wait_for(lambda: drawing._process is not None)
    del driver.callback
    gc.collect()
    assert is_gone(drawing._process.pid)


class Driver:
    """Calls a callback as the Trainer does."""

    def __init__(self, callback, tmp_path):
        self.callback, self.control = callback, TrainerControl()
        self.args = TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)
        self.state = TrainerState(max_steps=10**9)

    def call(self, event, **kwargs):
        getattr(self.callback, event)(self.args, self.state, self.control, **kwargs)

    def begin(self):
        self.call("on_train_begin")

    def log(self, **values):
        self.state.global_step += not any(name.startswith("eval_") for name in values)
        self.state.log_history.append({**values, "step": self.state.global_step})
        self.call("on_log", logs=values)

    def evaluate(self):
        self.log(eval_loss=1.0, eval_runtime=0.1)
        self.call("on_evaluate", metrics={"eval_loss": 1.0})


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

    monkeypatch.setattr(plotting_module, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def drawings(monkeypatch):
    """What was to be drawn; nothing is."""
    made = []

    class Told:
        outcome = None

        def __init__(self, plots, *, run_dir, rows=(), lines=None):
            self.plots, self.run_dir, self.steps = plots, run_dir, [row["step"] for row in rows]
            made.append(self)

        def stop(self):
            self.stopped = True

    monkeypatch.setattr(plotting_module, "Drawing", Told)
    return made


@pytest.fixture
def driver(tmp_path, clock, drawings):
    return Driver(PlottingCallback(tmp_path / "run"), tmp_path)


def test_when_the_charts_are_refreshed(driver, clock, drawings, tmp_path):
    driver.begin()
    driver.log(loss=1.0)
    driver.evaluate()
    assert drawings == []  # the training has just begun; this evaluation is made up for
    clock.now += 4.9
    driver.log(loss=1.0)
    assert drawings == []
    clock.now += 0.1
    driver.log(loss=1.0)
    assert [(d.plots, d.run_dir, d.steps) for d in drawings] == [(tmp_path / "run" / "plots", None, [1, 1, 2, 3])]
    clock.now += 5.0
    driver.evaluate()
    assert len(drawings) == 1  # it still draws
    drawings[0].outcome = Outcome("drawn", paths=[tmp_path / "a.png"], seconds=0.2)
    driver.log(loss=1.0)
    assert driver.callback.paths == [tmp_path / "a.png"]
    assert [d.steps for d in drawings[1:]] == [[3, 4]]  # made up for, and only what is new
    drawings[1].outcome = Outcome("drawn", seconds=0.2)
    clock.now += 59.9
    driver.log(loss=1.0)
    assert len(drawings) == 2
    clock.now += 0.2
    driver.log(loss=1.0)
    assert len(drawings) == 3  # a minute without an evaluation
    drawings[2].outcome = Outcome("drawn", seconds=20.0)
    clock.now += 199.0
    driver.evaluate()
    assert len(drawings) == 3  # that one took long, for a process beside a training
    clock.now += 1.0
    driver.log(loss=1.0)
    assert len(drawings) == 4
    driver.call("on_train_end")
    assert drawings[3].stopped
    driver.evaluate()  # outside of the training
    clock.now += 1000.0
    driver.evaluate()
    assert len(drawings) == 4


def test_no_refresh_where_none_is_wanted_or_another_process_draws(driver, clock, drawings, tmp_path):
    driver.callback = PlottingCallback(tmp_path / "run", refresh_seconds=None)
    for first in (True, False):
        driver.state.is_world_process_zero = first
        driver.begin()
        clock.now += 100.0
        driver.log(loss=1.0)
        driver.evaluate()
        driver.callback = PlottingCallback(tmp_path / "run")
    assert drawings == []


def test_a_disk_that_fails_is_said_once_and_tried_on(driver, clock, drawings, said):
    driver.begin()
    for _ in range(8):
        clock.now += 61.0
        driver.log(loss=1.0)
        drawings[-1].outcome = Outcome("disk", "No space left on device")
    (message,) = said()
    assert "No space left on device" in message
    assert len(drawings) == 8
    driver.begin()  # another training hears of it
    driver.state.log_history = []
    clock.now += 61.0
    driver.log(loss=1.0)
    assert drawings[-1].steps == [9]


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), "60", True])
def test_seconds_that_are_none_are_refused(given):
    with pytest.raises(InputError, match="refresh_seconds must be a positive number"):
        PlottingCallback(refresh_seconds=given)
