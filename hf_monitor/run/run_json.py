"""``run.json``: the facts of a run and of each of its attempts, rewritten whole by whoever learns of a new one."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from hf_monitor.errors import RunFolderError
from hf_monitor.run.files import is_missing, replace_file
from hf_monitor.run.lock import folder_lock
from hf_monitor.run.process import IDENTITY
from hf_monitor.run.rows import iter_lines
from hf_monitor.run.trouble import reason_of

__all__ = ["FORMAT", "RunJson", "number_of", "rows_on_disk"]

FORMAT = 1
"""Number of the run folder's format; a reader refuses a folder with a higher one."""

_FACTS = dict[str, Any]


def number_of(entry: Mapping[str, Any]) -> int:
    """Give the number of the attempt that an entry or a row belongs to; 0 where it has none."""
    number = entry.get("attempt")
    return number if isinstance(number, int) else 0


def rows_on_disk(run_dir: Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl`` as it is now; nothing where it cannot be read."""
    try:
        data = (run_dir / "metrics.jsonl").read_bytes()
    except OSError:
        return []
    return [row for _, row in iter_lines(data) if row]


class RunJson:
    """The facts, in memory and on the disk, where other processes may write too.

    The latest attempt's facts stand on top; what an earlier attempt had otherwise stays in its entry of ``attempts``.

    Parameters
    ----------
    run_dir : Path
    hide : callable
        Makes facts plain and takes secrets out of them.

    Attributes
    ----------
    facts : dict
        What the file holds, or is to hold.
    attempt : int
        Number of the attempt of this process; 0 before the first.
    stale : bool
        Whether the file is to be written again.
    """

    def __init__(self, run_dir: Path, hide: Callable[[Mapping[str, Any]], _FACTS]) -> None:
        self.run_dir = run_dir
        self.facts: _FACTS = {}
        self.attempt = 0
        self.stale = False
        self._hide = hide
        self._path = run_dir / "run.json"
        self._shown_path = str(self._path)
        self._pending: _FACTS = {}  # known, and not in the file yet
        self._was_there = False

    @property
    def run_id(self) -> str:
        """Name of the run for good; empty before it is known."""
        return str(self.facts.get("run_id", ""))

    def is_missing(self) -> bool:
        """Say whether the file is surely not there (any more)."""
        return is_missing(self._shown_path)

    def load(self) -> None:
        """Take over what the file holds; nothing means a new run.

        Raises
        ------
        RunFolderError
            If the file cannot be read, or was written by a newer format.
        """
        self._know(self._read())

    def _know(self, facts: _FACTS) -> None:
        self.facts = facts
        self._was_there = bool(facts)
        facts.setdefault("run_id", f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}")
        facts.setdefault("created", time.time())
        facts["format"] = FORMAT

    def _read(self) -> _FACTS:
        try:
            facts = orjson.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RunFolderError(
                f"run.json cannot be read in {str(self.run_dir)!r}: {reason_of(error)}. "
                "Pass another folder (run_dir=...) or mend its permissions."
            ) from error
        except ValueError:
            facts = None
        if not isinstance(facts, dict):  # not ours to throw away: set it aside and go on
            self._path.replace(self._path.with_name(f"run.json.broken-{time.strftime('%Y%m%d-%H%M%S')}"))
            return {}
        written = facts.get("format", FORMAT)
        if not isinstance(written, int) or written > FORMAT:
            raise RunFolderError(
                f"the run folder {str(self.run_dir)!r} has format {written!r}, this hf_monitor writes format "
                f"{FORMAT}. Update hf_monitor, or pass another folder."
            )
        return facts

    def begin_attempt(self, process: _FACTS, facts: Mapping[str, Any]) -> list[_FACTS]:
        """Begin an attempt, and write the file.

        Parameters
        ----------
        process : dict
            What is true of this process; what names it goes into the attempt's entry.
        facts : mapping
            What is true of the training.

        Returns
        -------
        list of dict
            The entries of the attempts before.

        Raises
        ------
        RunFolderError
            If the file cannot be read or written.
        """
        self._pending = {}
        with folder_lock(self.run_dir):
            self._sweep()
            found = self._read()
            emptied = self._was_there and not found and not (self.run_dir / "metrics.jsonl").exists()
            if found or emptied:  # other processes may have had their attempts; or somebody deleted the run
                self._know(found)
            if emptied:
                self.attempt = 0
            before: list[_FACTS] = self.facts.setdefault("attempts", [])
            # Rows may be there without run.json (deleted, broken): their attempts count.
            numbers = map(number_of, before or rows_on_disk(self.run_dir))
            self.attempt = max([self.attempt, *numbers]) + 1
            identity = {key: process[key] for key in IDENTITY}
            self.facts["attempts"] = [*before, {"attempt": self.attempt, "time": time.time(), **identity}]
            told = {key: value for key, value in process.items() if key not in IDENTITY}
            self._merge({**told, **facts}, before=before[-1] if before else None)
            self._write()
        return before

    def _sweep(self) -> None:
        """Take away what a process left that was killed while it wrote the file; a minute old, so nobody's any more."""
        for path in self.run_dir.glob(f".{self._path.name}.*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > 60:
                    path.unlink()

    def add(self, facts: Mapping[str, Any]) -> None:
        """Take in what became known; the file is to be saved then."""
        self._pending.update(facts)
        self.stale = True

    def save(self, *, begins: bool = False) -> None:
        """Write the file, with what became known, and with what other processes have written into it meanwhile.

        Parameters
        ----------
        begins : bool
            Whether what became known is what the attempt is about, so that what the one before it had otherwise stays
            with that one.

        Raises
        ------
        RunFolderError
            If it cannot be read or written; it stays to be saved.
        """
        with folder_lock(self.run_dir):
            if self._take_in_others():
                # Another process has begun an attempt since: its facts stand on top, ours stay with ours.
                for entry in self.facts["attempts"]:
                    if number_of(entry) == self.attempt:
                        entry.setdefault("facts", {}).update(self._hide(self._pending))
            else:
                attempts = self.facts.get("attempts") or []
                self._merge(self._pending, before=attempts[-2] if begins and len(attempts) > 1 else None)
            self._write()
        self._pending = {}

    def _take_in_others(self) -> bool:
        """Take in what other processes have written; say whether one of them began after us."""
        found = self._read()
        others = {number_of(entry): entry for entry in found.get("attempts") or [] if number_of(entry) != self.attempt}
        if max(others, default=0) > self.attempt:
            self._know(found)
            return True
        own = [entry for entry in self.facts.get("attempts") or [] if number_of(entry) not in others]
        self.facts["attempts"] = sorted([*own, *others.values()], key=number_of)
        return False

    def _merge(self, facts: Mapping[str, Any], before: _FACTS | None) -> None:
        for key, value in self._hide(facts).items():
            if before is not None and key in self.facts and self.facts[key] != value:
                before.setdefault("facts", {}).setdefault(key, self.facts[key])
            self.facts[key] = value

    def _write(self) -> None:
        try:
            replace_file(self._path, orjson.dumps(self.facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
        except OSError as error:
            raise RunFolderError(
                f"run.json cannot be written in {str(self.run_dir)!r}: {reason_of(error)}. "
                "Pass another folder (run_dir=...) or mend its permissions."
            ) from error
        self._was_there, self.stale = True, False
