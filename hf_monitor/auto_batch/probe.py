"""Find the largest batch that fits, by real steps at their worst, few of them, leaving no trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hf_monitor.auto_batch.inputs import batches, check_numbers, device_of, estimator_for, unwrapped
from hf_monitor.auto_batch.prober import Prober, on_device
from hf_monitor.auto_batch.ranks import ddp_bucket_bytes as bucket_bytes_of
from hf_monitor.auto_batch.ranks import probe_together, time_together, world
from hf_monitor.auto_batch.shapes import Precision, ProbeResult, StepSettings, Trial
from hf_monitor.auto_batch.sharding import sharding_note
from hf_monitor.seq2seq.batches import MakeBatch, dummy_batch

__all__ = ["find_optimal_batch_size", "probe_batch_size", "time_batch_sizes"]


def find_optimal_batch_size(model: Any, device: Any = None, safe_factor: float = 0.95, **options: Any) -> int:
    """Give the largest batch size whose training step fits a device.

    Parameters
    ----------
    model, device, safe_factor, **options
        As of :func:`probe_batch_size`, which also tells every trial.

    Returns
    -------
    int
        Samples of one device and one step: ``per_device_train_batch_size``.

    Raises
    ------
    BatchDoesNotFit, InputError
        As :func:`probe_batch_size`.

    Examples
    --------
    >>> from hf_monitor import find_optimal_batch_size
    >>> find_optimal_batch_size(model, "cuda", source_length=512, target_length=128, precision="bf16")  # doctest: +SKIP
    48
    """
    return probe_batch_size(model, device, safe_factor, **options).batch_size


def probe_batch_size(
    model: Any,
    device: Any = None,
    safe_factor: float = 0.95,
    *,
    source_length: int | None = None,
    target_length: int | None = None,
    memory_limit: int | None = None,
    tokenizer: Any = None,
    dataset: Any = None,
    collator: Any = None,
    length_quantile: float = 1.0,
    max_batch_size: int = 1024,
    precision: Precision = "fp32",
    gradient_checkpointing: bool = False,
    optimizer: str | Callable[..., Any] = "adamw_torch_fused",
    accumulation: bool = True,
    max_grad_norm: float = 1.0,
    label_smoothing: float = 0.0,
    ddp_bucket_bytes: int | None = None,
    make_batch: MakeBatch | None = None,
    evaluation: Mapping[str, Any] | None = None,
    estimate: bool = True,
    suggest: bool = True,
) -> ProbeResult:
    """Find the largest batch size whose training step fits a device, by making such steps.

    A step is what the Trainer will do, at its worst: both sequences at their longest, forward in the chosen precision,
    backward with gradients of the step before still there, clipping, the optimizer with its state. Where a step can be
    run on fake tensors, that says which size to try first; the answer is always one that was measured.

    The model is afterwards bit for bit what it was: weights, buffers, gradients, modes, random numbers; so is it after
    an error and after Ctrl-C.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        A seq2seq model; may still be on the CPU while ``device`` is a GPU.
    device : torch.device or str, optional
        ``"cuda"``, ``"cuda:1"``, ``"cpu"``; the model's own by default.
    safe_factor : float
        Share of the budget that the peak stays within, above 0, at most 1.
    source_length, target_length : int, optional
        Tokens. Else the longest in ``dataset`` as ``collator`` pads them, else what tokenizer and config allow.
    memory_limit : int, optional
        Bytes that may be taken, the model included; less than the device has.
    tokenizer : PreTrainedTokenizer, optional
    dataset : sized, optional
        Tokenized: ``input_ids`` and ``labels``. The worst batch is then made of its samples, by ``collator``.
    collator : callable, optional
        The Trainer's ``data_collator``.
    length_quantile : float
        Above this share of the lengths, samples of the data set are left out of account; 1.0 promises all of them.
    max_batch_size : int
        No larger size is looked for.
    precision, gradient_checkpointing, optimizer, accumulation, max_grad_norm, label_smoothing, ddp_bucket_bytes
        See :class:`~hf_monitor.auto_batch.StepSettings`.
    make_batch : callable, optional
        From a size to a batch (name -> CPU tensor), for models that want another one.
    evaluation : mapping, optional
        ``{"generation_max_length": 128, "num_beams": 4}``: evaluation batches are probed, too, with generation up to
        that length, on their own.
    estimate : bool
        Whether fake tensors may say where to begin.
    suggest : bool
        Whether an error says what would help; that takes some more fake steps.

    Returns
    -------
    ProbeResult

    Raises
    ------
    BatchDoesNotFit
        Not even one sample fits.
    InputError
        Something handed over cannot be used.
    """

    def probe() -> ProbeResult:  # whatever goes wrong in it is told to all ranks
        check_numbers(
            safe_factor=safe_factor, max_batch_size=max_batch_size, memory_limit=memory_limit, precision=precision
        )
        bare = unwrapped(model)
        target = device_of(bare, device)
        buckets = ddp_bucket_bytes
        if buckets is None:
            buckets = bucket_bytes_of(bare) if world().size > 1 else 0
        settings = StepSettings(
            precision, gradient_checkpointing, optimizer, accumulation, max_grad_norm, label_smoothing, buckets
        )
        lengths, make = batches(
            bare, tokenizer, dataset, collator, source_length, target_length, length_quantile, make_batch
        )
        with on_device(bare, target):
            estimator, why_not = (None, None)
            if estimate:
                estimator, why_not = estimator_for(bare, settings, lengths, make, target)
            prober = Prober(bare, target, settings, memory_limit, safe_factor)
            making = make or (lambda size: dummy_batch(bare, size, lengths))
            try:
                result = prober.find(making, lengths, max_batch_size, estimator, suggest=suggest)
                if evaluation is not None:
                    found = prober.find_evaluation(evaluation, making, lengths, max_batch_size)
                    result = replace(result, evaluation=found)
            finally:
                prober.close()
        compiled = "torch.compile: the model was probed uncompiled" if hasattr(model, "_orig_mod") else None
        notes = [note for note in (sharding_note(), why_not, compiled) if note is not None]
        return replace(result, notes=(*result.notes, *notes))

    return probe_together(probe, device=_kind(model, device))


def time_batch_sizes(
    model: Any,
    device: Any,
    sizes: Sequence[int],
    settings: StepSettings,
    *,
    repeats: int = 3,
    source_length: int | None = None,
    target_length: int | None = None,
    memory_limit: int | None = None,
    tokenizer: Any = None,
    dataset: Any = None,
    collator: Any = None,
    length_quantile: float = 1.0,
    make_batch: MakeBatch | None = None,
) -> tuple[Trial, ...]:
    """Time steps of some sizes, each several times.

    Parameters
    ----------
    model, device
        As of :func:`probe_batch_size`, as are all others that are not named here.
    sizes : sequence of int
        Batch sizes that fit.
    settings : StepSettings
        Those of the probe.
    repeats : int
        Steps of each size, after one that is not counted.

    Returns
    -------
    tuple of Trial
        One a size that did not run out of memory, with the median of the seconds.
    """

    def time() -> tuple[Trial, ...]:
        check_numbers(safe_factor=1.0, max_batch_size=repeats, memory_limit=memory_limit, precision=settings.precision)
        bare = unwrapped(model)
        target = device_of(bare, device)
        lengths, make = batches(
            bare, tokenizer, dataset, collator, source_length, target_length, length_quantile, make_batch
        )
        with on_device(bare, target):
            prober = Prober(bare, target, settings, memory_limit, 1.0)
            try:
                return prober.time(make or (lambda size: dummy_batch(bare, size, lengths)), sizes, repeats)
            finally:
                prober.close()

    return time_together(time, device=_kind(model, device))


def _kind(model: Any, device: Any) -> str:
    """Give the kind of device that is meant, for whoever has to connect the ranks before anything is checked."""
    if device is None:
        device = next((p.device for p in model.parameters()), "cpu") if hasattr(model, "parameters") else "cpu"
    return str(device).partition(":")[0]
