"""What checkpoints take, against real ones; and a disk that is full."""

from types import SimpleNamespace

import pytest

from hf_monitor.preflight.disk import (
    Room,
    check_disk,
    check_shared_memory,
    checkpoint_count,
    checkpoint_size,
    room_in,
)
from hf_monitor.preflight.schedule import Schedule

GIB = 2**30


def args(**given):
    settings = {
        "optim": "adamw_torch_fused", "save_only_model": False, "save_strategy": "steps", "save_steps": 10,
        "save_total_limit": None, "metric_for_best_model": None, "dataloader_num_workers": 0,
        "dataloader_prefetch_factor": None, "per_device_train_batch_size": 8, **given,
    }  # fmt: skip
    return SimpleNamespace(**settings)


def schedule(steps=95, epochs=3.0):
    return Schedule(8, 1, 1, 32, steps, epochs)


@pytest.fixture(scope="module")
def large():
    """A model of 100 million parameters that takes no memory."""
    import torch

    return torch.nn.Linear(10_000, 10_000, bias=False, device="meta")


def test_a_checkpoint_is_as_large_as_was_reckoned(make_trainer, make_model, tmp_path):
    model = make_model(d_model=64, d_ff=512)
    trainer = make_trainer(model=model, max_steps=1, save_strategy="steps", save_steps=1, eval_strategy="no")
    trainer.train()
    found = checkpoint_size(model, trainer.args)
    saved = tmp_path / "out" / "checkpoint-1"
    assert (saved / "model.safetensors").stat().st_size == pytest.approx(found.weights, rel=0.05)
    assert (saved / "optimizer.pt").stat().st_size == pytest.approx(found.optimizer, rel=0.05)
    assert sum(file.stat().st_size for file in saved.iterdir()) < found.total


@pytest.mark.parametrize(
    ("optimizer", "bytes_a_parameter"),
    [("adamw_torch", 8), ("adafactor", 0.1), ("adamw_8bit", 2), ("sgd", 0), ("lion_32bit", 4), ("lion_8bit", 1)],
)
def test_the_optimizer_decides_what_its_state_takes(large, optimizer, bytes_a_parameter):
    assert checkpoint_size(large, args(optim=optimizer)).optimizer == pytest.approx(1e8 * bytes_a_parameter)


def test_an_adapter_saves_what_it_trains_only(large):
    import torch

    model = torch.nn.Sequential(large, torch.nn.Linear(10, 10, bias=False))
    large.requires_grad_(False)
    model.peft_config = {}
    try:
        assert checkpoint_size(model, args()) == checkpoint_size(model[1], args())
    finally:
        large.requires_grad_(True)


@pytest.mark.parametrize(
    ("given", "steps", "count"),
    [
        ({}, 95, 10),  # every 10, and one at the end
        ({"save_total_limit": 2}, 95, 3),  # the new one is written before the old one is deleted
        ({"save_total_limit": 2}, 10, 1),
        ({"save_total_limit": 1, "metric_for_best_model": "loss"}, 95, 3),
        ({"save_strategy": "epoch"}, 95, 3),
        ({"save_strategy": "no"}, 95, 0),
        ({"save_steps": 0.5}, 95, 2),
    ],
)
def test_how_many_checkpoints_there_are_at_once(given, steps, count):
    assert checkpoint_count(args(**given), schedule(steps)) == count


def test_a_disk_without_room_fails_with_numbers_and_a_way_out(tmp_path, large):
    def check(free, files=1000, **given):
        return check_disk(tmp_path / "out", large, args(**given), schedule(), lambda folder: Room(free, files))

    full = check(10 * GIB)
    assert full.state == "failed"
    assert full.evidence["checkpoint_bytes"] == pytest.approx(12e8, rel=0.02)
    assert full.evidence["needed_bytes"] == pytest.approx(10 * 12e8 + 4e8, rel=0.02)
    assert "--save_total_limit 2" in full.suggestion
    assert check(13 * GIB).state == "warning"
    assert check(100 * GIB).state == "ok"
    assert check(10 * GIB, save_total_limit=2).state == "ok"
    assert check(100 * GIB, files=0).state == "failed"
    unlimited = check_disk(tmp_path, large, args(), None, lambda folder: Room(4 * GIB))
    assert (unlimited.state, unlimited.suggestion) == ("warning", "--save_total_limit 2")
    assert check_disk(tmp_path, large, args(), None, lambda folder: Room(GIB)).state == "failed"


def test_what_is_free_is_asked_for_where_the_folder_would_be_made(tmp_path):
    assert room_in(tmp_path / "a" / "b").free_bytes == pytest.approx(room_in(tmp_path).free_bytes, rel=0.05)
    assert not (tmp_path / "a").exists()


def test_workers_need_shared_memory(tmp_path):
    def check(free, workers=4):
        given = args(dataloader_num_workers=workers)
        return check_shared_memory(given, 1024, 128, tmp_path, lambda folder: Room(free))

    assert check(0, workers=0) is None
    needed = 4 * 2 * 8 * 16 * (1024 + 128)
    assert check(needed * 2).state == "ok"
    assert check(needed + 1).state == "warning"
    assert check(needed - 1).state == "failed"
