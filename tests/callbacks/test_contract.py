"""One contract for every callback class of the package, found by reflection."""

import errno
import importlib
import inspect
import logging
import os
import pkgutil

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

import hf_monitor.callbacks

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


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_constructor_only_stores(callback_class, tmp_path):
    callback_class(tmp_path / "run")
    assert files(tmp_path) == []
    assert callback_class().run_dir is None


def test_it_holds_no_state_that_the_trainer_would_save(callback_class):
    assert not issubclass(callback_class, ExportableState)  # a resume would restore a new object, not the user's


def test_it_works_alone_in_a_training_evaluation_and_prediction(callback_class, make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[callback_class(tmp_path / "run")], save_strategy="steps", save_steps=2)
    trainer.train()
    trainer.evaluate()
    trainer.predict(trainer.eval_dataset)
    trainer.train()
    assert files(tmp_path / "run")


def test_it_works_in_evaluation_and_prediction_without_training(callback_class, make_trainer, tmp_path):
    trainer = make_trainer(callbacks=[callback_class(tmp_path / "run")])
    trainer.evaluate()
    trainer.predict(trainer.eval_dataset)


def test_any_event_may_come_first_and_changes_nothing(callback_class, tmp_path, caplog):
    for event in EVENTS:
        args = TrainingArguments(str(tmp_path / event), report_to="none", use_cpu=True)
        state, control = TrainerState(max_steps=3), TrainerControl()
        before = (str(vars(state)), str(vars(control)))
        extra = {"on_log": {"logs": {"loss": 1.0}}, "on_evaluate": {"metrics": {"eval_loss": 1.0}}}
        extra["on_predict"] = {"metrics": {"test_loss": 1.0}}
        given = extra.get(event, {})
        copies = {name: dict(values) for name, values in given.items()}
        callback = callback_class(tmp_path / event)
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
    callback = callback_class(tmp_path / "run")
    for event in EVENTS:
        extra = {"logs": {"loss": 1.0}} if event == "on_log" else {"metrics": {"eval_loss": 1.0}}
        getattr(callback, event)(args, state, TrainerControl(), model=torch.nn.Linear(1, 1), **extra)
    assert files(tmp_path) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_failing_disk_never_stops_a_training(
    callback_class, make_trainer, make_model, tmp_path, monkeypatch, code, caplog
):
    """From the first step on, every write into the run folder fails at the level of the system call."""
    plain = make_trainer(model=make_model(1))
    plain.train()
    folder = tmp_path / "run"
    ours: set[int] = set()
    fired = []
    real_open, real_write, failing = os.open, os.write, []

    def note_open(path, *args, **kwargs):
        fd = real_open(path, *args, **kwargs)
        if str(path).startswith(str(folder)):
            ours.add(fd)
        return fd

    def write(fd, data):
        if failing and fd in ours:
            fired.append(fd)
            raise OSError(code, os.strerror(code))
        return real_write(fd, data)

    monkeypatch.setattr(os, "open", note_open)
    monkeypatch.setattr(os, "write", write)

    class Fault(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            failing.append(1)
            if len(failing) == 1 and folder.exists():
                folder.rename(tmp_path / "gone")  # the folder, too, is not there any more

    trainer = make_trainer(
        model=make_model(1), callbacks=[callback_class(folder), Fault()], output_dir=tmp_path / "faulty"
    )
    with caplog.at_level(logging.WARNING):
        trainer.train()
    assert trainer.state.global_step == 4
    for key, value in plain.model.state_dict().items():
        assert torch.equal(value, trainer.model.state_dict()[key])
    if callback_class.__name__ == "FileLoggingCallback":
        assert fired
        ours_said = [record.getMessage() for record in caplog.records if record.name == "hf_monitor"]
        assert len(ours_said) == len(set(ours_said)) >= 1
