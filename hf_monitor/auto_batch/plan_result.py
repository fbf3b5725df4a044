"""TrainingPlan: what was settled before a training, and the arguments that follow from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hf_monitor.auto_batch.accumulation import divisors
from hf_monitor.auto_batch.plan_arguments import training_arguments
from hf_monitor.auto_batch.plan_words import explain
from hf_monitor.auto_batch.shapes import Budget, Precision, ProbeResult, StepSettings, Trial
from hf_monitor.gpu.tiers import TIERS, TierMatch
from hf_monitor.seq2seq.batches import Lengths

if TYPE_CHECKING:
    from transformers import Seq2SeqTrainingArguments

__all__ = ["TrainingPlan", "optimizer_name"]

_ONE_SMALLER = "one smaller than the planned batch of"
_NOT_ESTIMATED = (
    "it may take more, not less: gradients then live through the next forward pass, which could not be estimated"
)


def optimizer_name(optimizer: Any) -> str:
    """Give an optimizer's name: as ``TrainingArguments.optim`` has it, or of the function that makes it."""
    if callable(optimizer) and not isinstance(optimizer, str):
        return f"{getattr(optimizer, '__module__', '?')}.{getattr(optimizer, '__qualname__', repr(optimizer))}"
    return str(getattr(optimizer, "value", optimizer))


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How to train so that it fits and every update sees the same number of samples, whatever the card.

    Attributes
    ----------
    per_device_train_batch_size, per_device_eval_batch_size : int
        Samples of one device and one step.
    gradient_accumulation_steps : int
    num_processes : int
        Ranks.
    effective_batch_size : int
        The product of batch, accumulation and ranks: samples of one update.
    precision : str
        ``"fp32"``, ``"bf16"`` or ``"fp16"``: mixed precision.
    gradient_checkpointing : bool
    optimizer : str
        Name of ``TrainingArguments.optim``, or of the function that makes it.
    tier : TierMatch
        Of the device.
    probe : ProbeResult
        What was measured.
    generation : dict or None
        ``max_length`` and ``num_beams`` where evaluation generates.
    notes : tuple of str
        What yields, what was changed, what cannot be promised.
    fingerprint : dict
        What the plan holds for; see ``hf_monitor.auto_batch.plan_file``.
    group_by_length : bool
        Whether a Trainer can sort the samples by length: it needs ``input_ids`` in the rows.
    evaluation_lengths : Lengths or None
        Of the evaluation's samples; None where none were handed over, and the training's were taken.
    below : tuple of int or None
        Of a plan without accumulation: the next smaller batch that takes less, and its estimated peak in bytes; see
        ``hf_monitor.auto_batch.plan_below``.
    estimated_bytes : int or None
        Of a plan that :meth:`smaller` has made with accumulation of one without: what its batch takes at most.
    """

    per_device_train_batch_size: int
    per_device_eval_batch_size: int
    gradient_accumulation_steps: int
    num_processes: int
    effective_batch_size: int
    precision: Precision
    gradient_checkpointing: bool
    optimizer: str
    tier: TierMatch
    probe: ProbeResult
    generation: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)
    group_by_length: bool = True
    evaluation_lengths: Lengths | None = None
    below: tuple[int, int] | None = None
    estimated_bytes: int | None = None

    @property
    def otherwise_measured(self) -> bool:
        """Whether the plan accumulates gradients where what was measured did not."""
        return self.gradient_accumulation_steps > 1 and not self.probe.settings.accumulation

    @property
    def trial(self) -> Trial | None:
        """The last step that was measured with the very batch of the plan; None where only others were."""
        if self.otherwise_measured:
            return None
        size = self.per_device_train_batch_size
        found = [t for t in self.probe.trials if t.batch_size == size and t.fits and t.phase == "train"]
        return found[-1] if found else None

    def training_arguments(self, output_dir: str, **overrides: Any) -> Seq2SeqTrainingArguments:
        """Give the arguments for a ``Seq2SeqTrainer``.

        Parameters
        ----------
        output_dir : str
        **overrides
            Of ``Seq2SeqTrainingArguments``; they win. One that breaks what the plan promises (a larger batch, another
            precision or optimizer ...) is said in a ``UserWarning``, not refused.

        Returns
        -------
        transformers.Seq2SeqTrainingArguments

        Examples
        --------
        >>> plan = plan_training(model, dataset=train, collator=collator)  # doctest: +SKIP
        >>> args = plan.training_arguments("outputs", learning_rate=1e-4, num_train_epochs=3)  # doctest: +SKIP
        """
        return training_arguments(self, output_dir, overrides)

    def __str__(self) -> str:
        return self.explain()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text as the value of a notebook's cell (IPython's protocol)."""
        printer.text(repr(self) if cycle else str(self))

    def explain(self) -> str:
        """Say in words what was settled and why: sizes, memory predicted and measured, what limits, margin, tier."""
        return explain(self)

    def smaller(self) -> TrainingPlan | None:
        """Give the next smaller plan that takes less memory, for the same effective batch: a divisor, accumulation up.

        Returns
        -------
        TrainingPlan or None
            None where the batch is 1 already, and where no smaller one takes less: gradients that accumulate live
            through the forward pass, which can be more than the samples left out. Then bf16, gradient checkpointing,
            Adafactor or shorter texts help.
        """
        size, steps = self.per_device_train_batch_size, self.gradient_accumulation_steps
        share = size * steps
        chosen = max((d for d in divisors(share) if d < size), default=0)
        estimated, notes = self.estimated_bytes, [f"{_ONE_SMALLER} {size}"]
        if chosen and steps == 1:
            if self.below is not None:
                chosen, estimated = self.below
            else:
                notes.append(_NOT_ESTIMATED)
        if not chosen:
            return None
        return dataclasses.replace(
            self,
            per_device_train_batch_size=chosen,
            gradient_accumulation_steps=share // chosen,
            below=None,
            estimated_bytes=estimated,
            notes=(*(note for note in self.notes if not note.startswith(_ONE_SMALLER)), *notes),
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the plan as plain values, for JSON."""
        found = dataclasses.asdict(dataclasses.replace(self, probe=_plain_probe(self.probe)))
        return {**found, "tier": {"name": self.tier.tier.name, "rule": self.tier.rule}}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingPlan:
        """Make a plan of what :meth:`to_dict` gave; names that are not known here are left out.

        Raises
        ------
        KeyError, TypeError, ValueError, AttributeError
            If something is missing or of another kind.
        """
        tier = TierMatch(TIERS[values["tier"]["name"]], values["tier"]["rule"])
        found = {**values, "tier": tier, "probe": _probe_of(values["probe"]), "notes": tuple(values["notes"])}
        lengths, below = values.get("evaluation_lengths"), values.get("below")
        found["evaluation_lengths"] = None if lengths is None else _known(Lengths, lengths)
        found["below"] = None if below is None else (int(below[0]), int(below[1]))
        plan: TrainingPlan = _known(cls, found)
        if not isinstance(plan.fingerprint, dict) or not isinstance(plan.generation, dict | None):
            raise TypeError("fingerprint and generation of the plan are no tables")
        product = plan.per_device_train_batch_size * plan.gradient_accumulation_steps * plan.num_processes
        if product != plan.effective_batch_size or min(product, plan.per_device_eval_batch_size) < 1:
            raise ValueError("the numbers of the plan contradict each other")
        return plan


def _plain_probe(probe: ProbeResult) -> ProbeResult:
    inner = None if probe.evaluation is None else _plain_probe(probe.evaluation)
    settings = dataclasses.replace(probe.settings, optimizer=optimizer_name(probe.settings.optimizer))
    return dataclasses.replace(probe, settings=settings, evaluation=inner)


def _probe_of(values: Mapping[str, Any]) -> ProbeResult:
    inner = values.get("evaluation")
    probe: ProbeResult = _known(
        ProbeResult,
        {
            **values,
            "budget": _known(Budget, values["budget"]),
            "lengths": _known(Lengths, values["lengths"]),
            "settings": _known(StepSettings, values["settings"]),
            "trials": tuple(_known(Trial, trial) for trial in values["trials"]),
            "by_rank": tuple(tuple(_known(Trial, trial) for trial in rank) for rank in values.get("by_rank", ())),
            "evaluation": None if inner is None else _probe_of(inner),
            "notes": tuple(values["notes"]),
        },
    )
    return probe


def _known(kind: Any, values: Mapping[str, Any]) -> Any:
    names = {f.name for f in dataclasses.fields(kind)}
    return kind(**{name: value for name, value in values.items() if name in names})
