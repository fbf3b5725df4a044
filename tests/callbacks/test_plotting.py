"""Charts are refreshed while a training goes on, by a process that never is in its way."""

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hf_monitor import PlottingCallback, attach
from hf_monitor.callbacks import plotting as plotting_module
from hf_monitor.callbacks._painter import Outcome, Painter
from hf_monitor.charts.draw_process import ANSWER
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


def drawn(painter):
    painter.outcome = None
    painter.draw()
    wait_for(lambda: not painter.busy)
    return painter.outcome


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


@pytest.mark.no_cover
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
    history = ROWS[:12]
    painter = Painter(tmp_path / "plots", history=history)
    done = drawn(painter)
    assert (done.kind, done.reason) == ("drawn", "")
    assert done.seconds > 0
    pid = painter._process.pid
    history += ROWS[12:]
    done = drawn(painter)
    assert painter._process.pid == pid  # the same, which has the first rows already
    expected = draw_history(ROWS, tmp_path / "expected")
    assert [path.name for path in done.paths] == [path.name for path in expected] == NAMES
    for mine, other in zip(done.paths, expected, strict=True):
        assert mine.read_bytes() == other.read_bytes()
    painter.stop()
    assert is_gone(pid)


def test_the_process_knows_no_torch_and_no_pyplot_and_stands_back(tmp_path):
    code = """
import os, sys
from hf_monitor.charts.draw_process import main
code = main(int(sys.argv[1]), 60.0)
assert "matplotlib.figure" in sys.modules
assert not {"torch", "transformers", "matplotlib.pyplot"} & set(sys.modules)
assert os.nice(0) >= 10
sys.exit(code)
"""
    rows = b"".join(map(encode_row, ROWS)) + b"torn\n"
    order = json.dumps({"plots": str(tmp_path / "plots"), "run_dir": None, "n_bytes": len(rows)}).encode() + b"\n"
    gone = json.dumps({"plots": str(tmp_path), "run_dir": str(tmp_path / "gone"), "n_bytes": 0}).encode() + b"\n"
    wrong = json.dumps({"plots": 7, "run_dir": None, "n_bytes": 0}).encode() + b"\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(os.getpid())],
        input=order + rows + gone + wrong,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()
    drawn, disk, failed = (json.loads(line) for line in done.stdout.splitlines() if ANSWER.encode() in line)
    assert (drawn["kind"], [Path(path).name for path in drawn["paths"]], drawn["ends"]) == ("drawn", NAMES, False)
    assert (disk["kind"], disk["ends"]) == ("disk", False)
    assert disk["reason"] == f"there is no run folder {str(tmp_path / 'gone')!r}"
    assert (failed["kind"], failed["ends"]) == ("failed", True)  # the next one begins anew
    assert failed["reason"].startswith("TypeError: ")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes to hang at")
@pytest.mark.parametrize("begun", [True, False])
def test_it_goes_with_a_training_that_is_killed(hanging, tmp_path, begun):
    code = f"""
import sys, time
from pathlib import Path
from hf_monitor.callbacks._painter import Painter
painter = Painter(Path({str(tmp_path / "plots")!r}), run_dir=Path({str(hanging)!r}))
painter.draw()
while painter._process is None:
    time.sleep(0.01)
print(painter._process.pid, flush=True)
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


def test_a_process_that_is_ended_and_another_one_in_its_place(python_is, tmp_path):
    answer = json.dumps({ANSWER: True, "kind": "drawn", "paths": [], "seconds": 1.5, "ends": False})
    python_is("exec sleep 60")
    painter = Painter(tmp_path, history=ROWS)
    painter.draw()
    wait_for(lambda: painter._process is not None)
    first = painter._process
    first.kill()  # as by the one for memory
    wait_for(lambda: not painter.busy)
    assert (painter.outcome.kind, painter.outcome.reason) == ("failed", "ended by SIGKILL")
    python_is(f"echo noise; printf half; echo; echo '{answer}'; exec sleep 60")
    assert drawn(painter) == Outcome("drawn", seconds=1.5)
    second = painter._process
    assert second.pid != first.pid
    painter.draw()
    painter.stop()
    assert (is_gone(first.pid), is_gone(second.pid)) == (True, True)
    assert not painter.busy
    painter.stop()  # again, and nothing happens


def test_each_row_is_handed_over_once_and_to_a_new_process_again(python_is, tmp_path):
    answer = json.dumps({ANSWER: True, "kind": "drawn", "paths": [], "seconds": 1.0, "ends": False})
    (tmp_path / "listen.py").write_text(f"""
import json, sys
for number, line in enumerate(sys.stdin.buffer):
    with open({str(tmp_path / "rows")!r}, "ab") as file:
        file.write(sys.stdin.buffer.read(json.loads(line)["n_bytes"]) + b"--\\n")
    print({answer!r}, flush=True)
""")
    python_is(f"exec {sys.executable} -I {tmp_path / 'listen.py'}")
    history = [{"step": step, "loss": 1.0} for step in range(1100)]  # three slices
    painter = Painter(tmp_path, history=history)
    assert drawn(painter).kind == "drawn"
    history += [{"step": 1100, "loss": 2.0}, {"step": 1101, "loss": 3.0}]
    assert drawn(painter).kind == "drawn"
    painter._process.kill()
    painter._process.wait()
    assert drawn(painter).kind == "drawn"
    painter.stop()
    received = [part.splitlines() for part in (tmp_path / "rows").read_text().split("--\n")]
    assert [[json.loads(line)["step"] for line in part] for part in received] == [
        list(range(1100)),
        [1100, 1101],
        list(range(1102)),
        [],
    ]


def test_between_slices_of_rows_it_waits_for_the_training_and_hears_that_it_is_over(tmp_path):
    painter = Painter(tmp_path, history=[{"step": step} for step in range(1100)])
    painter._stopped.set()
    (piece,) = painter._encoded()
    assert piece.count(b"\n") == 500


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo noise; echo 'ValueError: broken' >&2; echo; exit 1", "ValueError: broken (exit code 1)"),
        ("exit 9", "exit code 9"),
        ("head -c 1000000 /dev/zero; echo; echo last; exit 1", "last (exit code 1)"),
        ("read order; sleep 0.3; exit 1", "not done after 0.2 s"),
    ],
)
def test_a_process_that_fails_says_why_in_its_last_line(python_is, tmp_path, capfd, script, reason):
    python_is(script)
    painter = Painter(tmp_path, history=ROWS, limit_s=0.2 if "sleep" in script else 60.0)
    done = drawn(painter)
    assert (done.kind, done.reason) == ("failed", reason)
    painter.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes to hang at")
def test_a_drawing_that_hangs_is_given_up(hanging, tmp_path):
    painter = Painter(tmp_path, run_dir=hanging, limit_s=1.0)
    done = drawn(painter)
    assert (done.kind, done.reason) == ("failed", "not done after 1 s")
    painter.stop()


@pytest.mark.no_cover
def test_a_training_whose_charts_fail_goes_on_with_one_line(python_is, make_trainer, tmp_path, said):
    class Slow(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            wait_for(lambda: own._painter is None or not own._painter.busy)

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


def test_a_callback_that_is_given_up_ends_its_process(python_is, tmp_path):
    python_is("exec sleep 60")
    driver = Driver(PlottingCallback(tmp_path / "run", refresh_seconds=1e-9), tmp_path)
    driver.begin()
    driver.log(loss=1.0)
    painter = driver.callback._painter
    wait_for(lambda: painter._process is not None)
    pid = painter._process.pid
    del driver.callback
    gc.collect()
    assert is_gone(pid)


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
def painters(monkeypatch):
    """Those that were to draw; nothing is drawn."""
    made = []

    class Told:
        outcome, busy, stopped, drawings = None, False, False, 0

        def __init__(self, plots, **given):
            self.plots, self.given = plots, given
            made.append(self)

        def draw(self):
            self.busy = True
            self.drawings += 1

        def done(self, kind="drawn", **values):
            self.outcome, self.busy = Outcome(kind, **values), False

        def stop(self):
            self.stopped = True

    monkeypatch.setattr(plotting_module, "Painter", Told)
    return made


@pytest.fixture
def driver(tmp_path, clock, painters):
    return Driver(PlottingCallback(tmp_path / "run"), tmp_path)


def test_when_the_charts_are_refreshed(driver, clock, painters, tmp_path):
    driver.begin()
    driver.log(loss=1.0)
    driver.evaluate()
    assert painters == []  # the training has just begun; this evaluation is made up for
    clock.now += 4.9
    driver.log(loss=1.0)
    assert painters == []
    clock.now += 0.1
    driver.log(loss=1.0)
    (painter,) = painters
    assert painter.plots == tmp_path / "run" / "plots"
    assert painter.given == {"history": driver.state.log_history}  # nobody else keeps rows here
    assert painter.drawings == 1
    clock.now += 5.0
    driver.evaluate()
    assert painter.drawings == 1  # it still draws
    painter.done(paths=[tmp_path / "a.png"], seconds=0.2)
    driver.log(loss=1.0)
    assert driver.callback.paths == [tmp_path / "a.png"]
    assert painter.drawings == 2  # made up for
    painter.done(seconds=0.2)
    clock.now += 59.9
    driver.log(loss=1.0)
    assert painter.drawings == 2
    clock.now += 0.2
    driver.log(eval_loss=1.0, eval_runtime=0.1)  # on_evaluate comes in a moment
    assert painter.drawings == 2
    driver.log(loss=1.0)
    assert painter.drawings == 3  # a minute without an evaluation
    painter.done(seconds=20.0)
    clock.now += 199.0
    driver.evaluate()
    assert painter.drawings == 3  # that one took long, for a process beside a training
    clock.now += 1.0
    driver.log(loss=1.0)
    assert painter.drawings == 4
    driver.call("on_train_end")
    assert painter.stopped
    clock.now += 1000.0
    driver.evaluate()  # outside of the training
    assert (len(painters), painter.drawings) == (1, 4)


def test_no_refresh_where_none_is_wanted_or_another_process_draws(driver, clock, painters, tmp_path):
    driver.callback = PlottingCallback(tmp_path / "run", refresh_seconds=None)
    for first in (True, False):
        driver.state.is_world_process_zero = first
        driver.begin()
        clock.now += 100.0
        driver.log(loss=1.0)
        driver.evaluate()
        driver.callback = PlottingCallback(tmp_path / "run")
    assert painters == []


def test_a_disk_that_fails_is_said_once_and_tried_on(driver, clock, painters, said):
    driver.begin()
    for _ in range(8):
        clock.now += 61.0
        driver.log(loss=1.0)
        painters[-1].done("disk", reason="No space left on device")
    (message,) = said()
    assert "No space left on device" in message
    assert painters[0].drawings == 8


def test_three_failures_in_a_row_end_it_until_the_next_training(driver, clock, painters, said):
    driver.begin()
    for kind in ("failed", "failed", "drawn", "failed", "failed", "failed", "drawn", "drawn"):
        clock.now += 61.0
        driver.log(loss=1.0)
        painters[-1].done(kind, reason="ValueError: no")
    assert painters[0].drawings == 6
    (message,) = said()
    assert "ValueError: no" in message
    driver.begin()
    clock.now += 61.0
    driver.log(loss=1.0)
    assert [painter.drawings for painter in painters] == [6, 1]


def test_a_press_while_what_draws_is_imported_leaves_it_whole(tmp_path, monkeypatch):
    (tmp_path / "slow_part.py").write_text("import time\ntime.sleep(0.5)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plotting_module, "_DRAWING", ("slow_part",))
    own = PlottingCallback(tmp_path / "run")
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            own.draw(TrainingArguments(output_dir=tmp_path), ROWS)
    finally:
        signal.signal(signal.SIGALRM, before)
    wait_for(lambda: hasattr(sys.modules.get("slow_part"), "whole"))
    monkeypatch.delitem(sys.modules, "slow_part")


def test_of_charts_that_fail_after_an_error_is_said_that_they_did(make_trainer, monkeypatch, said):
    def fail(rows, folder):
        raise AttributeError("module 'matplotlib' has no attribute")

    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == 2:
                raise ZeroDivisionError

    monkeypatch.setattr("hf_monitor.charts.history.draw_history", fail)
    trainer = make_trainer(callbacks=[Stop()], eval_strategy="no")
    monitor = attach(trainer)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert [message for message in said() if "could not" in message] == [
        "hf_monitor: the charts could not be drawn: AttributeError: module 'matplotlib' has no attribute"
    ]
    assert monitor.run().ending.type == "ZeroDivisionError"


@pytest.mark.parametrize("given", [0, -1.0, float("nan"), float("inf"), "60", True])
def test_seconds_that_are_none_are_refused(given):
    with pytest.raises(InputError, match="refresh_seconds must be a positive number"):
        PlottingCallback(refresh_seconds=given)
