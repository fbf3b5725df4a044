"""A run folder whose disk fails for a while: seen with files of the real system, without a Trainer."""

import atexit
import logging
import os
import shutil
import subprocess
import sys
import textwrap
import time

import pytest

from hf_monitor.errors import RunFolderError
from hf_monitor.run import RunWriter, load_run
from hf_monitor.run.backlog import Backlog


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "parent" / "run"


@pytest.fixture
def writer(folder):
    """A writer with one row on the disk."""
    writer = RunWriter(folder)
    writer.begin_attempt({"seed": 1})
    writer.event("train_begin", 0)
    yield writer
    atexit.unregister(writer._at_exit)


def break_disk(folder):
    """Make the folder impossible to write or to make again, for root too."""
    shutil.rmtree(folder)
    folder.touch()


def later(writer):
    """As if a second had passed since the writer last looked."""
    writer._tend_at = 0.0


def told(caplog, level):
    return [r.getMessage() for r in caplog.records if (r.name, r.levelname) == ("hf_monitor", level)]


def steps(folder, kind="train"):
    return [row["step"] for row in load_run(folder).rows.of(kind)]


def test_rows_wait_in_order_and_come_late(writer, folder, caplog):
    announced = []
    writer.announce = announced.append
    break_disk(folder)
    time.sleep(1.01)
    for step in range(1, 6):
        writer.numbers("train", step, {"loss": 1.0})
        writer.row("eval", step, {"eval_loss": 1.0})
        writer.rows("predictions.jsonl", [{"step": step, "name": "eval"}] * 3)
    writer.update_facts({"text_metrics": {"eval": "a signature"}})
    assert folder.is_file()
    (warning,) = told(caplog, "WARNING")
    assert str(folder) in warning
    assert "File exists" in warning
    folder.unlink()
    time.sleep(1.01)
    writer.numbers("train", 6, {"loss": 1.0})
    run = load_run(folder)
    assert steps(folder) == [1, 2, 3, 4, 5, 6]
    assert steps(folder, "eval") == [1, 2, 3, 4, 5]
    assert [row["step"] for row in run.predictions] == [step for step in range(1, 6) for _ in range(3)]
    assert run.facts["text_metrics"] == {"eval": "a signature"}
    assert run.facts["seed"] == 1
    resumed = run.events[-1]
    assert (resumed["event"], resumed["step"]) == ("recording_resumed", 6)
    # train_begin was written again, too: it was the last thing that went into the file before it was gone
    assert (resumed["late_rows"], resumed["lost_rows"], resumed["reason"]) == (26, 0, "File exists")
    assert 1.0 < resumed["seconds"] < 10.0
    assert len(announced) == 1
    assert "26 rows came late, 0 are lost" in announced[0]
    assert told(caplog, "WARNING") == [warning]
    assert told(caplog, "ERROR") == []


def test_while_it_fails_it_is_left_alone_for_a_second(writer, folder, monkeypatch):
    break_disk(folder)
    later(writer)
    tried = []
    make = os.mkdir
    monkeypatch.setattr(os, "mkdir", lambda *a, **k: (tried.append(1), make(*a, **k)))
    begin = time.monotonic()
    for step in range(2000):
        writer.row("train", step, {"note": "x"})
        writer.update_facts({"step": step})
    assert time.monotonic() - begin < 1.0, "too slow to tell"
    assert 1 <= len(tried) <= 3


def test_the_oldest_rows_are_given_up_and_counted(writer, folder, caplog):
    break_disk(folder)
    writer.file("metrics.jsonl").waiting = Backlog(limit=2000)
    later(writer)
    for step in range(100):
        writer.numbers("train", step, {"loss": 1.0})
    assert writer.flush(last=True) < 50
    (error,) = told(caplog, "ERROR")
    assert "101 rows could not be written" in error
    folder.unlink()
    assert writer.flush() == 0
    kept = steps(folder)
    assert kept == list(range(100 - len(kept), 100))
    assert load_run(folder).events[-1]["lost_rows"] == 101 - len(kept)


def test_a_second_failure_soon_after_is_not_warned_of_again(writer, folder, caplog):
    for _ in range(2):
        break_disk(folder)
        later(writer)
        writer.numbers("train", 1, {"loss": 1.0})
        folder.unlink()
        assert writer.flush() == 0
    assert len(told(caplog, "WARNING")) == 1
    assert [row["event"] for row in load_run(folder).events][-1] == "recording_resumed"


def test_the_first_row_of_an_attempt_raises(folder):
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").mkdir()  # cannot be opened, by root either
    writer = RunWriter(folder)
    writer.begin_attempt()
    for _ in range(2):
        with pytest.raises(RunFolderError, match=r"metrics\.jsonl cannot be written.*Is a directory"):
            writer.event("train_begin", 0)
    (folder / "metrics.jsonl").rmdir()
    writer.event("train_begin", 0)
    assert len(load_run(folder).events) == 1  # those that raised were not kept


def test_rows_of_the_last_second_are_known_when_the_folder_is_moved_away(writer, folder, caplog):
    later(writer)
    writer.numbers("train", 1, {"loss": 1.0})  # looks, and sees the file at its place
    folder.rename(folder.with_name("elsewhere"))
    for step in (2, 3):
        writer.numbers("train", step, {"loss": 1.0})  # too soon to look: into the file that was moved
    later(writer)
    writer.numbers("train", 4, {"loss": 1.0})
    assert steps(folder.with_name("elsewhere")) == [1, 2, 3]
    assert steps(folder) == [1, 2, 3, 4]
    assert load_run(folder).facts["seed"] == 1
    (warning,) = told(caplog, "WARNING")
    assert "was emptied" in warning


def test_a_single_file_that_was_deleted_is_made_again(writer, folder):
    writer.rows("predictions.jsonl", [{"step": 1, "name": "eval"}])
    (folder / "metrics.jsonl").unlink()
    later(writer)
    writer.numbers("train", 2, {"loss": 1.0})
    assert steps(folder) == [2]
    assert len(load_run(folder).predictions) == 1


def test_what_waits_is_tried_once_more_when_the_process_ends(tmp_path):
    code = """
        import pathlib, shutil, sys, time
        folder = pathlib.Path(sys.argv[1])
        from hf_monitor.run import RunWriter
        writer = RunWriter(folder)
        writer.event("train_begin", 0)
        shutil.rmtree(folder)
        folder.touch()
        time.sleep(1.01)
        writer.numbers("train", 1, {"loss": 1.0})
        assert folder.is_file()
        if sys.argv[2] == "mend":
            folder.unlink()
    """
    for what, lost in (("mend", False), ("leave", True)):
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / what), what], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert ("2 rows could not be written" in done.stderr) == lost
    assert steps(tmp_path / "mend") == [1]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_what_waits_to_its_parent(writer, folder):
    break_disk(folder)
    later(writer)
    writer.numbers("train", 1, {"loss": 1.0})
    folder.unlink()
    child = os.fork()
    if child == 0:
        try:
            writer.numbers("train", 99, {"loss": 1.0})
            writer.flush()
            writer._at_exit()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert not folder.exists()
    assert writer.flush() == 0
    assert steps(folder) == [1]


def test_a_line_of_which_a_part_is_in_the_file_goes_on_there_or_begins_anew():
    backlog = Backlog()
    backlog.keep(b"first\nsecond\n")
    assert backlog.advance(9) == b"first\n"
    assert backlog.unwritten() == b"ond\n"
    backlog.start_line_anew()
    assert backlog.unwritten() == b"second\n"
    backlog.put_first(b"zero\n")
    assert (backlog.unwritten(), len(backlog), backlog.lost) == (b"zero\nsecond\n", 2, 0)


def test_a_line_of_which_a_part_is_in_the_file_is_not_given_up():
    backlog = Backlog(limit=20)
    backlog.keep(b"first\nsecond\nthird\n")
    backlog.advance(2)
    backlog.keep(b"fourth\n")
    assert backlog.unwritten() == b"rst\nthird\nfourth\n"
    assert backlog.lost == 1


def test_run_json_that_cannot_be_read_for_a_moment_is_not_set_aside(writer, folder, monkeypatch, caplog):
    from pathlib import Path

    def refuse(path):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", refuse)
        writer.update_facts({"known": 1})
    assert len(told(caplog, "WARNING")) == 1
    assert sorted(path.name for path in folder.glob("run.json*")) == ["run.json"]
    assert "known" not in load_run(folder).facts
    writer.flush()
    assert load_run(folder).facts["known"] == 1
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", refuse)
        with pytest.raises(RunFolderError, match=r"run\.json cannot be read.*Input/output error"):
            RunWriter(folder).begin_attempt()


def test_facts_of_another_process_are_kept_when_ours_come_late(writer, folder):
    temporary = folder / f".run.json.{os.getpid()}.tmp"
    temporary.mkdir()  # in the way
    writer.update_facts({"mine": 1})
    temporary.rmdir()
    other = RunWriter(folder)
    other.begin_attempt({"theirs": 2})
    writer.flush()
    facts = load_run(folder).facts
    assert facts["theirs"] == 2
    assert [entry.get("facts", {}).get("mine") for entry in facts["attempts"]] == [1, None]


def test_info_tells_what_the_warning_did_not(writer, folder, caplog):
    with caplog.at_level(logging.INFO, "hf_monitor"):
        break_disk(folder)
        later(writer)
        writer.numbers("train", 1, {"loss": 1.0})
        folder.unlink()
        writer.flush()
    assert any("works again" in message for message in told(caplog, "INFO"))
