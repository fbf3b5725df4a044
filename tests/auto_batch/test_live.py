import gc
from functools import partial

import pytest
import torch
from judge import held_bytes, profiled_peak
from tiny_models import bart, mbart, t5

from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

SETTINGS = [
    StepSettings(optimizer="adamw_torch", accumulation=False),
    StepSettings(optimizer="adamw_torch_fused", precision="bf16"),
    StepSettings(optimizer="sgd", gradient_checkpointing=True),
    StepSettings(optimizer="adafactor", gradient_checkpointing=True, precision="bf16", label_smoothing=0.1),
]


# Of a layer more than elsewhere: gradients of what both use, T5's relative positions, are added up.
TWO = {"encoder_layers": 2, "decoder_layers": 2}
MAKERS = [partial(t5, num_layers=2), partial(bart, **TWO), partial(mbart, **TWO)]


@pytest.mark.parametrize("make", MAKERS, ids=["t5", "bart", "mbart"])
@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.optimizer}-{s.precision}")
def test_the_count_equals_torchs_profiler_over_a_whole_step(make, settings):
    model = make()
    batch = dummy_batch(model, 6, Lengths(48, 24))
    step = TrainingStep(model, settings)
    step.open()
    step.prime()
    step.run(batch)
    if not settings.accumulation:
        step.optimizer.zero_grad(set_to_none=True)
    live = LiveStorages()
    live.count([*model.parameters(), *model.buffers()])
    live.count(p.grad for p in model.parameters() if p.grad is not None)
    live.count(v for state in step.optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor))
    held = held_bytes(model, step.optimizer)
    assert live.now == held
    live.reset_peak()
    with live:
        step.run(batch)
    if not settings.accumulation:
        step.optimizer.zero_grad(set_to_none=True)  # before the profiler listens: it need not know what is freed
    truth = held + profiled_peak(lambda: step.run(batch))
    assert live.peak == pytest.approx(truth, rel=0.012)  # what a kernel takes for itself is not seen


def test_what_dies_is_no_longer_counted_and_views_are_counted_once():
    live = LiveStorages()
    with live:
        tensor = torch.ones(1000)
        view = tensor.view(10, 100)[2:]
        assert live.now == 4000
        view += 1
        del tensor
        gc.collect()
        assert live.now == 4000  # the view holds it
        del view
        assert live.now == 0
    assert live.peak == 4000


def test_tensors_of_others_are_not_ours_to_count():
    theirs = torch.ones(1000)
    live = LiveStorages()
    with live:
        ours = theirs + 1
        theirs.add_(1)
    assert live.now == ours.nbytes


def test_more_than_the_cap_is_out_of_memory_in_the_backward_pass_too():
    weight = torch.ones(100, 100, requires_grad=True)
    live = LiveStorages(cap_bytes=3 * weight.nbytes)
    with live:
        loss = weight.exp().sum()
        with pytest.raises(torch.OutOfMemoryError, match="bytes of tensors are alive"):
            (loss * weight.exp().exp().sum()).backward()
