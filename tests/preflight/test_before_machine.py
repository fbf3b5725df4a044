"""The GPU's report as a line, the folder that is written to, what an earlier training left, the W&B key."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_monitor.gpu.report import GpuDevice, GpuReport, Problem
from hf_monitor.gpu.tiers import tier_of
from hf_monitor.preflight.machine import check_folder, check_gpu, check_left_there
from hf_monitor.preflight.wandb_ready import check_wandb

NO_GPU = GpuReport(False, problems=(Problem("no_gpu", "This machine has no GPU.", "lspci"),))
BROKEN = GpuReport(False, problems=(Problem("torch_cpu_only", "This torch has no CUDA.", "pip install torch"),))


def card(free_mib=23000.0, bf16=True):
    name = "NVIDIA GeForce RTX 4090"
    tier = tier_of(name, 24564.0)
    return GpuReport(
        True, (GpuDevice(0, name, "GPU-0", None, 24564.0, free_mib, (8, 9), bf16, True, True, "bf16", None, tier),)
    )


def test_a_gpu_that_is_broken_fails_one_that_is_not_there_warns():
    assert check_gpu(card()).state == "ok"
    assert check_gpu(NO_GPU).state == "warning"
    broken = check_gpu(BROKEN)
    assert (broken.state, broken.suggestion) == ("failed", "pip install torch")
    assert check_gpu(None).state == "ok"


def test_what_the_arguments_ask_for_decides():
    fp16, bf16 = SimpleNamespace(fp16=True, bf16=False), SimpleNamespace(fp16=False, bf16=True)
    assert check_gpu(NO_GPU, fp16).state == "failed"
    assert check_gpu(None, fp16).state == "failed"
    assert check_gpu(card(), bf16).state == "ok"
    assert check_gpu(card(bf16=False), bf16).state == "warning"
    assert "Less than half" in check_gpu(card(free_mib=3000.0)).sentence


def test_a_folder_is_written_to_and_nothing_is_left_behind(tmp_path):
    found = check_folder(tmp_path / "a" / "b")
    assert found.state == "ok"
    assert f"will be made in {str(tmp_path)!r}" in found.sentence
    assert check_folder(tmp_path).state == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="needs a file system that nobody may write to, as Linux' /proc"
)
def test_a_folder_that_nobody_can_write_to_fails():
    found = check_folder(Path("/proc/nothing/of/ours"))
    assert found.state == "failed"
    assert "cannot be written" in found.sentence


def test_a_folder_without_permission_or_below_a_file_fails(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    assert "is a file, not a folder" in check_folder(tmp_path / "file" / "out").sentence
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    assert check_folder(tmp_path / "out").state == "failed"


def test_a_full_disk_is_found_by_writing(tmp_path, monkeypatch):
    def full(handle, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.write", full)
    found = check_folder(tmp_path)
    monkeypatch.undo()
    assert (found.state, "No space left" in found.sentence) == ("failed", True)
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_training_left_is_said_and_what_would_become_of_it(tmp_path):
    assert check_left_there(tmp_path) is None
    for name in ("checkpoint-4", "checkpoint-12", "checkpoint-x", "monitor"):
        (tmp_path / name).mkdir()
    (tmp_path / "monitor" / "run.json").write_text("{}")
    found = check_left_there(tmp_path, SimpleNamespace(save_total_limit=2, resume_from_checkpoint=None))
    assert found.state == "warning"
    assert "checkpoint-12 and 1 more, a recorded run" in found.sentence
    assert "--save_total_limit 2 deletes the lowest numbers" in found.sentence
    resumed = check_left_there(tmp_path, SimpleNamespace(save_total_limit=2, resume_from_checkpoint="last"))
    assert resumed.state == "ok"


KEY = "0123456789abcdef" * 2 + "01234567"


@pytest.mark.parametrize(
    ("report_to", "environment", "state", "words"),
    [
        ([], {}, "skipped", "not asked for"),
        (None, {}, "skipped", "not asked for"),
        ([], {"WANDB_PROJECT": "p"}, "skipped", "not asked for"),
        (None, {"WANDB_PROJECT": "p"}, "failed", "no API key for api.wandb.ai"),
        (["wandb"], {}, "failed", "no API key for api.wandb.ai"),
        (["wandb"], {"WANDB_API_KEY": KEY}, "ok", "is in WANDB_API_KEY"),
        (["wandb"], {"WANDB_API_KEY": KEY[:9]}, "failed", "not of the form"),
        (["wandb"], {"WANDB_API_KEY": f"{KEY}\n"}, "failed", "not of the form"),
        (["wandb"], {"WANDB_API_KEY": f"local-{KEY}", "WANDB_BASE_URL": "http://w.local:8080"}, "ok", "for w.local"),
        (["wandb"], {"WANDB_MODE": "offline"}, "ok", "offline mode"),
        (["wandb"], {"WANDB_MODE": "disabled"}, "warning", "switched off"),
        (["wandb"], {"WANDB_DISABLED": "true"}, "warning", "switched off"),
    ],
)
def test_wandb_is_ready_where_it_is_asked_for(tmp_path, report_to, environment, state, words):
    found = check_wandb(report_to, environment, tmp_path)
    assert found.state == state
    assert words in found.sentence
    assert KEY[:9] not in str(found.to_dict())
    if state == "failed":
        assert "wandb login" in found.suggestion


def test_the_key_of_wandb_login_and_wandb_offline_are_found(tmp_path):
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    found = check_wandb(["wandb"], {}, tmp_path)
    assert (found.state, ".netrc" in found.sentence) == ("ok", True)
    assert check_wandb(["wandb"], {"WANDB_BASE_URL": "http://w.local"}, tmp_path).state == "failed"
    (tmp_path / ".config" / "wandb").mkdir(parents=True)
    (tmp_path / ".config" / "wandb" / "settings").write_text("[default]\nmode = offline\n")
    assert "offline mode" in check_wandb(["wandb"], {"WANDB_BASE_URL": "http://w.local"}, tmp_path).sentence


def test_a_folder_of_runs_is_not_the_package(tmp_path, monkeypatch):
    from importlib.machinery import ModuleSpec

    spec = ModuleSpec("wandb", None, is_package=True)
    spec.submodule_search_locations = ["./wandb"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)
    found = check_wandb(["wandb"], {"WANDB_API_KEY": KEY}, tmp_path)
    assert (found.state, found.suggestion) == ("failed", "pip install wandb")
