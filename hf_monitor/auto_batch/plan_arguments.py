"""The training arguments that follow from a plan."""

from __future__ import annotations

import dataclasses
import os
import sys
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hf_monitor.gpu.host import cpu_count

if TYPE_CHECKING:
    from transformers import Seq2SeqTrainingArguments

    from hf_monitor.auto_batch.plan_result import TrainingPlan

__all__ = ["checkpointing_values", "keep_to_one_gpu", "plan_values", "training_arguments"]

_MOST_WORKERS = 4  # the samples are tokenized already: padding them keeps no more busy

# One thing under two names, of which an override may use either: the newer ones first.
_SAME = (
    ("activation_checkpointing", "gradient_checkpointing"),
    ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"),
    ("train_sampling_strategy", "group_by_length"),
)


def plan_values(plan: TrainingPlan) -> dict[str, Any]:
    """Give what a plan says of ``Seq2SeqTrainingArguments``, in the names that the installed transformers has.

    Parameters
    ----------
    plan : TrainingPlan

    Returns
    -------
    dict
        Name -> value.
    """
    from transformers import Seq2SeqTrainingArguments

    names = {f.name for f in dataclasses.fields(Seq2SeqTrainingArguments)}
    settings = plan.probe.settings
    on_cuda = plan.probe.device.startswith("cuda")
    values: dict[str, Any] = {
        "per_device_train_batch_size": plan.per_device_train_batch_size,
        "per_device_eval_batch_size": plan.per_device_eval_batch_size,
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "auto_find_batch_size": False,
        "bf16": plan.precision == "bf16",
        "fp16": plan.precision == "fp16",
        "max_grad_norm": settings.max_grad_norm,
        "label_smoothing_factor": settings.label_smoothing,
        "dataloader_num_workers": _workers(plan) if on_cuda else 0,
        "dataloader_pin_memory": on_cuda,
        "use_cpu": plan.probe.device == "cpu",
    }
    if isinstance(settings.optimizer, str):
        values["optim"] = settings.optimizer
    if plan.gradient_checkpointing:
        values |= checkpointing_values()
    if "train_sampling_strategy" in names:
        values["train_sampling_strategy"] = "group_by_length"
    else:
        values["group_by_length"] = True
    if plan.generation is not None:
        values["predict_with_generate"] = True
        values["generation_max_length"] = plan.generation.get("max_length")
        values["generation_num_beams"] = plan.generation.get("num_beams")
    return values


def checkpointing_values() -> dict[str, Any]:
    """Give the arguments that switch checkpointing on as it was probed, in the names of this transformers."""
    from transformers import Seq2SeqTrainingArguments

    new = "activation_checkpointing"  # since 5.20 or so; the old name is warned of there
    name = new if hasattr(Seq2SeqTrainingArguments, new) else "gradient_checkpointing"
    return {name: True, f"{name}_kwargs": {"use_reentrant": False}}


def keep_to_one_gpu(arguments: Any) -> str | None:
    """Keep a training of one process to one GPU where torch sees several, and say so.

    The Trainer would wrap the model in ``DataParallel`` there and multiply the batch by the number of GPUs.
    """
    if arguments.world_size > 1 or arguments.n_gpu < 2:
        return None
    count, arguments._n_gpu = arguments.n_gpu, 1
    return (
        f"torch sees {count} GPUs; the plan is for one, on which the training stays (DataParallel would multiply the "
        f"batch). To use all of them: accelerate launch --num_processes {count}"
    )


def _workers(plan: TrainingPlan) -> int:
    """Give the workers that load data; elsewhere than on Linux each would start a Python of its own."""
    if not sys.platform.startswith("linux"):
        return 0
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "0")) or plan.num_processes
    return max(0, min(_MOST_WORKERS, cpu_count() // here - 1))


def training_arguments(plan: TrainingPlan, output_dir: str, overrides: Mapping[str, Any]) -> Seq2SeqTrainingArguments:
    """Make the arguments; see :meth:`TrainingPlan.training_arguments`."""
    from transformers import Seq2SeqTrainingArguments

    values = plan_values(plan)
    for pair in _SAME:
        if not overrides.keys().isdisjoint(pair):
            for name in pair:
                values.pop(name, None)
    if overrides.get("bf16") or overrides.get("fp16"):
        values["bf16"] = values["fp16"] = False
    arguments = Seq2SeqTrainingArguments(output_dir=output_dir, **{**values, **overrides})
    kept = keep_to_one_gpu(arguments)
    if kept:
        warnings.warn(kept, UserWarning, stacklevel=3)
    broken = _broken(plan, values, arguments)
    if broken:
        warnings.warn(f"what the plan measured does not hold: {'; '.join(broken)}", UserWarning, stacklevel=3)
    return arguments


def _broken(plan: TrainingPlan, values: Mapping[str, Any], arguments: Any) -> list[str]:
    """Say which promises the arguments break: that it fits, and that updates are of the effective batch."""
    found = [
        f"{name}={getattr(arguments, name)} is more than the {getattr(plan, name)} of the plan"
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size")
        if getattr(arguments, name) > getattr(plan, name)
    ]
    size, steps, ranks = (
        arguments.per_device_train_batch_size,
        arguments.gradient_accumulation_steps,
        arguments.world_size,
    )
    if size * steps * ranks != plan.effective_batch_size:
        product = f"{size} x {steps} x {ranks} process(es) is {size * steps * ranks} samples an update"
        found.append(f"{product}, not {plan.effective_batch_size}")
    precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32"
    if precision != plan.precision:
        found.append(f"precision {precision} instead of {plan.precision}")
    optimizer = str(getattr(arguments.optim, "value", arguments.optim))
    if optimizer != values.get("optim", optimizer):
        found.append(f"optim={optimizer!r} instead of {values['optim']!r}")
    if plan.gradient_checkpointing and not arguments.gradient_checkpointing:
        found.append("gradient checkpointing is switched off")
    if arguments.label_smoothing_factor and not plan.probe.settings.label_smoothing:
        found.append("label smoothing takes another copy of the logits")
    if arguments.auto_find_batch_size:
        found.append("auto_find_batch_size changes the batch and keeps the accumulation")
    if arguments.predict_with_generate:
        planned = plan.generation or {"max_length": 0, "num_beams": 0}
        for name, of in (("generation_max_length", "max_length"), ("generation_num_beams", "num_beams")):
            asked = getattr(arguments, name)
            if asked is not None and asked > (planned[of] or asked):
                found.append(f"{name}={asked} is more than the {planned[of]} of the plan")
        if plan.generation is None:
            found.append("predict_with_generate=True was not measured")
    return found
