"""The run folder's disk fills up, turns read-only or goes away in the middle of a training; output_dir is elsewhere."""

import logging
import shutil
import subprocess
import time

import pytest
import torch
from transformers import TrainerCallback

from hf_monitor import FileLoggingCallback, TextMetrics, attach, load_run
from hf_monitor.errors import RunFolderError

STEPS = 10
BREAK, MEND = 3, 8  # at the beginning of these steps


def mount(*arguments):
    """Mount, or skip where that is not permitted."""
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount is not permitted here: {done.stderr.strip()}")


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of half a MiB."""
    if shutil.which("mount") is None:
        pytest.skip("there is no mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", "size=512k", "none", disk)
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk):
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(b"\0" * 1024)
        except OSError:
            pass


class Outcome:
    """What a training that was disturbed left, and what it said."""

    def __init__(self, monitor, folder, caplog, console):
        self.writer = monitor._recorder.writer
        self.folder = folder
        self.console = console.out
        assert "Lines wait in memory" not in console.err  # the log has no report of its own
        records = [record for record in caplog.records if record.name == "hf_monitor"]
        self.warnings = [record.getMessage() for record in records if record.levelno == logging.WARNING]
        self.errors = [record.getMessage() for record in records if record.levelno > logging.WARNING]

    def read(self):
        run = load_run(self.folder)
        rows = [(row["kind"], row["step"]) for row in run.rows if row["kind"] != "event"]
        assert len(rows) == len(set(rows))
        assert not any(run.broken_lines.values())
        return run

    def check_complete(self):
        run = self.read()
        for kind in ("train", "log"):
            assert [row["step"] for row in run.rows.of(kind)] == list(range(1, STEPS + 1))
        assert [row["step"] for row in run.rows.of("text_scores")] == [5, 10]
        assert [row["step"] for row in run.predictions] == [5] * 5 + [10] * 5
        assert run.status == "finished"
        assert "eval" in run.facts["text_metrics"]
        log = (self.folder / "train.log").read_text()
        assert [f"step {step}/{STEPS}  loss" in log for step in range(1, STEPS + 1)] == [True] * STEPS
        assert log.count("a long line") == STEPS
        assert "training ended" in log
        return run


_plain = {}


@pytest.fixture
def train(make_trainer, tokenizer, tmp_path, caplog, capsys):
    """Train twice, without us and with a run folder that is broken and mended; the weights must be the same."""
    settings = {"max_steps": STEPS, "eval_steps": 5}

    def run(folder, breaks, mends=None):
        if not _plain:
            plain = make_trainer(compute_metrics=TextMetrics(tokenizer), **settings)
            plain.train()
            _plain.update(plain.model.state_dict())
        trainer = make_trainer(compute_metrics=TextMetrics(tokenizer), output_dir=tmp_path / "elsewhere", **settings)
        monitor = run.monitor = attach(trainer, run_dir=folder)

        class Fault(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                if state.global_step == BREAK:
                    breaks()
                if state.global_step == MEND and mends is not None:
                    mends()
                    time.sleep(1.01)

            def on_step_end(self, args, state, control, **kwargs):
                # more than what still fits into the last pages of the files
                print("a long line", "x" * 4000)
                monitor._recorder.writer.row("log", state.global_step, {"note": "x" * 4000})

        trainer.add_callback(Fault())
        trainer.train()
        assert trainer.state.global_step == STEPS
        for key, value in trainer.model.state_dict().items():
            assert torch.equal(value, _plain[key])
        return Outcome(monitor, folder, caplog, capsys.readouterr())

    return run


@pytest.mark.no_cover
def test_a_disk_that_is_full_for_a_while(train, small_disk):
    outcome = train(small_disk / "run", lambda: fill(small_disk), lambda: (small_disk / "ballast").unlink())
    (warning,) = outcome.warnings
    assert str(small_disk / "run") in warning
    assert "No space left on device" in warning
    assert outcome.errors == []
    assert outcome.console.count("works again") == 1
    run = outcome.check_complete()
    (resumed,) = [row for row in run.events if row["event"] == "recording_resumed"]
    assert MEND <= resumed["step"] < STEPS  # while the training went on
    assert resumed["late_rows"] >= 2 * (MEND - BREAK) - 1
    assert resumed["lost_rows"] == 0
    assert resumed["reason"] == "No space left on device"
    assert {path.name for path in (outcome.folder / "plots").iterdir()} == {
        "06_training_history.png",
        "07_loss_comparison.png",
    }


@pytest.mark.no_cover
def test_a_disk_that_stays_full(train, small_disk):
    outcome = train(small_disk / "run", lambda: fill(small_disk))
    assert len(outcome.warnings) == 1
    (error,) = outcome.errors
    assert list((outcome.folder / "plots").iterdir()) == []  # no half picture
    there = len(load_run(outcome.folder).rows) + len(load_run(outcome.folder).predictions)
    waiting = int(error.split(" rows could not be written")[0].split()[-1])
    (small_disk / "ballast").unlink()
    assert outcome.writer.flush() == 0
    run = outcome.read()
    # what was missing, and the event that says so
    assert len(run.rows) + len(run.predictions) == there + waiting + 1
    assert [row["step"] for row in run.rows.of("log")] == list(range(1, STEPS + 1))


@pytest.mark.no_cover
def test_a_folder_that_is_read_only_for_a_while(train, small_disk):
    folder = small_disk / "run"

    def breaks():
        mount("--bind", folder, folder)
        mount("-o", "remount,bind,ro", folder)

    outcome = train(folder, breaks, lambda: subprocess.run(["umount", folder], check=True))
    (warning,) = outcome.warnings
    assert "Read-only file system" in warning
    assert outcome.errors == []
    outcome.check_complete()


@pytest.mark.no_cover
def test_a_folder_that_is_removed(train, tmp_path):
    folder = tmp_path / "parent" / "run"
    outcome = train(folder, lambda: (shutil.rmtree(folder), time.sleep(1.01)))
    (warning,) = outcome.warnings
    assert "was emptied during a run" in warning
    assert outcome.errors == []
    run = outcome.read()
    assert run.status == "finished"
    assert run.facts["arguments"]["max_steps"] == STEPS
    for kind in ("train", "log"):
        recorded = [row["step"] for row in run.rows.of(kind)]
        assert recorded == list(range(recorded[0], STEPS + 1))
        assert recorded[0] <= BREAK + 1  # what was still known, and all that came
    assert [row["step"] for row in run.predictions] == [5] * 5 + [10] * 5
    assert sorted(path.name for path in folder.parent.iterdir()) == ["run"]
    assert (folder / "plots" / "06_training_history.png").exists()


def test_a_folder_whose_place_is_taken_by_a_file(train, tmp_path):
    folder = tmp_path / "parent" / "run"

    def breaks():
        shutil.rmtree(folder)
        folder.write_text("somebody's")

    outcome = train(folder, lambda: (breaks(), time.sleep(1.01)))
    (warning,) = outcome.warnings
    assert str(folder) in warning
    assert len(outcome.errors) == 1
    assert folder.read_text() == "somebody's"
    assert sorted(path.name for path in folder.parent.iterdir()) == ["run"]  # nowhere else
    folder.unlink()
    assert outcome.writer.flush() == 0
    run = outcome.read()
    assert [row["step"] for row in run.rows.of("train")][-7:] == list(range(BREAK + 1, STEPS + 1))


def test_an_error_of_the_training_on_a_full_disk(train, small_disk, caplog):
    def breaks():
        fill(small_disk)
        train.monitor._recorder.writer.row("log", 99, {"note": "x" * 4000})
        raise ValueError("the user's own")

    with pytest.raises(ValueError, match="the user's own"):
        train(small_disk / "run", breaks)
    levels = [record.levelname for record in caplog.records if record.name == "hf_monitor"]
    assert levels.count("WARNING") == 1  # rows, log and charts
    (small_disk / "ballast").unlink()
    assert train.monitor._recorder.writer.flush() == 0
    run = load_run(small_disk / "run")
    assert run.status == "crashed"
    assert [row["step"] for row in run.rows.of("log")] == [*range(1, BREAK + 1), 99]


def test_a_disk_that_is_full_before_the_training_is_an_error(make_trainer, tokenizer, small_disk):
    trainer = make_trainer(compute_metrics=TextMetrics(tokenizer))
    attach(trainer, run_dir=small_disk / "run")
    fill(small_disk)
    with pytest.raises(RunFolderError, match=r"cannot be written in .*No space left on device"):
        trainer.train()
    assert trainer.state.global_step == 0
    (small_disk / "ballast").unlink()
    trainer.train()
    assert load_run(small_disk / "run").status == "finished"


def test_a_disk_that_is_full_before_a_callback_is_made_is_an_error(make_trainer, small_disk):
    fill(small_disk)
    trainer = make_trainer(callbacks=[FileLoggingCallback(small_disk / "run")])
    with pytest.raises(RunFolderError, match="No space left on device"):
        trainer.train()
    assert trainer.state.global_step == 0
