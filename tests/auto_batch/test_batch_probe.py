import gc
import hashlib
import random

import numpy as np
import pytest
import torch
from judge import real_peak
from tiny_models import bart, mbart, t5

from hf_monitor import BatchDoesNotFit, find_optimal_batch_size, probe_batch_size
from hf_monitor.auto_batch.probe import time_batch_sizes
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

MIB = 2**20
LENGTHS = {"source_length": 48, "target_length": 24}


def everything(model):
    """Give a hash of all that must be as before."""
    found = hashlib.sha256()
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        found.update(name.encode() + tensor.detach().numpy().tobytes())
        grad = getattr(tensor, "grad", None)
        found.update(b"-" if grad is None else grad.numpy().tobytes())
    for module in model.modules():
        found.update(repr((module.training, getattr(module, "gradient_checkpointing", None))).encode())
        found.update(repr([len(v) for k, v in sorted(vars(module).items()) if k.endswith("_hooks")]).encode())
    found.update(torch.get_rng_state().numpy().tobytes() + np.random.get_state()[1].tobytes())
    found.update(repr(random.getstate()).encode())
    found.update(model.config.to_json_string().encode())
    return found.hexdigest()


def with_gradients(make):
    model = make()
    model.eval()
    model.encoder_like = None
    batch = dummy_batch(model, 2, Lengths(8, 4))
    model(**batch).loss.backward()
    return model


@pytest.mark.parametrize(("make", "estimate"), [(t5, True), (bart, False), (mbart, True)])
@pytest.mark.no_cover
def test_the_largest_batch_within_the_limit_is_found_as_another_meter_sees_it(make, estimate):
    limit = 24 * MIB
    result = probe_batch_size(make(), "cpu", 0.95, memory_limit=limit, estimate=estimate, **LENGTHS)
    peaks = []
    for size in (result.batch_size, result.batch_size + 1):
        model = make()
        peaks.append(real_peak(model, result.settings, dummy_batch(model, size, Lengths(48, 24))))
    assert peaks[0] <= 0.95 * limit < peaks[1]
    assert result.peak_bytes == pytest.approx(peaks[0], rel=0.002)
    assert result.out_of_memory_errors == 0
    assert result.samples <= 3 * result.batch_size
    confirmed = [trial for trial in result.trials if trial.batch_size == result.batch_size]
    assert confirmed[-1].fits
    assert confirmed[-1].peak_bytes == result.peak_bytes
    assert confirmed[-1].samples_per_second > 0


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "accumulation": False, "precision": "bf16"},
        {"optimizer": "adafactor", "gradient_checkpointing": True},
        {"optimizer": lambda groups: torch.optim.AdamW(groups, lr=1e-3, foreach=True), "max_grad_norm": 0.0},
    ],
    ids=["sgd", "adafactor", "foreach"],
)
def test_everything_is_as_before_after_success(settings):
    model = with_gradients(t5)
    before = everything(model)
    assert find_optimal_batch_size(model, "cpu", memory_limit=8 * MIB, estimate=False, **settings, **LENGTHS) > 0
    assert everything(model) == before


class Hook:
    """Fails in the decoder's forward from a batch size on, and counts the samples."""

    def __init__(self, error, from_size):
        self.error, self.from_size, self.sizes = error, from_size, []

    def __call__(self, module, args, kwargs):
        size = len(kwargs["input_ids"])
        if not isinstance(kwargs["input_ids"], torch._subclasses.FakeTensor):
            self.sizes.append(size)
            if size >= self.from_size:
                raise self.error


@pytest.mark.no_cover
@pytest.mark.parametrize("make", [t5, bart])
def test_an_out_of_memory_error_of_any_shape_makes_the_search_go_on_below(make):
    model = with_gradients(make)
    hook = Hook(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), 5)
    model.register_forward_pre_hook(hook, with_kwargs=True)
    before = everything(model)
    result = probe_batch_size(model, "cpu", memory_limit=24 * MIB, estimate=make is bart, **LENGTHS)
    assert result.batch_size == 4
    assert result.out_of_memory_errors >= 1
    assert all(trial.out_of_memory == (trial.batch_size >= 5) for trial in result.trials)
    assert everything(model) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("CUDA error: device-side assert triggered")])
def test_ctrl_c_and_other_errors_come_through_and_leave_no_trace(error):
    model = with_gradients(bart)
    hook = Hook(error, 2)
    model.register_forward_pre_hook(hook, with_kwargs=True)
    before = everything(model)
    with pytest.raises(type(error)):
        probe_batch_size(model, "cpu", memory_limit=24 * MIB, gradient_checkpointing=True, estimate=False, **LENGTHS)
    assert everything(model) == before
    del hook.error
    gc.collect()
    model._forward_pre_hooks.clear()
    model._forward_pre_hooks_with_kwargs.clear()
    find_optimal_batch_size(model, "cpu", memory_limit=8 * MIB, estimate=False, **LENGTHS)


def test_where_not_one_sample_fits_it_says_what_was_needed_and_what_there_is():
    model = t5(num_layers=1)
    before = everything(model)
    with pytest.raises(BatchDoesNotFit, match="not even one sample") as caught:
        probe_batch_size(model, "cpu", memory_limit=MIB, **LENGTHS)
    assert caught.value.limit_bytes == int(0.95 * MIB)
    assert caught.value.needed_bytes > MIB
    assert everything(model) == before


@pytest.mark.no_cover
def test_the_maximum_limits_where_memory_does_not():
    result = probe_batch_size(t5(), "cpu", memory_limit=4096 * MIB, max_batch_size=6, estimate=False, **LENGTHS)
    assert (result.batch_size, result.limited_by) == (6, "max_batch_size")


@pytest.mark.no_cover
def test_gradients_that_live_through_the_forward_take_memory():
    options = {"memory_limit": 24 * MIB, "max_batch_size": 4, "estimate": False} | LENGTHS
    one = probe_batch_size(t5(), "cpu", accumulation=False, **options)
    more = probe_batch_size(t5(), "cpu", accumulation=True, **options)
    weights = sum(p.nbytes for p in t5().parameters())
    assert 0.5 * weights < more.peak_bytes - one.peak_bytes <= weights
    assert one.settings == StepSettings(accumulation=False)


@pytest.mark.no_cover
def test_the_batch_is_the_worst_that_the_data_set_makes_with_the_real_collator(tokenizer):
    from transformers import DataCollatorForSeq2Seq

    rows = [{"input_ids": [5] * n, "attention_mask": [1] * n, "labels": [7] * (20 - n // 2)} for n in range(3, 34)]
    model = t5()
    collator = DataCollatorForSeq2Seq(tokenizer, model=model, pad_to_multiple_of=8)
    options = {"memory_limit": 8 * MIB, "dataset": rows, "collator": collator}
    result = probe_batch_size(model, "cpu", estimate=False, **options)
    assert (result.lengths.source, result.lengths.target) == (40, 24)
    batch = collator([rows[-1], rows[0], *rows[:-1][: result.batch_size - 2]])
    assert tuple(batch["input_ids"].shape) == (result.batch_size, 40)
    assert real_peak(model, result.settings, dict(batch)) <= result.limit_bytes
    shorter = probe_batch_size(model, "cpu", estimate=False, length_quantile=0.5, **options)
    assert shorter.lengths.source == 24
    assert shorter.batch_size > result.batch_size


@pytest.mark.no_cover
def test_evaluation_is_probed_on_its_own_and_never_changes_the_training_batch():
    model = with_gradients(bart)
    before = everything(model)
    options = {"memory_limit": 6 * MIB, "estimate": False, "source_length": 16, "target_length": 12}
    evaluation = {"generation_max_length": 12, "num_beams": 4, "max_batch_size": 8}
    result = probe_batch_size(model, "cpu", evaluation=evaluation, **options)
    assert (result.evaluation.batch_size, result.evaluation.limited_by) == (8, "max_batch_size")
    assert result.evaluation.peak_bytes <= result.limit_bytes
    assert {trial.phase for trial in result.trials} == {"train"}
    assert {trial.phase for trial in result.evaluation.trials} == {"evaluate"}
    assert len(result.rows()) == len(result.trials) + len(result.evaluation.trials)
    assert everything(model) == before

    def runs_out(module, args, kwargs):
        if not module.training:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    model.get_encoder().register_forward_pre_hook(runs_out, with_kwargs=True)
    again = probe_batch_size(model, "cpu", evaluation=evaluation, **options)
    assert again.evaluation is None
    assert again.batch_size == result.batch_size


def test_an_evaluation_with_samples_of_its_own_is_probed_with_those(tokenizer):
    model = bart()
    short, long = ([{"input_ids": [5] * n, "labels": [5] * 6}] * 8 for n in (8, 100))
    evaluation = {"generation_max_length": 6, "num_beams": 1, "max_batch_size": 8}
    options = {"dataset": short, "tokenizer": tokenizer, "max_batch_size": 2, "estimate": False}
    found = [
        probe_batch_size(model, "cpu", evaluation=evaluation | more, **options).evaluation
        for more in ({}, {"dataset": long})
    ]
    assert [(result.lengths.source, result.batch_size) for result in found] == [(8, 8), (100, 8)]
    assert found[1].peak_bytes > found[0].peak_bytes


@pytest.mark.no_cover
def test_where_one_sample_is_the_answer_every_kind_of_worst_sample_was_tried(tokenizer):
    """A batch of one is a long text, or a long summary: which takes more depends on the model."""
    from transformers import DataCollatorForSeq2Seq

    rows = [{"input_ids": [5] * n, "labels": [7] * m} for n, m in ((120, 2), (3, 120), (50, 50))]
    model = t5()
    options = {"dataset": rows, "collator": DataCollatorForSeq2Seq(tokenizer, model=model), "estimate": False}
    found = probe_batch_size(model, "cpu", memory_limit=64 * MIB, max_batch_size=1, **options)
    assert found.batch_size == 1
    assert len(found.trials) > 1
    peaks = [trial.peak_bytes for trial in found.trials]
    assert found.peak_bytes == max(peaks)
    with pytest.raises(BatchDoesNotFit):
        probe_batch_size(model, "cpu", memory_limit=max(peaks), max_batch_size=1, suggest=False, **options)


def test_sizes_are_timed_with_repeats():
    timed = time_batch_sizes(t5(), "cpu", [1, 4], StepSettings(), repeats=3, **LENGTHS)
    assert [trial.batch_size for trial in timed] == [1, 4]
    assert all(trial.samples_per_second == trial.batch_size / trial.seconds for trial in timed)


@pytest.mark.no_cover
def test_what_a_batch_maker_asks_of_real_tensors_is_answered_truly():
    """A collator may look at its values, also while the estimate runs on fake tensors."""

    def make_batch(size):
        batch = dummy_batch(model, size, Lengths(8, 4))
        batch["attention_mask"] = torch.tensor([[1] * 8] * size)
        assert (batch["attention_mask"].sum(1) > 0).all()
        return batch

    model = t5()
    result = probe_batch_size(model, "cpu", memory_limit=8 * MIB, make_batch=make_batch, max_batch_size=3)
    assert result.notes == ()
    # All ones: transformers leaves the mask out, and so does the estimate.
    assert result.predicted_bytes == pytest.approx(result.peak_bytes, rel=0.001)


@pytest.mark.no_cover
def test_layers_that_may_be_dropped_are_counted():
    model = bart(encoder_layerdrop=0.9, decoder_layerdrop=0.9)
    dropped = probe_batch_size(model, "cpu", memory_limit=64 * MIB, max_batch_size=4, estimate=False, **LENGTHS)
    whole = probe_batch_size(bart(), "cpu", memory_limit=64 * MIB, max_batch_size=4, estimate=False, **LENGTHS)
    assert dropped.peak_bytes == whole.peak_bytes
    assert model.get_encoder().layerdrop == 0.9


@pytest.mark.no_cover
def test_one_sample_is_not_taken_for_a_point_of_the_line_that_pairs_lie_on(tokenizer):
    """The longest source and the longest target are in two samples: from one sample to two is a leap."""
    from transformers import DataCollatorForSeq2Seq

    rows = [{"input_ids": [5] * 120, "labels": [7] * 2}, {"input_ids": [5] * 3, "labels": [7] * 120}]
    model = t5()
    options = {"dataset": rows, "collator": DataCollatorForSeq2Seq(tokenizer, model=model), "estimate": False}
    three = probe_batch_size(model, "cpu", 1.0, memory_limit=64 * MIB, max_batch_size=3, **options)
    limit = max(trial.peak_bytes for trial in three.trials)
    found = probe_batch_size(model, "cpu", 1.0, memory_limit=limit, **options)
    assert (found.batch_size, found.at_most_wrong_by) == (3, 0)


def test_an_optimizer_that_has_trained_is_refused_and_kept():
    model = t5()
    mine = torch.optim.AdamW(model.parameters())
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    mine.step()
    held = len(mine.state)
    with pytest.raises(InputError, match="has trained already"):
        probe_batch_size(model, "cpu", optimizer=lambda groups: mine, memory_limit=8 * MIB, estimate=False, **LENGTHS)
    assert len(mine.state) == held > 0


@pytest.mark.no_cover
def test_gradients_are_switched_on_where_the_caller_has_them_off():
    with torch.no_grad():
        result = probe_batch_size(t5(), "cpu", max_batch_size=2, memory_limit=8 * MIB, estimate=False, **LENGTHS)
        assert not torch.is_grad_enabled()
    assert result.batch_size == 2


@pytest.mark.no_cover
def test_nothing_is_left_that_watches_the_weights(nothing_frozen):
    import weakref

    model = t5()
    probe_batch_size(model, "cpu", max_batch_size=1, memory_limit=8 * MIB, **LENGTHS)
    gc.collect()
    before = len(weakref.finalize._registry)
    probe_batch_size(model, "cpu", max_batch_size=1, memory_limit=8 * MIB, **LENGTHS)
    gc.collect()
    assert len(weakref.finalize._registry) <= before
    assert gc.get_freeze_count() == 0


def test_ctrl_c_while_everything_is_put_back_waits_until_it_is(monkeypatch):
    import signal

    from hf_monitor.auto_batch import untouched

    model = with_gradients(t5)
    before = everything(model)
    real = untouched._restore
    sent = []

    def interrupted(module, found):
        if not sent:
            sent.append(signal.raise_signal(signal.SIGINT))
        real(module, found)

    monkeypatch.setattr(untouched, "_restore", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probe_batch_size(model, "cpu", max_batch_size=1, memory_limit=8 * MIB, estimate=False, **LENGTHS)
    assert sent
    assert everything(model) == before


def test_a_batch_without_labels_is_refused_in_words():
    def make_batch(size):
        return {"input_ids": torch.ones(size, 4, dtype=torch.long)}

    with pytest.raises(InputError, match="needs labels"):
        probe_batch_size(bart(), "cpu", memory_limit=8 * MIB, make_batch=make_batch, estimate=False)


def test_a_decoder_alone_is_refused_in_words():
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=50, n_embd=8, n_layer=1, n_head=1, n_positions=64))
    with pytest.raises(InputError, match="no encoder-decoder"):
        probe_batch_size(model, "cpu", memory_limit=8 * MIB, **LENGTHS)


def test_without_a_limit_the_machine_sets_it():
    result = probe_batch_size(t5(), max_batch_size=1, estimate=False, **LENGTHS)
    assert "free in the" in result.budget.why
    assert result.budget.bytes > 64 * MIB


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"safe_factor": 1.2}, "safe_factor"),
        ({"safe_factor": float("nan")}, "safe_factor"),
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"max_batch_size": 2.0}, "max_batch_size"),
        ({"memory_limit": 0}, "memory_limit"),
        ({"memory_limit": "1GiB"}, "memory_limit"),
        ({"memory_limit": float("nan")}, "memory_limit"),
        ({"make_batch": lambda n: {}}, "mapping from names to tensors"),
        ({"device": "gpu"}, "none of torch's"),
        ({"device": "meta"}, "does not tell the peak"),
        ({"optimizer": "adamw_torhc"}, "adamw_torch"),
        ({"precision": "bf32"}, "precision"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        probe_batch_size(t5(), **{"device": "cpu"} | options, **LENGTHS)
