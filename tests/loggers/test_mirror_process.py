"""Real processes with the real wandb, offline: whatever is killed, all rows are in its files, each once."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import wandb_file

from hf_monitor.cli import main
from hf_monitor.loggers.mirror.identity import choose, mirrored_runs
from hf_monitor.loggers.mirror.mirror import ProcessMirror, ThreadMirror
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_file import files_of, last_step
from hf_monitor.run.writer import RunWriter

pytestmark = pytest.mark.skipif(os.name != "posix", reason="kills with signals")

TRAINEE = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from loggers.test_mirror_process import begin
writer, mirror = begin(Path({folder!r}), [].append)
mirror.start()
for step in range(1, 100_000):
    writer.row("train", step, {{"loss": 1 / step}})
    time.sleep(0.005)
"""


@pytest.fixture(autouse=True)
def no_key_and_no_network(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def begin(folder, announce, *, resumed=False, **options):
    writer = RunWriter(folder)
    writer.begin_attempt({})
    run, continued = choose(folder, writer.run_id, writer.attempt, resumed=resumed)
    spec = MirrorSpec(
        str(folder), run.id, run.attempts, continued, project="p", program="train.py", parent_pid=os.getpid()
    )
    changes = {"settings": options.pop("settings", {"mode": "offline"}), "config": options.pop("config", {})}
    spec = MirrorSpec.from_dict({**spec.to_dict(), **changes})
    writer.event("train_begin", 0)
    return writer, ProcessMirror(spec, announce, **options)


def train(writer, first, last):
    for step in range(first, last):
        writer.row("train", step, {"loss": 1 / step})


def told(folder):
    """Give (attempt, kind, step, loss) of all that is in the files, in their order."""
    entry = mirrored_runs(folder)[0]
    rows = [row for file in files_of(folder / "wandb", entry.id) for row in wandb_file.history(file)]
    return [(row["attempt"], row["kind"], row["train/global_step"], row.get("train/loss")) for row in rows]


def written(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_bytes().splitlines())
    return [(row["attempt"], row["kind"], row["step"], row.get("loss")) for row in rows]


def wait_for(condition, seconds=30.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_gone(pid):
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True


def test_a_training_that_is_killed_is_told_to_its_last_row_and_goes_on_in_the_same_run(tmp_path):
    code = TRAINEE.format(tests=str(Path(__file__).parents[1]), folder=str(tmp_path))
    trainee = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    try:
        wait_for(lambda: any(run.state == "running" for run in mirrored_runs(tmp_path)))
        time.sleep(0.3)
    finally:
        os.killpg(trainee.pid, signal.SIGKILL)
        trainee.wait()
    wait_for(lambda: mirrored_runs(tmp_path)[0].state == "finished")
    run = mirrored_runs(tmp_path)[0]
    wait_for(lambda: is_gone(run.pid))
    (file,) = files_of(tmp_path / "wandb", run.id)
    assert told(tmp_path) == written(tmp_path)
    assert wandb_file.exit_code(file) == 1
    assert last_step([file]) == 10 * len(written(tmp_path))

    said = []
    writer, mirror = begin(tmp_path, said.append, resumed=True)
    mirror.start()
    train(writer, 1, 20)
    writer.event("train_end", 20)
    mirror.finish(seconds=30)
    writer.close()
    assert (mirror.state, mirrored_runs(tmp_path)[0].attempts) == ("finished", (1, 2))
    first, second = files_of(tmp_path / "wandb", run.id)
    assert told(tmp_path) == written(tmp_path)
    assert wandb_file.exit_code(second) == 0
    assert said == [
        "hf_monitor: W&B: offline; the command that sends it is said at the end",
        f"hf_monitor: W&B: recorded offline; this sends it: wandb sync {first.parent} {second.parent}",
    ]


@pytest.mark.filterwarnings("ignore:.*multi-threaded")
def test_a_mirror_that_is_killed_is_started_again_and_tells_nothing_twice(tmp_path):
    said = []
    writer, mirror = begin(tmp_path, said.append)
    mirror.start()
    train(writer, 1, 50)
    writer.rows("predictions.jsonl", [{"step": 49, "name": "eval", "index": 0, "prediction": "p"}])
    writer.row("train", 50, {"loss": 0.0})
    if not os.fork():  # a DataLoader's worker, say: not its mirror
        mirror.finish(1)
        os._exit(0)
    assert mirror.drain(30)
    time.sleep(1.1)  # wandb writes once a second
    first = mirror.pid
    os.kill(first, signal.SIGKILL)
    train(writer, 51, 60)
    wait_for(lambda: mirror.pid != first)
    assert mirror.drain(30)
    writer.event("train_end", 59)
    mirror.finish(seconds=30)
    writer.close()
    assert mirror.state == "finished"
    assert f"hf_monitor: W&B: its process ({first}) was ended by SIGKILL; it is started again." in said
    entry = mirrored_runs(tmp_path)[0]
    rows = [row for file in files_of(tmp_path / "wandb", entry.id) for row in wandb_file.history(file)]
    assert sum("predictions/eval" in row for row in rows) == 1
    assert [row["_step"] for row in rows if "kind" in row] == [10 * line for line in range(1, 62)]


def test_a_helper_of_wandb_that_is_stopped_does_not_keep_the_mirror(tmp_path):
    said = []
    writer, mirror = begin(tmp_path, said.append, patience_s=1.0)
    mirror.start()
    train(writer, 1, 10)
    assert mirror.drain(30)
    (core,) = [one for one in psutil.Process(mirror.pid).children() if "wandb-core" in one.name()]
    core.suspend()
    train(writer, 10, 20)
    mirror.finish(seconds=0.2)
    pid = mirror.pid
    wait_for(lambda: mirrored_runs(tmp_path)[0].state == "unsent" and is_gone(pid))
    wait_for(lambda: is_gone(core.pid))
    writer.close()
    wait_for(lambda: len(said) == 3)
    assert f"hf-monitor wandb {tmp_path}" in said[1]
    assert said[2] == (
        "hf_monitor: W&B: not all was sent (nothing moved for 1 s). What is in the run folder is not lost; afterwards: "
        f"hf-monitor wandb {tmp_path}"
    )


def test_without_a_server_it_is_offline_and_the_command_sends_the_rest(tmp_path, monkeypatch, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
    monkeypatch.setenv("WANDB_API_KEY", "0123456789" * 4)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "1")  # a user's variable wins over ours
    said = []
    writer, mirror = begin(tmp_path, said.append, settings={}, config={"long": "x" * 200_000})
    mirror.start()
    train(writer, 1, 10)
    writer.event("train_end", 10)
    mirror.finish(seconds=30)
    writer.close()
    entry = mirrored_runs(tmp_path)[0]
    assert (entry.mode, entry.state, entry.why) == ("offline", "finished", "127.0.0.1 does not answer")
    assert said[0].startswith("hf_monitor: W&B: offline (127.0.0.1 does not answer); ")
    assert said[1].startswith("hf_monitor: W&B: recorded offline; this sends it: wandb sync ")
    assert told(tmp_path) == written(tmp_path)
    file = files_of(tmp_path / "wandb", entry.id)[-1]  # the first one is of the opening that failed
    assert len(wandb_file.config(file)["long"]) == 200_000

    with RunWriter(tmp_path).file("metrics.jsonl").path.open("a") as file:  # what came after the mirror's end
        file.write(json.dumps({"time": time.time(), "attempt": 1, "step": 10, "kind": "predict", "test_loss": 1.5}))
        file.write("\n")
    assert main(["wandb", str(tmp_path), "--offline"]) == 0
    assert told(tmp_path) == written(tmp_path)
    assert "W&B: recorded offline; this sends it: wandb sync" in capsys.readouterr().out


def test_a_run_that_the_user_has_opened_is_told_by_a_thread_and_stays_open(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("DATA", "CACHE", "ARTIFACT", "CONFIG"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    settings = wandb.Settings(silent=True, console="off", x_disable_stats=True)
    run = wandb.init(project="p", mode="offline", dir=tmp_path, settings=settings)
    writer = RunWriter(tmp_path / "monitor")
    writer.begin_attempt({})
    mirror = ThreadMirror(MirrorSpec(str(tmp_path / "monitor"), str(run.id), (1,)), run, print)
    mirror.start()
    train(writer, 1, 10)
    assert mirror.drain(10)
    train(writer, 10, 20)
    mirror.finish()
    writer.close()
    run.log({"mine": 1})
    file = Path(run.settings.sync_file)
    run.finish()
    wandb_file.wait_for_exit(file)
    rows = wandb_file.history(file)
    assert [row["train/loss"] for row in rows if "train/loss" in row] == [1 / step for step in range(1, 20)]
    assert rows[-1]["mine"] == 1
