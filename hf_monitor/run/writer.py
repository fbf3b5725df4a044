"""RunWriter: the one way into a run folder."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

import orjson

from hf_monitor.errors import RunFolderError
from hf_monitor.run.backlog import RETRY_SECONDS
from hf_monitor.run.facts import process_facts
from hf_monitor.run.files import AppendFile, try_folder
from hf_monitor.run.forks import renew_in_children
from hf_monitor.run.process import is_alive
from hf_monitor.run.rows import decode_line, encode_row, plain
from hf_monitor.run.run_json import FORMAT, RunJson, rows_on_disk
from hf_monitor.run.secret_sources import environment_values, public_words
from hf_monitor.run.secrets import SecretMask
from hf_monitor.run.trouble import Trouble, reason_of

log = logging.getLogger("hf_monitor")

__all__ = ["FORMAT", "RESERVED_KEYS", "RunWriter", "announce_by_logging"]

RESERVED_KEYS = frozenset({"time", "attempt", "step", "kind"})
"""Keys that every row has; a value logged under one of these names is kept as ``<name>_``."""

_MOST_NAMES = 10_000
_EMPTIED = "the folder was emptied"
_PATIENCE = 10.0 - RETRY_SECONDS


def announce_by_logging(message: str) -> None:
    """Announce where no log does: at the level of information, which is mostly not shown."""
    log.info(message)


def _has_text(values: Mapping[str, Any]) -> bool:
    return any(not isinstance(value, int | float) for value in values.values())


def _renew_locks(writer: RunWriter) -> None:
    writer._lock = threading.RLock()
    writer.trouble.renew_lock()


class RunWriter:
    """Writes a run folder: rows to ``*.jsonl``, facts to ``run.json``.

    Nothing touches the disk before :meth:`open` or the first row. Rows go to the operating system at once, one system
    call each. Every session of training into the same folder is an *attempt*: it appends, never overwrites.

    Once an attempt has its first row, a disk that fails raises nothing any more: it is reported once, rows wait in
    memory (up to 8 MiB a file, then the oldest are given up) and are tried again, at most once a second, at the next
    row, by :meth:`flush` and when the process ends. An event ``recording_resumed`` then says what came late.

    Parameters
    ----------
    run_dir : path-like
        The run folder; made when it is missing.

    Attributes
    ----------
    trouble : Trouble
        What all who write into this folder share, so that a failing disk is reported once.
    announce : callable
        Told, as a text, when recording works again.
    note : callable
        Told, as a text, what belongs into a log and need not be shown.
    mask : SecretMask
        Takes secrets out of all that is written; knows those of the process from :meth:`open` on, those of the facts
        from :meth:`begin_attempt` on, and what it was told (``writer.learn``).
    plain_names : set of str
        Names of values in rows so far that hold no secret.
    on_row : callable or None
        Told each row of ``metrics.jsonl`` after it was written, as a reader will find it. It must not raise.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir = Path(run_dir).absolute()  # whatever becomes of the working directory
        self._files: dict[str, AppendFile] = {}
        self._json = RunJson(self.run_dir, self._hidden)
        self.mask = SecretMask()
        self.plain_names: set[str] = set()
        self._lock = threading.RLock()
        self._opened = False
        self.trouble = Trouble(self.run_dir)
        self.announce: Callable[[str], None] = announce_by_logging
        self.note: Callable[[str], None] = announce_by_logging
        self._proven = False  # has the attempt a row on the disk?
        self._tend_at = 0.0
        self._step = 0
        self._pid = -1
        self._told: tuple[int, int] | None = None
        self.on_row: Callable[[dict[str, Any]], None] | None = None
        renew_in_children(self, _renew_locks)

    @property
    def attempt(self) -> int:
        """Number of the running attempt, from 1; 0 before the first."""
        return self._json.attempt

    @property
    def run_id(self) -> str:
        """Name of the run for good, over all attempts; empty before :meth:`open`."""
        return self._json.run_id

    @property
    def facts(self) -> Mapping[str, Any]:
        """What ``run.json`` holds; empty before :meth:`open`."""
        return MappingProxyType(self._json.facts)

    @property
    def is_copy(self) -> bool:
        """Whether this process was forked from the one that began the attempt: it writes nothing before its own."""
        return self._pid not in (-1, os.getpid())

    def file(self, name: str) -> AppendFile:
        """Give the file of rows called `name` (``"metrics.jsonl"``) in this folder."""
        found = self._files.get(name)
        if found is None:
            found = self._files.setdefault(name, AppendFile(self.run_dir / name))
        return found

    def open(self) -> None:
        """Make the folder and read what an earlier attempt left in it.

        Raises
        ------
        RunFolderError
            If the folder cannot be made or written, or was written by a newer format.
        """
        with self._lock:
            if self._opened and self.run_dir.is_dir():
                return
            try:
                try_folder(self.run_dir)
            except OSError as error:
                reason = "a file of that name is there" if self.run_dir.is_file() else error.strerror or error
                raise RunFolderError(
                    f"the run folder {str(self.run_dir)!r} cannot be written: {reason}. "
                    "Pass another folder (run_dir=...) or mend its permissions."
                ) from error
            if not self._opened:
                self._json.load()
                self._learn_process()
                self._opened = True

    def _learn_process(self) -> None:
        self.mask.learn_process()
        self.learn()
        self.mask.learn(public=public_words(*self.run_dir.absolute().parts))

    def learn(self, *sources: Mapping[str, Any] | Iterable[str]) -> None:
        """Tell of more secrets, as :meth:`SecretMask.learn <hf_monitor.run.secrets.SecretMask.learn>` takes them."""
        self.mask.learn(*sources)
        self.plain_names = set()

    def begin_attempt(self, facts: Mapping[str, Any] | None = None) -> int:
        """Begin a new attempt: collect the facts about this process and write them with `facts` to ``run.json``.

        Parameters
        ----------
        facts : mapping, optional
            What the caller knows: ``arguments``, ``model``, ``data``, ``devices``, ``precision``, ``seed`` ...

        Returns
        -------
        int
            The attempt's number, from 1.

        Raises
        ------
        RunFolderError
            As :meth:`open`.
        """
        with self._lock:
            self.open()
            if self.is_copy:  # a training of a forked child's own: the parent's files are not its
                self._files = {}
            self._proven, self._pid = False, os.getpid()
            self._learn_process()
            self.learn(plain(facts or {}))
            process = process_facts(self.mask)  # takes a moment (git): before anybody else has to wait
            for file in self._files.values():
                file.refresh()
            before = self._json.begin_attempt(process, facts or {})
            self._warn_of_others(before)
            return self.attempt

    def _warn_of_others(self, attempts: list[dict[str, Any]]) -> None:
        """Say so if another process is training into this folder at this moment."""
        for entry in attempts[-3:]:
            if entry.get("pid") != os.getpid() and is_alive(entry) and self._trains(entry.get("attempt")):
                log.warning(
                    "hf_monitor: another process (pid %s) is recording into %s too: both are kept, as attempts %s and "
                    "%d of one run, of which run.metrics shows the latest. Name another folder (run_dir) to keep them "
                    "apart.",
                    entry.get("pid"),
                    self.run_dir,
                    entry.get("attempt"),
                    self.attempt,
                )

    def _trains(self, attempt: Any) -> bool:
        events = [row.get("event") for row in rows_on_disk(self.run_dir) if row.get("attempt") == attempt]
        last = [event for event in events if event in ("train_begin", "train_end", "error")]
        return last[-1:] == ["train_begin"]

    def update_facts(self, facts: Mapping[str, Any], *, begins: bool = False) -> None:
        """Add to ``run.json`` what became known later (the signature of the scores, say).

        Parameters
        ----------
        facts : mapping
        begins : bool
            Whether this is what the attempt is about (it had only evaluated so far), so that what the attempt before it
            had otherwise stays with that one.
        """
        with self._lock:
            if not self.attempt:
                self.begin_attempt(facts)
                return
            self._json.add(facts)
            if begins:
                self._json.save(begins=True)
            elif self.trouble.since is None:
                self._tend()

    def _hidden(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = plain(facts)
        self.learn(found)
        hidden: dict[str, Any] = self.mask.values(found)
        return hidden

    def row(self, kind: str, step: int, values: Mapping[str, Any], *, now: float | None = None) -> None:
        """Append one row to ``metrics.jsonl``; it is with the operating system when the call returns.

        Parameters
        ----------
        kind : str
            ``"train"``, ``"eval"``, ``"train_summary"``, ``"predict"``, ``"event"`` ...
        step : int
            Optimizer steps taken.
        values : mapping of str to object
            Metric names and values, as Hugging Face spells them. Not changed.
        now : float, optional
            Epoch seconds.

        Raises
        ------
        RunFolderError
            If the first row of an attempt cannot be written. Later ones then wait in memory.
        """
        if not self.attempt:
            self.begin_attempt()
        elif self.trouble.since is None and self._json.is_missing():
            self._tend()
        self._step = step
        row = {"time": time.time() if now is None else now, "attempt": self.attempt, "step": step, "kind": kind}
        if RESERVED_KEYS.isdisjoint(values):
            row.update(values)
        else:
            row.update({f"{key}_" if key in RESERVED_KEYS else key: value for key, value in values.items()})
        if not self.plain_names.issuperset(values) or _has_text(values):
            self._note_names(values)
            line = self._masked(row)
        else:
            line = encode_row(row)
        self._put("metrics.jsonl", line)
        if self.on_row is not None:
            self.on_row(decode_line(line))

    def _masked(self, row: Mapping[str, Any]) -> bytes:
        """Encode a row whose values may hold secrets; first plain, so that those within any object are seen."""
        found = plain(row)
        head = {key: found.pop(key) for key in ("time", "attempt", "step", "kind")}
        return orjson.dumps({**head, **self.mask.values(found)}, option=orjson.OPT_APPEND_NEWLINE)

    def _note_names(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in RESERVED_KEYS and len(self.plain_names) < _MOST_NAMES and self.mask.key(name) == name:
                self.plain_names.add(name)

    def numbers(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Append a row like :meth:`row`, for values that the caller knows to be finite floats: the hot path.

        Raises
        ------
        RunFolderError
            As :meth:`row`.
        """
        attempt = self._json.attempt
        if not attempt or not self.plain_names.issuperset(values):  # nor is one of them reserved
            self.row(kind, step, values)
            return
        self._step = step
        row = {"time": time.time(), "attempt": attempt, "step": step, "kind": kind, **values}
        self._put("metrics.jsonl", orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        if self.on_row is not None:
            self.on_row(row)

    def _put(self, name: str, lines: bytes, *, patience: float = 0.0) -> None:
        if monotonic() >= self._tend_at + patience:
            self._tend()
        file = self._files.get(name) or self.file(name)
        try:
            if not self._proven:
                file.flush()
            file.append(lines)
        except OSError as error:
            if not self._proven:
                file.waiting.clear()
                raise RunFolderError(
                    f"{name} cannot be written in {str(self.run_dir)!r}: {reason_of(error)}. "
                    "Pass another folder (run_dir=...) or mend it."
                ) from error
            self._tend_at = monotonic() + RETRY_SECONDS
            self._fail(name, error)
        self._proven = True

    def _fail(self, part: str, error: OSError) -> None:
        if self.trouble.since is None:
            atexit.register(self._at_exit)
        self.trouble.report(part, error, lasting=True)

    def _tend(self) -> None:
        """See whether the folder is as we left it, and try again what could not be written: at most once a second."""
        if self.is_copy:
            return
        with self._lock:
            self._tend_at = monotonic() + RETRY_SECONDS
            if not self.attempt:
                return
            environment = tuple(environment_values(os.environ))
            if not self.mask.knows(environment):
                self.learn(environment)
            gone = [file for file in self._files.values() if file.is_gone()]
            for file in gone:
                file.start_anew()
            emptied = bool(gone) or self._json.is_missing()
            self._json.stale = self._json.stale or emptied
            failed = not self._try("run.json", self._restore) if self._json.stale else False
            for name, file in tuple(self._files.items()):
                failed = not self._try(name, file.flush) or failed
            if failed:
                return
            if emptied:
                self.trouble.say(
                    f"{str(self.run_dir)!r} was emptied during a run. It is filled again from here on, and with the "
                    "rows of about the last second; those before are lost.",
                    _EMPTIED,
                    lasting=True,
                )
            if self.trouble.since is not None:
                self._resume()

    def _try(self, part: str, action: Callable[[], object]) -> bool:
        try:
            action()
        except OSError as error:
            self._fail(part, error)
            return False
        return True

    def _restore(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self._json.save()

    def _resume(self) -> None:
        """Say that a spell without a disk is over."""
        seconds = self.trouble.end()
        atexit.unregister(self._at_exit)
        late, lost = self._count()
        for file in self._files.values():
            file.late = file.waiting.lost = 0
        self._told = None
        reason = self.trouble.reason
        self.event(
            "recording_resumed", self._step, late_rows=late, lost_rows=lost, seconds=round(seconds, 3), reason=reason
        )
        told = (
            f"{late} rows of the last second are written again"
            if reason == _EMPTIED
            else f"{late} rows came late, {lost} are lost"
        )
        self.announce(
            f"hf_monitor: recording to {str(self.run_dir)!r} works again after {seconds:.1f} s ({reason}): {told}."
        )

    def _count(self) -> tuple[int, int]:
        files = self._files.values()
        return sum(file.late for file in files), sum(file.waiting.lost for file in files)

    def flush(self, *, last: bool = False) -> int:
        """Try now to write what waits in memory after a failure.

        Parameters
        ----------
        last : bool
            Whether to log an error where rows are left, as at the end of a training.

        Returns
        -------
        int
            How many rows still wait.
        """
        self._tend()
        waiting = sum(len(file.waiting) for file in self._files.values())
        lost = self._count()[1]
        if last and (waiting or lost) and self._told != (waiting, lost):
            self._told = waiting, lost
            log.error(
                "hf_monitor: %d rows could not be written to %r (%s); those that still wait in memory are tried once "
                "more when the process ends",
                waiting + lost,
                str(self.run_dir),
                self.trouble.reason,
            )
        return waiting

    def _at_exit(self) -> None:
        if self._pid == os.getpid():
            self.flush(last=True)

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append an event (``train_begin``, ``save``, ``train_end``, ``error`` ...) to ``metrics.jsonl``."""
        self.row("event", step, {"event": name, **values})

    def rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Append many rows to the file called `name` (``"predictions.jsonl"``), together.

        Returns
        -------
        int
            How many rows there were.
        """
        if not self.attempt:
            self.begin_attempt()
        now = time.time()
        found = [{"time": now, "attempt": self.attempt, **row} for row in rows]
        lines = [encode_row(row) for row in found]
        data = b"".join(lines)
        if self.mask.may_change(data):  # texts of people and models: known values and shapes are masked in them
            may_change = self.mask.may_change
            data = b"".join(
                orjson.dumps(self.mask.data(plain(row)), option=orjson.OPT_APPEND_NEWLINE) if may_change(line) else line
                for row, line in zip(found, lines, strict=True)
            )
        if lines:
            self._put(name, data)
        return len(lines)

    def encoded(self, name: str, lines: bytes) -> None:
        r"""Append lines to the file called `name` that the caller has encoded, each one strict JSON with a ``\n``.

        Only for numbers and our own words: no secret is looked for in them. Made for many small samples: whether the
        folder is still there is left to the rows of the training to find out, for ten seconds.

        Raises
        ------
        RunFolderError
            As :meth:`row`.
        """
        self._put(name, lines, patience=_PATIENCE if self.trouble.since is None else 0.0)

    def close(self) -> None:
        """Close the files, after a last try to write what waits. A later row opens them again, in the same attempt."""
        self.flush(last=True)
        for file in self._files.values():
            file.close()
