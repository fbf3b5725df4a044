"""The real wandb and a server on loopback: what it has is what the run folder has, whoever sends it and how often."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import untraced
from wandb_compare import compare, flatten
from wandb_stub import WandbStub

import hf_monitor
from hf_monitor import WandBLogger, cli
from hf_monitor.loggers.mirror import orders
from hf_monitor.run.writer import RunWriter

ROOT = Path(hf_monitor.__file__).parent.parent
WEIGHTS = os.urandom(300_000)
PAGE = "<!doctype html><p>요약 &amp; summary</p>"


@pytest.fixture(scope="module")
def server():
    with WandbStub() as stub, pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_DIR", "WANDB_RUN_ID"):
            patch.delenv(name, raising=False)
        for name, value in stub.environment.items():
            patch.setenv(name, value)
        patch.setattr("hf_monitor.loggers.mirror.link.WAIT_S", 60.0)  # what is sent is looked at next
        yield stub
        assert stub.errors == []


def rows_of(stub, run_id):
    return [flatten(line) for line in stub.runs[run_id].history]


@pytest.fixture(scope="module")
def told(server, tmp_path_factory):
    """A loop, and a second one that goes on in it."""
    folder = tmp_path_factory.mktemp("online")
    checkpoint = folder / "checkpoint-20"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").write_bytes(WEIGHTS)
    (checkpoint / "config.json").write_text("{}")
    (folder / "report.html").write_text(PAGE)
    with WandBLogger("summaries", {"learning_rate": 1e-3}, run_dir=folder / "run", tags=["a"]) as logger:
        for step in range(20):
            logger.log({"loss": 1 / (step + 3), "text": "요약", "deep": {"a": step, "b": [1, 2]}}, step)
        logger.log({"loss": float("nan"), "top": float("inf")}, 20)
        logger.log_table("examples", [{"input": "안녕", "score": 0.5}])
        logger.log_checkpoint(checkpoint, ["best"])
        (checkpoint / "model.safetensors").unlink()  # as save_total_limit does
        logger._link.order(orders.html("report", folder / "report.html", 20))
        logger.alert("loss", "손실이 큽니다", "ERROR")
        logger.log_summary({"best_rouge": 0.5})
    first = logger.id
    with WandBLogger("summaries", run_dir=folder / "run", resume=True) as logger:
        for step in range(15, 25):
            logger.log({"loss": 1 / (step + 3)}, step)
    assert logger.id == first
    return folder / "run", first


def test_the_server_has_every_row_of_both_attempts_once(server, told):
    folder, run_id = told
    found = compare(folder, rows_of(server, run_id), rewrite=False)
    assert found.good, (str(found), found.missing[:3], found.unlike[:3], found.doubled[:3])
    assert found.rows >= 21 + 10
    run = server.runs[run_id]
    assert run.gaps == []
    assert {line["attempt"] for line in run.history if "attempt" in line} == {1, 2}
    assert run.config["learning_rate"] == 1e-3
    assert run.summary["best_rouge"] == 0.5
    assert run.said("tags") == ["a"]
    assert run.exit_code == 0


def test_the_artifact_has_the_bytes_of_the_checkpoint_that_was_deleted_meanwhile(server, told):
    _, run_id = told
    artifact = server.artifact(f"model-{run_id}", "best")
    assert artifact.type == "model"
    assert artifact.files == {"model.safetensors": WEIGHTS, "config.json": b"{}"}


def test_an_alert_comes_once_and_the_page_and_the_table_are_there(server, told):
    _, run_id = told
    run = server.runs[run_id]
    assert [(one["title"], one["text"], one["severity"]) for one in run.alerts] == [("loss", "손실이 큽니다", "ERROR")]
    pages = [data.decode() for name, data in run.files.items() if name.startswith("media/html/")]
    assert len(pages) == 1
    assert "요약 &amp; summary" in pages[0]
    tables = [json.loads(data) for name, data in run.files.items() if name.startswith("media/table/")]
    assert [(table["columns"], table["data"]) for table in tables] == [(["input", "score"], [["안녕", 0.5]])]


def command(folder, *given, **environment):
    done = subprocess.run(
        [sys.executable, "-m", *given],
        env={**untraced.ENVIRONMENT, **environment, "PYTHONPATH": str(ROOT)},
        cwd=folder,  # `wandb sync` leaves logs where it is called
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_an_offline_folder_that_is_synced_twice_is_on_the_server_once(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    with WandBLogger("summaries", run_dir=tmp_path / "run") as logger:
        for step in range(10):
            logger.log({"loss": 1 / (step + 3)}, step)
        logger.finish()
    (folder,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    assert logger.id not in server.runs
    assert cli.main(["wandb", str(tmp_path / "run")]) == 1
    assert (
        f"nothing to add to the files of the offline run; this sends it: wandb sync {folder}\n"
        in capsys.readouterr().out
    )
    assert list(folder.parent.glob("offline-run-*")) == [folder]
    for _ in range(2):
        command(tmp_path, "wandb", "sync", str(folder), **server.environment)
    found = compare(tmp_path / "run", rows_of(server, logger.id), rewrite=False)
    assert found.good, (str(found), found.missing[:3], found.unlike[:3])
    assert server.runs[logger.id].gaps == []


def test_hf_monitor_wandb_sends_what_is_missing_and_nothing_twice(server, tmp_path):
    writer = RunWriter(tmp_path)
    writer.open()
    writer.begin_attempt({})
    sent, said = [], []
    for steps in (range(5), range(5, 9), ()):
        for step in steps:
            writer.row("train", step, {"loss": 1 / (step + 3)})
        writer.flush(last=True)
        before = sum(len(run.history) + run.again for run in server.runs.values())
        said.append(command(tmp_path, "hf_monitor", "wandb", str(tmp_path), **server.environment))
        sent.append(sum(len(run.history) + run.again for run in server.runs.values()) - before)
    writer.close()
    (run,) = [run for run in server.runs.values() if run.id == writer.run_id]
    found = compare(tmp_path, rows_of(server, run.id))
    assert found.good, (str(found), found.missing[:3], found.unlike[:3], found.doubled[:3])
    assert sent[1] == 4
    assert sent[2] == 0
    assert "rows of metrics.jsonl that were missing there: 4\n" in said[1]
    assert "rows of metrics.jsonl that were missing there: 0\n" in said[2]
    assert f"W&B: all was sent: {server.url}" in said[2]


def test_a_server_that_is_not_there_leaves_all_on_the_disk_and_is_told_later(server, tmp_path, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with WandBLogger("summaries", run_dir=tmp_path / "run") as logger:
            for step in range(10):
                logger.log({"loss": 1 / (step + 3)}, step)
    command(tmp_path, "hf_monitor", "wandb", str(tmp_path / "run"), **server.environment)
    found = compare(tmp_path / "run", rows_of(server, logger.id), rewrite=False)
    assert found.good, (str(found), found.missing[:3], found.unlike[:3])
