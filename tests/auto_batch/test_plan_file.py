"""plan.json: taken over where nothing has changed, measured anew where something has, never fatal."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging

import pytest
import torch
from stand_in_card import Card

import hf_monitor
from hf_monitor import load_run
from hf_monitor.auto_batch import plan_file
from hf_monitor.auto_batch.plan import plan_training
from hf_monitor.auto_batch.plan_file import TrialsFile, read_plan, what_changed, write_plan
from hf_monitor.auto_batch.ranks import World
from hf_monitor.errors import RunFolderError

OPTIONS = {"effective_batch_size": 2, "source_length": 6, "target_length": 4}


@pytest.fixture
def probes(monkeypatch):
    """The probes that were made, on a stand-in for a card."""
    return Card(monkeypatch).calls


def rows_of(run_dir):
    return [json.loads(line) for line in (run_dir / "trials.jsonl").read_text().splitlines()]


def test_the_same_training_takes_the_plan_over_without_a_step(make_model, probes, tmp_path):
    first = plan_training(make_model(), "cpu", run_dir=tmp_path, **OPTIONS)
    assert len(probes) == 1
    rows = rows_of(tmp_path)
    again = plan_training(make_model(seed=1), "cpu", run_dir=tmp_path, **OPTIONS)  # other weights, the same model
    assert len(probes) == 1
    assert rows_of(tmp_path) == rows
    assert again.notes[-1].startswith("taken over from")
    assert again.fingerprint == first.fingerprint
    assert {**again.to_dict(), "notes": ()} == {**first.to_dict(), "notes": ()}
    assert not model_promises(make_model, tmp_path)


def model_promises(make_model, run_dir):
    """Say whether a model still promises to divide its loss after a plan was taken over."""
    model = make_model()
    plan_training(model, "cpu", run_dir=run_dir, **OPTIONS)
    return model.accepts_loss_kwargs


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("changes", "model_changes", "words"),
    [
        ({"target_length": 5}, {}, "target_length (4 -> 5)"),
        ({"optimizer": "sgd"}, {}, "optimizer (adamw_torch_fused -> sgd)"),
        ({"precision": "fp32"}, {}, "precision (bf16 -> fp32)"),
        ({"safe_factor": 0.9}, {}, "safe_factor (0.95 -> 0.9)"),
        ({"gradient_checkpointing": True}, {}, "gradient_checkpointing (False -> True)"),
        ({"num_processes": 2}, {}, "ddp_bucket_bytes (0 -> "),
        ({}, {"num_layers": 2}, "config ("),
    ],
)
def test_what_changed_is_measured_anew_and_named(make_model, probes, tmp_path, changes, model_changes, words):
    plan_training(make_model(), "cpu", run_dir=tmp_path, **OPTIONS)
    again = plan_training(make_model(**model_changes), "cpu", run_dir=tmp_path, **{**OPTIONS, **changes})
    assert len(probes) == 2
    note = next(
        note for note in again.notes if note.startswith("measured anew, since the earlier plan was for another")
    )
    assert words in note
    saved = read_plan(tmp_path, again.fingerprint)[0]
    assert note not in saved.notes  # which was of that start alone
    assert saved.to_dict() == dataclasses.replace(again, notes=saved.notes).to_dict()


def test_frozen_weights_and_versions_are_in_the_fingerprint(make_model, probes, tmp_path):
    model = make_model()
    plan = plan_training(model, "cpu", run_dir=tmp_path, **OPTIONS)
    assert plan.fingerprint["torch"] == str(torch.__version__)
    assert plan.fingerprint["hf_monitor"] == hf_monitor.__version__
    model.shared.weight.requires_grad_(False)
    again = plan_training(model, "cpu", run_dir=tmp_path, **OPTIONS)
    note = next(note for note in again.notes if note.startswith("measured anew"))
    assert "trainable_parameters (" in note
    assert len(probes) == 2


def rows(*lengths):
    return [{"input_ids": [5] * s, "attention_mask": [1] * s, "labels": [5] * t} for s, t in lengths]


def of_tokens(length):
    def make(size):
        torch.rand(1)
        return {name: torch.ones(size, length, dtype=torch.long) for name in ("input_ids", "labels")}

    return make


def freezing(model, layer):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(f"encoder.block.{layer}." in name and "wi" in name)
    return model


def test_what_takes_other_memory_is_another_plan(make_model, tokenizer, probes, tmp_path):
    """Pairs that look alike, by name or by count, and are not."""
    short, longer = (copy.copy(tokenizer) for _ in range(2))
    short.model_max_length, longer.model_max_length = 16, 64
    given = {"source_length": 6, "target_length": 4}
    apart, joint = rows((40, 4), (4, 20)), rows((40, 20), (4, 4))
    model, several = make_model(), make_model(num_layers=3)
    pairs = {
        "the tokenizer's limit": ((model, {"tokenizer": short}), (model, {"tokenizer": longer})),
        "make_batch": ((model, {"make_batch": of_tokens(8)}), (model, {"make_batch": of_tokens(16)})),
        "the optimizer made": (
            (model, {**given, "optimizer": lambda groups: torch.optim.SGD(groups)}),
            (model, {**given, "optimizer": lambda groups: torch.optim.SGD(groups, momentum=0.9)}),
        ),
        "joint lengths": (
            (model, {"dataset": apart, "tokenizer": tokenizer}),
            (model, {"dataset": joint, "tokenizer": tokenizer}),
        ),
        "the evaluation's lengths": (
            (model, {**given, "tokenizer": tokenizer, "eval_dataset": rows((9, 4))}),
            (model, {**given, "tokenizer": tokenizer, "eval_dataset": rows((30, 4))}),
        ),
        "the layers trained": ((lambda: freezing(several, 0), given), (lambda: freezing(several, 2), given)),
    }
    for name, pair in pairs.items():
        for number, (of, options) in enumerate(pair, 1):
            before = len(probes)
            chosen = of() if of not in (model, several) else of
            for _ in range(2):  # the second time nothing has changed
                plan_training(chosen, "cpu", run_dir=tmp_path / name, effective_batch_size=2, **options)
            assert len(probes) == before + 1, f"{name}, {number}"


def test_one_row_more_is_no_other_plan_unless_an_update_has_too_few(make_model, tokenizer, probes, tmp_path):
    def plan(n, effective):
        options = {"dataset": rows(*[(9, 4)] * n), "tokenizer": tokenizer, "effective_batch_size": effective}
        return plan_training(make_model(), "cpu", run_dir=tmp_path, **options)

    assert not any("samples: each epoch" in note for note in plan(5, 4).notes)
    plan(6, 4)
    assert len(probes) == 1
    few = "the data set has only 5 samples: each epoch is one update of 5, not of 8"
    assert few in plan(5, 8).notes
    assert any("only 6 samples" in note for note in plan(6, 8).notes)


def test_looking_at_batches_leaves_random_numbers_alone(make_model, probes):
    model = make_model()
    before = torch.get_rng_state()
    plan_training(model, "cpu", make_batch=of_tokens(4))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cpu_has_the_memory_of_its_container(monkeypatch):
    from hf_monitor.auto_batch import plan_device

    monkeypatch.setattr(plan_device, "memory_limit", lambda: (2**28, None))
    assert plan_device.device_facts(torch.device("cpu")).memory_mib == 256


def break_it(path, how):
    if how == "not JSON":
        path.write_text('{"format": 1, "plan"')
    elif how == "a list":
        path.write_text("[]")
    elif how == "of another format":
        path.write_text('{"format": 99, "plan": {}}')
    else:
        values = json.loads(path.read_text())
        if how == "without a part":
            del values["plan"]["probe"]["budget"]
        elif how == "without a fingerprint":
            values["plan"]["fingerprint"] = None
        else:
            values["plan"]["gradient_accumulation_steps"] = 3
        path.write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("not JSON", "plan.json is broken"),
        ("a list", "plan.json is broken"),
        ("of another format", "plan.json has format 99, not 1"),
        ("without a fingerprint", "plan.json is broken (TypeError)"),
        ("without a part", "plan.json is broken (KeyError)"),
        ("with numbers that contradict", "plan.json is broken (ValueError)"),
    ],
)
def test_a_broken_file_costs_a_probe_and_nothing_else(make_model, probes, tmp_path, how, words):
    plan_training(make_model(), "cpu", run_dir=tmp_path, **OPTIONS)
    break_it(tmp_path / "plan.json", how)
    again = plan_training(make_model(), "cpu", run_dir=tmp_path, **OPTIONS)
    assert len(probes) == 2
    assert any(note.startswith(words) for note in again.notes)
    assert read_plan(tmp_path, again.fingerprint)[0] is not None


def test_only_rank_0_writes(make_model, probes, tmp_path, monkeypatch):
    monkeypatch.setattr(plan_file, "world", lambda: World(size=2, rank=1, local=1, local_size=2))
    plan_training(make_model(), "cpu", run_dir=tmp_path / "run", **OPTIONS)
    assert len(probes) == 1
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_told_before_the_training(make_model, probes, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError):
        plan_training(make_model(), "cpu", run_dir=tmp_path / "file", **OPTIONS)


def test_a_plan_that_cannot_be_saved_is_a_warning(make_model, probes, tmp_path, caplog):
    plan = plan_training(make_model(), "cpu", **OPTIONS)
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.WARNING, "hf_monitor"):
        write_plan(tmp_path / "file", plan)
    assert "plan.json is not saved in" in caplog.text


@pytest.mark.no_cover
def test_trials_belong_to_the_attempt_that_follows(make_model, make_trainer, probes, tmp_path):
    from hf_monitor import attach

    run_dir = tmp_path / "out" / "monitor"
    for attempt in (1, 2):
        plan_training(make_model(), "cpu", run_dir=run_dir, **OPTIONS, safe_factor=0.9 + attempt / 100)
        trainer = make_trainer(max_steps=1, eval_strategy="no")
        attach(trainer, run_dir=run_dir)
        trainer.train()
        run = load_run(run_dir)
        assert len(run.attempts) == attempt  # planning is none of its own
        assert {row["attempt"] for row in run.trials} == set(range(1, attempt + 1))
    assert run.trials[-1]["batch_size"] == 2
    assert {"peak_bytes", "seconds", "samples_per_second", "accumulation", "device"} <= run.trials[-1].keys()


def test_without_a_run_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trials = TrialsFile(None)
    trials.write([{"batch_size": 1}])
    trials.close()
    assert not list(tmp_path.iterdir())


def test_many_changes_are_counted_not_listed():
    before = {f"name{i}": i for i in range(9)} | {"long": "x" * 99, "same": 1}
    now = {f"name{i}": -i - 1 for i in range(9)} | {"long": "y", "same": 1}
    text = what_changed(before, now)
    assert text.startswith("name0 (0 -> -1), name1 (1 -> -2)")
    assert text.endswith("and 4 more")
    assert what_changed(before, {**before, "long": "y"}) == f"long ({'x' * 37}... -> y)"
    assert what_changed(now, now) == ""
