"""RunWriter: the one way into a run folder."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from hf_monitor.errors import RunFolderError
from hf_monitor.run.facts import process_facts
from hf_monitor.run.files import AppendFile, replace_file
from hf_monitor.run.rows import encode_row, iter_lines, plain
from hf_monitor.run.secret_sources import public_words
from hf_monitor.run.secrets import SecretMask

log = logging.getLogger("hf_monitor")

__all__ = ["FORMAT", "RESERVED_KEYS", "RunWriter"]

FORMAT = 1
"""Number of the run folder's format; a reader refuses a folder with a higher one."""

RESERVED_KEYS = frozenset({"time", "attempt", "step", "kind"})
"""Keys that every row has; a value logged under one of these names is kept as ``<name>_``."""

# Facts that belong to an attempt (which process?) rather than to the run (what is trained, and how?).
_ATTEMPT_FACTS = ("host", "pid", "pid_started", "boot_id")
_MOST_NAMES = 10_000


def _has_text(values: Mapping[str, Any]) -> bool:
    return any(not isinstance(value, int | float) for value in values.values())


class RunWriter:
    """Writes a run folder: rows to ``*.jsonl``, facts to ``run.json``.

    Nothing touches the disk before :meth:`open` or the first row. Rows go to the operating system at once, one system
    call each. Every session of training into the same folder is an *attempt*: it appends, never overwrites.

    Parameters
    ----------
    run_dir : path-like
        The run folder; made when it is missing.

    Attributes
    ----------
    attempt : int
        Number of the running attempt, from 1; 0 before the first.
    run_id : str
        Name of the run for good, over all attempts; empty before :meth:`open`.
    mask : SecretMask
        Takes secrets out of all that is written; knows those of the process from :meth:`open` on, those of the facts
        from :meth:`begin_attempt` on, and what it was told (``writer.learn``).
    plain_names : set of str
        Names of values in rows so far that hold no secret.
    """

    def __init__(self, run_dir: str | os.PathLike[str]) -> None:
        self.run_dir = Path(run_dir)
        self.attempt = 0
        self.run_id = ""
        self._files: dict[str, AppendFile] = {}
        self._facts: dict[str, Any] = {}
        self.mask = SecretMask()
        self.plain_names: set[str] = set()
        self._lock = threading.RLock()
        self._opened = False
        self._on_disk = False  # is, or was, there a run.json?

    @property
    def facts(self) -> Mapping[str, Any]:
        """What ``run.json`` holds; empty before :meth:`open`."""
        return MappingProxyType(self._facts)

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
                self.run_dir.mkdir(parents=True, exist_ok=True)
                probe = self.run_dir / f".write_test.{os.getpid()}"
                probe.touch()
                probe.unlink()
            except OSError as error:
                reason = "a file of that name is there" if self.run_dir.is_file() else error.strerror or error
                raise RunFolderError(
                    f"the run folder {str(self.run_dir)!r} cannot be written: {reason}. "
                    "Pass another folder (run_dir=...) or mend its permissions."
                ) from error
            if not self._opened:
                self._know(self._read_facts())
                self._opened = True

    def _know(self, facts: dict[str, Any]) -> None:
        """Take over what ``run.json`` holds; nothing means a new run."""
        self._facts = facts
        self._on_disk = bool(facts)
        self.run_id = facts.setdefault("run_id", f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")
        facts.setdefault("created", time.time())
        facts["format"] = FORMAT
        self.mask.learn_process()
        self.mask.learn(public=public_words(*self.run_dir.absolute().parts))
        self.plain_names = set()

    def learn(self, *sources: Mapping[str, Any] | Iterable[str]) -> None:
        """Tell of more secrets, as :meth:`SecretMask.learn <hf_monitor.run.secrets.SecretMask.learn>` takes them."""
        self.mask.learn(*sources)
        self.plain_names = set()

    def _read_facts(self) -> dict[str, Any]:
        path = self.run_dir / "run.json"
        try:
            facts = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            facts = None
        if not isinstance(facts, dict):  # not ours to throw away: set it aside and go on
            path.replace(path.with_name(f"run.json.broken-{time.strftime('%Y%m%d-%H%M%S')}"))
            return {}
        written = facts.get("format", FORMAT)
        if not isinstance(written, int) or written > FORMAT:
            raise RunFolderError(
                f"the run folder {str(self.run_dir)!r} has format {written!r}, this hf_monitor writes format "
                f"{FORMAT}. Update hf_monitor, or pass another folder."
            )
        return facts

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
            found = self._read_facts()
            emptied = self._on_disk and not found and not (self.run_dir / "metrics.jsonl").exists()
            if found or emptied:  # other processes may have had their attempts; or somebody deleted the run
                self._know(found)
            if emptied:
                self.attempt = 0
            for file in self._files.values():
                file.refresh()
            attempts: list[dict[str, Any]] = self._facts.setdefault("attempts", [])
            self.attempt = max(len(attempts), self.attempt, self._last_attempt_on_disk()) + 1
            self.mask.learn_process()
            self.learn(plain(facts or {}))
            found = process_facts(self.mask)
            self.learn(found)
            entry = {"attempt": self.attempt, "time": time.time(), **{key: found.pop(key) for key in _ATTEMPT_FACTS}}
            attempts.append(entry)
            self._merge({**found, **(facts or {})}, before=attempts[-2] if len(attempts) > 1 else None)
            self._write_facts()
            return self.attempt

    def _last_attempt_on_disk(self) -> int:
        """Rows may be there without run.json (deleted, broken): their attempts count."""
        if self._facts.get("attempts"):
            return 0
        try:
            data = (self.run_dir / "metrics.jsonl").read_bytes()
        except OSError:
            return 0
        numbers = [row.get("attempt") for _, row in iter_lines(data) if row]
        return max((number for number in numbers if isinstance(number, int)), default=0)

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
            attempts = self._facts.get("attempts") or []
            self._merge(facts, before=attempts[-2] if begins and len(attempts) > 1 else None)
            self._write_facts()

    def _merge(self, facts: Mapping[str, Any], before: dict[str, Any] | None = None) -> None:
        facts = plain(facts)
        self.learn(facts)
        for key, value in self.mask.values(facts).items():
            # The latest attempt's facts stand on top; what the attempt before it had otherwise stays with that one.
            if before is not None and key in self._facts and self._facts[key] != value:
                before.setdefault("facts", {}).setdefault(key, self._facts[key])
            self._facts[key] = value

    def _write_facts(self) -> None:
        try:
            replace_file(
                self.run_dir / "run.json",
                orjson.dumps(self._facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE),
            )
            self._on_disk = True
        except OSError as error:
            raise RunFolderError(
                f"run.json cannot be written in {str(self.run_dir)!r}: {error.strerror or error}. "
                "Pass another folder (run_dir=...) or mend its permissions."
            ) from error

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
        OSError
            If the row cannot be written; those before it are safe.
        """
        if not self.attempt:
            self.begin_attempt()
        elif not (self.run_dir / "run.json").is_file():
            self._restore()
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
        (self._files.get("metrics.jsonl") or self.file("metrics.jsonl")).append(line)

    def _masked(self, row: Mapping[str, Any]) -> bytes:
        """Encode a row whose values may hold secrets; first plain, so that those within any object are seen."""
        found = plain(row)
        head = {key: found.pop(key) for key in ("time", "attempt", "step", "kind")}
        return orjson.dumps({**head, **self.mask.values(found)}, option=orjson.OPT_APPEND_NEWLINE)

    def _note_names(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in RESERVED_KEYS and len(self.plain_names) < _MOST_NAMES and self.mask.key(name) == name:
                self.plain_names.add(name)

    def _restore(self) -> None:
        """Go on in a folder that was emptied under us; the rows that were in it are lost."""
        with self._lock:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            for file in self._files.values():
                file.refresh()
            self._write_facts()
        log.warning("hf_monitor: %s was emptied during a run; what comes is recorded, what was is lost", self.run_dir)

    def numbers(self, kind: str, step: int, values: dict[str, float]) -> None:
        """Append a row like :meth:`row`, for values that the caller knows to be finite floats: the hot path.

        Raises
        ------
        OSError
            As :meth:`row`.
        """
        if not self.attempt or not self.plain_names.issuperset(values):  # nor is one of them reserved
            self.row(kind, step, values)
            return
        head = {"time": time.time(), "attempt": self.attempt, "step": step, "kind": kind}
        (self._files.get("metrics.jsonl") or self.file("metrics.jsonl")).append(
            orjson.dumps({**head, **values}, option=orjson.OPT_APPEND_NEWLINE)
        )

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append an event (``train_begin``, ``save``, ``train_end``, ``error`` ...) to ``metrics.jsonl``."""
        self.row("event", step, {"event": name, **values})

    def rows(self, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Append many rows to the file called `name` (``"predictions.jsonl"``), together.

        Returns
        -------
        int
            How many rows were written.
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
            self.file(name).append(data)
        return len(lines)

    def close(self) -> None:
        """Close the files. A later row opens them again, in the same attempt."""
        for file in self._files.values():
            file.close()
