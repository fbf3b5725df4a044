"""Whose W&B run it is: several mirrors of one run, runs of the user, a run that is sent later, secrets in its name."""

import argparse
import os
import subprocess
import sys
from dataclasses import replace

import psutil
import pytest
from mirrors import FakeMirror

from hf_monitor import WandBLogger
from hf_monitor.loggers.mirror import command, host
from hf_monitor.loggers.mirror.host import Host
from hf_monitor.loggers.mirror.identity import ASKED, THEIRS, MirroredRun, mirrored_runs, put
from hf_monitor.loggers.mirror.mirror import ProcessMirror, _hand_over
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_open import Opened
from hf_monitor.run.process import process_identity
from hf_monitor.run.reader import load_run
from hf_monitor.run.writer import RunWriter

NOTHING = argparse.Namespace(project=None, entity=None, offline=False)


@pytest.fixture(autouse=True)
def made(monkeypatch):
    monkeypatch.setattr(FakeMirror, "made", [])
    for name in ("ProcessMirror", "ThreadMirror"):
        monkeypatch.setattr(f"hf_monitor.loggers.mirror.link.{name}", FakeMirror)
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    return FakeMirror.made


@pytest.fixture
def other():
    """Another process that lives."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.stdin.close()


def identity_of(pid):
    started = psutil.Process(pid).create_time()
    return {**process_identity(), "pid": pid, "pid_started": started, "pid_ticks": None}


def test_an_earlier_mirror_takes_nothing_from_the_entry_of_a_later_one(tmp_path, other):
    earlier = Host(MirrorSpec(str(tmp_path), "r", (1,)), print)
    earlier._claim()
    stale = replace(earlier._entry, state="finished", folders=("wandb/first",), more={**earlier._entry.more, "core": 1})
    theirs = {"process": identity_of(other.pid), ASKED: {"name": "new"}}
    later = MirroredRun("r", (1, 2), state="running", folders=("wandb/second",), pid=other.pid, more=theirs)
    put(tmp_path, later)
    earlier._note(stale)
    (found,) = mirrored_runs(tmp_path)
    assert (found.attempts, found.state, found.pid, found.more) == ((1, 2), "running", other.pid, theirs)
    assert found.folders == ("wandb/second", "wandb/first")
    other.kill()
    other.wait()
    earlier._note(stale)
    (found,) = mirrored_runs(tmp_path)
    assert (found.attempts, found.state, found.more[ASKED]) == ((1, 2), "finished", {"name": "new"})


def test_a_mirror_waits_for_one_that_moves_however_long_it_takes(tmp_path, other, monkeypatch):
    count = iter(range(4))

    def moved(entry):
        found = next(count, 9)
        if found == 3:
            other.kill()
            other.wait()
        return found

    monkeypatch.setattr(host, "FORMER_S", 0.3)
    monkeypatch.setattr(host, "_moved_by", moved)
    put(tmp_path, MirroredRun("r", (1,), pid=other.pid, more={"process": identity_of(other.pid)}))
    waiting = Host(MirrorSpec(str(tmp_path), "r", (1, 2)), print)
    waiting._await_former()
    assert other.poll() is not None
    assert waiting.beats == 5  # so its own guard sees that something moves


def test_a_failed_opening_is_tried_again_and_later_not_at_each_look(tmp_path, monkeypatch):
    tries = []
    monkeypatch.setattr(host, "open_run", lambda *_, **__: tries.append(1) or Opened(None, "none", "gone"))
    monkeypatch.setattr(host, "_AGAIN_S", 0.0)
    said = []
    mine = Host(MirrorSpec(str(tmp_path), "r", (1,)), lambda **message: said.append(message))
    mine.open()
    assert len(tries) == 2
    assert said[0]["afterwards"] == f"hf-monitor wandb {tmp_path}"
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    assert not mine.has_news()
    monkeypatch.setattr(host.time, "monotonic", lambda: 1e12)
    assert mine.has_news()
    assert mine.has_news(last=True)
    assert mine.close(0) == "gone"


def test_the_users_run_is_not_sent_again(tmp_path, capsys, monkeypatch):
    writer = RunWriter(tmp_path)
    writer.begin_attempt({})
    writer.row("log", 1, {"a": 1})
    writer.close()
    put(tmp_path, MirroredRun("theirs", (1,), state="finished", more={THEIRS: [1]}))
    monkeypatch.setattr("hf_monitor.loggers.mirror.mirror.ProcessMirror.start", lambda self: 1 / 0)
    assert command.run_wandb(argparse.Namespace(run=str(tmp_path), **vars(NOTHING))) == 0
    assert "W&B run theirs was told by the program that had it open" in capsys.readouterr().out
    put(tmp_path, MirroredRun("theirs", (1, 2), more={THEIRS: [1]}))  # went on without the program
    (entry, _), *_ = command._entries(load_run(tmp_path))
    assert command._spec(load_run(tmp_path), entry, NOTHING, resumed=True).attempts == (2,)


def test_a_run_that_was_never_opened_is_sent_to_where_it_was_meant_for(tmp_path, made, monkeypatch):
    monkeypatch.setenv("WANDB_ENTITY", "team")
    settings = {"base_url": "http://ours", "mode": "offline", "api_token": "hunter2hunter2"}
    with WandBLogger("p", run_dir=tmp_path, settings=settings) as logger:
        logger.log({"a": 1})
    monkeypatch.delenv("WANDB_ENTITY")
    writer = RunWriter(tmp_path)
    writer.begin_attempt({})
    writer.row("log", 2, {"a": 2})  # of an attempt that W&B never heard of
    writer.event("train_begin", 0)
    writer.close()
    run = load_run(tmp_path)
    specs = [command._spec(run, entry, NOTHING, resumed=False) for entry, _ in command._entries(run)]
    assert [(spec.project, spec.entity, spec.attempts) for spec in specs] == [("p", "team", (1,)), ("p", "team", (2,))]
    for spec in specs:
        assert spec.settings["base_url"] == "http://ours"
        assert spec.settings.keys() == {"base_url", "x_disable_stats", "x_disable_meta"}


def test_secrets_in_what_names_a_run_go_nowhere(tmp_path, made):
    key = "hf_" + "Ab3dE" * 7
    with WandBLogger("p", run_dir=tmp_path, name=key, tags=["t", key], notes=f"by {key}", group=key, job_type=key):
        pass
    assert key not in str(made[0].spec)
    assert key not in (tmp_path / "wandb.json").read_text()
    assert made[0].spec.tags[0] == "t"


def test_a_spec_longer_than_a_pipe_comes_on_stdin_and_not_in_what_ps_shows():
    line = b"x" * 3_000_000 + b"\n"
    code = "import sys; print(len(sys.stdin.buffer.readline()))"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        _hand_over(process, line)
        assert process.communicate()[0] == b"3000001\n"


def test_the_end_waits_longer_only_while_a_checkpoint_moves(monkeypatch):
    now, ends = [100.0], []

    def wait(left):
        now[0] += left if now[0] > 112 else 2.0
        if now[0] <= 112:
            mirror._hear({"wandb": "upload"})

    monkeypatch.setattr("hf_monitor.loggers.mirror.mirror.time.monotonic", lambda: now[0])
    for most in (60.0, 10.0):
        now[0] = 100.0
        monkeypatch.setattr("hf_monitor.loggers.mirror.mirror.UPLOAD_WAIT_S", most)
        mirror = ProcessMirror(MirrorSpec("run", "r", (1,)), lambda text: None)
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            mirror._process = process
            monkeypatch.setattr(mirror._news, "wait", wait)
            mirror.finish(seconds=6.0)
        ends.append(now[0] - 100.0)
    assert ends == [18.0, 10.0]
