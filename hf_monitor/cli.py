"""hf-monitor: the command line. Importing it is light; each command imports what it needs."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from hf_monitor._version import __version__
from hf_monitor.diagnosis.command import add_diagnose
from hf_monitor.errors import HfMonitorError
from hf_monitor.loggers.mirror.command import add_wandb
from hf_monitor.preflight.backup_command import add_backup
from hf_monitor.preflight.command import add_check
from hf_monitor.report.command import add_report
from hf_monitor.report.compare_command import add_compare
from hf_monitor.report.watch.command import add_watch

__all__ = ["main"]

_USABLE, _NOT_USABLE, _WRONG_USAGE, _INTERRUPTED = 0, 1, 2, 130
_DAY = 86400.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and give its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        What follows ``hf-monitor``; that of the process where None.

    Returns
    -------
    int
        What the command says (``hf-monitor gpu``: 0 usable, 1 not; ``plan``: 0 a batch fits, 1 none does; ``check``: 0
        nothing failed, 1 something did; ``diagnose``: 0 nothing found, 1 a warning or an error; ``report``,
        ``compare``: 0 made; ``watch``: 0 it finished, 1 it ended otherwise; ``backup``: 0 packed, 1 ``--verify`` found
        damage; ``wandb``: 0 all was sent, 1 not all), 2 for wrong usage and for a report that cannot be written, 130
        after Ctrl-C.

    Raises
    ------
    SystemExit
        By argparse: after ``--help`` and ``--version`` (0) and for wrong usage (2).
    """
    try:
        return _run(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except HfMonitorError as error:
        print(f"hf-monitor: error: {error}", file=sys.stderr)
        return _WRONG_USAGE
    finally:
        _end_output()


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] | None = options.command
    if command is None:
        parser.print_help()
        return 0
    return command(options)


def _end_output() -> None:
    """Write what is left; where the reader has gone (``| head``) or the disk is full, Python adds no complaint."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hf-monitor", description="Watch and explain Hugging Face trainings, and the machine they run on."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    gpu = commands.add_parser(
        "gpu",
        help="is the GPU usable and why not, which tier is it in",
        description=(
            "Say whether torch can train on the GPU of this machine. Where it can: each device, its memory, precision "
            "and tier, with a batch size to begin with. Where it cannot: the cause, and a command to copy."
        ),
        epilog=(
            "Exit code: 0 usable, 1 not usable, 2 wrong usage, or the report cannot be written. Only a terminal gets "
            "colour, and not with NO_COLOR."
        ),
    )
    gpu.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else")
    gpu.add_argument(
        "--timeout",
        type=_seconds,
        default=60.0,
        metavar="SECONDS",
        help="how long the check may take (default: %(default)g)",
    )
    gpu.set_defaults(command=_gpu)
    _add_plan(commands)
    add_check(commands)
    add_diagnose(commands)
    add_report(commands)
    add_compare(commands)
    add_watch(commands)
    add_backup(commands)
    add_wandb(commands)
    return parser


def _add_plan(commands: Any) -> None:
    plan = commands.add_parser(
        "plan",
        help="which batch fits a GPU that is not here",
        description=(
            "Estimate batch size, accumulation, precision and peak memory for a GPU that is not here, without loading "
            "weights and without a network. With neither --gpu nor --memory: a table over common cards."
        ),
        epilog=(
            "Known without a network: t5-small, t5-base, t5-large, facebook/bart-base, facebook/bart-large, "
            "google/mt5-small, google/mt5-base, gogamza/kobart-base-v2; others from a folder, a config.json or the "
            "local cache. It takes half a minute for a base model on one core. Exit code: 0 a batch fits (one of the "
            "cards), 1 none does, 2 wrong usage."
        ),
        allow_abbrev=False,  # --optim of a training script is not --optimizer of this command
    )
    plan.add_argument("--model", required=True, metavar="NAME_OR_CONFIG", help="a folder, a config.json, or a name")
    plan.add_argument("--source_length", type=_count, default=512, metavar="TOKENS", help="default: %(default)s")
    plan.add_argument("--target_length", type=_count, default=128, metavar="TOKENS", help="default: %(default)s")
    plan.add_argument("--gpu", metavar="NAME", help='such as "RTX 3060"; with --memory any name')
    plan.add_argument("--memory", metavar="SIZE", help="such as 12GiB")
    plan.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    plan.add_argument("--optimizer", default="adamw_torch_fused", metavar="NAME", help="default: %(default)s")
    plan.add_argument("--gradient_checkpointing", action="store_true")
    plan.add_argument("--num_processes", type=_count, default=1, metavar="N", help="default: %(default)s")
    plan.add_argument("--effective_batch_size", type=_count, default=128, metavar="N", help="default: %(default)s")
    plan.add_argument("--json", action="store_true", help="print the plans as JSON, and nothing else")
    plan.set_defaults(command=_plan)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, 1 or more, got {text!r}")
    return int(text)


def _plan(options: argparse.Namespace) -> int:
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the plan
        from hf_monitor.auto_batch.offline import run
        from hf_monitor.auto_batch.offline_table import plan_text

        plans, lengths = run(options)
    try:
        if options.json:
            print(json.dumps([plan.to_dict() for plan in plans], indent=2, allow_nan=False))
        else:
            print(plan_text(plans, options.model, lengths))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:
        print(f"hf-monitor: error: the plan cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return _USABLE if any(plan.batch_size is not None for plan in plans) else _NOT_USABLE


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= _DAY:  # also for nan
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, a day at most, got {text!r}")
    return seconds


def _gpu(options: argparse.Namespace) -> int:
    from hf_monitor.gpu import check_gpu_compatibility

    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the report
        report = check_gpu_compatibility(timeout_s=options.timeout)
    try:
        if options.json:
            print(json.dumps(report.to_dict(), indent=2, allow_nan=False))
        else:
            from hf_monitor.gpu.report_text import print_report

            print_report(report)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk: whoever reads the file must not take it for the answer
        print(f"hf-monitor: error: the report cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return _USABLE if report.usable else _NOT_USABLE


if __name__ == "__main__":
    sys.exit(main())
