"""Is the loss that a Trainer logs the loss? Decided from its own way of computing it, and by trying the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.seq2seq.loss_scaling import takes_num_items, uses_num_items

__all__ = [
    "AS_LOGGED",
    "SCALED",
    "UNDETERMINED",
    "Verdict",
    "by_use",
    "decide",
    "first_sample",
    "is_own",
    "n_processes",
    "name_of",
]

AS_LOGGED, SCALED, UNDETERMINED = "as logged", "scaled", "undetermined"


@dataclass(frozen=True)
class Verdict:
    """What the loss that the Trainer logs is worth.

    Attributes
    ----------
    verdict : str
        ``as logged`` (it is right), ``scaled`` (too large by a factor that is known) or ``undetermined``.
    reason : str
    may_probe : bool
        Whether a batch of the training's own could still settle it.
    """

    verdict: str
    reason: str
    may_probe: bool = False

    def facts(self) -> dict[str, Any]:
        """Give what goes into ``run.json``."""
        return {"loss_scaling": {"verdict": self.verdict, "reason": self.reason}}


def n_processes(args: Any, trainer: Any = None) -> int:
    """Give what the Trainer multiplies a loss by that it takes to be divided by the tokens of all processes."""
    if not args.average_tokens_across_devices:
        return 1
    if args.n_gpu > 1:
        return int(args.n_gpu)
    if trainer is None:
        return int(args.world_size)
    return int(trainer.accelerator.num_processes // trainer.get_tp_size())


def name_of(model: Any) -> str:
    """Give the class of a model, under an adapter of PEFT's."""
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__


def first_sample(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Cut a batch to its first sample, where all its tensors agree on what that is."""
    lengths = {value.shape[0] for value in inputs.values() if hasattr(value, "shape") and len(value.shape)}
    if len(lengths) != 1:
        return dict(inputs)
    return {key: value[:1] if hasattr(value, "shape") and len(value.shape) else value for key, value in inputs.items()}


def is_own(trainer: Any, name: str, wrapper: Any = None) -> bool:
    """Say whether a method is the Trainer's of transformers (or `wrapper`, which calls it), not a subclass's."""
    from transformers.trainer import Trainer

    placed = trainer.__dict__.get(name)
    return (placed is None or placed is wrapper) and getattr(type(trainer), name) is getattr(Trainer, name)


def decide(args: Any, model: Any, trainer: Any = None, *, own_step: bool = True) -> Verdict:
    """Decide from the Trainer's own loss path whether the loss that it logs is right.

    Parameters
    ----------
    args : transformers.TrainingArguments
    model : PreTrainedModel or PeftModel
        Not wrapped.
    trainer : transformers.Trainer, optional
        Without it (callbacks alone) what a subclass or a ``compute_loss_func`` does is not known, and only what no
        usual Trainer can change counts as certain.
    own_step : bool
        Whether ``training_step`` is the Trainer's own.

    Returns
    -------
    Verdict
    """
    k, n = args.gradient_accumulation_steps, max(args.world_size, args.n_gpu)
    if k == 1 and n <= 1:
        return Verdict(AS_LOGGED, "no accumulation, one process: nothing to scale")
    name = name_of(model)
    if trainer is None:
        if model is None:
            return Verdict(UNDETERMINED, "no model is seen")
        if not takes_num_items(model):
            return Verdict(AS_LOGGED, f"{name} is not handed num_items_in_batch: the Trainer divides the loss itself")
        if args.label_smoothing_factor > 0:
            return Verdict(AS_LOGGED, "label_smoothing_factor: the Trainer computes the loss, over all tokens")
    else:
        found = _by_path(trainer, name, own_step)
        if found is not None:
            return found
    uses = uses_num_items(model)
    if getattr(trainer, "loss_is_scaled_for_ga", None) is False:
        if uses:
            return Verdict(UNDETERMINED, f"loss_is_scaled_for_ga = False, but {name} divides by num_items_in_batch")
        if n <= 1 and uses is False:
            return Verdict(AS_LOGGED, "loss_is_scaled_for_ga = False: the Trainer divides the loss itself")
    if uses is None:
        return Verdict(
            UNDETERMINED, f"whether {name} uses num_items_in_batch could not be tried", may_probe=trainer is not None
        )
    return by_use(name, uses, seen=trainer is not None)


def _by_path(trainer: Any, name: str, own_step: bool) -> Verdict | None:
    """Decide by what the Trainer is; None where it depends on the model."""
    if not own_step:
        return Verdict(UNDETERMINED, f"{type(trainer).__name__} has a training_step of its own")
    declared = getattr(trainer, "loss_is_scaled_for_ga", None)  # transformers 5.23 on
    if not is_own(trainer, "compute_loss"):
        if not trainer.model_accepts_loss_kwargs and trainer.compute_loss_func is None and not declared:
            return Verdict(AS_LOGGED, "a compute_loss of its own, whose loss the Trainer divides by the accumulation")
        if declared is not None and trainer.args.world_size == 1 and trainer.args.n_gpu <= 1:
            return Verdict(AS_LOGGED, f"a compute_loss of its own, with loss_is_scaled_for_ga = {declared}")
        return Verdict(UNDETERMINED, f"{type(trainer).__name__} has a compute_loss of its own")
    if declared is False and (trainer.compute_loss_func is not None or trainer.label_smoother is not None):
        return Verdict(UNDETERMINED, "loss_is_scaled_for_ga = False, but the loss is already that of all tokens")
    if trainer.compute_loss_func is not None:
        return Verdict(AS_LOGGED, "compute_loss_func is given num_items_in_batch")
    if not trainer.model_accepts_loss_kwargs:
        if declared:
            return Verdict(UNDETERMINED, f"loss_is_scaled_for_ga = True, but {name} is not handed num_items_in_batch")
        return Verdict(AS_LOGGED, f"{name} is not handed num_items_in_batch: the Trainer divides the loss itself")
    if trainer.label_smoother is not None:
        return Verdict(AS_LOGGED, "label_smoothing_factor: the Trainer computes the loss, over all tokens")
    return None


def by_use(name: str, uses: bool, *, seen: bool) -> Verdict:
    if uses:
        return Verdict(AS_LOGGED, f"{name} divides its loss by num_items_in_batch")
    if seen:
        return Verdict(SCALED, f"{name} ignores num_items_in_batch")
    return Verdict(
        UNDETERMINED,
        f"{name} ignores num_items_in_batch, but the Trainer is not seen (a compute_loss_func would make it right)",
    )
