"""Does the batch that is set fit the device: a real probe on a GPU, nothing on the CPU."""

from __future__ import annotations

from typing import Any

from hf_monitor.errors import BatchDoesNotFit
from hf_monitor.preflight.checklist import Check, failed, ok, skipped

__all__ = ["check_memory", "check_plan", "try_batch"]

_NAME = "memory"


def check_memory(
    model: Any,
    args: Any,
    *,
    tokenized: Any = None,
    collator: Any = None,
    source_length: int | None = None,
    target_length: int | None = None,
) -> Check:
    """Try the batch that is set on the GPU that will be trained on.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Afterwards bit for bit what it was.
    args : Seq2SeqTrainingArguments
    tokenized : sized, optional
        The training data, tokenized; the worst batch is made of it, by `collator`.
    collator : callable, optional
    source_length, target_length : int, optional
        Tokens of the longest sample, where there is no tokenized data.
    """
    batch = int(args.per_device_train_batch_size)
    settings: dict[str, Any] = {"batch": batch, "accumulation": int(args.gradient_accumulation_steps)}
    if args.device.type != "cuda":
        sentence = f"batch {batch} as set; memory is not probed: the training runs on the {args.device.type.upper()}."
        return skipped(_NAME, sentence, **settings)
    if args.world_size > 1:
        return skipped(_NAME, f"batch {batch} as set; not probed: there are {args.world_size} processes.", **settings)
    return try_batch(
        model,
        args,
        args.device,
        tokenized=tokenized,
        collator=collator,
        source_length=source_length,
        target_length=target_length,
    )


def try_batch(
    model: Any,
    args: Any,
    device: Any,
    *,
    tokenized: Any = None,
    collator: Any = None,
    source_length: int | None = None,
    target_length: int | None = None,
    memory_limit: int | None = None,
) -> Check:
    """Make steps with the batch that is set, on any device; arguments as of `check_memory` and ``probe_batch_size``."""
    from hf_monitor.auto_batch.probe import probe_batch_size

    batch = int(args.per_device_train_batch_size)
    settings: dict[str, Any] = {"batch": batch, "accumulation": int(args.gradient_accumulation_steps)}
    generates = bool(getattr(args, "predict_with_generate", False)) and source_length is not None
    evaluation = {
        "generation_max_length": args.generation_max_length or target_length,
        "num_beams": args.generation_num_beams or 1,
        "max_batch_size": int(args.per_device_eval_batch_size),
    }
    try:
        found = probe_batch_size(
            model,
            device,
            memory_limit=memory_limit,
            dataset=tokenized,
            collator=collator,
            source_length=None if tokenized is not None else source_length,
            target_length=None if tokenized is not None else target_length,
            max_batch_size=batch,
            precision="bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
            gradient_checkpointing=bool(args.gradient_checkpointing),
            optimizer=str(getattr(args.optim, "value", args.optim)),
            accumulation=args.gradient_accumulation_steps > 1,
            max_grad_norm=args.max_grad_norm,
            label_smoothing=args.label_smoothing_factor,
            evaluation=evaluation if generates else None,
            suggest=False,
        )
    except BatchDoesNotFit as error:
        return failed(_NAME, f"not even one sample fits: {error}", "train_summarizer.py --auto_batch", **settings)
    settings |= {"fits": found.batch_size, "probe": str(found)}
    advice = "train_summarizer.py --auto_batch, or plan_training, settles batch and accumulation"
    if found.batch_size < batch:
        sentence = f"a batch of {batch} does not fit {device}; {found.batch_size} do."
        return failed(_NAME, sentence, f"--per_device_train_batch_size {found.batch_size}; {advice}.", **settings)
    there = found.evaluation
    if there is not None and there.batch_size < args.per_device_eval_batch_size:
        sentence = (
            f"a training batch of {batch} fits {device}; an evaluation batch of {args.per_device_eval_batch_size} "
            f"does not, {there.batch_size} do."
        )
        return failed(_NAME, sentence, f"--per_device_eval_batch_size {there.batch_size}; {advice}.", **settings)
    return ok(_NAME, f"a batch of {batch} was tried on {device} and fits.", **settings)


def check_plan(plan: Any) -> Check:
    """Say what was planned by measuring."""
    values = {
        "batch": plan.per_device_train_batch_size,
        "accumulation": plan.gradient_accumulation_steps,
        "eval_batch": plan.per_device_eval_batch_size,
        "precision": plan.precision,
    }
    return ok(_NAME, f"measured: {' '.join(plan.explain().split())}", **values)
