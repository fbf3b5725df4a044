"""Host: has a W&B run of its own open, tells it what is in the run folder, and keeps its entry in ``wandb.json``."""

from __future__ import annotations

import os
import re
import shlex
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from hf_monitor.loggers.mirror.apply import SLOTS, Applier
from hf_monitor.loggers.mirror.core_log import skipped
from hf_monitor.loggers.mirror.course import Course
from hf_monitor.loggers.mirror.follow import Follower
from hf_monitor.loggers.mirror.guard import PATIENCE_S, bytes_moved
from hf_monitor.loggers.mirror.identity import (
    ASKED,
    BASE,
    BEFORE,
    THEIRS,
    MirroredRun,
    mirrored_runs,
    set_apart,
    successor,
    update,
)
from hf_monitor.loggers.mirror.spec import ORDERS, MirrorSpec
from hf_monitor.loggers.mirror.told import Told
from hf_monitor.loggers.mirror.wandb_file import files_of
from hf_monitor.loggers.mirror.wandb_open import Opened, drop_core, find_core, open_run, wandb_folder
from hf_monitor.run.process import is_alive, process_identity

__all__ = ["FORMER_S", "HelperGone", "Host", "is_at_work"]

FORMER_S = PATIENCE_S + 30.0
"""How long a mirror waits for an earlier one of the same W&B run that moves nothing; that one gives up before."""
_SAY_S = 5.0  # after that long it is said that there is one
_PAUSE_S = 60.0  # after an opening that failed, where more rows come
_AGAIN_S = 0.5  # before a failed opening's second try
_CORE_S = 5.0
_FAR = 1_000_000  # lines an attempt
_LAST_STEP = "last_step"  # when it was closed
_SYNCED = ".synced"  # ending of the file by which wandb knows that one was sent
_FATAL = '"msg":"filestream: fatal error'
_STATUS = re.compile(r"failed to upload: (\d{3}.*?) url=")
_FILES = ("metrics.jsonl", "predictions.jsonl", ORDERS)


class HelperGone(Exception):
    """wandb's own process has ended: what it had not brought to the disk or the server is to be told again."""


def is_at_work(entry: MirroredRun) -> bool:
    """Say whether a mirror's process is (surely) telling this W&B run now."""
    process = entry.more.get("process")
    return isinstance(process, dict) and process.get("pid") != os.getpid() and is_alive(process) is True


class Host:
    """Opens the run, tells it what is new, closes it, opens it again where more comes.

    Parameters
    ----------
    spec : MirrorSpec
    say : callable
        Told messages, as keywords.
    offline : bool
        Whether the run is to be offline, whatever the variables say.

    Attributes
    ----------
    opened : Opened or None
        While it is open.
    core : psutil.Process or None
        wandb's helper.
    course : Course
        How the training goes, by the rows so far.
    """

    def __init__(self, spec: MirrorSpec, say: Callable[..., None], *, offline: bool = False) -> None:
        self.spec = spec
        self.opened: Opened | None = None
        self.core: psutil.Process | None = None
        self.course = Course()
        self.beats = 0
        self.rows = 0  # that were told
        self._say, self._offline = say, offline
        self._entry = MirroredRun(spec.wandb_id, spec.attempts)
        self._applier: Applier | None = None
        self._follower: Follower | None = None
        self._files: list[Any] = []
        self._notes = 0
        self._base: int | None = None
        self._closed = ""  # why the last opening failed
        self._next_try = 0.0

    @property
    def uploading(self) -> bool:
        """Whether a checkpoint is on its way."""
        applier = self._applier
        return applier is not None and applier.pending() > 0

    def open(self) -> Opened:
        """Open the run, or say why there is none."""
        self._files = self._signature()
        self.spec = replace(self.spec, wandb_id=successor(self.spec.folder, self.spec.wandb_id))
        entry = self._await_former()
        continued = self.spec.resumed or bool(entry.folders)
        self._claim()
        told_step = int(entry.more.get("told_step", -1))
        opened = open_run(self.spec, continued=continued, offline=self._offline, told_step=told_step)
        self.beats += 1
        if opened.mode == "none":  # wandb's helper may have been killed meanwhile, say
            time.sleep(_AGAIN_S)
            opened = open_run(self.spec, continued=continued, offline=self._offline, told_step=told_step)
            self.beats += 1
        if opened.run is not None and self._is_copied(opened):
            opened = self._open_apart(opened)
        self._closed = (opened.why or "it could not be opened") if opened.mode == "none" else ""
        self._next_try = time.monotonic() + _PAUSE_S
        if opened.run is not None:
            self._begin(opened)
        self._enter(opened)
        advice = self.advice() if opened.mode in ("offline", "none") else ""
        self._say(
            wandb="opened",
            mode=opened.mode,
            url=opened.url,
            folder=opened.folder,
            why=opened.why,
            mend=opened.advice,
            afterwards=advice,
        )
        return opened

    def _is_copied(self, opened: Opened) -> bool:
        """Whether someone else has gone on with the W&B run: a copy of this folder, or what this one is a copy of."""
        closed = self._entry.more.get(_LAST_STEP)
        return isinstance(closed, int) and not self.spec.users and opened.last_step > closed

    def _open_apart(self, opened: Opened) -> Opened:
        with suppress(Exception):  # as it was before
            opened.run.finish(exit_code=self._entry.more.get("exit_code") or 0)
        drop_core(patient=True)
        former = self._entry.id
        with suppress(OSError):
            self._entry = set_apart(self.spec.folder, self._entry)
        if self._entry.id == former:
            return Opened(None, "none", f"another copy of this folder goes on with the W&B run {former}")
        self.spec = replace(self.spec, wandb_id=self._entry.id, attempts=self._entry.attempts, resumed=False)
        why = f"W&B has more of run {former} than this folder has told: another copy of the folder goes on with it. "
        self._say(wandb="note", text=f"{why}This one goes on in a W&B run of its own, {self._entry.id}")
        return open_run(self.spec, continued=False, offline=self._offline)

    def _begin(self, opened: Opened) -> None:
        self.opened = opened
        self.core = find_core()
        line, slot = divmod(max(opened.last_step, 0), SLOTS)
        base = self._base = self._base_of(opened, line)
        line, slot = (line - base, slot) if line >= base else (0, 0)
        self._applier = Applier(opened.run, self.spec, numbered=True, first_line=line, first_slot=slot, base=base)
        self._applier.define()
        online, ended = opened.mode == "online", self._last_written()
        told = Told(self.spec.folder, self.spec.wandb_id, opened.last_step, online=online, ended=ended)
        begun = _begin_of(self.spec.folder, self.spec.attempts if line == 0 else self.spec.attempts[-1:])
        offset = self._entry.more.get("log_bytes", -1) if line else -1
        lines, when = self._entry.more.get("emptied") or (0, 0.0)
        emptied = (lines, when if line else 0.0)  # without it nothing is there yet that would come twice
        self._follower = Follower(self.spec, told, since=begun, log_offset=offset, emptied=emptied)
        self._notes = 0

    def _base_of(self, opened: Opened, line: int) -> int:
        """Give how many lines the W&B run has of elsewhere, from where on ours are counted."""
        known = self._entry.more.get(BASE, self._base)
        if known is not None:
            closed = self._entry.more.get(_LAST_STEP)
            if self.spec.users and isinstance(closed, int) and opened.last_step > closed:  # he has gone on with it
                return line - (closed // SLOTS - int(known))
            return int(known)
        if self._entry.folders:  # it began here
            return 0
        before = self._entry.more.get(BEFORE, 1 if self.spec.users else None)
        if opened.mode == "offline" and opened.last_step < 0 and before is not None:
            return _FAR * max(int(before), 1)  # nobody knows: far behind all that it can have
        return line

    def _last_written(self) -> float:
        """Give when the opening before this one wrote its file last; wandb does every few seconds."""
        for folder in reversed(self._entry.folders):
            with suppress(OSError):
                times = [file.stat().st_mtime for file in (self.spec.folder / folder).glob("*.wandb")]
                return max(times, default=0.0)
        return 0.0

    def _enter(self, opened: Opened) -> None:
        changes: dict[str, Any] = {"mode": opened.mode, "why": opened.why, "state": "running"}
        if opened.run is None:
            changes["state"] = "finished" if opened.mode == "disabled" else "unsent"
        else:
            run = opened.run
            changes |= {"project": run.project or None, "entity": run.entity or None, "name": run.name or None}
            changes["url"] = opened.url or self._entry.url
            folder = _within(Path(opened.folder), self.spec.folder)
            changes["folders"] = (*(one for one in self._entry.folders if one != folder), folder)
            core = [self.core.pid, self.core.create_time()] if self.core is not None else None
            been_online = opened.mode == "online" or self._entry.more.get("been_online", False)
            changes["more"] = {**self._entry.more, "core": core, "been_online": been_online, BASE: self._base}
            changes["more"].pop(_LAST_STEP, None)  # not known before it is closed
        self._note(replace(self._entry, **changes))

    def _await_former(self) -> MirroredRun:
        """Wait for an earlier mirror of this W&B run, and for the helper that it left: only then is its file whole."""
        begun = moved = time.monotonic()
        count, said = -1, False
        while is_at_work(entry := self._known()) and time.monotonic() - moved < FORMER_S:
            if (now := _moved_by(entry)) != count:
                count, moved = now, time.monotonic()
                self.beats += 1
            if not said and time.monotonic() - begun > _SAY_S:
                said = True
                self._say(wandb="note", text=f"process {entry.pid} still sends what came before; this waits for it")
            time.sleep(0.1)
        self.beats += 1
        until = time.monotonic() + _CORE_S
        pid, created = entry.more.get("core") or (0, 0.0)
        with suppress(psutil.Error, TypeError, ValueError):
            core = psutil.Process(pid)
            here = not is_at_work(entry) and abs(core.create_time() - created) < 1 and "wandb-core" in core.name()
            while here and core.is_running() and core.status() != psutil.STATUS_ZOMBIE:
                if time.monotonic() > until:
                    core.kill()
                    break
                time.sleep(0.05)
        return entry

    def _known(self) -> MirroredRun:
        mine = [one for one in mirrored_runs(self.spec.folder) if one.id == self.spec.wandb_id]
        entry = mine[0] if mine else MirroredRun(self.spec.wandb_id)
        return replace(entry, attempts=tuple(sorted({*entry.attempts, *self.spec.attempts})))

    def _claim(self) -> None:
        mine = {"process": process_identity()}
        self._write(
            lambda known: replace(
                known,
                attempts=tuple(sorted({*known.attempts, *self.spec.attempts})),
                pid=os.getpid(),
                state="opening",
                more={**known.more, **mine},
            )
        )

    def _note(self, entry: MirroredRun) -> None:
        # A newer mirror may have taken it over while this one hung: then it says how the run is.
        self._entry = entry
        theirs = (ASKED, THEIRS)  # the training's process writes them

        def change(known: MirroredRun) -> MirroredRun:
            if is_at_work(known):
                return replace(known, folders=entry.folders)
            kept = {name: known.more[name] for name in theirs if name in known.more}
            return replace(entry, more={**entry.more, **kept})

        self._write(change)

    def _write(self, change: Callable[[MirroredRun], MirroredRun]) -> None:
        try:
            self._entry = update(self.spec.folder, self.spec.wandb_id, change)
        except OSError:  # a full disk
            self._entry = change(self._known())

    def poll(self, *, last: bool = False) -> int:
        """Tell what is new; how many rows and tables that were.

        Raises
        ------
        HelperGone
            If it is.
        """
        if self._applier is None or self._follower is None:
            return 0
        self._files = self._signature()
        told = 0
        with suppress(OSError):  # a network disk's bad moment: the next look may do
            told = self._follower.poll(_Seen(self), last=last)
        self.beats += told
        if self._follower.emptied[0] != (self._entry.more.get("emptied") or (0,))[0]:
            self._note(replace(self._entry, more={**self._entry.more, "emptied": list(self._follower.emptied)}))
        if self.core is not None and not _lives(self.core):
            raise HelperGone
        for note in self._applier.notes[self._notes :]:
            self._say(wandb="note", text=note)
        self._notes = len(self._applier.notes)
        return told

    def has_news(self, *, last: bool = False) -> bool:
        """Say whether the folder is another one than at the last poll, and it is time for another opening.

        Parameters
        ----------
        last : bool
            Whether the training has ended.
        """
        if self._closed and (last or time.monotonic() < self._next_try):
            return last
        return self._signature() != self._files

    def _signature(self) -> list[Any]:
        found: list[Any] = []
        for name in _FILES:
            try:
                stat = (self.spec.folder / name).stat()
                found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
            except OSError:
                found.append(None)
        return found

    def close(self, exit_code: int) -> str:
        """Tell the rest, and finish the run; whoever calls it bounds it (:class:`Guard`).

        Returns
        -------
        str
            Why not all was sent; empty where it was, or is in the offline file.

        Raises
        ------
        HelperGone
            As :meth:`poll` does.
        """
        if self.opened is None or self._applier is None or self._follower is None:
            return self._closed or (self._entry.why if self._entry.state == "unsent" else "")
        while self.poll(last=True):
            pass
        self._applier.close()
        while not self._applier.settle(1.0):
            if self.core is not None and not _lives(self.core):
                raise HelperGone
        try:
            self.opened.run.finish(exit_code=exit_code)
        except Exception:
            if self.core is not None and not _lives(self.core):
                raise HelperGone from None
            raise
        self.beats += 1
        why = _refused(Path(self.opened.folder)) if self.opened.mode == "online" else ""
        if self.opened.mode == "online" and not why:
            self._mark_synced()
        more = {**self._entry.more, "log_bytes": self._follower.log_offset, "exit_code": exit_code}
        more[_LAST_STEP] = self._applier.step
        if not why:
            self._follower.ended_well()
            more["told_step"] = self._applier.step
            for note in skipped(Path(self.opened.folder)):
                self._say(wandb="note", text=note)
        why = why or self._applier.unsent
        self.forget()
        state = "unsent" if why else "finished"
        self._note(replace(self._entry, state=state, why=why or self._entry.why, more={**more, "core": None}))
        return why

    def forget(self) -> None:
        """Let go of the run, and end wandb's helper if it does not end by itself."""
        if self._applier is not None:
            self._applier.drop()
        if self.opened is not None:
            self.opened = self._applier = self._follower = None
            drop_core(patient=True)
            self.core = None

    def _mark_synced(self) -> None:
        """Mark the offline files as sent, as ``wandb sync`` does: what they hold is there now."""
        for file in self._offline_files():
            with suppress(OSError):
                file.with_name(f"{file.name}{_SYNCED}").touch()

    def _offline_files(self) -> list[Path]:
        files = files_of(wandb_folder(self.spec), self.spec.wandb_id)
        offline = [file for file in files if file.parent.name.startswith("offline-")]
        return [file for file in offline if not file.with_name(f"{file.name}{_SYNCED}").exists()]

    def fail(self, why: str) -> None:
        """Note that not all was sent; nothing of wandb is asked."""
        self._note(replace(self._known(), state="unsent", why=why))

    def advice(self) -> str:
        """Give the command that sends later what is not sent; empty where all is.

        Files of wandb hold all of it only where the run has never been online, and nothing went amiss: `wandb sync`
        puts what is in a file behind what the server has.
        """
        if self._entry.mode == "online" and self._entry.state == "finished":
            return ""
        files = self._offline_files()
        if self._entry.more.get("been_online") or self._entry.state == "unsent" or not files:
            return f"hf-monitor wandb {shlex.quote(str(self.spec.folder))}"
        return shlex.join(["wandb", "sync", *(str(file.parent) for file in files)])


class _Seen:
    """Lets the course see the rows that the applier is told."""

    def __init__(self, host: Host) -> None:
        assert host._applier is not None
        self._host, self._applier = host, host._applier

    @property
    def step(self) -> int:
        return self._applier.step

    def row(self, line: int, row: dict[str, Any]) -> None:
        self._host.course.see(row)
        before = self._applier.line
        self._applier.row(line, row)
        self._host.rows += self._applier.line > before

    def predictions(self, rows: list[dict[str, Any]]) -> None:
        self._applier.predictions(rows)

    def order(self, order: dict[str, Any], sent: Callable[[], None]) -> None:
        self._applier.order(order, sent)

    def logs(self, text: str) -> None:
        self._applier.logs(text)


def _begin_of(run_dir: Path, attempts: tuple[int, ...]) -> float:
    """Give when the first of these attempts began, in epoch seconds; 0 where nobody knows."""
    from hf_monitor.run.rows import decode_line

    try:
        entries = decode_line((run_dir / "run.json").read_bytes()).get("attempts") or []
        return min(float(one["time"]) for one in entries if one.get("attempt") in attempts) - 1.0
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return 0.0


def _refused(folder: Path) -> str:
    """Say why the server took no more; wandb gives up then, and ``finish`` returns as if all were well."""
    try:
        for line in (folder / "logs" / "debug-internal.log").read_text("utf-8", "replace").splitlines():
            if _FATAL in line:
                found = _STATUS.search(line)
                return f"the server refused it{f' ({found[1]})' if found else ''}"
    except OSError:
        pass
    return ""


def _moved_by(entry: MirroredRun) -> int:
    """Give the bytes that a mirror of another process has moved, and its helper; -1 where nobody tells."""
    core = None
    with suppress(psutil.Error, TypeError, ValueError, IndexError):
        core = psutil.Process((entry.more.get("core") or [0])[0])
    try:
        return bytes_moved(psutil.Process(entry.pid), core) >> 13  # less is no more than that they live
    except (psutil.Error, TypeError, ValueError):
        return -1


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _within(folder: Path, run_dir: Path) -> str:
    return str(folder.relative_to(run_dir)) if folder.is_relative_to(run_dir) else str(folder)
