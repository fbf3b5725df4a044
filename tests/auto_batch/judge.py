"""The peak of a step by torch's own profiler: another meter than the one that is tested."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile


def profiled_peak(run) -> int:
    """Give the peak of what `run` allocates, in bytes, above what is there already."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        run()
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def held_bytes(model, optimizer=None) -> int:
    """Give the bytes of weights, buffers, gradients and optimizer state."""
    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters() if p.grad is not None)]
    if optimizer is not None:
        tensors += [v for state in optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    storages = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def real_peak(model, settings, batch) -> int:
    """Give the peak of a whole second step with a batch: what a training of it takes."""
    from hf_monitor.auto_batch.step import TrainingStep

    step = TrainingStep(model, settings)
    step.open()
    step.run(batch)
    if not settings.accumulation:
        step.optimizer.zero_grad(set_to_none=True)
    held = held_bytes(model, step.optimizer) + sum(value.nbytes for value in batch.values())
    return held + profiled_peak(lambda: step.run(batch))
