"""The report that a training leaves: there at its end, true of what is in the folder, and never in its way."""

import errno
import json
import logging
import os
import re
import subprocess
import sys

import pytest
from transformers import TrainerCallback

from hf_monitor import FileLoggingCallback, RunWriter, TextMetrics, attach, default_callbacks, load_run
from hf_monitor.callbacks import _page
from hf_monitor.callbacks._page import Page
from hf_monitor.report import one_page, report_html


def is_true(run_dir):
    """Whether the page that lies there is the one that would be made now."""
    return (run_dir / "report.html").read_bytes() == report_html(load_run(run_dir))


@pytest.fixture
def page(tmp_path):
    """A page of a run without a Trainer, that is owed."""
    writer = RunWriter(tmp_path / "run")
    writer.event("train_begin", 0)
    writer.row("train", 1, {"loss": 1.0})
    writer.event("train_end", 1)
    page = Page(writer)
    page.owe()
    yield page
    page.forget()
    writer.close()


@pytest.mark.no_cover
@pytest.mark.parametrize("by", ["attach", "callbacks"])
def test_it_is_there_when_train_returns_and_follows_evaluations(
    make_trainer, tokenizer, tmp_path, by, monkeypatch, capsys
):
    monkeypatch.setattr(_page, "_SHARE", 0.0)  # an evaluation right after another waits for the end
    monkeypatch.setattr(_page, "_QUICK_S", 100.0)
    run_dir, metrics = tmp_path / "out" / "monitor", TextMetrics(tokenizer)
    ours = default_callbacks(text_metrics=metrics) if by == "callbacks" else []
    trainer = make_trainer(compute_metrics=metrics, callbacks=ours)
    if by == "attach":
        attach(trainer)
    trainer.train()
    assert is_true(run_dir)
    assert (run_dir / "train.log").read_text().count(f"report: {run_dir / 'report.html'}\n") == 1
    lines = re.split("[\r\n]+", capsys.readouterr().out)
    assert lines.count(f"hf_monitor: report: {run_dir / 'report.html'}") == 1
    trained = (run_dir / "report.html").read_bytes()
    (run_dir / "report.html").unlink()
    one_page.write_report(tmp_path / "out")  # derived: it can be made again
    assert (run_dir / "report.html").read_bytes() == trained
    trainer.predict(trainer.eval_dataset)
    assert "hf_monitor" not in capsys.readouterr().out  # said already
    assert is_true(run_dir)
    assert (run_dir / "report.html").read_bytes() != trained


@pytest.mark.no_cover
@pytest.mark.parametrize("by", ["attach", "callbacks", "one callback"])
def test_no_page_of_an_earlier_training_is_there_while_another_one_goes(make_trainer, tmp_path, by):
    """As after a SIGKILL at any of these moments: no page, rather than one that is not true."""
    run_dir, seen = tmp_path / "out" / "monitor", []

    class Look(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            seen.append((run_dir / "report.html").exists())

        def on_step_end(self, args, state, control, **kwargs):
            seen.append((run_dir / "report.html").exists())

    writer = RunWriter(run_dir)
    writer.event("train_begin", 0)
    writer.event("train_end", 1)
    one_page.write_report(run_dir)
    ours = {"attach": [], "callbacks": default_callbacks(), "one callback": [FileLoggingCallback()]}[by]
    trainer = make_trainer(callbacks=ours)
    if by == "attach":
        attach(trainer)
    trainer.add_callback(Look())
    trainer.train()
    assert seen
    assert not any(seen)
    if by == "one callback":
        assert not (run_dir / "report.html").exists()
        return
    assert is_true(run_dir)
    said = f"report.html comes when the training ends; before that, or after a kill: hf-monitor report {run_dir}\n"
    assert (run_dir / "train.log").read_text().count(said) == 1


def test_only_a_page_of_ours_is_taken_away(page, tmp_path, monkeypatch, caplog):
    run_dir = page.path.parent
    _page.take_away(run_dir)  # none is there
    page.path.write_text("<!DOCTYPE html><p>mine")
    _page.take_away(run_dir)
    assert page.path.read_text() == "<!DOCTYPE html><p>mine"
    page.settle()
    page.path.rename(tmp_path / "shown.html")
    page.path.symlink_to(tmp_path / "shown.html")
    _page.take_away(run_dir)
    assert page.path.is_symlink()
    assert not (tmp_path / "shown.html").exists()
    page.owe()
    page.settle()
    assert is_true(run_dir)
    assert page.path.is_symlink()
    assert caplog.records == []

    def refuse(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("pathlib.Path.unlink", refuse)
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        _page.take_away(run_dir)
    (record,) = caplog.records
    assert "report.html is of an earlier training, and cannot be taken away: Permission denied" in record.getMessage()


def test_an_error_is_in_the_page_and_comes_through(make_trainer, tmp_path, capsys):
    class Fault(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise ZeroDivisionError("mine")

    trainer = make_trainer(callbacks=[Fault()])
    attach(trainer)
    with pytest.raises(ZeroDivisionError, match="mine"):
        trainer.train()
    assert is_true(tmp_path / "out" / "monitor")
    assert b"ZeroDivisionError" in (tmp_path / "out" / "monitor" / "report.html").read_bytes()
    assert f"hf_monitor: report: {tmp_path / 'out' / 'monitor' / 'report.html'}\n" in capsys.readouterr().out


def test_what_was_recorded_or_drawn_after_the_training_is_in_it_at_the_end_of_the_block(make_trainer, tmp_path):
    run_dir = tmp_path / "out" / "monitor"
    trainer = make_trainer()
    with attach(trainer) as monitor:
        trainer.train()
        monitor.record("mine", {"value": 0.25})
        monitor.record_texts("predict", [{"index": 0, "input": "a", "prediction": "unseen", "references": []}])
        assert b"unseen" not in (run_dir / "report.html").read_bytes()
    assert b"unseen" in (run_dir / "report.html").read_bytes()
    assert is_true(run_dir)
    before = (run_dir / "report.html").stat().st_mtime_ns
    with monitor:
        pass
    assert (run_dir / "report.html").stat().st_mtime_ns == before  # nothing new, nothing written
    with monitor:
        (run_dir / "plots" / "inference").mkdir()
        (run_dir / "plots" / "inference" / "mine.png").write_bytes(b"")
    assert (run_dir / "report.html").stat().st_mtime_ns > before


def test_a_mistake_of_ours_is_one_line_and_the_training_goes_on(make_trainer, monkeypatch, caplog, tmp_path):
    def broken(*args):
        raise KeyError("ours")

    monkeypatch.setattr(one_page, "write_report", broken)
    trainer = make_trainer()
    with attach(trainer), caplog.at_level(logging.WARNING, "hf_monitor"):
        trainer.train()
        trainer.evaluate()
    (said,) = [record.getMessage() for record in caplog.records if "report" in record.getMessage()]
    assert "the training is not affected: KeyError: 'ours'" in said
    assert load_run(tmp_path / "out").status == "finished"


def test_a_full_disk_is_said_once_and_tried_again_when_the_process_ends(page, monkeypatch, caplog):
    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "hf_monitor"):
        patch.setattr(one_page, "replace_file", full)
        page.settle()
        page.settle()
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    assert "--output FILE" in record.getMessage()
    assert page.owed
    page.settle()
    assert is_true(page.path.parent)


@pytest.mark.parametrize("limit", ["_QUICK_BYTES", "_QUICK_S"])
def test_a_page_that_takes_long_waits_for_the_end(page, monkeypatch, limit):
    monkeypatch.setattr(_page, limit, 0)
    page.settle_soon()
    assert (page.owed, page.path.exists()) == (True, False)
    page.settle()
    assert is_true(page.path.parent)


def test_a_forked_child_writes_no_page_of_its_parent(page):
    if (child := os.fork()) == 0:
        page.settle()
        os._exit(0)
    os.waitpid(child, 0)
    assert not page.path.exists()
    assert page.owed


def test_a_folder_that_is_gone_is_not_made_again(page, caplog):
    for path in page.path.parent.iterdir():
        path.unlink()
    page.path.parent.rmdir()
    page.settle()
    assert not page.path.parent.exists()
    assert caplog.records == []


def test_many_rows_are_read_in_a_process_of_their_own(page, monkeypatch, caplog):
    monkeypatch.setattr(_page, "MOST_BYTES", 0)
    page.settle()
    assert caplog.records == []
    assert is_true(page.path.parent)
    page.path.unlink()
    page.path.mkdir()
    page.owe()
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        page.settle()
    (record,) = caplog.records
    assert "Is a directory" in record.getMessage()


@pytest.mark.parametrize(
    ("script", "limit_s", "reason"),
    [
        ("sleep 20", 0.1, "not done after 0.1 s"),
        ("kill -9 $$", 20.0, "ended by SIGKILL"),
        ("echo noise; echo 'KeyError: broken'; exit 1", 20.0, "KeyError: broken (exit code 1)"),
        (f"echo '{json.dumps({'hf_monitor_report': True, 'kind': 'failed', 'reason': 'why'})}'", 20.0, "why"),
    ],
)
def test_a_process_that_fails_is_one_line_that_says_what_makes_the_page(
    page, monkeypatch, caplog, script, limit_s, reason
):
    def start(*args):
        command = ["sh", "-c", script]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    monkeypatch.setattr(_page, "MOST_BYTES", 0)
    monkeypatch.setattr(_page, "LIMIT_S", limit_s)
    monkeypatch.setattr(_page, "start_apart", start)
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        page.settle()
    (record,) = caplog.records
    assert record.getMessage() == (
        f"hf_monitor: the report could not be made: {reason}. `hf-monitor report {page.path.parent}` makes it."
    )


def test_a_page_that_is_owed_is_written_when_the_process_ends(tmp_path):
    code = f"""
from hf_monitor import RunWriter
from hf_monitor.callbacks._page import Page
writer = RunWriter({str(tmp_path / "run")!r})
writer.event("train_begin", 0)
writer.event("train_end", 1)
Page(writer).owe()  # and nobody holds it
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_true(tmp_path / "run")
