"""Whether a checkpoint can be loaded back: torn and damaged files are found, whole ones are left alone."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_monitor.diagnosis.checkpoint_files import checkpoint_files_problem
from hf_monitor.diagnosis.weight_files import safetensors_names
from hf_monitor.preflight.loadable import checkpoint_problem, load_back
from hf_monitor.preflight.local_models import check_weights

QUICKLY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
TORN = ["model.safetensors", "config.json", "trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"]


def safetensors(names, size=4):
    places = {
        name: {"dtype": "F32", "shape": [size], "data_offsets": [4 * size * i, 4 * size * (i + 1)]}
        for i, name in enumerate(names)
    }
    header = json.dumps({"__metadata__": {"format": "pt"}, **places}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * size * len(names))


@pytest.fixture
def checkpoint(tmp_path):
    """What a model that is sharded leaves, without a state to resume from."""
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"metadata": {}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-1.safetensors").write_bytes(safetensors(["a"]))
    (folder / "model-2.safetensors").write_bytes(safetensors(["b"]))
    (folder / "config.json").write_text('{"model_type": "t5"}')
    return folder


def test_what_the_trainer_saved_is_whole_and_loads_with_its_tied_weights(trained):
    names, problem = safetensors_names(trained / "checkpoint-4" / "model.safetensors")
    assert problem is None
    assert "shared.weight" in names
    assert "lm_head.weight" not in names  # tied, so saved once
    for name in ("checkpoint-2", "checkpoint-4", "."):
        assert checkpoint_problem(trained / name) is None
    loaded = load_back(trained / "checkpoint-4")
    assert loaded.problem is None
    assert loaded.parts == (
        "model (T5ForConditionalGeneration, 11,680 parameters)",
        "tokenizer",
        "optimizer",
        "scheduler",
    )
    assert checkpoint_problem(trained, deep=True) is None


@pytest.mark.parametrize("name", TORN)
@QUICKLY
@given(data=st.data())
def test_a_file_that_was_cut_anywhere_is_found(copied, name, data):
    path = copied / "checkpoint-2" / name
    whole = path.with_name("whole.txt")
    if not whole.exists():
        shutil.copy(path, whole)
    content = whole.read_bytes()
    path.write_bytes(content[: data.draw(st.integers(0, len(content.rstrip()) - 1))])
    problem = checkpoint_files_problem(copied / "checkpoint-2")
    assert problem is not None
    assert problem.startswith(f"checkpoint-2: {name} ")


@pytest.mark.parametrize("name", TORN)
@QUICKLY
@given(place=st.floats(-1, 1, exclude_min=True, exclude_max=True), value=st.integers(0, 255))
def test_a_changed_byte_raises_nothing(copied, name, place, value):
    path = copied / "checkpoint-2" / name
    content = bytearray(path.read_bytes())
    content[int(place * min(len(content), 2000))] = value  # headers are at the beginning or at the end
    path.write_bytes(content)
    checkpoint_files_problem(copied / "checkpoint-2")


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def replace_by_folder(folder):
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def link_to_nothing(folder):
    (folder / "model-2.safetensors").unlink()
    (folder / "model-2.safetensors").symlink_to(folder / "gone")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove("model.safetensors.index.json"), "the weights are missing"),
        (remove("model-2.safetensors"), "model-2.safetensors is missing, model.safetensors.index.json names it"),
        (link_to_nothing, "model-2.safetensors is missing"),
        (write("model-2.safetensors", safetensors(["a"])), "model-2.safetensors lacks 'b'"),
        (write("model-2.safetensors", safetensors(["b"]) + b"more"), "more in it than its header says: "),
        (write("model-2.safetensors", b""), "model-2.safetensors is empty (0 bytes)"),
        (write("model.safetensors.index.json", b'{"weight_map": {}}'), "names no weights"),
        (write("model.safetensors.index.json", b"[]"), "holds a list, not a JSON object"),
        (replace_by_folder, "config.json cannot be read: Is a directory"),
    ],
)
def test_what_is_wrong_with_a_sharded_model_is_said(checkpoint, harm, said):
    assert checkpoint_files_problem(checkpoint) is None
    harm(checkpoint)
    assert said in checkpoint_files_problem(checkpoint)


@pytest.mark.parametrize(
    "place",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 12]},  # too short for its shape
        {"dtype": "F32", "shape": [3], "data_offsets": [4, 16]},  # a hole
        {"dtype": "F32", "shape": [4], "data_offsets": [0]},
        {"dtype": "F32", "shape": [4]},
        "none",
    ],
)
def test_a_header_whose_places_do_not_fit_is_damaged(tmp_path, place):
    header = json.dumps({"a": place}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(16))
    names, problem = safetensors_names(path)
    assert not names
    assert problem.startswith("has a damaged header")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (remove("trainer_state.json"), "trainer_state.json is missing"),
        (write("trainer_state.json", b'{"global_step": 4}'), "is of step 4, the folder's name says 2"),
        (remove("optimizer.pt"), "optimizer.pt is missing, scheduler.pt is there"),
        (remove("config.json"), "config.json is missing"),
        (write("rng_state.pth", b"hello"), "rng_state.pth is no file of torch.save"),
    ],
)
def test_what_keeps_a_training_from_resuming_is_said(copied, harm, said):
    folder = copied / "checkpoint-2"
    harm(folder)
    assert said in checkpoint_files_problem(folder)
    assert checkpoint_files_problem(copied / "checkpoint-4") is None


def test_links_that_lead_to_whole_files_are_fine(copied, tmp_path):
    weights = copied / "checkpoint-2" / "model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    assert checkpoint_files_problem(copied / "checkpoint-2") is None
    (tmp_path / "elsewhere").unlink()
    assert "model.safetensors is a link to nothing" in checkpoint_files_problem(copied / "checkpoint-2")


def test_an_adapter_needs_its_weights_and_its_settings(tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    (folder / "trainer_state.json").write_text('{"global_step": 3}')
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    assert "the weights of the adapter are missing" in checkpoint_files_problem(folder)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(["lora_A.weight"]))
    assert checkpoint_files_problem(folder) is None
    loaded = load_back(folder)
    assert (loaded.problem, loaded.parts) == (None, ("adapter (4 parameters)",))
    assert (loaded.left_out, loaded.doubts) == (("the model below the adapter",), ())
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(tmp_path / "gone")}))
    assert "the model below the adapter is not at" in checkpoint_problem(folder, deep=True)
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "google-t5/t5-small"}')  # of the Hub
    assert load_back(folder).doubts == ()
    (folder / "adapter_config.json").unlink()
    assert "adapter_config.json cannot be read" in checkpoint_files_problem(folder)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_nan_in_an_adapter_is_found_by_loading_it(tmp_path, name):
    import torch
    from safetensors.torch import save_file

    (tmp_path / "adapter_config.json").write_text("{}")
    save = torch.save if name.endswith(".bin") else save_file
    save({"lora_A.weight": torch.tensor([1.0, float("nan")])}, tmp_path / name)
    assert "weights are NaN or infinite: 1 of 2 values, in lora_A.weight" in checkpoint_problem(tmp_path, deep=True)


def test_a_model_whose_file_is_torn_or_empty_is_not_there_for_a_training(checkpoint):
    assert check_weights(checkpoint, "T5").state == "ok"
    (checkpoint / "model-2.safetensors").write_bytes(safetensors(["b"])[:-3])
    assert "model-2.safetensors is cut off" in check_weights(checkpoint, "T5").sentence
    (checkpoint / "model.safetensors").write_bytes(safetensors(["a", "b"]))
    assert check_weights(checkpoint, "T5").state == "ok"  # what from_pretrained would take
    (checkpoint / "model.safetensors").write_bytes(b"")
    torn = check_weights(checkpoint, "T5")
    assert (torn.state, torn.sentence) == ("failed", "T5; model.safetensors is empty (0 bytes).")


def test_weights_in_shards_of_deepspeed_are_not_judged(tmp_path):
    (tmp_path / "checkpoint-3" / "global_step3").mkdir(parents=True)
    (tmp_path / "checkpoint-3" / "trainer_state.json").write_text('{"global_step": 3}')
    assert checkpoint_files_problem(tmp_path / "checkpoint-3") is None
    assert load_back(tmp_path / "checkpoint-3").left_out


def test_no_folder_is_said(tmp_path):
    assert "is not there" in checkpoint_problem(tmp_path / "checkpoint-1")
    (tmp_path / "file").touch()
    assert "is not a folder" in checkpoint_problem(tmp_path / "file", deep=True)


@pytest.fixture
def resaved(copied):
    """Change the weights of a checkpoint by a function, so that its files stay whole."""
    from safetensors.torch import load_file, save_file

    def change(function):
        path = copied / "checkpoint-2" / "model.safetensors"
        weights = load_file(path)
        function(weights)
        save_file(weights, path, metadata={"format": "pt"})
        assert checkpoint_problem(copied / "checkpoint-2") is None  # only loading it tells
        return checkpoint_problem(copied / "checkpoint-2", deep=True)

    return change


def test_nan_in_the_weights_is_found_by_loading_them(resaved):
    def spoil(weights):
        weights["shared.weight"][3, :2] = float("nan")

    problem = resaved(spoil)
    assert "weights are NaN or infinite: 2 of 11,680 values, in shared.weight." in problem


def test_a_weight_that_is_missing_is_found_by_loading(resaved):
    problem = resaved(lambda weights: weights.pop("encoder.final_layer_norm.weight"))
    assert "1 of the model's weights are missing (encoder.final_layer_norm.weight)" in problem


def test_a_weight_that_has_no_place_is_found_by_loading(resaved):
    problem = resaved(lambda weights: weights.update({"other": weights["shared.weight"].clone()}))
    assert "1 of the model's weights have no place in the model (other)" in problem


def test_matrices_of_zeros_are_a_doubt(resaved):
    assert "1 of its matrices hold nothing but zeros (shared.weight)" in resaved(
        lambda weights: weights["shared.weight"].zero_()
    )


def test_a_config_of_another_model_is_told_with_both_shapes(copied):
    path = copied / "checkpoint-2" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "d_ff": 48}))
    problem = checkpoint_problem(path.parent, deep=True)
    assert "4 of the model's weights have other shapes than its config says" in problem
    assert "(32, 16) in the file, (48, 16) by the config" in problem


def test_an_optimizer_of_another_model_is_found(copied):
    import torch

    path = copied / "checkpoint-2" / "optimizer.pt"
    whole = torch.load(path, weights_only=True)

    def said(**changes):
        torch.save({**whole, **changes}, path)
        return checkpoint_problem(path.parent, deep=True)

    assert said() is None
    groups = whole["param_groups"]
    assert "is of no parameter at all" in said(state={}, param_groups=[])
    assert "holds no moments of its" in said(state={})
    assert said(state={}, param_groups=[{"params": [0, 1], "lr": 1.0}]) is None  # SGD has none
    other = {0: {**whole["state"][0], "exp_avg": torch.zeros(3, 3)}}
    assert "1 of shape (3, 3) fit none" in said(state={**whole["state"], **other})
    assert said(state={**whole["state"], **other}, param_groups=[{**groups[0], "rank": 3}, *groups[1:]]) is None
    assert "is of 99 parameters, the model has" in said(param_groups=[{**groups[0], "params": list(range(99))}])


def test_a_state_of_the_optimizer_that_does_not_load_is_found(copied):
    import torch

    path = copied / "checkpoint-2" / "optimizer.pt"
    state = torch.load(path, weights_only=True)
    state["state"][0]["exp_avg"][0] = float("inf")
    torch.save(state, path)
    assert "optimizer.pt has values that are NaN or infinite" in checkpoint_problem(path.parent, deep=True)
    torch.save({"model": 1}, path)
    assert "optimizer.pt holds no optimizer's state" in checkpoint_problem(path.parent, deep=True)
    torch.save(Unsafe(), path)
    assert checkpoint_problem(path.parent) is None
    assert "optimizer.pt cannot be loaded" in checkpoint_problem(path.parent, deep=True)


class Unsafe:
    """What weights_only does not load."""


def test_a_tokenizer_of_another_model_is_found(copied):
    path = copied / "checkpoint-2" / "tokenizer.json"
    content = json.loads(path.read_text())
    content["added_tokens"].append({**content["added_tokens"][0], "id": 395, "content": "<new>"})
    path.write_text(json.dumps(content))
    assert "the tokenizer has 396 tokens, the model embeddings for 395" in checkpoint_problem(path.parent, deep=True)
    path.write_text("{")
    assert "the tokenizer cannot be loaded" in checkpoint_problem(path.parent, deep=True)


def test_bars_and_verbosity_of_transformers_are_as_before(trained):
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load_back(trained)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
