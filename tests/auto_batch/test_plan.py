"""plan_training: what is probed, what follows, what is said. A stand-in for the device where cards differ."""

from __future__ import annotations

import dataclasses
import json
import warnings

import pytest
import torch
from stand_in_card import Card
from tiny_models import t5

from hf_monitor.auto_batch import probe as probing
from hf_monitor.auto_batch.plan import TrainingPlan, plan_training
from hf_monitor.auto_batch.plan_device import DeviceFacts, choose_precision, device_facts, training_device
from hf_monitor.auto_batch.plan_ranks import common_facts
from hf_monitor.auto_batch.plan_words import in_evaluation, out_of_memory_words
from hf_monitor.errors import BatchDoesNotFit, InputError
from hf_monitor.gpu.tiers import TIERS, TierMatch, tier_of

SHORT = {"source_length": 16, "target_length": 8}


@pytest.fixture
def card(monkeypatch):
    return lambda **options: Card(monkeypatch, **options)


def numbers(plan):
    return plan.per_device_train_batch_size, plan.gradient_accumulation_steps, plan.effective_batch_size


# ---------------------------------------------------------------- what is measured


@pytest.mark.no_cover
def test_a_real_model_is_measured_planned_and_trained_as_planned(make_model, make_trainer, tmp_path):
    """From the real probe to the weights: the arguments of the plan go into a real Trainer."""
    from transformers import Seq2SeqTrainer

    model = make_model(num_layers=2)
    plan = plan_training(model, "cpu", effective_batch_size=8, run_dir=tmp_path / "run", memory_limit=2**28, **SHORT)
    assert numbers(plan) == (8, 1, 8)
    assert plan.precision == "fp32"
    assert plan.trial.batch_size == 8
    assert 0 < plan.trial.peak_bytes <= plan.probe.limit_bytes
    assert not model.accepts_loss_kwargs  # what T5 does not keep is not promised
    given = make_trainer(model=model)
    arguments = plan.training_arguments(str(tmp_path / "out"), max_steps=2, report_to="none", disable_tqdm=True)
    trainer = Seq2SeqTrainer(
        model=model, args=arguments, train_dataset=given.train_dataset, data_collator=given.data_collator
    )
    trainer.train()
    assert trainer.state.global_step == 2
    assert arguments.train_sampling_strategy == "group_by_length"
    rows = [json.loads(line) for line in (tmp_path / "run" / "trials.jsonl").read_text().splitlines()]
    assert rows[-1]["batch_size"] == 8
    assert rows[-1]["fits"] is True
    assert rows[-1]["precision"] == "fp32"
    assert {row["attempt"] for row in rows} == {1}
    limit = int(0.9 * plan.probe.peak_bytes)
    smaller = plan_training(model, "cpu", effective_batch_size=8, memory_limit=limit, **SHORT)
    assert numbers(smaller) in ((4, 2, 8), (2, 4, 8), (1, 8, 8))
    assert smaller.probe.settings.accumulation
    assert smaller.probe.limited_by == "memory"


@pytest.mark.parametrize(
    ("name", "gib", "expected"),
    [
        ("NVIDIA A100-SXM4-40GB", 40, (128, 1, 128)),
        ("NVIDIA GeForce RTX 3080", 12, (64, 2, 128)),
        ("NVIDIA GeForce RTX 3060", 12, (32, 4, 128)),
        ("NVIDIA GeForce GTX 1060", 6, (16, 8, 128)),
    ],
)
def test_every_card_of_the_team_trains_with_the_same_effective_batch(card, make_model, name, gib, expected):
    stand_in = card(name=name, gib=gib)
    plan = plan_training(make_model(), "cpu")
    assert numbers(plan) == expected
    assert [call["max_batch_size"] for call in stand_in.calls] == [expected[0]]  # beyond it nothing need be known
    assert stand_in.calls[0]["accumulation"] == (expected[1] > 1)


def test_where_a_whole_update_does_not_fit_at_once_it_is_measured_again_with_accumulation(card, make_model):
    stand_in = card(name="NVIDIA A100-SXM4-40GB", gib=40, precision="fp32", slope=0.5)
    plan = plan_training(make_model(), "cpu", predict_with_generate=True, generation_max_length=64, num_beams=4)
    assert [call["accumulation"] for call in stand_in.calls] == [False, True]
    asked = {"generation_max_length": 64, "num_beams": 4, "max_batch_size": 128}
    assert [call["evaluation"] for call in stand_in.calls] == [asked, None]
    assert numbers(plan) == (64, 2, 128)
    assert plan.per_device_eval_batch_size == 7
    assert any("74 of 128 samples fit in one step" in note for note in plan.notes)
    assert any(note.startswith("the High-End tier prefers batches of 96 to 256") for note in plan.notes)


def test_an_evaluation_that_does_not_fit_leaves_the_training_batch_alone(card, make_model):
    card().largest_evaluation = 0
    plan = plan_training(make_model(), "cpu", predict_with_generate=True)
    assert numbers(plan) == (32, 4, 128)
    assert plan.per_device_eval_batch_size == 1
    assert any("evaluation batch of more than 1 was not found to fit" in note for note in plan.notes)


def test_evaluation_is_measured_with_its_own_samples_and_the_model_s_beams(card, make_model, tokenizer):
    stand_in, model = card(), make_model()
    model.generation_config.num_beams = 3
    long = [{"input_ids": [5] * 50, "labels": [5] * 30}] * 9
    plan = plan_training(
        model, "cpu", eval_dataset=long, tokenizer=tokenizer, predict_with_generate=True, generation_max_length=30
    )
    asked = {"generation_max_length": 30, "num_beams": 3, "max_batch_size": 9, "dataset": long}
    assert stand_in.calls[0]["evaluation"] == asked
    assert plan.generation == {"max_length": 30, "num_beams": 3}
    assert "generating up to 30 tokens with 3 beams, 50 tokens in, 30 out: peak " in plan.explain()


def test_without_generation_longer_evaluation_samples_make_its_batch_smaller(card, make_model, tokenizer):
    card()
    long = [{"input_ids": [5] * 512, "labels": [5] * 256}] * 3  # the stand-in's training: 512 and 128 tokens
    plan = plan_training(make_model(), "cpu", eval_dataset=long, tokenizer=tokenizer)
    assert (plan.per_device_train_batch_size, plan.per_device_eval_batch_size) == (32, 8)
    assert any(note.startswith("evaluation's samples are longer (512 and 256 tokens") for note in plan.notes)


def test_rows_that_cannot_be_sorted_by_length_are_not(card, make_model, tokenizer, tmp_path):
    """The Trainer raises where rows have no input_ids; what the probe does not need is not asked for."""
    card()
    texts, ids = [{"text": "a"}] * 128, [{"input_ids": [5] * 4, "labels": [5] * 4}] * 128

    def make(size):
        return {name: torch.ones(size, 8, dtype=torch.long) for name in ("input_ids", "labels")}

    for options, strategy in (
        ({"dataset": texts, "make_batch": make}, "random"),
        ({"dataset": texts, **SHORT}, "random"),
        ({"make_batch": make}, "random"),
        ({"dataset": ids, "tokenizer": tokenizer}, "group_by_length"),
        (SHORT, "group_by_length"),
    ):
        arguments = plan_training(make_model(), "cpu", **options).training_arguments(str(tmp_path))
        assert arguments.train_sampling_strategy == strategy, options.keys()


def test_ranks_share_the_effective_batch_and_count_their_gradient_buckets(card, make_model):
    stand_in = card()
    model = make_model()
    plan = plan_training(model, "cpu", num_processes=4)
    assert (*numbers(plan), plan.num_processes) == (32, 1, 128, 4)
    assert stand_in.calls[0]["ddp_bucket_bytes"] == sum(p.nbytes for p in model.parameters())
    with pytest.raises(InputError, match="effective_batch_size of 126 or 129"):
        plan_training(model, "cpu", num_processes=3)


@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("allow", "fixed", "gib", "taken"),
    [
        (("bf16", "gradient_checkpointing"), 7, 10.63, ("bf16", False)),
        (("bf16", "gradient_checkpointing"), 7, 10.55, ("bf16", True)),
        (("gradient_checkpointing",), 7, 10.55, ("fp32", True)),
    ],
)
def test_the_first_remedies_are_taken_where_they_are_allowed(card, make_model, allow, fixed, gib, taken):
    stand_in = card(gib=gib / 0.95, fixed=fixed, slope=0.15)
    model = make_model()
    with pytest.raises(BatchDoesNotFit):
        plan_training(model, "cpu", precision="fp32")
    plan = plan_training(model, "cpu", precision="fp32", allow=allow)
    assert (plan.precision, plan.gradient_checkpointing) == taken
    assert [note for note in plan.notes if "as allowed" in note]
    assert plan.gradient_checkpointing == any("gradient checkpointing, as allowed" in note for note in plan.notes)
    assert stand_in.calls[-1]["precision"] == taken[0]


def test_where_no_remedy_suffices_the_error_comes_through(card, make_model):
    stand_in = card(fixed=100)
    with pytest.raises(BatchDoesNotFit):
        plan_training(make_model(), "cpu", precision="fp32", allow={"bf16", "gradient_checkpointing"})
    assert [(c["precision"], c["gradient_checkpointing"]) for c in stand_in.calls] == [
        ("fp32", False),
        ("bf16", False),
        ("bf16", True),
    ]


def test_the_fastest_is_the_smallest_within_three_percent(card, make_model):
    stand_in = card()
    stand_in.speed = {1: 10, 2: 20, 4: 40, 8: 60, 16: 97.5, 32: 100, 64: 99, 128: 98}.__getitem__
    plan = plan_training(make_model(), "cpu", prefer="fastest")
    assert numbers(plan) == (16, 8, 128)
    assert any("16 makes 97.5 samples/s, 32 the most with 100.0; 32 would suit" in note for note in plan.notes)
    assert stand_in.calls[0]["max_batch_size"] == 128
    timed = [(call["sizes"], call["accumulation"], call["repeats"]) for call in stand_in.calls if "sizes" in call]
    assert timed == [([1, 2, 4, 8, 16, 32, 64], True, 3), ([128], False, 3)]  # one step an update accumulates nothing
    assert plan.trial.samples_per_second == 97.5


def test_the_fastest_is_within_what_is_allowed_also_where_it_accumulates(card, make_model, tmp_path, monkeypatch):
    """All of an update at once fits; half of it does not, beside gradients, though it would be faster."""
    stand_in = card(gib=30.0, fixed=20, slope=0.05)
    stand_in.speed = {1: 10, 2: 20, 4: 40, 8: 90, 16: 91, 32: 92, 64: 93, 128: 50}.__getitem__
    plan = plan_training(make_model(), "cpu", prefer="fastest", run_dir=tmp_path)
    assert numbers(plan) == (128, 1, 128)
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()][-8:]
    assert [row["fits"] for row in rows] == [False] * 7 + [True]
    assert plan.trial.peak_bytes <= plan.probe.limit_bytes
    monkeypatch.setattr(probing, "time_batch_sizes", lambda *args, **options: ())
    untimed = plan_training(make_model(), "cpu", prefer="fastest")
    assert numbers(untimed) == (128, 1, 128)  # the tier would like 32 x 4, which was measured by nobody


@pytest.mark.no_cover
def test_the_fastest_of_a_real_model_is_a_divisor_that_was_timed(make_model, tmp_path):
    plan = plan_training(make_model(), "cpu", effective_batch_size=4, prefer="fastest", run_dir=tmp_path, **SHORT)
    size, steps, _ = numbers(plan)
    assert size * steps == 4
    rows = [json.loads(line) for line in (tmp_path / "trials.jsonl").read_text().splitlines()]
    timed = {(row["batch_size"], row["accumulation"]) for row in rows[-3:]}
    assert timed == {(1, True), (2, True), (4, False)}
    assert plan.trial.samples_per_second > 0
    assert "the fastest: " in plan.explain()


def test_unknown_words_are_refused(make_model):
    for options, words in (
        ({"allow": {"fp8"}}, "allow knows 'bf16' and 'gradient_checkpointing', got 'fp8'"),
        ({"prefer": "best"}, "prefer must be 'largest' or 'fastest', got 'best'"),
        ({"precision": "half"}, "precision must be 'auto', 'fp32', 'bf16' or 'fp16', got 'half'"),
    ):
        with pytest.raises(InputError, match=words):
            plan_training(make_model(), "cpu", **options)


# ---------------------------------------------------------------- precision and device


def test_precision_follows_device_and_model(make_model):
    t5 = make_model()
    bart = type("Bart", (), {"config": type("C", (), {"model_type": "bart"}), "parameters": t5.parameters})()

    def choose(model, best, asked=None):
        return choose_precision(model, DeviceFacts("cuda:0", "a card", 8e3, best, tier_of("", 8e3)), asked)

    assert choose(t5, "bf16") == ("bf16", None)
    assert choose(t5, "fp16")[0] == "fp32"
    assert "overflow in fp16" in choose(t5, "fp16", "auto")[1]
    assert choose(bart, "fp16") == ("fp16", None)
    assert choose(t5, "bf16", "fp32") == ("fp32", None)
    assert "known to overflow" in choose(t5, "fp16", "fp16")[1]
    t5.half()
    precision, note = choose(bart, "fp16")
    assert precision == "fp32"
    assert "half precision already" in note


def test_a_cpu_is_of_the_lowest_tier_and_trains_in_fp32():
    facts = device_facts(training_device("cpu"))
    assert (facts.device, facts.precision, facts.tier.tier.name) == ("cpu", "fp32", "Low-End")
    assert facts.memory_mib > 100
    assert str(training_device("cpu:0")) == "cpu"  # as accelerate calls it on each rank


def test_unlike_cards_of_one_launch_plan_alike():
    old = DeviceFacts("cuda:0", "Tesla T4", 15000.0, "fp16", tier_of("Tesla T4", 15000))
    new = DeviceFacts("cuda:1", "NVIDIA L4", 22500.0, "bf16", tier_of("NVIDIA L4", 22500))
    found = [common_facts(own, [old, new, new]) for own in (old, new)]
    assert [facts.device for facts in found] == ["cuda:0", "cuda:1"]
    assert found[0] == dataclasses.replace(found[1], device="cuda:0")
    assert (found[0].name, found[0].memory_mib, found[0].precision) == ("Tesla T4, NVIDIA L4", 15000, "fp16")
    assert found[0].tier.tier.name == "Mid-Range"
    assert common_facts(new, [new]) == new


# ---------------------------------------------------------------- the arguments


def test_the_arguments_are_those_of_the_plan_and_overrides_win(card, make_model, tmp_path):
    card(gib=40)
    generates = {"predict_with_generate": True, "generation_max_length": 60, "num_beams": 2}
    trains = {"optimizer": "adafactor", "gradient_checkpointing": True, "label_smoothing": 0.1}
    plan = plan_training(make_model(), "cpu", precision="bf16", **trains, **generates)
    arguments = plan.training_arguments(str(tmp_path), learning_rate=3e-4, train_sampling_strategy="random")
    assert (arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps) == (32, 4)
    assert arguments.per_device_eval_batch_size == 7
    assert (arguments.bf16, arguments.fp16, arguments.optim) == (True, False, "adafactor")
    assert arguments.gradient_checkpointing is True
    assert arguments.gradient_checkpointing_kwargs == {"use_reentrant": False}
    assert (arguments.generation_max_length, arguments.generation_num_beams) == (60, 2)
    assert arguments.label_smoothing_factor == 0.1
    assert (arguments.learning_rate, arguments.train_sampling_strategy) == (3e-4, "random")
    assert arguments.auto_find_batch_size is False
    assert (arguments.dataloader_num_workers, arguments.dataloader_pin_memory, arguments.use_cpu) == (0, False, True)


def test_on_cuda_there_are_workers_within_the_cores_and_pinned_memory(card, make_model, monkeypatch):
    from hf_monitor.auto_batch import plan_arguments

    card()
    plan = plan_training(make_model(), "cpu")
    plan = dataclasses.replace(plan, probe=dataclasses.replace(plan.probe, device="cuda:0"))
    for cores, ranks, workers in ((1, 1, 0), (3, 1, 2), (64, 1, 4), (8, 4, 1)):
        monkeypatch.setattr(plan_arguments, "cpu_count", lambda cores=cores: cores)
        values = plan_arguments.plan_values(dataclasses.replace(plan, num_processes=ranks))
        assert values["dataloader_num_workers"] == workers
        assert values["dataloader_pin_memory"] is True
        assert values["use_cpu"] is False


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"per_device_train_batch_size": 64, "gradient_accumulation_steps": 2}, "64 is more than the 32 of the plan"),
        ({"per_device_eval_batch_size": 99}, "per_device_eval_batch_size=99 is more than the 32"),
        ({"gradient_accumulation_steps": 1}, r"32 x 1 x 1 process\(es\) is 32 samples an update, not 128"),
        ({"bf16": False}, "precision fp32 instead of bf16"),
        ({"optim": "sgd"}, "optim='sgd' instead of 'adamw_torch_fused'"),
        ({"label_smoothing_factor": 0.1}, "label smoothing takes another copy"),
        ({"auto_find_batch_size": True}, "auto_find_batch_size changes the batch"),
        ({"predict_with_generate": True}, "predict_with_generate=True was not measured"),
    ],
)
def test_an_override_that_breaks_the_promise_wins_with_a_warning(card, make_model, tmp_path, overrides, words):
    card()
    plan = plan_training(make_model(), "cpu")
    with pytest.warns(UserWarning, match=words):
        arguments = plan.training_arguments(str(tmp_path), **overrides)
    assert all(getattr(arguments, name) == value for name, value in overrides.items() if name != "optim")


def test_a_smaller_batch_with_more_accumulation_breaks_nothing(card, make_model, tmp_path):
    card()
    plan = plan_training(make_model(), "cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plan.training_arguments(str(tmp_path), per_device_train_batch_size=16, gradient_accumulation_steps=8)


def test_one_process_that_sees_several_gpus_stays_on_one(card, make_model, tmp_path, monkeypatch):
    from transformers import Seq2SeqTrainingArguments

    card()
    plan = plan_training(make_model(), "cpu")
    made = Seq2SeqTrainingArguments.__post_init__

    def with_two(self):
        made(self)
        self.device  # noqa: B018 - is found at the first access
        self._n_gpu = 2

    monkeypatch.setattr(Seq2SeqTrainingArguments, "__post_init__", with_two)
    with pytest.warns(UserWarning, match="torch sees 2 GPUs; the plan is for one"):
        arguments = plan.training_arguments(str(tmp_path))
    assert arguments.train_batch_size == 32


# ---------------------------------------------------------------- words and values


def test_explain_says_size_memory_limit_margin_tier_and_notes(card, make_model):
    card(gib=8, slope=0.2)
    text = plan_training(make_model(), "cpu", num_processes=2).explain()
    for words in (
        "32 x 2 accumulation steps x 2 processes = 128 samples an update",
        "bf16, adamw_torch_fused, gradient checkpointing off, up to 512 tokens in and 128 out (given)",
        "peak 7.50 GiB measured with 50, 32 taking less (predicted 7.50 GiB) of 8.00 GiB (all of the card); "
        "margin at least 512.0 MiB, 6%",
        "Budget, by its name",
        "(an epoch's last has what is left)",
        "batches of 32, no generation, with the training samples' lengths; not measured",
        "50 samples in 1 step on NVIDIA GeForce RTX 3060",
        "the Budget tier prefers batches of 32 to 64 with 3 to 4 accumulation steps; it yields",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("gib", "options", "words"),
    [
        (12, {}, "not the memory (0.95 x the budget = 11.40 GiB are allowed): no more than 32 were wanted"),
        (8, {}, "the memory: within 0.95 x the budget = 7.60 GiB, 25 fit; 16 of them divide"),
        (12, {"effective_batch_size": 8}, "the effective batch: 8 samples are all of one device's share"),
    ],
)
def test_explain_says_what_limits(card, make_model, gib, options, words):
    card(gib=gib, slope=0.1 if gib > 8 else 0.4)
    text = plan_training(make_model(), "cpu", **options).explain()
    assert words in text
    if gib > 8:
        assert "measured (predicted" in text
        assert text.count(" samples/s") == 1


def test_a_plan_survives_json_and_names_that_are_not_known_yet(card, make_model):
    card()

    def make_optimizer(groups):
        return torch.optim.SGD(groups)

    plan = plan_training(make_model(), "cpu", optimizer=make_optimizer, predict_with_generate=True)
    assert any("made by a function" in note for note in plan.notes)
    probe = dataclasses.replace(plan.probe, by_rank=(plan.probe.trials, plan.probe.trials), rank=1)
    plan = dataclasses.replace(plan, probe=probe)
    values = json.loads(json.dumps(plan.to_dict()))
    values["later"] = values["probe"]["later"] = values["probe"]["trials"][0]["later"] = 1
    again = TrainingPlan.from_dict(values)
    assert again.to_dict() == plan.to_dict()
    assert (again.tier, again.probe.by_rank) == (plan.tier, probe.by_rank)
    assert again.explain() == plan.explain()
    values["gradient_accumulation_steps"] = 3
    with pytest.raises(ValueError, match="contradict"):
        TrainingPlan.from_dict(values)


def test_smaller_goes_down_the_divisors_to_one_and_keeps_the_effective_batch(card, make_model):
    card(name="NVIDIA A100-SXM4-40GB", gib=40)
    plan = plan_training(make_model(), "cpu", effective_batch_size=96)
    found = []
    while plan is not None:
        found.append(numbers(plan))
        plan, last = plan.smaller(), plan
    assert [size for size, _, _ in found] == [96, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1]
    assert {size * steps for size, steps, _ in found} == {96}
    assert [note for note in last.notes if "smaller" in note] == ["one smaller than the planned batch of 2"]
    assert "peak 4.38 GiB estimated at most, with gradients that accumulate of 40.00 GiB" in last.explain()


def test_smaller_leaves_out_batches_that_take_more_with_accumulation(card, make_model):
    """Half a batch in two steps holds gradients through the forward pass, which can be more than it saves."""
    card(name="NVIDIA A100-SXM4-40GB", gib=40, fixed=10)
    smaller = plan_training(make_model(), "cpu").smaller()
    assert numbers(smaller) == (32, 4, 128)
    assert smaller.trial is None  # what was measured with it, if anything, was without accumulation
    again = TrainingPlan.from_dict(json.loads(json.dumps(smaller.to_dict())))
    assert numbers(again.smaller()) == (16, 8, 128)


def test_where_no_smaller_batch_takes_less_that_is_said(card, make_model):
    card(name="NVIDIA A100-SXM4-80GB", gib=80, fixed=40)
    plan = plan_training(make_model(), "cpu", precision="fp32")
    assert plan.below[0] == 0
    assert plan.smaller() is None
    text = words(oom(), plan, per_device_train_batch_size=128, gradient_accumulation_steps=1)
    assert "No smaller batch takes less for the same update" in text
    assert "--per_device_train_batch_size" not in text
    assert "Less memory: --bf16, --gradient_checkpointing, --optim adafactor, a shorter --max_source_length." in text
    unknown = dataclasses.replace(plan, below=None).smaller()
    assert any(note.startswith("it may take more, not less") for note in unknown.notes)
    assert "not measured: 64 with gradients that accumulate" in unknown.explain()


@pytest.mark.no_cover
def test_what_is_below_a_real_plan_takes_what_was_estimated():
    options = {"memory_limit": 2**30, **SHORT}
    model = t5(d_model=64, num_layers=1)
    plan = plan_training(model, "cpu", effective_batch_size=2, **options)
    real = probing.probe_batch_size(model, "cpu", max_batch_size=1, estimate=False, **options).peak_bytes
    assert plan.below[0] == (real < plan.probe.peak_bytes)
    assert plan.below[1] == pytest.approx(real, rel=0.01)


# ---------------------------------------------------------------- out of memory in the middle of a training


def oom(inside="training_step"):
    def raise_it():
        raise MemoryError("CUDA out of memory. Tried to allocate 20.00 MiB\nmore lines")

    names = {}
    exec(f"def {inside}(call):\n    call()", names)  # a frame of that name
    try:
        names[inside](raise_it)
    except MemoryError as error:
        return error


def words(error, plan=None, **changes):
    settings = {"per_device_train_batch_size": 32, "per_device_eval_batch_size": 64, "gradient_accumulation_steps": 4}
    arguments = type("Arguments", (), {**settings, "world_size": 2, **changes})
    return out_of_memory_words(error, arguments, plan, step=3, peak="7.1 GiB reserved by torch")


def test_the_next_smaller_plan_is_given_as_options():
    text = words(oom())
    assert "after 3 updates: a training batch of 32 did not fit. Peak: 7.1 GiB reserved by torch." in text
    assert (
        "256 samples an update as before:\n  --per_device_train_batch_size 16 --gradient_accumulation_steps 8" in text
    )
    assert "  --auto_batch --effective_batch_size 256" in text
    assert text.endswith("The error was: MemoryError: CUDA out of memory. Tried to allocate 20.00 MiB")


def test_with_a_plan_its_precision_and_checkpointing_stay(card, make_model):
    card(gib=40)
    plan = plan_training(make_model(), "cpu", num_processes=2, effective_batch_size=256, gradient_checkpointing=True)
    text = words(oom(), plan)
    assert "(without --auto_batch and --effective_batch_size)" in text
    assert "--per_device_train_batch_size 16 --gradient_accumulation_steps 8 --bf16 --gradient_checkpointing" in text
    assert "The plan had measured 2.08 GiB of 40.00 GiB" in text


def test_an_evaluation_is_told_apart_and_its_own_batch_named():
    error = oom("prediction_step")
    assert in_evaluation(error)
    assert not in_evaluation(oom())
    text = words(error)
    assert "an evaluation batch of 64 did not fit" in text
    assert "--per_device_eval_batch_size 32" in text
    assert "gradient_accumulation_steps" not in text


def test_of_one_sample_nothing_smaller_is_offered_and_nothing_that_is_on():
    text = words(oom(), per_device_train_batch_size=1, gradient_checkpointing=True, optim="adafactor")
    assert "No batch is smaller.\nLess memory: --bf16, a shorter --max_source_length." in text
    assert "--per_device_train_batch_size" not in text
    assert "--auto_batch" not in text
    on = {"bf16": True, "optim": "adamw_torch_fused"}
    assert "Less memory: --gradient_checkpointing, --optim adafactor, a shorter" in words(oom(), **on)


def test_bf16_is_no_advice_for_a_device_without_it():
    arguments = type("Arguments", (), {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4})
    arguments.world_size = 1
    assert "--bf16" in out_of_memory_words(oom(), arguments)
    assert "--bf16" not in out_of_memory_words(oom(), arguments, bf16=False)


def test_a_smaller_batch_that_begins_to_accumulate_is_no_promise():
    doubt = "gradients then live through the next forward pass"
    assert doubt in words(oom(), gradient_accumulation_steps=1)
    assert doubt not in words(oom())


@pytest.mark.parametrize("size", [1, 64])
def test_in_an_evaluation_the_advice_is_about_generating(size):
    generating = {"predict_with_generate": True, "generation_num_beams": 4, "per_device_eval_batch_size": size}
    text = words(oom("prediction_step"), **generating)
    for less in ("--eval_accumulation_steps 8", "fewer --num_beams than 4", "a shorter --generation_max_length"):
        assert less in text
    assert ("--per_device_eval_batch_size 32" in text) == (size > 1)
    assert "--gradient_checkpointing" not in text
    assert "--max_source_length" not in text
    assert "beams" not in words(oom("prediction_step"), eval_accumulation_steps=4, predict_with_generate=True)


def test_tier_match_of_an_unknown_tier_is_refused(card, make_model):
    card()
    values = plan_training(make_model(), "cpu").to_dict()
    assert TierMatch(TIERS[values["tier"]["name"]], values["tier"]["rule"]).tier.name == "Budget"
    values["tier"]["name"] = "Unheard-of"
    with pytest.raises(KeyError):
        TrainingPlan.from_dict(values)
