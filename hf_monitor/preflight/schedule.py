"""How many steps a training has, and what is set for more of them than there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hf_monitor.errors import close_names
from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning

__all__ = ["Schedule", "check_best_metric", "check_schedule", "check_steps", "interval", "schedule_of"]

_USUAL = ("loss", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu", "gen_len", "score")  # of TextMetrics


@dataclass(frozen=True, slots=True)
class Schedule:
    """The size of a training.

    Attributes
    ----------
    batch : int
        Samples of one device and one step.
    accumulation, ranks : int
    effective_batch : int
        Samples of one update.
    steps_per_epoch, steps : int
        Optimizer updates.
    epochs : float
    """

    batch: int
    accumulation: int
    ranks: int
    steps_per_epoch: int
    steps: int
    epochs: float

    @property
    def effective_batch(self) -> int:
        """Samples of one update."""
        return self.batch * self.accumulation * self.ranks


def schedule_of(n_samples: int, args: Any) -> Schedule:
    """Count the steps as the Trainer does (``Trainer.set_initial_training_values``, transformers 5.23).

    Parameters
    ----------
    n_samples : int
        Of the training data.
    args : TrainingArguments
    """
    ranks = max(1, int(args.world_size))
    # Of several devices in one process (DataParallel) each gets its batch.
    batch = int(args.per_device_train_batch_size) * max(1, int(args.n_gpu))
    a_batch = batch * ranks
    batches = n_samples // a_batch if args.dataloader_drop_last else math.ceil(n_samples / a_batch)
    accumulation = int(args.gradient_accumulation_steps)
    per_epoch = max(1, math.ceil(batches / accumulation))
    steps = args.max_steps if args.max_steps > 0 else math.ceil(args.num_train_epochs * per_epoch)
    epochs = steps / per_epoch if args.max_steps > 0 else float(args.num_train_epochs)
    return Schedule(batch, accumulation, ranks, per_epoch, int(steps), epochs)


def interval(args: Any, name: str, steps: int) -> int | None:
    """Give every how many steps something happens, None where it does not go by steps.

    Parameters
    ----------
    args : TrainingArguments
    name : str
        ``"logging"``, ``"eval"`` or ``"save"``.
    steps : int
        Of the whole training: a value below 1 is a share of it.
    """
    if str(getattr(getattr(args, f"{name}_strategy"), "value", getattr(args, f"{name}_strategy"))) != "steps":
        return None
    value = getattr(args, f"{name}_steps")
    if value is None:
        return None
    return max(1, math.ceil(steps * value)) if value < 1 else int(value)


def check_steps(n_samples: int, found: Schedule, args: Any) -> Check:
    """Say how large a batch is and how many steps there are."""
    name = "steps"
    evidence: dict[str, Any] = {
        "n_samples": n_samples, "batch": found.batch, "accumulation": found.accumulation, "ranks": found.ranks,
        "effective_batch": found.effective_batch, "steps_per_epoch": found.steps_per_epoch, "steps": found.steps,
        "epochs": found.epochs,
    }  # fmt: skip
    sentence = (
        f"{found.batch} a device x {found.accumulation} accumulated x {found.ranks} "
        f"process{'es' if found.ranks > 1 else ''} = {found.effective_batch} samples an update; "
        f"{found.steps_per_epoch:,} updates an epoch, {found.steps:,} in all ({found.epochs:g} epochs)."
    )
    if args.dataloader_drop_last and n_samples < found.batch * found.ranks:
        sentence = f"{n_samples} samples make no full batch of {found.batch * found.ranks}: nothing is trained."
        return failed(name, sentence, "Make the batch smaller, or leave --dataloader_drop_last out.", **evidence)
    if found.steps < 1:
        return failed(name, f"{sentence} Nothing is trained.", "--num_train_epochs 3", **evidence)
    if found.effective_batch > n_samples:
        advice = f"Every update of {found.effective_batch} samples is a whole epoch: make the batch smaller."
        return warning(name, f"{sentence} The data have {n_samples:,} samples only.", advice, **evidence)
    return ok(name, sentence, **evidence)


def check_schedule(found: Schedule, args: Any) -> Check:
    """Look for a warm-up, and for logs, evaluations and checkpoints, that lie beyond the end."""
    name = "schedule"
    steps = found.steps
    every = {kind: interval(args, kind, steps) for kind in ("logging", "eval", "save")}
    warmup = int(args.get_warmup_steps(steps))
    evidence: dict[str, Any] = {
        "steps": steps,
        "warmup_steps": warmup,
        **{f"{kind}_steps": n for kind, n in every.items()},
    }
    wrong, advice = [], []
    if warmup >= steps:
        wrong.append(f"the warm-up of {warmup:,} steps is not over when the training ends after {steps:,}")
        advice.append("--warmup_steps 0.1 is a tenth of the training: the learning rate never reaches what is set")
    words = {
        "logging": "no training loss is logged before the end",
        "eval": "it is evaluated at the end only",
        "save": "the only checkpoint is that of the end",
    }
    for kind, n in every.items():
        if n is not None and n > steps:
            wrong.append(f"--{kind}_steps {n:,} is more than the {steps:,} steps: {words[kind]}")
            advice.append(f"--{kind}_steps {max(1, steps // 10)}")
    if not args.do_eval and str(getattr(args.eval_strategy, "value", args.eval_strategy)) != "no":
        evidence["eval_strategy"] = "set, without do_eval"
    if wrong:
        return warning(name, f"{'; '.join(wrong)}.", "; ".join(advice), **evidence)
    said = [f"warm-up {warmup:,} of {steps:,} steps"]
    said += [f"{kind} every {n:,}" for kind, n in every.items() if n is not None]
    return ok(name, ", ".join(said) + ".", **evidence)


def check_best_metric(args: Any, keys: tuple[str, ...] | None, computes: bool) -> Check:
    """Look whether the metric that chooses the best checkpoint will be there.

    Parameters
    ----------
    args : TrainingArguments
    keys : tuple of str or None
        What ``compute_metrics`` gives; None where that is not known.
    computes : bool
        Whether there is a ``compute_metrics``.
    """
    name = "best checkpoint"
    metric = args.metric_for_best_model
    if metric is None:
        return skipped(name, "no --metric_for_best_model is set: the last checkpoint is as good as any.")
    bare = metric.removeprefix("eval_")
    evidence: dict[str, Any] = {
        "metric": metric,
        "greater_is_better": args.greater_is_better,
        "known": list(keys or ()),
    }
    if bare != "loss" and not computes:
        sentence = f"{metric!r} chooses the best checkpoint, but nothing computes it: the Trainer gives the loss only."
        return failed(
            name, sentence, "Hand TextMetrics over as compute_metrics, or --metric_for_best_model loss.", **evidence
        )
    if bare != "loss" and keys is not None and bare not in keys:
        sentence = f"{metric!r} is none of the metrics of an evaluation: {', '.join(('loss', *keys))}."
        return failed(name, sentence, "Name one of these with --metric_for_best_model.", **evidence)
    falls = bare.endswith("loss")
    if args.greater_is_better is not None and bool(args.greater_is_better) == falls:
        way = "greater" if args.greater_is_better else "smaller"
        sentence = f"the checkpoint with the {way} {metric!r} is taken for the best: that is the worst one."
        return failed(name, sentence, f"--greater_is_better {'false' if falls else 'true'}", **evidence)
    if bare != "loss" and keys is None and bare not in _USUAL and (close := close_names(bare, _USUAL)):
        sentence = f"{metric!r} chooses the best checkpoint, which is not one of the metrics of TextMetrics."
        meant = (
            f"--metric_for_best_model {close[0]}, if that is meant: a name that no evaluation gives ends the training."
        )
        return warning(name, sentence, meant, **evidence)
    unsure = "" if keys is not None or bare == "loss" else "; whether compute_metrics gives it is not known"
    return ok(name, f"{metric!r} chooses the best checkpoint{unsure}.", **evidence)
