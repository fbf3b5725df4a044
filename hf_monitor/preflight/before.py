"""check_before(): everything that can be known before a training is started, in some seconds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import HfMonitorError
from hf_monitor.preflight.checklist import Check, Checklist, failed, ok, skipped, warning
from hf_monitor.preflight.data import Part, check_part, read_part
from hf_monitor.preflight.thresholds import SHARED_FAILED

if TYPE_CHECKING:
    from hf_monitor.gpu.report import GpuReport
    from hf_monitor.preflight.lengths import Spread
    from hf_monitor.preflight.schedule import Schedule

__all__ = ["TITLE", "check_before", "check_overlap"]

TITLE = "Before the training"


def check_before(
    trainer: Any = None,
    *,
    model: Any = None,
    tokenizer: Any = None,
    train: Any = None,
    evaluation: Any = None,
    args: Any = None,
    source_column: str | None = None,
    target_column: str | Sequence[str] | None = None,
    source_prefix: str = "",
    max_source_length: int | None = None,
    max_target_length: int | None = None,
    collator: Any = None,
    compute_metrics: Any = None,
    gpu: GpuReport | bool = True,
    probe_memory: bool = True,
    plan: Any = None,
    seed: int = 0,
) -> Checklist:
    """Go through what a training needs, and say what is missing, before hours are spent.

    Nothing is trained, written or asked of a network; the model is as before. What is not handed over is left out, and
    said to be. Texts are looked at in a sample of 1000, drawn with `seed`; global random numbers are not touched.

    Parameters
    ----------
    trainer : Trainer, optional
        Gives all of the following that is not given itself.
    model : PreTrainedModel or PeftModel, optional
    tokenizer : PreTrainedTokenizerBase, optional
    train : path-like, Pairs, datasets.Dataset or sequence of mappings, optional
        Texts, or a set that is tokenized already. Of texts more can be said: which characters the tokenizer lacks.
    evaluation : the same, or a mapping of names to them, optional
    args : Seq2SeqTrainingArguments, optional
    source_column, target_column : str, optional
        Of texts; found by their usual names where None.
    source_prefix : str
        Stands before each text when it is encoded.
    max_source_length, max_target_length : int, optional
        Tokens at which texts are cut.
    collator : callable, optional
        The Trainer's ``data_collator``.
    compute_metrics : callable, optional
        As of the Trainer; ``TextMetrics`` tells which metrics it gives.
    gpu : GpuReport or bool
        True: the GPU is looked at (``check_gpu_compatibility``, some seconds in a process of its own); False: not.
    probe_memory : bool
        Whether the batch is tried on a GPU that is there. On the CPU it never is.
    plan : TrainingPlan, optional
        What was measured already, instead.
    seed : int
        Of the samples of texts.

    Returns
    -------
    Checklist
        ``.ok`` is False where something failed; ``print`` shows all of it.

    Examples
    --------
    >>> checklist = check_before(trainer)  # doctest: +SKIP
    >>> print(checklist)  # doctest: +SKIP
    >>> if not checklist.ok:  # doctest: +SKIP
    ...     raise SystemExit(checklist.exit_code)
    """
    if trainer is not None:
        model = trainer.model if model is None else model
        tokenizer = trainer.processing_class if tokenizer is None else tokenizer
        train = trainer.train_dataset if train is None else train
        evaluation = trainer.eval_dataset if evaluation is None else evaluation
        args = trainer.args if args is None else args
        collator = trainer.data_collator if collator is None else collator
        compute_metrics = trainer.compute_metrics if compute_metrics is None else compute_metrics
    look = _Look(model, tokenizer, args, source_prefix, max_source_length, max_target_length, collator, seed)
    look.attempt("GPU", lambda: look.gpu(gpu))
    if args is None:
        for name in ("output folder", "disk", "W&B"):
            look.add(skipped(name, "no training arguments given."))
    else:
        look.folder()
    look.data(train, evaluation, source_column, target_column)
    look.texts()
    look.attempt("model and tokenizer", look.configs)
    if args is None:
        look.add(skipped("steps", "no training arguments given."))
        return Checklist(TITLE, tuple(look.checks))
    look.steps(compute_metrics)
    look.attempt("memory", lambda: look.memory(probe_memory, plan))
    return Checklist(TITLE, tuple(look.checks))


class _Look:
    """What is handed over, and the checks so far. Each stands for itself: none keeps the others from being done."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        args: Any,
        prefix: str,
        source_limit: int | None,
        target_limit: int | None,
        collator: Any,
        seed: int,
    ) -> None:
        self.model, self.tokenizer, self.args, self.collator, self.seed = model, tokenizer, args, collator, seed
        self.prefix, self.limits = prefix, {"inputs": source_limit, "targets": target_limit}
        self.checks: list[Check] = []
        self.train: Part | None = None
        self.evaluations: list[Part] = []
        self.spreads: dict[str, Spread] = {}
        self.schedule: Schedule | None = None

    def add(self, *checks: Check | None) -> None:
        self.checks += [check for check in checks if check is not None]

    def attempt(self, name: str, check: Callable[[], Check | Sequence[Check] | None]) -> None:
        """Do a check; where it cannot be done, that is what is said."""
        try:
            found = check()
        except HfMonitorError as error:
            self.add(failed(name, str(error)))
        except Exception as error:  # noqa: BLE001 - what others made (a tokenizer, a data set) may raise anything
            self.add(warning(name, f"this could not be checked: {type(error).__name__}: {error}"))
        else:
            self.add(*(found if isinstance(found, Sequence) else [found]))

    def gpu(self, gpu: GpuReport | bool) -> Check:
        from hf_monitor.preflight.machine import check_gpu

        if gpu is False:
            return skipped("GPU", "it was not to be looked at.")
        if getattr(self.args, "use_cpu", False):
            return check_gpu(None, self.args)
        if gpu is True:
            from hf_monitor.gpu.compatibility import check_gpu_compatibility

            gpu = check_gpu_compatibility()
        return check_gpu(gpu, self.args)

    def folder(self) -> None:
        from hf_monitor.preflight.machine import check_folder, check_left_there
        from hf_monitor.preflight.wandb_ready import check_wandb

        folder = Path(self.args.output_dir)
        self.attempt("output folder", lambda: check_folder(folder))
        self.attempt("earlier training", lambda: check_left_there(folder, self.args))
        self.disk_place = len(self.checks)  # its check needs the number of steps, which comes later
        self.attempt("W&B", lambda: check_wandb(self.args.report_to))

    def data(self, train: Any, evaluation: Any, source_column: str | None, target_column: Any) -> None:
        sets = [("training data", train)]
        if isinstance(evaluation, Mapping):  # as the Trainer takes several
            sets += [(f"{name} data", data) for name, data in evaluation.items()]
        else:
            sets.append(("evaluation data", evaluation))
        for number, (name, data) in enumerate(sets):
            if data is None:
                self.add(skipped(name, "none given."))
                continue
            try:
                part = read_part(name, data, source_column, target_column, targets_needed=number == 0)
            except HfMonitorError as error:
                self.add(failed(name, str(error)))
                continue
            except TypeError as error:
                self.add(skipped(name, f"{error}."))
                continue
            self.attempt(name, lambda part=part: check_part(part))  # type: ignore[misc]  # a lambda's default
            if number == 0:
                self.train = part
            else:
                self.evaluations.append(part)
        if self.train is None or not self.evaluations:
            self.add(skipped("overlap", "it needs training data and evaluation data."))
            return
        known = self.train
        for part in self.evaluations:
            name = "overlap" if len(self.evaluations) == 1 else f"overlap: {part.name}"
            self.attempt(name, lambda part=part, name=name: check_overlap(known, part, name))  # type: ignore[misc]

    def texts(self) -> None:
        from hf_monitor.preflight.lengths import check_generation, check_lengths, generation_length, measure
        from hf_monitor.preflight.lengths import target_positions as most_written
        from hf_monitor.preflight.tokenizing import check_tokenizer
        from hf_monitor.seq2seq.preprocessing import max_positions

        part = self.train or next(iter(self.evaluations), None)
        if part is None or self.tokenizer is None:
            missing = "no tokenizer" if part is not None else "no data"
            self.add(skipped("tokenizer", f"{missing} given."), skipped("lengths", f"{missing} given."))
            return
        self.attempt("tokenizer", lambda: check_tokenizer(self.tokenizer, part, self.seed))
        config = getattr(self.model, "config", None)
        positions = {
            "inputs": None if config is None else max_positions(config),
            "targets": None if config is None else most_written(config),
        }

        def lengths() -> list[Check]:
            self.spreads = measure(self.tokenizer, part, self.prefix, self.seed)
            return check_lengths(self.spreads, self.limits, positions)

        self.attempt("lengths", lengths)
        if self.args is None or self.model is None or not getattr(self.args, "predict_with_generate", False):
            self.add(skipped("generation length", "nothing is generated: --predict_with_generate is not set."))
            return
        most, who = generation_length(self.args, self.model)
        targets = self.spreads.get("targets")
        self.attempt("generation length", lambda: check_generation(most, who, targets, positions["targets"]))

    def configs(self) -> Check:
        from hf_monitor.preflight.configs import check_configs

        if self.model is None or self.tokenizer is None:
            missing = "model" if self.model is None else "tokenizer"
            return skipped("model and tokenizer", f"no {missing} given.")
        n_embeddings = int(self.model.get_input_embeddings().weight.shape[0])
        generation = getattr(self.model, "generation_config", None)
        return check_configs(self.model.config, generation, self.tokenizer, n_embeddings)

    def steps(self, compute_metrics: Any) -> None:
        from hf_monitor.preflight.disk import check_disk, check_shared_memory
        from hf_monitor.preflight.schedule import check_best_metric, check_schedule, check_steps, schedule_of

        args = self.args
        if self.train is None:
            self.add(skipped("steps", "no training data given."))
        else:
            n = self.train.n
            found = self.schedule = schedule_of(n, args)
            self.attempt("steps", lambda: check_steps(n, found, args))
            self.attempt("schedule", lambda: check_schedule(found, args))
        keys = getattr(compute_metrics, "keys", None)
        named = tuple(keys) if isinstance(keys, (tuple, list)) else None
        self.attempt("best checkpoint", lambda: check_best_metric(args, named, compute_metrics is not None))
        later, self.checks = self.checks[self.disk_place :], self.checks[: self.disk_place]
        if self.model is None:
            self.add(skipped("disk", "no model given."))
        else:
            self.attempt("disk", lambda: check_disk(Path(args.output_dir), self.model, args, self.schedule))
        self.attempt("shared memory", lambda: check_shared_memory(args, *self.longest()))
        self.checks += later

    def longest(self) -> tuple[int, int]:
        """Give the tokens of the longest input and target, as they will be cut."""
        found = []
        for side in ("inputs", "targets"):
            limit = self.limits[side] or 1024
            # The longest of a sample is not the longest of all.
            whole = side in self.spreads and (self.train is None or len(self.spreads[side].lengths) == self.train.n)
            found.append(min(limit, self.spreads[side].lengths[-1]) if whole else limit)
        return found[0], found[1]

    def memory(self, probe: bool, plan: Any) -> Check:
        from hf_monitor.preflight.memory import check_memory, check_plan

        if plan is not None:
            return check_plan(plan)
        if self.model is None:
            return skipped("memory", "no model given.")
        if not probe and self.args.device.type == "cuda":
            batch = self.args.per_device_train_batch_size
            return skipped("memory", f"batch {batch} as set; not probed: the weights were not loaded.")
        tokenized = None if self.train is None else self.train.tokenized
        source, target = self.longest()
        return check_memory(
            self.model,
            self.args,
            tokenized=tokenized,
            collator=self.collator,
            source_length=source,
            target_length=target,
        )


def check_overlap(train: Part, evaluation: Part, name: str = "overlap") -> Check:
    """Look for evaluation samples that stand in the training data."""
    from hf_monitor.seq2seq.overlap import text_overlap

    if (train.tokenized is None) != (evaluation.tokenized is None):
        return skipped(name, "one of the two is tokenized, the other is not: they cannot be compared.")
    if train.tokenized is not None:
        found = text_overlap(train.tokenized, evaluation.tokenized)
    else:
        found = text_overlap(train.samples(), evaluation.samples(), text_column="text")
    if found is None:
        return skipped(name, "the data could not be compared.")
    total, inputs, pairs = max(1, found.n_evaluation_read), found.n_shared_inputs, found.n_shared_pairs
    evidence: dict[str, Any] = {
        "n_evaluation": found.n_evaluation,
        "n_shared_inputs": inputs,
        "n_shared_pairs": pairs,
        "examples": [list(rows) for rows in found.examples],
        "sampled": found.sampled,
    }
    part = " (of large sets a part was read)" if found.sampled else ""
    if not inputs:
        return ok(name, f"none of {total:,} evaluation samples was found in the training data{part}.", **evidence)
    with_summary = "" if pairs is None else f", {pairs:,} of them with its summary"
    sentence = (
        f"the text of {inputs:,} of {total:,} evaluation samples ({inputs / total:.1%}) stands in the training "
        f"data{with_summary}{part}."
    )
    advice = "Take them out of the training data: scores on what was trained on say nothing of new texts."
    if (pairs or 0) >= 2 and (pairs or 0) / total >= SHARED_FAILED:
        return failed(name, sentence, advice, **evidence)
    if inputs >= 2 and inputs / total >= SHARED_FAILED:
        return warning(name, sentence, advice, **evidence)
    return ok(name, sentence, **evidence)
