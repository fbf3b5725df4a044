"""Plan a training: measure what fits, keep the effective batch exact, and give the arguments that follow."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Collection
from typing import Any, Literal

import torch

from hf_monitor.auto_batch.accumulation import Settled, per_rank_batch
from hf_monitor.auto_batch.inputs import unwrapped
from hf_monitor.auto_batch.plan_batches import can_be_grouped, rows_note, seen_batches
from hf_monitor.auto_batch.plan_device import choose_precision
from hf_monitor.auto_batch.plan_file import TrialsFile, fingerprint, made_optimizer, write_plan
from hf_monitor.auto_batch.plan_probe import REMEDIES, Planner
from hf_monitor.auto_batch.plan_ranks import earlier_plan, launch_facts
from hf_monitor.auto_batch.plan_result import TrainingPlan, optimizer_name
from hf_monitor.auto_batch.ranks import ddp_bucket_bytes, world
from hf_monitor.auto_batch.shapes import ProbeResult
from hf_monitor.auto_batch.step import is_checkpointing
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch
from hf_monitor.seq2seq.loss_scaling import ensure_loss_scaling

__all__ = ["TrainingPlan", "plan_training"]

_USUALLY_GENERATED = 20  # transformers' default, too short for summaries
_MOST_EVALUATED = 32  # no larger evaluation batch is looked for, unless the training's may be: it brings little


def plan_training(
    model: Any,
    device: Any = None,
    *,
    effective_batch_size: int | None = None,
    num_processes: int | None = None,
    precision: str | None = None,
    gradient_checkpointing: bool | None = None,
    allow: Collection[str] = frozenset(),
    prefer: Literal["largest", "fastest"] = "largest",
    run_dir: str | os.PathLike[str] | None = None,
    dataset: Any = None,
    collator: Any = None,
    tokenizer: Any = None,
    eval_dataset: Any = None,
    source_length: int | None = None,
    target_length: int | None = None,
    length_quantile: float = 1.0,
    make_batch: MakeBatch | None = None,
    memory_limit: int | None = None,
    safe_factor: float = 0.95,
    optimizer: str | Callable[..., Any] = "adamw_torch_fused",
    max_grad_norm: float = 1.0,
    label_smoothing: float = 0.0,
    predict_with_generate: bool = False,
    generation_max_length: int | None = None,
    num_beams: int | None = None,
) -> TrainingPlan:
    """Measure what fits the device, and settle how to train with it.

    Batch times accumulation times ranks is the effective batch, exactly (the last update of an epoch takes what is left
    of the data set). What was measured is the ceiling; below it the
    device's tier is heeded where it can be. The model's loss is put right for accumulation (``ensure_loss_scaling``);
    else the model is as before.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        A seq2seq model.
    device : torch.device, str or int, optional
        Where a Trainer would train, by default.
    effective_batch_size : int, optional
        Samples of one update over all ranks; 128 by default, whatever the card.
    num_processes : int, optional
        Ranks; those of this launch by default.
    precision : str, optional
        ``"fp32"``, ``"bf16"``, ``"fp16"``; by default what the device computes well and the model bears.
    gradient_checkpointing : bool, optional
        As the model is switched, by default.
    allow : collection of str
        What may be changed where not even one sample fits, tried in this order: ``"bf16"``,
        ``"gradient_checkpointing"``.
    prefer : str
        ``"largest"``: the largest batch that suits the tier. ``"fastest"``: the smallest within 3 % of the best samples
        a second, by timing each divisor that fits three times.
    run_dir : path-like, optional
        The run folder: gets ``plan.json`` and ``trials.jsonl``. A plan that is there is used again, without measuring,
        where its fingerprint is the same.
    dataset, collator, tokenizer, source_length, target_length, length_quantile, make_batch
        What batches are made of: see ``probe_batch_size``.
    eval_dataset : sized, optional
        What will be evaluated, tokenized. Without it evaluation batches are measured with the training's samples, which
        may be shorter.
    memory_limit : int, optional
        Bytes.
    safe_factor : float
        How much of the budget may be used, from 0 to 1.
    optimizer : str or callable
        See :class:`StepSettings`.
    max_grad_norm, label_smoothing : float
        As in ``TrainingArguments``.
    predict_with_generate : bool
        Whether evaluation generates; its batch is then measured on its own.
    generation_max_length : int, optional
        The model's own by default; where it has none, as long as the targets.
    num_beams : int, optional
        The model's own (``generation_config.num_beams``), by default, as in the Trainer.

    Returns
    -------
    TrainingPlan

    Raises
    ------
    InputError
        If the ranks do not divide the effective batch (both neighbours are named), or an argument cannot be used.
    BatchDoesNotFit
        If not even one sample fits, with all that is allowed.

    Examples
    --------
    >>> plan = plan_training(model, dataset=train, collator=collator)  # doctest: +SKIP
    >>> print(plan.explain())  # doctest: +SKIP
    >>> args = plan.training_arguments("outputs", learning_rate=1e-4)  # doctest: +SKIP
    """
    unknown = [name for name in allow if name not in REMEDIES]
    if unknown:
        raise InputError(f"allow knows {' and '.join(map(repr, REMEDIES))}, got {unknown[0]!r}")
    if prefer not in ("largest", "fastest"):
        raise InputError(f"prefer must be 'largest' or 'fastest', got {prefer!r}")
    model = unwrapped(model)
    ranks = world().size if num_processes is None else num_processes
    share = per_rank_batch(effective_batch_size, ranks)
    facts = launch_facts(device)
    chosen, note = choose_precision(model, facts, precision)
    notes = [note] if note else []
    checkpointing = is_checkpointing(model) if gradient_checkpointing is None else gradient_checkpointing
    beams = num_beams or getattr(getattr(model, "generation_config", None), "num_beams", None) or 1
    options = {
        "source_length": source_length,
        "target_length": target_length,
        "length_quantile": length_quantile,
        "memory_limit": memory_limit,
        "safe_factor": safe_factor,
        "optimizer": optimizer,
        "max_grad_norm": max_grad_norm,
        "label_smoothing": label_smoothing,
        "ddp_bucket_bytes": ddp_bucket_bytes(model) if ranks > 1 else 0,
    }
    batches: dict[str, Any] = {
        "dataset": dataset,
        "collator": collator,
        "tokenizer": tokenizer,
        "make_batch": make_batch,
    }
    of_lengths: dict[str, Any] = {name: options[name] for name in ("source_length", "target_length", "length_quantile")}
    lengths, shapes = seen_batches(model, **batches, **of_lengths)
    longest = generation_max_length or _generated(model) or max(_USUALLY_GENERATED, lengths.target)
    generation = {"max_length": longest, "num_beams": int(beams)}
    evaluated, its_shapes = None, list[str]()
    if eval_dataset is not None:
        evaluated, its_shapes = seen_batches(model, dataset=eval_dataset, collator=collator, tokenizer=tokenizer)
    rows = len(dataset) if hasattr(dataset, "__len__") else None
    grouped = can_be_grouped(dataset, make_batch)
    few = rows_note(rows, share * ranks)
    now = fingerprint(
        model,
        facts,
        **{**options, "optimizer": optimizer_name(optimizer)},
        precision=chosen,
        gradient_checkpointing=checkpointing,
        allow=sorted(allow),
        prefer=prefer,
        effective_batch_size=share * ranks,
        num_processes=ranks,
        generation=generation if predict_with_generate else None,
        optimizer_made=made_optimizer(model, optimizer),
        lengths=[lengths.source, lengths.target],
        batches=shapes,
        evaluation_batches=its_shapes,
        grouped=grouped,
        rows=rows if few else None,  # a row more or less is no other plan
    )
    ensure_loss_scaling(model)
    found, word = earlier_plan(run_dir, now, facts.device)
    if found is not None:
        return dataclasses.replace(found, notes=(*found.notes, *([word] if word else [])))
    if any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters()):
        notes.append(f"the weights themselves are in half precision; {chosen} is what the Trainer computes in")
    trials = TrialsFile(run_dir)
    planner = Planner(model, facts, share, ranks, trials, {**options, **batches})
    evaluation = {"generation_max_length": generation["max_length"], "num_beams": generation["num_beams"]}
    evaluation["max_batch_size"] = max(_MOST_EVALUATED, planner.settle(share).per_device_batch_size)
    if eval_dataset is not None:
        evaluation |= {"dataset": eval_dataset, "max_batch_size": min(evaluation["max_batch_size"], len(eval_dataset))}
    try:
        first = (chosen, checkpointing)
        probe, taken = planner.probe(
            first, allow, evaluation if predict_with_generate else None, fastest=prefer == "fastest"
        )
        settled, probe = planner.fastest(probe) if prefer == "fastest" else (planner.settle(probe.batch_size), probe)
        below = planner.below(settled, probe)
    finally:
        trials.close()
    size_there, said = _evaluation_size(settled, probe, predict_with_generate, evaluated)
    notes += [*taken, *said, *([settled.note] if settled.note else []), *([few] if few else [])]
    if not isinstance(optimizer, str):
        notes.append("the optimizer is made by a function: hand it to the Trainer too (optimizers=..., or a subclass)")
    plan = TrainingPlan(
        per_device_train_batch_size=settled.per_device_batch_size,
        per_device_eval_batch_size=size_there,
        gradient_accumulation_steps=settled.accumulation,
        num_processes=ranks,
        effective_batch_size=settled.effective_batch_size,
        precision=probe.settings.precision,
        gradient_checkpointing=probe.settings.gradient_checkpointing,
        optimizer=optimizer_name(optimizer),
        tier=facts.tier,
        probe=probe,
        generation=generation if predict_with_generate else None,
        notes=tuple(notes),
        fingerprint=now,
        group_by_length=grouped,
        evaluation_lengths=evaluated,
        below=below,
    )
    if run_dir is not None:
        write_plan(run_dir, plan)
    return dataclasses.replace(plan, notes=(*plan.notes, word)) if word else plan  # the word is of this start alone


def _generated(model: Any) -> int | None:
    """Give how long a model says that it generates, in tokens; 20 is what is there where nobody said anything."""
    config = getattr(model, "generation_config", None)
    found = getattr(config, "max_new_tokens", None) or getattr(config, "max_length", None)
    return int(found) if found and found != _USUALLY_GENERATED else None


def _evaluation_size(
    settled: Settled, probe: ProbeResult, generates: bool, lengths: Lengths | None
) -> tuple[int, list[str]]:
    """Give the batch of evaluations, and what there is to say about it."""
    size = settled.per_device_batch_size
    if generates:
        if probe.evaluation is None:
            return 1, ["an evaluation batch of more than 1 was not found to fit, generating as asked"]
        return probe.evaluation.batch_size, []
    if lengths is None:
        return size, []  # without gradients and state: less than a training step of that size
    longer = max(1.0, *(a / max(1, b) for a, b in zip(_two(lengths), _two(probe.lengths), strict=True)))
    smaller = max(1, int(size / longer**2))  # attention grows with the square
    if longer == 1:
        return size, []
    of = f"{lengths.source} and {lengths.target} tokens, training's {probe.lengths.source} and {probe.lengths.target}"
    return smaller, [f"evaluation's samples are longer ({of}): its batch is the smaller for it, but not measured"]


def _two(lengths: Lengths) -> tuple[int, int]:
    return lengths.source, lengths.target
