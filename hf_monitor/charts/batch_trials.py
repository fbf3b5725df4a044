"""Trials of batch sizes: rows of ``trials.jsonl``, checked and sorted into series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hf_monitor.charts.scales import is_drawable
from hf_monitor.charts.sweep_columns import amount, is_batch_trial
from hf_monitor.errors import InputError
from hf_monitor.run import Run

__all__ = ["BatchSeries", "BatchTrial", "limit_of", "read_trials", "series_of"]

_MIB = 2**20
_WORDS: dict[str, dict[Any, str]] = {
    "gradient_checkpointing": {True: "checkpointing", False: "no checkpointing"},
    "accumulation": {True: "accumulating", False: "one step an update", None: "accumulation not said"},
}


@dataclass
class BatchTrial:
    """One step that was tried.

    Attributes
    ----------
    batch_size : int
    fits : bool or None
        None where the row does not say.
    peak_mib : float or None
        None where it ran out of memory, and for the smaller and shorter batches of a proof (phase ``"steady"``).
    samples_per_second : float or None
    settings : dict of str to object
        What it was tried with: phase, precision, gradient_checkpointing, accumulation, device, rank, run.
    """

    batch_size: int
    fits: bool | None
    peak_mib: float | None
    samples_per_second: float | None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class BatchSeries:
    """Trials with the same settings.

    Attributes
    ----------
    name : str
        What tells it from the others, in words.
    trials : list of BatchTrial
        By batch size.
    """

    name: str
    trials: list[BatchTrial]

    def speeds(self) -> tuple[list[int], list[float]]:
        """Give the sizes that fit and were timed, with the median of their samples a second."""
        return self._each([(t.batch_size, t.samples_per_second) for t in self.trials if t.fits is not False], _median)

    def peaks(self) -> tuple[list[int], list[float]]:
        """Give the sizes with a peak, with the highest peak of each in MiB."""
        return self._each([(t.batch_size, t.peak_mib) for t in self.trials], max)

    @staticmethod
    def _each(pairs: Iterable[tuple[int, float | None]], reduce: Any) -> tuple[list[int], list[float]]:
        found: dict[int, list[float]] = {}
        for size, value in pairs:
            if value is not None:
                found.setdefault(size, []).append(value)
        return list(found), [float(reduce(values)) for values in found.values()]


def read_trials(rows: Iterable[Mapping[str, Any]], run: str | None = None) -> list[BatchTrial]:
    """Read rows of ``trials.jsonl``.

    Parameters
    ----------
    rows : iterable of mapping
        ``batch_size`` and ``fits``, ``out_of_memory`` or ``peak_bytes``; ``samples_per_second`` or ``seconds``.
    run : str, optional
        The run that they belong to.

    Raises
    ------
    InputError
        If a row is no such trial, or a value is not a number from 0.
    """
    found = []
    for number, row in enumerate(rows):
        if not is_batch_trial(row):
            raise InputError(
                f"row {number} is no trial of a batch size (its keys: {', '.join(map(str, list(row)[:8]))}). It needs "
                "batch_size and fits, out_of_memory or peak_bytes, as in trials.jsonl."
            )
        size = amount(row["batch_size"], "batch_size", number)
        if size is None or size < 1 or size != int(size):
            raise InputError(f"batch_size of row {number} must be a whole number from 1, got {row['batch_size']!r}.")
        out = row.get("out_of_memory") is True
        fits = False if out else row.get("fits")
        if fits is not None and not isinstance(fits, bool):
            fits = fits.item() if hasattr(fits, "item") else fits
            if not isinstance(fits, bool):
                raise InputError(f"fits of row {number} must be True or False, got {fits!r}.")
        peak, seconds = (
            amount(row.get("peak_bytes"), "peak_bytes", number),
            amount(row.get("seconds"), "seconds", number),
        )
        speed = amount(row.get("samples_per_second"), "samples_per_second", number)
        if speed is None and seconds:
            speed = amount(size / seconds, "samples_per_second", number)
        names = ("phase", "precision", "gradient_checkpointing", "accumulation", "device", "rank")
        settings = {name: None if row[name] != row[name] else row[name] for name in names if name in row}
        if run is not None:
            settings["run"] = run
        found.append(BatchTrial(int(size), fits, None if peak is None or out else peak / _MIB, speed, settings))
    return found


def series_of(trials: Sequence[BatchTrial]) -> list[BatchSeries]:
    """Sort trials into series with the same settings, named by what tells them apart; in the order tried."""
    names = list(dict.fromkeys(name for trial in trials for name in trial.settings))
    telling = [name for name in names if len({repr(trial.settings.get(name)) for trial in trials}) > 1]
    telling.sort(key=lambda name: (name != "run", names.index(name)))
    found: dict[tuple[str, ...], list[BatchTrial]] = {}
    for trial in trials:
        found.setdefault(tuple(repr(trial.settings.get(name)) for name in telling), []).append(trial)
    return [
        BatchSeries(_words(some[0], telling), sorted(some, key=lambda trial: trial.batch_size))
        for some in found.values()
    ]


def _words(trial: BatchTrial, telling: Sequence[str]) -> str:
    words = []
    for name in telling:
        value = trial.settings.get(name)
        known = _WORDS.get(name, {})
        if name in ("phase", "precision", "run", "device"):
            words.append(f"{name} not said" if value is None else str(value))
        elif isinstance(value, bool | None) and value in known:
            words.append(known[value])
        else:
            words.append(f"{name} {'not said' if value is None else value}")
    return ", ".join(words) or "measured"


def limit_of(run: Run) -> float | None:
    """Give the memory that the run's batch plan was allowed, in MiB, as ``plan.json`` says; else None."""
    try:
        values = orjson.loads((run.path / "plan.json").read_bytes())
        limit = values["plan"]["probe"]["limit_bytes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not (limit > 0 and is_drawable(limit)):
        return None
    return limit / _MIB


def _median(values: Sequence[float]) -> float:
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
