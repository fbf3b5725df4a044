"""What a probe is told and what it finds: plain values, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hf_monitor.seq2seq.batches import Lengths

__all__ = ["Budget", "Precision", "ProbeResult", "StepSettings", "Trial"]

Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class StepSettings:
    """One training step, as the Trainer will make it.

    Attributes
    ----------
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``: the Trainer's mixed precision, the weights being as they are.
    gradient_checkpointing : bool
        Recompute activations in the backward pass (``use_reentrant=False``, transformers' own default).
    optimizer : str or callable
        A name of ``TrainingArguments.optim`` (``"adamw_torch_fused"``, ``"adafactor"``, ``"sgd"`` ...), or a function
        from a list of parameters (or of groups of them) to a ``torch.optim.Optimizer``.
    accumulation : bool
        Whether gradients live through the forward pass, as they do with more than one accumulation step.
    max_grad_norm : float
        Clipping; 0 for none.
    label_smoothing : float
        The Trainer then computes the loss itself, from another copy of the logits.
    ddp_bucket_bytes : int
        What DistributedDataParallel holds for its gradient buckets; 0 on one process.
    """

    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    optimizer: str | Callable[..., Any] = "adamw_torch_fused"
    accumulation: bool = True
    max_grad_norm: float = 1.0
    label_smoothing: float = 0.0
    ddp_bucket_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a training may take of a device, and what limits it.

    Attributes
    ----------
    bytes : int
        The whole of it, what is held already included.
    why : str
        In words.
    """

    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Trial:
    """One real step.

    Attributes
    ----------
    batch_size : int
        Samples.
    peak_bytes : int or None
        Peak of the device; None where it ran out of memory, and for those batches of a proof (``"steady"``) that are
        not the worst: they have its blocks around them.
    fits : bool
        Whether the peak is within ``safe_factor`` times the budget; in ``"steady"`` within the budget itself, without
        that the allocator had to give back its cache.
    out_of_memory : bool
    seconds : float or None
        Of the step alone, by the wall clock; None where it ran out of memory. On the CPU with the counting, which takes
        longer than a small step (``time_batch_sizes`` leaves it out).
    samples_per_second : float or None
    predicted_bytes : int or None
        What was expected before the step, where something was.
    phase : str
        ``"train"``, ``"evaluate"``, or ``"steady"``: one of some steps in a row between which no cache was emptied.
    """

    batch_size: int
    peak_bytes: int | None
    fits: bool
    out_of_memory: bool
    seconds: float | None
    samples_per_second: float | None = None
    predicted_bytes: int | None = None
    phase: str = "train"


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The largest batch that fits, and how that was found.

    Attributes
    ----------
    batch_size : int
        Samples of one device and one step.
    peak_bytes : int
        Measured with that batch, the weights included.
    predicted_bytes : int or None
        Estimated for that batch before it was measured.
    budget : Budget
    limit_bytes : int
        ``safe_factor`` times the budget.
    safe_factor : float
    lengths : Lengths
    settings : StepSettings
    device : str
        ``"cuda:0"``, ``"cpu"``.
    device_name : str
    meter : str
        How the peak is measured, in words.
    trials : tuple of Trial
        Every real step, in order.
    limited_by : str
        ``"memory"``, ``"max_batch_size"``.
    at_most_wrong_by : int
        How many samples larger the true answer may be; 0 for an exact one.
    evaluation : ProbeResult or None
        The same for evaluation batches, where they were asked for.
    notes : tuple of str
        What could not be measured or promised.
    rank : int
        Of several processes, the one that measured this: the one with the smallest result, which holds for all.
    by_rank : tuple of tuple of Trial
        The trials of each process, where there are several.
    """

    batch_size: int
    peak_bytes: int
    predicted_bytes: int | None
    budget: Budget
    limit_bytes: int
    safe_factor: float
    lengths: Lengths
    settings: StepSettings
    device: str
    device_name: str
    meter: str
    trials: tuple[Trial, ...]
    limited_by: str = "memory"
    at_most_wrong_by: int = 0
    evaluation: ProbeResult | None = None
    notes: tuple[str, ...] = field(default=())
    rank: int = 0
    by_rank: tuple[tuple[Trial, ...], ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        mib = 2**20
        more = f", exact to {self.at_most_wrong_by}" if self.at_most_wrong_by else ""
        return (
            f"batch {self.batch_size} on {self.device}: peak {self.peak_bytes / mib:.1f} MiB measured, "
            f"{self.limit_bytes / mib:.1f} MiB may be taken; limited by {self.limited_by}, {len(self.trials)} steps "
            f"with {self.samples} samples, {self.out_of_memory_errors} out of memory{more}"
        )

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text as the value of a notebook's cell (IPython's protocol)."""
        printer.text(repr(self) if cycle else str(self))

    @property
    def samples(self) -> int:
        """Samples that were pushed through real steps."""
        return sum(trial.batch_size for trial in self.trials)

    @property
    def out_of_memory_errors(self) -> int:
        """How often the device ran out of memory meanwhile."""
        return sum(trial.out_of_memory for trial in self.trials)

    def rows(self) -> list[dict[str, Any]]:
        """Give the trials as rows for ``trials.jsonl``, with the rank where there are several; evaluation last."""
        rows = [asdict(trial) for trial in self.trials]
        if self.by_rank:
            rows = [{**asdict(trial), "rank": rank} for rank, trials in enumerate(self.by_rank) for trial in trials]
        return rows + (self.evaluation.rows() if self.evaluation is not None else [])
