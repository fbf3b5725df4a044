"""The next smaller batch of a plan that makes an update in one step: it will have to accumulate, which takes memory."""

from __future__ import annotations

import dataclasses
from typing import Any

from hf_monitor.auto_batch.accumulation import divisors
from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.inputs import batches
from hf_monitor.auto_batch.plan_batches import same_random_numbers
from hf_monitor.auto_batch.shapes import ProbeResult

__all__ = ["batch_below"]


def batch_below(model: Any, probe: ProbeResult, **options: Any) -> tuple[int, int] | None:
    """Find the largest smaller batch that takes less, by the estimate on fake tensors.

    Half a batch in two steps can take more than the whole in one: gradients then live through the forward pass. With
    T5-base at 64 and 16 tokens, all of them are more than the activations of half the batch.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    probe : ProbeResult
        Without accumulation, of the batch that is a whole update of one device.
    **options
        What batches are made of: ``dataset``, ``collator``, ``tokenizer``, ``source_length``, ``target_length``,
        ``length_quantile``, ``make_batch``.

    Returns
    -------
    tuple of int or None
        Samples, a divisor of the batch; and bytes of its peak, from the measured one by the difference of the
        estimates. ``(0, bytes)``, of one sample, where none takes less. None where there is no estimate.
    """
    share, measured = probe.batch_size, probe.peak_bytes
    sizes = divisors(share)[:-1]
    kind = probe.device.split(":")[0]
    with same_random_numbers():
        _, make = batches(
            model,
            options.get("tokenizer"),
            options.get("dataset"),
            options.get("collator"),
            options.get("source_length"),
            options.get("target_length"),
            options.get("length_quantile", 1.0),
            options.get("make_batch"),
        )
        try:
            accumulating = dataclasses.replace(probe.settings, accumulation=True)
            estimator = Estimator(model, accumulating, probe.lengths, make_batch=make, device_type=kind)
            whole = probe.predicted_bytes
            if whole is None or kind != "cpu":  # of the same making as what it is compared with
                once = Estimator(model, probe.settings, probe.lengths, make_batch=make, device_type=kind)
                whole = once.peak_bytes(share)
            chosen = sizes[-1]
            if estimator.peak_bytes(chosen) >= whole:
                fits = estimator.largest(whole - 1, chosen - 1)
                chosen = max((size for size in sizes if size <= fits), default=0)
            return chosen, measured + estimator.peak_bytes(max(chosen, 1)) - whole
        except EstimateUnavailable:
            return None
