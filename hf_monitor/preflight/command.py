"""``hf-monitor check``: the checklist before a training from its files, or after one from its run folder."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError

if TYPE_CHECKING:
    from hf_monitor.preflight.checklist import Checklist

__all__ = ["add_check", "run"]

_WRONG_USAGE = 2

# What goes to Seq2SeqTrainingArguments under its own name: (name, type, what stands for it, help).
_TRAINING: tuple[tuple[str, Any, str, str], ...] = (
    ("output_dir", str, "FOLDER", "where checkpoints would go; with RUN: where they are, if not beside it"),
    ("gradient_accumulation_steps", int, "N", "batches of one update; default: 1"),
    ("num_train_epochs", float, "N", "default: 3"),
    ("max_steps", int, "N", "updates; wins over --num_train_epochs"),
    ("warmup_steps", float, "N", "below 1 a share of the training"),
    ("logging_steps", float, "N", "below 1 a share of the training; default: 500"),
    ("eval_steps", float, "N", "with --eval_strategy steps; below 1 a share of the training"),
    ("eval_strategy", str, "WHEN", "no, steps or epoch"),
    ("save_strategy", str, "WHEN", "no, steps, epoch or best"),
    ("save_steps", float, "N", "below 1 a share of the training; default: 500"),
    ("save_total_limit", int, "N", "how many checkpoints are kept"),
    ("optim", str, "NAME", "such as adamw_torch_fused, adafactor"),
    ("dataloader_num_workers", int, "N", "processes that load data; default: 0"),
    ("generation_max_length", int, "TOKENS", "how long a generated text may get"),
    ("metric_for_best_model", str, "NAME", "such as rougeL"),
)
_SWITCHES = {
    "fp16": "half precision; needs a GPU",
    "bf16": "bfloat16; needs a GPU that can, or the CPU",
    "use_cpu": "train on the CPU, though there may be a GPU",
    "save_only_model": "checkpoints without the optimizer's state: smaller, and no training resumes from them",
    "gradient_checkpointing": "less memory, more time",
}


def add_check(commands: Any) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "check",
        help="what is missing before a training, or after one",
        description=(
            "Without RUN: the checklist before a training, of what is named: GPU, output folder, disk, W&B, data, "
            "tokenizer, lengths, steps. With RUN: the checklist after a training, of what is in its run folder. "
            "Nothing is trained, written or downloaded. scripts/train_summarizer.py --check checks exactly what that "
            "script would train."
        ),
        epilog="Exit code: 0 nothing failed (warnings may stand there), 1 something failed, 2 wrong usage.",
        allow_abbrev=False,  # --eval of nothing in particular
    )
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run folder: check it after the training")
    parser.add_argument("--model", metavar="FOLDER", help="a seq2seq model; its weights are not loaded")
    parser.add_argument("--tokenizer", metavar="FOLDER", help="default: that of --model")
    parser.add_argument("--train_file", metavar="FILE", help="training data: JSON, JSONL, CSV or TSV")
    parser.add_argument("--validation_file", metavar="FILE", help="evaluation data: JSON, JSONL, CSV or TSV")
    # Their second names are those of the script, which errors about columns tell.
    parser.add_argument(
        "--source_column", "--text_column", metavar="NAME", help="default: found by its name (dialogue, text ...)"
    )
    parser.add_argument(
        "--target_column", "--summary_column", metavar="NAME", help="default: found by its name (summary ...)"
    )
    parser.add_argument("--source_prefix", default="", metavar="TEXT", help="stands before each text")
    parser.add_argument("--max_source_length", type=_count, metavar="TOKENS", help="texts are cut there")
    parser.add_argument("--max_target_length", type=_count, metavar="TOKENS", help="summaries are cut there")
    parser.add_argument("--batch_size", type=_count, default=8, metavar="N", help="of one device; default: %(default)s")
    parser.add_argument("--report_to", metavar="NAMES", help="such as wandb; several separated by commas")
    for name, kind, shown, text in _TRAINING:
        parser.add_argument(f"--{name}", type=kind, metavar=shown, help=text)
    for name, text in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    parser.add_argument("--no_gpu", action="store_true", help="do not look at the GPU, which takes some seconds")
    parser.add_argument("--json", action="store_true", help="print the checklist as JSON, and nothing else")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Check, print, and give the exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_check`.

    Raises
    ------
    InputError
        For what is no fault of the training but of the command.
    """
    from hf_monitor.preflight.checklist import print_checklist

    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the checklist
        checklist = _before(options) if options.run is None else _after(options)
    try:
        if options.json:
            print(json.dumps(checklist.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_checklist(checklist)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk: whoever reads the file must not take it for the answer
        print(f"hf-monitor: error: the checklist cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return checklist.exit_code


def _after(options: argparse.Namespace) -> Checklist:
    from hf_monitor.preflight.after import check_after

    named = [name for name in ("model", "tokenizer", "train_file", "validation_file") if getattr(options, name)]
    if named:
        raise InputError(f"a RUN is checked after its training, --{named[0]} before one: leave one of the two out.")
    return check_after(options.run, options.output_dir)


def _before(options: argparse.Namespace) -> Checklist:
    named = (options.model, options.tokenizer, options.train_file, options.validation_file, options.output_dir)
    if not any(named):
        raise InputError(
            "there is nothing to check: name a RUN, or of --model, --tokenizer, --train_file, --validation_file, "
            "--output_dir. --help lists all."
        )
    from hf_monitor.preflight.before import check_before
    from hf_monitor.preflight.checklist import failed
    from hf_monitor.preflight.local_models import load_config_and_model, load_tokenizer

    given: dict[str, Any] = {}
    others = []
    if options.model is not None:
        try:
            given["model"], said = load_config_and_model(options.model)
            others.append(said)
        except InputError as error:
            others.append(failed("model", str(error)))
    tokenizer = options.tokenizer or options.model
    if tokenizer is not None:
        try:
            given["tokenizer"] = load_tokenizer(tokenizer)
        except InputError as error:
            others.append(failed("tokenizer", str(error)))
    checklist = check_before(
        **given,
        train=options.train_file,
        evaluation=options.validation_file,
        args=_arguments(options),
        source_column=options.source_column,
        target_column=options.target_column,
        source_prefix=options.source_prefix,
        max_source_length=options.max_source_length,
        max_target_length=options.max_target_length,
        compute_metrics=_Scores(),
        gpu=not options.no_gpu,
        probe_memory=False,
    )
    return checklist.with_checks(others)


class _Scores:
    """Stands for whatever scores the texts: which metrics it gives is not known here."""


def _arguments(options: argparse.Namespace) -> Any:
    """Make the training arguments; None where there is no output folder, which they need."""
    if options.output_dir is None:
        return None
    from transformers import Seq2SeqTrainingArguments

    values = {name: getattr(options, name) for name, *_ in _TRAINING if getattr(options, name) is not None}
    values |= {name: True for name in _SWITCHES if getattr(options, name)}
    reported = [name.strip() for name in (options.report_to or "none").split(",")]
    try:
        return Seq2SeqTrainingArguments(
            **values,
            per_device_train_batch_size=options.batch_size,
            report_to=reported,
            predict_with_generate=True,
        )
    except (ValueError, TypeError, ImportError) as error:
        raise InputError(" ".join(str(error).split())) from error


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)
