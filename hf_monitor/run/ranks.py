"""Processes of a launch other than the first: each has a file of its own, and none waits for another."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.run.backlog import RETRY_SECONDS
from hf_monitor.run.files import AppendFile
from hf_monitor.run.process import process_identity
from hf_monitor.run.rows import encode_row, iter_lines, plain
from hf_monitor.run.secrets import SecretMask

__all__ = ["RankFile", "RankSamples", "read_rank_samples", "read_ranks", "time_of"]


class RankFile:
    """Writes ``rank<N>.jsonl``: that a process above rank 0 began, ended, or what ended it.

    Parameters
    ----------
    run_dir : path-like
        The run folder, or on another node without a shared disk the folder of the same name.
    rank : int
        From 1.
    """

    def __init__(self, run_dir: str | os.PathLike[str], rank: int) -> None:
        self.run_dir, self.rank = Path(run_dir).absolute(), rank
        self._file = AppendFile(self.run_dir / f"rank{rank}.jsonl")
        self._training = 0
        self.mask = SecretMask.of_process()

    def begin(self, step: int, *, training: int, signals: str) -> None:
        """Record that a training began.

        Parameters
        ----------
        step : int
        training : int
            How many trainings this process has begun, this one included: with the launch and the time it tells to which
            attempt of rank 0 it belongs, without asking rank 0.
        signals : str
            As :func:`hf_monitor.run.signals.watch` gave it.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        self._training = training
        self.event("train_begin", step, signals=signals, **process_identity())

    def event(self, name: str, step: int, **values: Any) -> None:
        """Append an event.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        head = {"time": time.time(), "rank": self.rank, "training": self._training, "step": step, "kind": "event"}
        self._file.append(encode_row({**head, **self.mask.values(plain({"event": name, **values}))}))
        self._file.flush()  # what could not be written before


class RankSamples:
    """Writes ``system.rank<N>.jsonl``: what a process above rank 0 sampled of itself, or of its machine.

    Parameters
    ----------
    run_dir : path-like
    rank : int
        From 1.
    """

    attempt = 0
    """Rank 0 settles it; :func:`read_rank_samples` puts it in."""

    def __init__(self, run_dir: str | os.PathLike[str], rank: int) -> None:
        self.run_dir, self.rank = Path(run_dir).absolute(), rank
        self._file = AppendFile(self.run_dir / f"system.rank{rank}.jsonl")
        self._retry_at = 0.0
        self._mask = SecretMask.of_process()

    def rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Append rows; `name` is always that of this file.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        head = {"time": time.time(), "attempt": self.attempt, "rank": self.rank}
        for row in rows:
            known = process_identity() if row.get("event") == "sampler_begin" else {}
            self._file.append(encode_row({**head, **self._mask.values(plain({**row, **known}))}))
        self._file.flush()  # what could not be written before
        return len(rows)

    def encoded(self, name: str, lines: bytes) -> None:
        """Append lines that hold numbers and our own words only; what cannot be written is tried again.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        self._file.append(lines)
        if self._file.waiting and time.monotonic() >= self._retry_at:
            self._retry_at = time.monotonic() + RETRY_SECONDS
            self.flush()

    def flush(self) -> None:
        """Try now what could not be written before.

        Raises
        ------
        OSError
            If it still cannot.
        """
        self._file.flush()


def read_rank_samples(run_dir: Path, begins: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Read what the ranks above 0 sampled, each row with the attempt of rank 0 of the same launch, nearest in time.

    Parameters
    ----------
    run_dir : Path
    begins : list of dict
        As for :func:`read_ranks`.
    """
    found: list[dict[str, Any]] = []
    for path in sorted(run_dir.glob("system.rank*.jsonl")):
        attempt = 0
        for _, row in iter_lines(path.read_bytes()):
            if row is None:
                continue
            if row.get("event") == "sampler_begin":
                attempt = _attempt_of(row, begins, ("launch",))
            found.append({**row, "attempt": attempt})
    return found


def read_ranks(run_dir: Path, begins: list[dict[str, Any]]) -> dict[int, dict[int, list[dict[str, Any]]]]:
    """Read what the ranks above 0 recorded, by attempt and rank.

    A rank does not know the number of the attempt, which rank 0 settles. Its training belongs to the attempt of the
    same launch, the same training of the process, that began nearest in time; to attempt 0 where there is none (rank 0
    had not begun).

    Parameters
    ----------
    run_dir : Path
    begins : list of dict
        Of rank 0: ``attempt``, ``time``, ``launch`` and ``training`` of each training that began.

    Returns
    -------
    dict
        Attempt -> rank -> its events, the first of which is ``train_begin``.
    """
    found: dict[int, dict[int, list[dict[str, Any]]]] = {}
    for path in sorted(run_dir.glob("rank*.jsonl")):
        number = re.fullmatch(r"rank(\d+)\.jsonl", path.name)
        if number is None:
            continue
        attempt = 0
        try:
            data = path.read_bytes()
        except OSError:
            continue
        for _, row in iter_lines(data):
            if row is None:
                continue
            if row.get("event") == "train_begin":
                attempt = _attempt_of(row, begins)
                found.setdefault(attempt, {})[int(number[1])] = []
            if int(number[1]) in found.get(attempt, {}):
                found[attempt][int(number[1])].append(row)
    return found


def time_of(row: Mapping[str, Any]) -> float:
    """Give a row's time; 0 where it has none that is one."""
    found = row.get("time")
    return float(found) if isinstance(found, int | float) and found - found == 0 else 0.0


def _attempt_of(
    begin: Mapping[str, Any], begins: list[dict[str, Any]], same_in: Sequence[str] = ("launch", "training")
) -> int:
    def distance(other: Mapping[str, Any]) -> float:
        return abs(time_of(other) - time_of(begin))

    same = [other for other in begins if all(other.get(key) == begin.get(key) for key in same_in)]
    found = min(same, key=distance).get("attempt") if same else 0
    return found if isinstance(found, int) else 0
