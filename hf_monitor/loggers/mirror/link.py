"""Link: what ties a run folder to its W&B run, in the process that writes the folder."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_monitor.loggers.console import say
from hf_monitor.loggers.levels import INFO
from hf_monitor.loggers.mirror import orders
from hf_monitor.loggers.mirror.identity import ASKED, BEFORE, THEIRS, MirroredRun, choose, mirrored_runs, put, update
from hf_monitor.loggers.mirror.mirror import LAST_S, WAIT_S, Mirror, ProcessMirror, ThreadMirror
from hf_monitor.loggers.mirror.spec import ORDERS, MirrorSpec
from hf_monitor.loggers.mirror.staging import Staged, stage
from hf_monitor.loggers.mirror.wishes import Wishes, open_run
from hf_monitor.run.rows import plain
from hf_monitor.run.writer import RunWriter, announce_by_logging

__all__ = ["Link", "announce"]

_begun: set[str] = set()  # ids by WANDB_RUN_ID in this process: the next training has its own
_SPARE = 2  # more checkpoints of that size must fit on the disk
_ARGUMENTS = "training_args.bin"

log = logging.getLogger("hf_monitor")

_ASKED = ("name", "group", "job_type", "notes", "tags", "rewrite", "most_predictions")


def announce(writer: RunWriter, message: str) -> None:
    """Say something, where whoever sits there sees it; in the log, too, where there is one."""
    if writer.announce is announce_by_logging:
        say(message, INFO)
    else:
        writer.announce(message)


class Link:
    """Opens the W&B run of an attempt, and gives orders for it. No method but :meth:`open` raises, but for a disk.

    Parameters
    ----------
    writer : RunWriter
        Of the folder.
    wishes : Wishes

    Attributes
    ----------
    id : str
        Of the W&B run; empty before :meth:`open`.
    run : wandb.Run or None
        The user's, where that is told.
    attempt : int
        Which was opened last.
    failed : bool
        Whether telling W&B could not even begin.
    kept : dict
        What a checkpoint is to know.
    """

    def __init__(self, writer: RunWriter, wishes: Wishes) -> None:
        self.writer = writer
        self.wishes = wishes
        self.id = ""
        self.run: Any = None
        self.attempt = 0
        self.failed = False
        self.kept: dict[str, Any] = {}
        self._mirror: Mirror | None = None
        self._pid = os.getpid()
        self._said: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Whether W&B is told by this process."""
        return self._mirror is not None and self._pid == os.getpid()

    @property
    def is_over(self) -> bool:
        """Whether the run that the user had open is none any more."""
        return self.run is not None and self.wishes.run is None and open_run() is not self.run

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""
        return None if self._mirror is None else self._mirror.url

    def open(self, *, resumed: bool, known: Mapping[str, Any] | None = None) -> None:
        """Choose the W&B run of the running attempt, write that down and begin to tell it.

        Parameters
        ----------
        resumed : bool
            Whether the attempt goes on from an earlier one, or only evaluates what is there.
        known : mapping, optional
            What the checkpoint knows: :attr:`kept`.

        Raises
        ------
        OSError
            If ``wandb.json`` cannot be written.
        """
        folder, attempt = self.writer.run_dir, self.writer.attempt
        self.run = self.wishes.run if self.wishes.run is not None else open_run()
        if self.run is None:
            known = known or {}
            before = known.get("attempt")
            chosen, continued = choose(
                folder,
                self.writer.run_id,
                attempt,
                resumed=resumed,
                from_checkpoint=known.get("id"),
                attempt_before=before if isinstance(before, int) else None,
            )
            if continued and chosen.project is None:
                chosen = replace(chosen, project=known.get("project"))
            if not continued:
                chosen, continued = _by_variables(folder, chosen, attempt)
            wanted = chosen
            chosen = update(  # an earlier mirror of it may still be writing
                folder,
                chosen.id,
                lambda known: replace(
                    known,
                    attempts=wanted.attempts,
                    project=known.project or wanted.project,
                    state="opening",
                    why="",
                    more={**wanted.more, **known.more, ASKED: self._asked()},
                ),
            )
        else:
            chosen, continued = _users_run(folder, self.run, attempt), True
            put(folder, chosen)
        self.id, self.attempt = chosen.id, attempt
        spec = self._spec(chosen, continued)
        self.kept = {"id": chosen.id, "attempt": attempt + spec.attempts_before}
        if project := spec.project or os.environ.get("WANDB_PROJECT"):
            self.kept["project"] = project
        try:
            mirror: Mirror
            if self.run is None:
                mirror = ProcessMirror(spec, self.announce)
            else:
                mirror = ThreadMirror(spec, self.run, self.announce)
                self.announce(
                    f"hf_monitor: W&B: your open run {chosen.id} is told. Where you log into it yourself, leave step= "
                    "out: wandb drops what has a step below the last one."
                )
            mirror.start()
            self._mirror = mirror
        except Exception as error:  # noqa: BLE001 - the policy: whatever is wrong with W&B, a training goes on
            self.failed = True
            self.say(
                "start", f"W&B could not be started: {type(error).__name__}: {error}. The run folder has everything."
            )

    def _masked(self, name: str) -> Any:
        return self.writer.mask.values(plain(getattr(self.wishes, name)))

    def _asked(self) -> dict[str, Any]:
        """Give what a later ``hf-monitor wandb`` must know; what is secret it can only have of the user then."""
        settings = plain(self.wishes.settings or {})
        asked = {name: self._masked(name) for name in _ASKED}
        for name in ("project", "entity"):
            asked[name] = getattr(self.wishes, name) or os.environ.get(f"WANDB_{name.upper()}") or None
        mask = self.writer.mask.values
        public = {name: value for name, value in settings.items() if mask({name: value}) == {name: value}}
        return asked | {"settings": {name: value for name, value in public.items() if name != "mode"}}

    def _place(self, chosen: MirroredRun, name: str) -> str | None:
        """Give the project or entity: a run that goes on is where it is, whatever is asked for now."""
        wished: str | None = getattr(self.wishes, name)
        known: str | None = getattr(chosen, name)
        if self.run is None and known and wished and known != wished:
            self.say(name, f"W&B run {chosen.id} goes on in {name} {known!r}, where it is; {wished!r} is passed over.")
        return known or wished

    def _spec(self, chosen: MirroredRun, continued: bool) -> MirrorSpec:
        wishes, mask = self.wishes, self.writer.mask
        return MirrorSpec(
            run_dir=str(self.writer.run_dir),
            wandb_id=chosen.id,
            attempts=(chosen.ours if self.run is None else ()) or chosen.attempts[-1:],
            resumed=continued,
            project=self._place(chosen, "project"),
            entity=self._place(chosen, "entity"),
            name=self._masked("name"),
            group=self._masked("group"),
            job_type=self._masked("job_type"),
            notes=self._masked("notes"),
            tags=tuple(self._masked("tags")),
            config=mask.values(plain(wishes.config or {})),
            settings=plain(wishes.settings or {}),
            rewrite=wishes.rewrite,
            most_predictions=wishes.most_predictions,
            program=sys.argv[0] if sys.argv else "",
            argv=tuple(mask.values(list(sys.argv[1:]))),
            parent_pid=os.getpid(),
            attempts_before=chosen.more.get(BEFORE, 0),
            users=THEIRS in chosen.more,
        )

    def announce(self, message: str) -> None:
        """Say what became known, where whoever sits there sees it. Never raises."""
        announce(self.writer, message)

    def say(self, topic: str, message: str) -> None:
        """Log a warning, once a topic."""
        if topic not in self._said:
            self._said.add(topic)
            log.warning("hf_monitor: %s", message)

    def order(self, order: Mapping[str, Any]) -> None:
        """Have something shown beside the rows."""
        self.writer.rows(ORDERS, [order])

    def values(self, make: Callable[[Mapping[str, Any]], Mapping[str, Any]], values: Mapping[str, Any]) -> None:
        """Order a config or a summary; what is secret by its name is masked."""
        self.order(make(self.writer.mask.values(plain(values))))

    def checkpoint(
        self, folder: Path, aliases: Sequence[str], step: int, *, name: str = "", weights_only: bool = False
    ) -> None:
        """Order a checkpoint to be kept, of its files as they are now.

        Until they are sent (offline: until ``wandb sync``) they take room, whatever ``save_total_limit`` says: where
        there is none for two more, the checkpoint is not kept for W&B, and that is said.

        Raises
        ------
        OSError
            If it cannot be read.
        """
        needed = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if shutil.disk_usage(self.writer.run_dir).free < _SPARE * needed:
            self.say(
                "room",
                f"{str(folder)!r} is not kept for W&B: the disk has no room for {_SPARE} more of {needed >> 20} MiB. "
                "The training needs it for its own checkpoints.",
            )
            return
        left_out = self._with_secrets(folder)
        staged: Staged = stage(
            folder,
            self.writer.run_dir,
            f"step-{step}-{self.writer.attempt}",
            weights_only=weights_only,
            left_out=left_out,
        )
        if not staged.ours:
            self.say(
                "staging",
                f"checkpoints cannot be linked into the run folder ({staged.why}): W&B is given them where they are, "
                "and copies each one before it is sent. One that is deleted before that is missing in W&B.",
            )
        name = name or f"model-{self.id}"
        self.order(orders.checkpoint(staged.folder, name, aliases, step, staged=staged.ours, left_out=left_out))

    def _with_secrets(self, folder: Path) -> list[str]:
        """Give the names of files that hold a secret in clear: the Trainer saves its arguments with ``hub_token``."""
        path = folder / _ARGUMENTS
        text = path.read_bytes().decode("utf-8", "replace") if path.is_file() else ""
        if self.writer.mask.data(text) == text:
            return []
        self.say(
            "arguments",
            f"{_ARGUMENTS} of the checkpoints holds a secret (hub_token, say): W&B is not given it.",
        )
        return [_ARGUMENTS]

    def drain(self, seconds: float | None = None) -> None:
        """Wait until the user's run was told everything: he may finish it any moment. Ours has all the time."""
        if self.is_open and self.run is not None and self._mirror is not None:
            self._mirror.drain(WAIT_S if seconds is None else seconds)

    def finish(self, exit_code: int | None = None, seconds: float | None = None) -> None:
        """Tell W&B no more; nothing happens where it is not told."""
        if self.is_open and self._mirror is not None:
            mirror, self._mirror = self._mirror, None
            wait = WAIT_S if self.run is None else LAST_S  # the user's was drained before
            mirror.finish(exit_code, wait if seconds is None else seconds)


def _by_variables(folder: Path, chosen: MirroredRun, attempt: int) -> tuple[MirroredRun, bool]:
    """Give a new run the id that ``WANDB_RUN_ID`` names (an agent of a sweep sets it), once in a process.

    One of an earlier attempt is only continued where ``WANDB_RESUME`` says so: a restart before the first checkpoint.
    """
    asked, resume = os.environ.get("WANDB_RUN_ID", "").strip(), os.environ.get("WANDB_RESUME", "").strip()
    resumes = resume.lower() not in ("", "never", "false")
    known = next((one for one in mirrored_runs(folder) if one.id == asked), None)
    if not asked or asked in _begun or (known is not None and not resumes):
        return chosen, False
    _begun.add(asked)
    known = known or MirroredRun(asked)
    return replace(known, attempts=tuple(sorted({*known.attempts, attempt}))), resumes


def _users_run(folder: Path, run: Any, attempt: int) -> MirroredRun:
    """Give the entry of a run that the user has open: what it is told is in it, and is not to be sent again."""
    run_id = str(run.id)
    known = next((one for one in mirrored_runs(folder) if one.id == run_id), MirroredRun(run_id))
    known = replace(known, attempts=tuple(sorted({*known.attempts, attempt})), state="finished", why="")
    texts: dict[str, Any] = {
        name: str(found) for name in ("url", "project", "entity", "name") if (found := getattr(run, name, None))
    }
    theirs = sorted({*known.more.get(THEIRS, ()), attempt})
    return replace(known, **texts, more={**known.more, THEIRS: theirs})
