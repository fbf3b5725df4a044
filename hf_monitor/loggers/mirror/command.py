"""``hf-monitor wandb``: send a run folder to W&B, or what W&B lacks of it."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError
from hf_monitor.loggers.mirror.identity import ASKED, BEFORE, THEIRS, MirroredRun, choose, mirrored_runs
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wishes import PROJECT, Wishes

if TYPE_CHECKING:
    from hf_monitor.run.reader import Run

__all__ = ["add_wandb", "run_wandb"]

_DAY_S = 86400.0


def add_wandb(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    parser = commands.add_parser(
        "wandb",
        help="send a run folder to Weights & Biases, or what is missing there",
        description=(
            "Send a run folder to Weights & Biases: one that was never there, or what could not be sent while it was "
            "trained. What is there already is not sent twice, whoever sent it."
        ),
        epilog="Exit code: 0 all is there (offline: in the file), 1 not all was sent, 2 wrong usage or no such run.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, or the output_dir it lies in")
    parser.add_argument("--project", metavar="NAME", help="where it was never sent (default: WANDB_PROJECT)")
    parser.add_argument("--entity", metavar="NAME", help="user or team (default: WANDB_ENTITY, or that of the key)")
    parser.add_argument("--offline", action="store_true", help="write a file for `wandb sync` instead")
    parser.set_defaults(command=run_wandb)


def run_wandb(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_wandb`.

    Raises
    ------
    InputError
        If a mirror is sending the run at this moment.
    RunFolderError
        If there is no run.
    """
    from hf_monitor.loggers.mirror.host import is_at_work
    from hf_monitor.loggers.mirror.mirror import ProcessMirror
    from hf_monitor.run.reader import load_run

    Wishes(project=options.project, entity=options.entity, given={"project": "--project", "entity": "--entity"})
    run = load_run(Path(options.run).absolute())
    busy = next((one for one in mirrored_runs(run.path) if is_at_work(one)), None)
    if busy is not None:
        raise InputError(f"process {busy.pid} is sending this run at this moment; it ends by itself.")
    all_there = True
    for entry, opened_before in list(_entries(run)):
        if entry.attempts and not entry.ours:
            _say(f"W&B run {entry.id} was told by the program that had it open, and is not opened again: it is yours.")
            continue
        spec = _spec(run, entry, options, resumed=opened_before)
        if command := _has_all(spec, entry, options):
            _say(f"W&B: there is nothing to add to the files of the offline run; this sends it: {command}")
            all_there = all_there and options.offline
            continue
        mirror = ProcessMirror(spec, _say, offline=options.offline)
        mirror.start()
        try:
            mirror.finish(seconds=_DAY_S)  # the process has its own bounds
        except KeyboardInterrupt:
            with suppress(OSError):
                os.kill(mirror.pid, signal.SIGTERM)
            raise
        online = options.offline or mirror.said.get("mode") == "online"
        all_there = all_there and mirror.state == "finished" and online
        if mirror.state == "finished" and mirror.said.get("mode") == "online":
            _say(f"W&B: rows of metrics.jsonl that were missing there: {mirror.rows:,}")
    return 0 if all_there else 1


def _say(text: str) -> None:
    from hf_monitor.gpu.report_text import encodable

    print(encodable(text.removeprefix("hf_monitor: "), sys.stdout), flush=True)


def _entries(run: Run) -> Iterator[tuple[MirroredRun, bool]]:
    """Give the W&B runs of a folder, and whether each was opened before; those it had none of are made up.

    An attempt that goes on from a checkpoint, or only evaluates, is in the run of the attempt before it.
    """
    runs = [(one, bool(one.folders) or BEFORE in one.more or THEIRS in one.more) for one in mirrored_runs(run.path)]
    mirrored = {number for one, _ in runs for number in one.attempts}
    first = {row["attempt"]: row for row in reversed(run.rows) if row.get("event") == "train_begin"}
    for number in sorted({row["attempt"] for row in run.rows if isinstance(row.get("attempt"), int)} - mirrored):
        goes_on = number not in first or (first[number].get("step") or 0) > 0
        after = first.get(number, {}).get("resumed_attempt") or number - 1
        at = max(range(len(runs)), key=lambda at: _last_before(runs[at][0], after + 1), default=-1)
        before = runs[at][0] if runs else MirroredRun("")
        # Not where a later attempt is there already: W&B's steps only ascend.
        joins = bool(_last_before(before, after + 1)) and number > max(before.attempts)
        if goes_on and joins and not before.more.get(THEIRS):
            runs[at] = replace(before, attempts=(*before.attempts, number)), runs[at][1]
            continue
        fresh = choose(run.path, str(run.facts.get("run_id")), number, resumed=False)[0]
        asked = {ASKED: before.more[ASKED]} if ASKED in before.more else {}
        runs.append((replace(fresh, project=before.project, entity=before.entity, more={**fresh.more, **asked}), False))
    yield from runs


def _last_before(entry: MirroredRun, number: int) -> int:
    return max((one for one in entry.attempts if one < number), default=0)


def _has_all(spec: MirrorSpec, entry: MirroredRun, options: argparse.Namespace) -> str:
    """Give the command that sends the offline files of a run, where they hold every row and it cannot be online."""
    from hf_monitor.loggers.mirror.apply import SLOTS
    from hf_monitor.loggers.mirror.wandb_file import files_of, last_step
    from hf_monitor.loggers.mirror.wandb_open import wandb_folder
    from hf_monitor.loggers.wandb_environment import wandb_state
    from hf_monitor.run.rows import iter_lines

    files = files_of(wandb_folder(spec), spec.wandb_id)
    offline = options.offline or wandb_state().mode == "offline"
    if not offline or entry.state != "finished" or entry.more.get("been_online") or not files:
        return ""
    rows = iter_lines((spec.folder / "metrics.jsonl").read_bytes())
    last = max((n for n, row in rows if row and row.get("attempt") in spec.attempts), default=0)
    return (
        shlex.join(["wandb", "sync", *(str(file.parent) for file in files)]) if last_step(files) >= SLOTS * last else ""
    )


def _spec(run: Run, entry: MirroredRun, options: argparse.Namespace, *, resumed: bool) -> MirrorSpec:
    try:
        _, program, *argv = shlex.split(str(run.facts.get("command") or ""))
    except ValueError:
        program, argv = "", []
    asked = entry.more.get(ASKED)
    values = dict(asked) if isinstance(asked, dict) else {}
    values |= {"name": entry.name or values.get("name"), "program": program, "argv": argv, "parent_pid": os.getpid()}
    values |= {"attempts_before": entry.more.get(BEFORE, 0), "users": THEIRS in entry.more}
    values |= {"run_dir": str(run.path), "wandb_id": entry.id, "attempts": entry.ours, "resumed": resumed}
    if not entry.folders:  # as WandBCallback would have named it
        arguments = run.facts.get("arguments")
        values |= _of_trainer(arguments if isinstance(arguments, dict) else {}, values)
    for name in ("project", "entity"):
        values[name] = getattr(options, name) or getattr(entry, name) or values.get(name)
    # The load of this machine is not that of the training, nor need it be the same machine.
    theirs = values.get("settings")
    settings = dict(theirs) if isinstance(theirs, dict) else {}
    values |= {"settings": {**settings, "x_disable_stats": True, "x_disable_meta": resumed}}
    return MirrorSpec.from_dict(values)


def _of_trainer(arguments: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give project and name of a Trainer's run that W&B never had, from its arguments; nothing of another's."""
    if "output_dir" not in arguments:
        return {}
    found: dict[str, Any] = {}
    if not asked.get("project") and not os.environ.get("WANDB_PROJECT"):
        found["project"] = PROJECT
    name = arguments.get("run_name")
    if not asked.get("name") and name and name != arguments["output_dir"]:
        found["name"] = str(name)
    return found
