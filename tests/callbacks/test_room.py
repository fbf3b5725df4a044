"""What is told of a checkpoint and of the job's end, with the Trainer's own parts."""

import pytest
from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import DefaultFlowCallback
from transformers.trainer_utils import rotate_checkpoints

from hf_monitor.callbacks._room import checkpoint_event, deadline_event, saves_left
from hf_monitor.diagnosis.rules.room import checkpoints_to_come


def arguments(folder, **more):
    return TrainingArguments(str(folder), report_to=[], use_cpu=True, **more)


def saves_of(args, *, steps_per_epoch, epochs):
    """Give (step, saves left as told) at each save that the Trainer's own callback asks for; the begin is step 0."""
    flow, state, control = DefaultFlowCallback(), TrainerState(), TrainerControl()
    state.max_steps, state.num_train_epochs = steps_per_epoch * epochs, epochs
    state.compute_steps(args, state.max_steps)
    told = [(0, saves_left(args, state))]
    for step in range(1, state.max_steps + 1):
        state.global_step, state.epoch = step, step / steps_per_epoch
        control.should_save = False
        flow.on_step_end(args, state, control)
        if step % steps_per_epoch == 0:
            flow.on_epoch_end(args, state, control)
        if control.should_save:
            told.append((step, saves_left(args, state)))
    return told


@pytest.mark.parametrize(
    "more",
    [
        {"save_strategy": "steps", "save_steps": 10},
        {"save_strategy": "steps", "save_steps": 7},
        {"save_strategy": "steps", "save_steps": 500},
        {"save_strategy": "steps", "save_steps": 0.3},
        {"save_strategy": "epoch"},
        {"save_strategy": "no"},
    ],
)
def test_saves_left_are_those_that_the_trainer_asks_for(tmp_path, more):
    told = saves_of(arguments(tmp_path, **more), steps_per_epoch=10, epochs=4)
    assert [left for _, left in told] == list(reversed(range(len(told)))), told


def test_how_often_the_best_is_saved_nobody_knows(tmp_path):
    args = arguments(
        tmp_path, save_strategy="best", metric_for_best_model="loss", eval_strategy="steps", save_total_limit=1
    )
    state = TrainerState()
    state.max_steps, state.global_step = 100, 10
    told = checkpoint_event(args, state, tmp_path / "checkpoint-10")
    assert told["saves_left"] is None
    assert told["kept"] == 2  # the best and the latest
    assert told["size_mib"] is None  # there is no such folder


def test_an_event_tells_size_room_and_what_stays(tmp_path):
    args = arguments(tmp_path, save_steps=10, save_total_limit=3)
    state = TrainerState()
    state.max_steps, state.save_steps = 100, 10
    most = 0
    for step in range(10, 101, 10):
        folder = tmp_path / f"checkpoint-{step}"
        (folder / "inner").mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(bytes(2**20))
        (folder / "inner" / "state").write_bytes(bytes(2**19))
        there = len([*tmp_path.glob("checkpoint-*")])
        most = max(most, there)
        rotate_checkpoints(str(tmp_path), save_total_limit=3, use_mtime=False)
        state.global_step = step
        told = checkpoint_event(args, state, folder, problem="torn" if step == 50 else None)
        if step == 10:
            grows_by = checkpoints_to_come(told["saves_left"], told["kept"], told["there"])
        assert told["checkpoint"] == str(folder)
        assert told["size_mib"] == 1.5
        assert told["disk_free_mib"] > 0
        assert (told["saves_left"], told["kept"], told["there"]) == ((100 - step) // 10, 3, min(3, step // 10))
        assert told["problem"] == ("torn" if step == 50 else None)
    assert most == 1 + grows_by  # what was foreseen at the first save


def test_the_deadline_is_slurms_or_the_users_whichever_is_earlier():
    slurm = {"SLURM_JOB_END_TIME": "2000"}
    assert deadline_event({}, now=1000.0) is None
    assert deadline_event(slurm, now=1000.0) == {"at": 2000.0, "source": "SLURM_JOB_END_TIME"}
    assert deadline_event(slurm, 500.0, now=1000.0) == {"at": 1500.0, "source": "time_limit_s"}
    assert deadline_event(slurm, 5000.0, now=1000.0) == {"at": 2000.0, "source": "SLURM_JOB_END_TIME"}


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "-1", "0", "500", "4294967295000"])
def test_a_time_that_is_none_is_no_deadline(value):
    assert deadline_event({"SLURM_JOB_END_TIME": value}, now=1000.0) is None
