"""check_before(): everything that can be known before a training is started, in some seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError
from hf_monitor.preflight.checklist import Checklist, skipped
from hf_monitor.preflight.look import Look

if TYPE_CHECKING:
    from hf_monitor.gpu.report import GpuReport

__all__ = ["TITLE", "check_before"]

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

    Raises
    ------
    InputError
        If `trainer` is none.

    Examples
    --------
    >>> checklist = check_before(trainer)  # doctest: +SKIP
    >>> print(checklist)  # doctest: +SKIP
    >>> if not checklist.ok:  # doctest: +SKIP
    ...     raise SystemExit(checklist.exit_code)
    """
    if trainer is not None and not hasattr(trainer, "train_dataset"):
        raise InputError(
            f"trainer must be a Trainer, got {trainer!r} ({type(trainer).__name__}). Parts of one go by their names: "
            "check_before(model=model, tokenizer=tokenizer, train=..., args=args); a run folder to check_after(folder)."
        )
    if trainer is not None:
        model = trainer.model if model is None else model
        tokenizer = trainer.processing_class if tokenizer is None else tokenizer
        train = trainer.train_dataset if train is None else train
        evaluation = trainer.eval_dataset if evaluation is None else evaluation
        args = trainer.args if args is None else args
        collator = trainer.data_collator if collator is None else collator
        compute_metrics = trainer.compute_metrics if compute_metrics is None else compute_metrics
    look = Look(model, tokenizer, args, source_prefix, max_source_length, max_target_length, collator, seed)
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
