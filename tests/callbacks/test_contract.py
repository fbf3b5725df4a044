"""One contract for every callback class of the package, found by reflection."""

import builtins
import errno
import importlib
import inspect
import io
import logging
import os
import pkgutil

import pytest
import torch
from mirrors import FakeMirror
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

import hf_monitor.callbacks
from hf_monitor import TextMetrics, load_run

CLASSES = sorted(
    {
        member
        for module in pkgutil.iter_modules(hf_monitor.callbacks.__path__, "hf_monitor.callbacks.")
        for _, member in inspect.getmembers(importlib.import_module(module.name), inspect.isclass)
        if issubclass(member, TrainerCallback) and member.__module__.startswith("hf_monitor.")
    },
    key=lambda member: member.__name__,
)
EVENTS = sorted(name for name, _ in inspect.getmembers(TrainerCallback, inspect.isfunction) if name.startswith("on_"))


def test_reflection_finds_the_public_callbacks():
    assert {"FileLoggingCallback", "TextMetricsCallback", "PlottingCallback"} <= {c.__name__ for c in CLASSES}


@pytest.fixture(params=CLASSES, ids=lambda c: c.__name__)
def callback_class(request):
    return request.param


@pytest.fixture(autouse=True)
def no_process_for_wandb(monkeypatch):
    monkeypatch.setattr("hf_monitor.loggers.mirror.link.ProcessMirror", FakeMirror)


@pytest.fixture
def record(callback_class, tokenizer):
    """Make what a Trainer is given to record with this callback alone; with texts where it is the one for texts."""

    def make(folder):
        metrics = TextMetrics(tokenizer)
        more = {"text_metrics": metrics} if callback_class.__name__ == "TextMetricsCallback" else {}
        return {"callbacks": [callback_class(run_dir=folder, **more)], "compute_metrics": metrics}

    return make


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_constructor_only_stores(callback_class, tmp_path):
    callback_class(run_dir=tmp_path / "run")
    assert files(tmp_path) == []
    assert callback_class().run_dir is None


def test_it_holds_no_state_that_the_trainer_would_save(callback_class):
    assert not issubclass(callback_class, ExportableState)  # a resume would restore a new object, not the user's


@pytest.mark.no_cover
def test_it_works_alone_in_a_training_evaluation_and_prediction(record, make_trainer, tmp_path, caplog):
    trainer = make_trainer(**record(tmp_path / "run"), save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.evaluate()
    trainer.predict(trainer.eval_dataset)
    trainer.train()
    assert files(tmp_path / "run")
    assert not [record for record in caplog.records if record.name == "hf_monitor"]


@pytest.mark.no_cover
def test_it_works_in_evaluation_and_prediction_without_training(record, make_trainer, tmp_path, caplog):
    trainer = make_trainer(**record(tmp_path / "run"))
    trainer.evaluate()
    trainer.predict(trainer.eval_dataset)
    assert not [record for record in caplog.records if record.name == "hf_monitor"]


def test_any_event_may_come_first_and_changes_nothing(callback_class, tmp_path, caplog):
    for event in EVENTS:
        args = TrainingArguments(str(tmp_path / event), report_to="none", use_cpu=True)
        state, control = TrainerState(max_steps=3), TrainerControl()
        before = (str(vars(state)), str(vars(control)))
        extra = {"on_log": {"logs": {"loss": 1.0}}, "on_evaluate": {"metrics": {"eval_loss": 1.0}}}
        extra["on_predict"] = {"metrics": {"test_loss": 1.0}}
        given = extra.get(event, {})
        copies = {name: dict(values) for name, values in given.items()}
        callback = callback_class(run_dir=tmp_path / event)
        try:
            assert getattr(callback, event)(args, state, control, model=torch.nn.Linear(1, 1), **given) is None
        finally:
            getattr(callback, "stop", lambda: None)()
        assert (str(vars(state)), str(vars(control))) == before
        assert given == copies
    assert not [record for record in caplog.records if record.name == "hf_monitor"]


def test_other_ranks_write_nothing(callback_class, tmp_path):
    args = TrainingArguments(str(tmp_path / "out"), report_to="none", use_cpu=True)
    state = TrainerState(max_steps=3)
    state.is_world_process_zero = False
    callback = callback_class(run_dir=tmp_path / "run")
    for event in EVENTS:
        extra = {"logs": {"loss": 1.0}} if event == "on_log" else {"metrics": {"eval_loss": 1.0}}
        getattr(callback, event)(args, state, TrainerControl(), model=torch.nn.Linear(1, 1), **extra)
    assert files(tmp_path) == []


class Disk:
    """Fails below a folder once it is told to: at writing only ("write"), or at opening and mkdir too ("all")."""

    def __init__(self, monkeypatch, folder, code, door, only=""):
        self.folder, self.code, self.door, self.only = str(folder), code, door, only
        self.failing = False
        self.hits: list[str] = []
        self._paths: dict[int, str] = {}
        self._os_open, self._os_write, self._mkdir, self._open = os.open, os.write, os.mkdir, open
        monkeypatch.setattr(os, "open", self.os_open)
        monkeypatch.setattr(os, "write", self.os_write)
        monkeypatch.setattr(os, "mkdir", self.mkdir)
        monkeypatch.setattr(builtins, "open", self.open)
        monkeypatch.setattr(io, "open", self.open)  # pathlib's

    def hit(self, path, door):
        path = str(path)
        if self.failing and self.door in (door, "all") and path.startswith(self.folder) and self.only in path:
            self.hits.append(path)
            return True
        return False

    def error(self):
        return OSError(self.code, os.strerror(self.code))

    def os_open(self, path, *args, **kwargs):
        if self.hit(path, "open"):
            raise self.error()
        fd = self._os_open(path, *args, **kwargs)
        self._paths[fd] = str(path)
        return fd

    def os_write(self, fd, data):
        if self.hit(self._paths.get(fd, ""), "write"):
            raise self.error()
        return self._os_write(fd, data)

    def mkdir(self, path, *args, **kwargs):
        if self.hit(path, "open"):
            raise self.error()
        return self._mkdir(path, *args, **kwargs)

    def open(self, path, mode="r", *args, **kwargs):
        if set(mode) & set("wax+") and not isinstance(path, int):
            if self.hit(path, "open"):
                raise self.error()
            if self.hit(path, "write"):
                self._open(path, mode, *args, **kwargs).close()  # a file of no bytes, as a full disk leaves it
                return FullFile(self.error)
        return self._open(path, mode, *args, **kwargs)


class FullFile(io.RawIOBase):
    def __init__(self, error):
        self.error = error

    def writable(self):
        return True

    def seekable(self):
        return True

    def tell(self):
        return 0

    def write(self, data):
        raise self.error()


@pytest.fixture
def train_on(record, make_trainer, make_model, tmp_path, caplog):
    """Train on a disk that fails from the first step on; give what was said about it."""

    def train(disk, gone=False):
        plain = make_trainer(model=make_model(1))
        plain.train()

        class Fault(TrainerCallback):
            def on_step_begin(self, args, state, control, **kwargs):
                folder = tmp_path / "run"
                if gone and not disk.failing and folder.exists():
                    folder.rename(tmp_path / "gone")
                disk.failing = True

        given = record(tmp_path / "run")
        given["callbacks"].append(Fault())
        trainer = make_trainer(model=make_model(1), output_dir=tmp_path / "faulty", **given)
        with caplog.at_level(logging.WARNING):
            trainer.train()
        assert trainer.state.global_step == 4
        for key, value in plain.model.state_dict().items():
            assert torch.equal(value, trainer.model.state_dict()[key])
        assert disk.hits, "the fault was not met: this test would prove nothing"
        disk.failing = False
        for callback in trainer.callback_handler.callbacks:
            if recorder := getattr(callback, "_recorder", None):
                assert recorder.writer.flush() == 0
        return {
            level: [r.getMessage() for r in caplog.records if (r.name, r.levelname) == ("hf_monitor", level)]
            for level in ("WARNING", "ERROR")
        }

    return train


@pytest.mark.no_cover
@pytest.mark.parametrize(("code", "door"), [(errno.ENOSPC, "write"), (errno.EIO, "all")])
def test_a_failing_disk_never_stops_a_training(callback_class, train_on, tmp_path, monkeypatch, code, door):
    """From the first step on, every write into the run folder fails at the level of the system call."""
    told = train_on(Disk(monkeypatch, tmp_path / "run", code, door), gone=door == "all")
    (message,) = told["WARNING"]
    assert os.strerror(code) in message
    assert str(tmp_path / "run") in message
    writes_rows = callback_class.__name__ != "PlottingCallback"
    assert len(told["ERROR"]) == writes_rows  # how many rows were left at the end
    if writes_rows:  # after the training the disk was mended
        assert load_run(tmp_path / "run").rows.of("event")[-1]["event"] == "recording_resumed"


@pytest.mark.parametrize(("code", "door"), [(errno.ENOSPC, "write"), (errno.EIO, "all")])
@pytest.mark.parametrize("callback_class", [hf_monitor.callbacks.TextMetricsCallback])
def test_texts_that_cannot_be_written_never_stop_a_training(
    callback_class, train_on, tmp_path, monkeypatch, code, door
):
    disk = Disk(monkeypatch, tmp_path / "run", code, door, only="predictions.jsonl")
    told = train_on(disk)
    (message,) = told["WARNING"]
    assert os.strerror(code) in message
    (message,) = told["ERROR"]
    assert "10 rows could not be written" in message
    run = load_run(tmp_path / "run")
    assert [row["step"] for row in run.rows.of("text_scores")] == [2, 4]
    assert [row["step"] for row in run.predictions] == [2] * 5 + [4] * 5  # written when the disk was mended
