import gc
import hashlib
import random

import numpy as np
import pytest
import torch
from judge import real_peak
from tiny_models import bart, mbart, t5

from hf_monitor import BatchDoesNotFit, find_optimal_batch_size, probe_batch_size
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


@pytest.mark.parametrize("estimate", [True, False])
@pytest.mark.parametrize("make", [t5, bart, mbart])
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
    assert find_optimal_batch_size(model, "cpu", memory_limit=12 * MIB, **settings, **LENGTHS) > 0
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


@pytest.mark.parametrize("make", [t5, bart])
def test_an_out_of_memory_error_of_any_shape_makes_the_search_go_on_below(make):
    model = with_gradients(make)
    hook = Hook(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), 5)
    model.register_forward_pre_hook(hook, with_kwargs=True)
    before = everything(model)
    result = probe_batch_size(model, "cpu", memory_limit=24 * MIB, **LENGTHS)
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
        probe_batch_size(model, "cpu", memory_limit=24 * MIB, gradient_checkpointing=True, **LENGTHS)
    assert everything(model) == before
    del hook.error
    gc.collect()
    model._forward_pre_hooks.clear()
    model._forward_pre_hooks_with_kwargs.clear()
    find_optimal_batch_size(model, "cpu", memory_limit=12 * MIB, **LENGTHS)


def test_where_not_one_sample_fits_it_says_what_was_needed_and_what_there_is():
    model = t5()
    before = everything(model)
    with pytest.raises(BatchDoesNotFit, match="not even one sample") as caught:
        probe_batch_size(model, "cpu", memory_limit=MIB, **LENGTHS)
    assert caught.value.limit_bytes == int(0.95 * MIB)
    assert caught.value.needed_bytes > MIB
    assert everything(model) == before


def test_the_maximum_limits_where_memory_does_not():
    result = probe_batch_size(t5(), "cpu", memory_limit=4096 * MIB, max_batch_size=6, **LENGTHS)
    assert (result.batch_size, result.limited_by) == (6, "max_batch_size")


def test_gradients_that_live_through_the_forward_take_memory():
    one = probe_batch_size(t5(), "cpu", memory_limit=24 * MIB, max_batch_size=4, accumulation=False, **LENGTHS)
    more = probe_batch_size(t5(), "cpu", memory_limit=24 * MIB, max_batch_size=4, accumulation=True, **LENGTHS)
    weights = sum(p.nbytes for p in t5().parameters())
    assert 0.5 * weights < more.peak_bytes - one.peak_bytes <= weights
    assert one.settings == StepSettings(accumulation=False)


def test_without_a_limit_the_machine_sets_it():
    result = probe_batch_size(t5(), max_batch_size=1, **LENGTHS)
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
        ({"device": "gpu"}, "none of torch's"),
        ({"device": "meta"}, "does not tell the peak"),
        ({"optimizer": "adamw_torhc"}, "adamw_torch"),
        ({"precision": "bf32"}, "precision"),
    ],
)
def test_what_cannot_be_meant_is_refused(options, words):
    with pytest.raises(InputError, match=words):
        probe_batch_size(t5(), **{"device": "cpu"} | options, **LENGTHS)
