"""Follower: a run folder, looked at again and again; each look reads what was appended since the last one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_monitor.errors import RunFolderError
from hf_monitor.report.watch.state import State
from hf_monitor.run.ending import Ending
from hf_monitor.run.process import is_alive
from hf_monitor.run.reader import Rows, Run, load_run
from hf_monitor.run.tail import PIECE_BYTES, Tail

__all__ = ["Follower"]

_SAMPLES = re.compile(r"system(?:\.rank(\d+))?\.jsonl")
_SAMPLES_KEPT = 256 << 10  # bytes of the end of each file of samples: some minutes of several cards
_WHOLE = 4 << 20  # of metrics.jsonl: so much is read line by line
_ENOUGH = 1 << 20  # of a longer one about as many logs as so many bytes hold: some thousands, a curve has 1024 points
_FREQUENT = (b'"kind":"train"', b'"kind":"timing"')


class Follower:
    """Follows a run that somebody else writes; it writes nothing and takes no lock.

    Parameters
    ----------
    path : path-like
        The run folder or the ``output_dir``; it need not be there yet.

    Attributes
    ----------
    state : State
    folder : Path or None
        None as long as there is no run.
    problem : str
        Why something could not be read at the last look; mostly empty.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).expanduser()
        self.state = State()
        self.folder: Path | None = None
        self.problem = ""
        self._tails: dict[str, Tail] = {}
        self._facts: tuple[int, ...] | None = None
        self._ranks: tuple[Any, Any] = (None, {})

    @property
    def broken_lines(self) -> int:
        """Lines that could not be read, of all files."""
        return sum(tail.broken_lines for tail in self._tails.values())

    def look(self, tell: Callable[[float], None] = lambda share: None) -> None:
        """Read what is new.

        Parameters
        ----------
        tell : callable, optional
            Called with the share that is read, 0 to 1, after each piece of a long file.

        Raises
        ------
        RunFolderError
            If what is there is no run and will not become one: a file, an archive, a folder of several runs, a run
            that a newer hf_monitor wrote.
        """
        self.problem = ""
        if self.folder is None:
            self.folder = _found(self.path)
            if self.folder is None:
                return
        try:
            self._read(tell)
            ending = self._judge()
            if ending.status == "killed":  # the process is gone: its last words may have come after we had read
                self._read(tell)
                ending = self._judge()
            self.state.ending = ending
        except OSError as error:  # a network disk that is away for a while: what was read stays on the screen
            self.problem = f"{error.filename or self.folder}: {error.strerror or error}"

    def _read(self, tell: Callable[[float], None]) -> None:
        assert self.folder is not None
        tail = self._tails.setdefault("metrics.jsonl", Tail(self.folder / "metrics.jsonl"))
        restarts = tail.restarts
        thinner = _Thinner(_size(tail.path) - tail.offset)
        while True:
            rows = tail.rows(thinner if tail.behind > PIECE_BYTES or not tail.offset else None)
            if tail.restarts != restarts:
                restarts = tail.restarts
                self._begin_anew()
            self.state.feed(rows)
            if not tail.behind:
                break
            tell(tail.offset / (tail.offset + tail.behind))
        self._read_facts()
        self._read_samples()

    def _begin_anew(self) -> None:
        """Forget what a file said that is no longer there."""
        self.state = State(self.state.facts)
        self._tails = {name: tail for name, tail in self._tails.items() if name == "metrics.jsonl"}
        self._facts = None

    def _read_facts(self) -> None:
        assert self.folder is not None
        found = _signature(self.folder / "run.json")
        if found != self._facts:
            self._facts = found
            self.state.facts = Run(self.folder).facts or self.state.facts

    def _read_samples(self) -> None:
        assert self.folder is not None
        for name in sorted(os.listdir(self.folder)):  # noqa: PTH208 - names are all that is needed, each second
            match = _SAMPLES.fullmatch(name)
            if match is None:
                continue
            tail = self._tails.get(name)
            if tail is None:
                tail = self._tails[name] = Tail(self.folder / name)
                head = [row for row in tail.rows(most=PIECE_BYTES // 16) if row.get("kind") == "event"]
                self.state.feed_samples(head, int(match[1] or 0))  # what the cards are
                tail = self._tails[name] = Tail(self.folder / name)
                tail.skip(_SAMPLES_KEPT)
            while True:
                self.state.feed_samples(tail.rows(), int(match[1] or 0))
                if not tail.behind:
                    break

    def _judge(self) -> Ending:
        assert self.folder is not None
        run = _Known(self.folder, self.state)
        files = [(path.name, *_signature(path)) for path in sorted(self.folder.glob("rank*.jsonl"))]
        signature = (files, len(run.rows), self._facts)  # they hold a few events: read anew where they changed
        if self._ranks[0] == signature:
            run.__dict__["_ranks"] = self._ranks[1]
        found = run.ending_now()
        self._ranks = (signature, run.__dict__.get("_ranks", self._ranks[1]))
        if found.status == "finished" and not run.events and self._lives(run):
            return found._replace(status="running")  # an evaluation before the training, maybe
        return found

    @staticmethod
    def _lives(run: Run) -> bool:
        return bool(run.attempts) and is_alive(run.attempts[-1]) is True


class _Known(Run):
    """A run of which the few rows are known that tell how it stands."""

    def __init__(self, folder: Path, state: State) -> None:
        super().__init__(folder)
        self.__dict__["facts"] = dict(state.facts)
        self._telling = Rows(state.telling_rows())

    @cached_property
    def rows(self) -> Rows:
        return self._telling

    def ending_now(self) -> Ending:
        """Judge by these rows, without reading all of them again."""
        return self._judged()


class _Thinner:
    """Of the logs of a long file, chooses enough for a curve; all other rows are kept, and the last ones."""

    def __init__(self, n_bytes: int) -> None:
        # Odd, since training logs and timings mostly take turns.
        self._one_in = n_bytes // _ENOUGH | 1 if n_bytes > _WHOLE else 1

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        if self._one_in == 1:
            return lines
        train, timing = _FREQUENT
        one_in = self._one_in
        return [
            line
            for place, line in enumerate(lines)
            if place % one_in == 0 or (train not in line and timing not in line)
        ]


def _found(path: Path) -> Path | None:
    """Give the run folder; None where there is none yet.

    Raises
    ------
    RunFolderError
        As :func:`load_run` does, where waiting would not help.
    """
    try:
        return load_run(path).path
    except RunFolderError:
        patterns = ("*/run.json", "*/metrics.jsonl", "*/monitor/run.json", "*/monitor/metrics.jsonl")
        if path.exists() and not path.is_dir():
            raise
        if any({"run_id", "format"} & Run(folder).facts.keys() for folder in (path, path / "monitor")):
            raise  # a run, but of a newer hf_monitor
        if any(any(path.glob(pattern)) for pattern in patterns):
            raise
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _signature(path: Path) -> tuple[int, ...]:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns
