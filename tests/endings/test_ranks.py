"""Several processes under the real launcher: which one died first, and who writes where."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import untraced

from hf_monitor import load_run
from hf_monitor.errors import RunFolderError
from hf_monitor.loggers.mirror.identity import mirrored_runs

SCRIPT = str(Path(__file__).with_name("ranks.py"))
SETTINGS = {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
TRACED = ("fine", "error")  # by coverage; the others go the same ways

pytestmark = pytest.mark.slow


def start(folder, *what, more=()):
    environment = os.environ if what[0] in TRACED and not more else untraced.ENVIRONMENT
    command = [untraced.LAUNCH, "--multi_gpu", *(more or ("--num_processes", "2", "--main_process_port", "0"))]
    return subprocess.Popen(
        [*command, SCRIPT, str(folder), *what],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **SETTINGS},
    )


@pytest.fixture(scope="module")
def launched(tmp_path_factory):
    """Two trainings that come to an end, one after the other: the folder, and what was printed."""
    folder = tmp_path_factory.mktemp("launched")
    with start(folder, "fine", "nan") as launch:
        out, err = launch.communicate(timeout=200)
    assert launch.returncode == 0, err
    return folder, out


def test_each_rank_has_its_log_and_rank_0_the_metrics(launched):
    folder, out = launched
    assert out.count("world size 2, ended at step 6") == 2
    run = load_run(folder / "fine")
    assert (run.status, len(run.attempts)) == ("finished", 1)
    assert [row["step"] for row in run.rows.of("train")] == [1, 2, 3, 4, 5, 6]
    log = (run.path / "rank1.log").read_text()
    assert "rank 1 is worried" in log
    assert "rank 1 talks" not in log  # warnings and errors only
    assert "rank 1 is worried" not in (run.path / "train.log").read_text()
    assert not (run.path / "signals").exists()
    samples = run.system
    assert {row.get("rank", 0) for row in samples.of("host")} == {0}  # one machine, one host
    assert {(row["rank"], row["attempt"]) for row in samples.of("process")} == {(1, 1)}
    assert [(row["rank"], row["attempt"], row["step"]) for row in samples.of("timing")] == [
        (1, 1, k) for k in range(1, 7)
    ]
    _check_losses_of_evaluations(run, json.loads((folder / "fine.json").read_text()))
    row = run.metrics.of("timing")[0]
    assert row["samples_per_second"] * row["seconds"] == pytest.approx(4, rel=1e-3)  # 2 x 2 processes
    (told,) = mirrored_runs(run.path)
    assert (told.state, len(told.folders)) == ("finished", 1)  # rank 0 alone has told W&B
    assert len(list(run.path.glob("wandb/offline-run-*"))) == 1


def _check_losses_of_evaluations(run, got):
    """The Trainer multiplies them by the number of processes; recorded are the model's own over the whole set."""
    within = [row for row in run.rows.of("eval") if "standalone" not in row]
    assert [(row["step"], "eval_few_loss" in row) for row in within] == [(3, True), (3, False), (6, True), (6, False)]
    outside = run.rows.of("eval")[4], run.rows.of("predict")[0]
    names = ("eval_few_loss", "few"), ("eval_many_loss", "many"), ("eval_loss", "many"), ("test_loss", "few")
    for row, (name, data) in zip((*within[2:], *outside), names, strict=True):
        assert row[name] == pytest.approx(got[f"true_{data}"])
        assert row[f"{name}_raw"] == pytest.approx(2 * row[name])
    # What the user and the Trainer itself go by is the Trainer's.
    assert (got["eval_loss"], got["test_loss"]) == (outside[0]["eval_loss_raw"], outside[1]["test_loss_raw"])
    assert [got["logged_3"], got["logged_6"]] == [row["eval_few_loss_raw"] for row in within[::2]]
    mended = run.rows.of("eval")[-1]
    assert mended["mended_loss"] == got["mended_loss"] == pytest.approx(got["true_few"])
    assert "mended_loss_raw" not in mended
    assert run.facts["eval_loss_scaling"]["verdict"] == "scaled"
    assert not got["has_own"]  # the Trainer is as it was


def test_the_rank_that_failed_is_named_with_its_error(tmp_path):
    with start(tmp_path, "error") as launch:
        launch.communicate(timeout=200)
    assert launch.returncode != 0
    run = load_run(tmp_path / "error")
    ending = run.ending
    assert (ending.status, ending.rank, ending.type, ending.step) == ("crashed", 1, "ValueError", 3)
    assert ending.message == "bad sample on this rank"
    assert "raise ValueError" in ending.traceback
    assert "bad sample on this rank" in (run.path / "rank1.log").read_text()


def test_all_ranks_stop_at_the_same_step_for_a_nan_of_one(launched):
    """Each decides by itself, by what the Trainer logs alike on all: no collective of ours, and nobody waits."""
    folder, out = launched
    assert out.count("world size 2, ended at step 3") == 2
    run = load_run(folder / "nan")
    assert run.status == "finished"
    assert [(row["rule"], row["step"], row["stops_training"]) for row in run.rows.of("alert")] == [("nan", 3, True)]


def test_a_rank_that_is_gone_without_a_word_is_named(tmp_path):
    """As the kernel does when memory is short."""
    with start(tmp_path, "kill") as launch:
        launch.communicate(timeout=200)
    run = load_run(tmp_path / "kill")
    assert (run.ending.status, run.ending.rank) == ("killed", 1)


def test_a_launch_that_is_told_to_stop_was_terminated(tmp_path):
    with start(tmp_path, "term") as launch:
        metrics = tmp_path / "term" / "monitor" / "metrics.jsonl"
        until = time.monotonic() + 100
        while not (metrics.exists() and b'"kind":"train"' in metrics.read_bytes()):
            assert time.monotonic() < until
            time.sleep(0.1)
        os.kill(int((tmp_path / "term.pid").read_text()), signal.SIGTERM)
        launch.communicate(timeout=100)
    assert (load_run(tmp_path / "term").status, load_run(tmp_path / "term").ending.type) == ("terminated", "SIGTERM")


def test_two_nodes_write_without_clashing(tmp_path):
    """Two launchers of one process each, on loopback, each with a disk of its own."""
    port = str(20000 + os.getpid() % 10000)
    nodes = [
        start(
            tmp_path / folder,
            "fine",
            more=(
                *("--num_machines", "2", "--num_processes", "2", "--machine_rank", str(rank)),
                *("--main_process_ip", "127.0.0.1", "--main_process_port", port, "--rdzv_backend", "static"),
            ),
        )
        for rank, folder in enumerate(("node0", "node1"))
    ]
    for node in nodes:
        out, err = node.communicate(timeout=200)
        assert node.returncode == 0, err
        assert "world size 2" in out
    run = load_run(tmp_path / "node0" / "fine")
    assert (run.status, run.attempts[0]["world_size"]) == ("finished", 2)
    assert sorted(path.name for path in (tmp_path / "node1" / "fine" / "monitor").iterdir()) == [
        "rank1.jsonl",
        "rank1.log",
        "system.rank1.jsonl",
    ]
    assert not (tmp_path / "node0" / "fine" / "monitor" / "rank1.log").exists()
    with pytest.raises(RunFolderError, match="one node of a launch"):
        load_run(tmp_path / "node1" / "fine")
    for name in ("rank1.jsonl", "system.rank1.jsonl"):
        shutil.copy(tmp_path / "node1" / "fine" / "monitor" / name, run.path)  # as on a disk that both share
    hosts = load_run(run.path).system.of("host")
    assert {(row.get("rank", 0), row["attempt"]) for row in hosts} == {(0, 1), (1, 1)}  # two machines, two hosts
    assert (load_run(run.path).status, list(load_run(run.path)._ranks[1])) == ("finished", [1])
