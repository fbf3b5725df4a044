"""Trials: the batch sizes that were tried before the training, and what was made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from hf_monitor.auto_batch.plan_result import TrainingPlan
from hf_monitor.charts.batch_trials import BatchSeries, BatchTrial, limit_of, read_trials, series_of
from hf_monitor.charts.sweep_columns import is_batch_trial
from hf_monitor.diagnosis.rows import number
from hf_monitor.errors import InputError
from hf_monitor.report.material import Material
from hf_monitor.report.plots import Level, Picture, Series, Table, line_plot
from hf_monitor.run.reader import Run

__all__ = ["Trials", "trials"]

_MOST_SERIES = 8
_MOST_ROWS = 300
_MIB = 2**20
_NEAR = 10.0
_SOURCE = "trials.jsonl"


@dataclass(frozen=True)
class Trials:
    """What was chosen and why, the trials, and their pictures."""

    chosen: str
    """In a sentence; empty where no plan says it."""
    reasons: Sequence[tuple[str, str]]
    table: Table
    pictures: Sequence[Picture]
    notes: Sequence[str]


def trials(material: Material) -> Trials | None:
    """Show the batch sizes that were tried: which fit, what they took, how fast they were.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Trials or None
        None where no batch size was tried.
    """
    run = material.run
    rows, read, lost = [], [], 0
    for row in run.trials:
        try:
            read += read_trials([row] if is_batch_trial(row) else [])
        except InputError:
            lost += 1
            continue
        if is_batch_trial(row):
            rows.append(row)
    if not read:
        if lost:
            material.gaps.append(f"The batch-size trials could not be read: {lost} rows of {_SOURCE} are no trials.")
        return None
    notes = [f"{lost} rows of {_SOURCE} could not be read."] if lost else []
    plan = _plan(run)
    limit = limit_of(run)
    if limit is not None:
        notes.append(f"A step may take {limit:,.0f} MiB.")
    if any(row.get("phase") == "steady" for row in rows):
        notes.append(
            "“Steady” are updates in a row, as in a training, with nothing freed between them: what fits alone must go "
            "through them, too. They may take more than a step alone, up to all of the budget."
        )
    if plan is None:
        notes.append("There is no plan.json that can be read, so it is not known what was chosen of them.")
    return Trials(
        "" if plan is None else _chosen(plan),
        [] if plan is None else _reasons(plan),
        _table(rows, read),
        _pictures(series_of(read), limit),
        notes,
    )


def _plan(run: Run) -> TrainingPlan | None:
    try:
        return TrainingPlan.from_dict(orjson.loads((run.path / "plan.json").read_bytes())["plan"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _chosen(plan: TrainingPlan) -> str:
    steps, processes = plan.gradient_accumulation_steps, plan.num_processes
    said = f"Chosen: {plan.per_device_train_batch_size} samples a step"
    said += f", {steps} steps an update" if steps > 1 else ""
    said += f", {processes} processes" if processes > 1 else ""
    said += f" ({plan.effective_batch_size} samples an update), {plan.precision}"
    said += ", with gradient checkpointing" if plan.gradient_checkpointing else ""
    return f"{said}; {plan.per_device_eval_batch_size} samples a step in evaluation."


def _reasons(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Split the plan's own words into their heads and what follows."""
    try:
        lines = plan.explain().splitlines()
    except (TypeError, ValueError, AttributeError, ZeroDivisionError, LookupError):  # a plan that was edited by hand
        return []
    return [(head, rest.strip()) for head, _, rest in (line.partition(" ") for line in lines)]


def _table(rows: Sequence[Mapping[str, Any]], read: Sequence[BatchTrial]) -> Table:
    """Give a row for each trial, in the order tried; columns that say nothing are left out."""
    settings = ("rank", "precision", "gradient_checkpointing", "accumulation", "device")
    telling = [name for name in settings if len({repr(row.get(name)) for row in rows}) > 1]
    head = ["phase", *telling, "batch size", "fits", "peak (MiB)", "predicted (MiB)", "seconds", "samples/s"]
    lines = []
    for row, trial in zip(rows, read, strict=True):
        predicted = number(row.get("predicted_bytes"))
        fits = "out of memory" if row.get("out_of_memory") is True else _word(trial.fits)
        lines.append(
            (
                str(row.get("phase") or ""),
                *(_word(row.get(name)) for name in telling),
                trial.batch_size,
                fits,
                trial.peak_mib,
                None if predicted is None else predicted / _MIB,
                number(row.get("seconds")),
                trial.samples_per_second,
            )
        )
    empty = [k for k in range(len(head)) if all(line[k] in ("", None) for line in lines)]
    kept = [k for k in range(len(head)) if k not in empty]
    note = f"The first {_MOST_ROWS} of {len(lines):,}; all are in {_SOURCE}." if len(lines) > _MOST_ROWS else ""
    return Table([head[k] for k in kept], [tuple(line[k] for k in kept) for line in lines[:_MOST_ROWS]], note)


def _word(value: object) -> object:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def _pictures(found: Sequence[BatchSeries], limit_mib: float | None) -> list[Picture]:
    """Draw peak memory and throughput against the batch size; a size without a value did not fit."""
    found = found[:_MOST_SERIES]
    highest = max((peak for each in found for peak in each.peaks()[1]), default=0.0)
    # A limit far above all peaks would press them flat; the words of the plan have it.
    near = limit_mib is not None and limit_mib <= _NEAR * highest
    levels = [Level(limit_mib, f"may be taken: {limit_mib:,.0f} MiB")] if near and limit_mib is not None else []
    pictures = []
    drawn = (
        ("Peak memory of a step", "peak (MiB)", [each.peaks() for each in found]),
        ("Throughput of a step", "samples/s", [each.speeds() for each in found]),
    )
    for title, label, points in drawn:
        series = []
        for each, (sizes, values) in zip(found, points, strict=True):
            failed = {trial.batch_size for trial in each.trials if trial.fits is False} - set(sizes)
            pairs = sorted([*zip(sizes, values, strict=True), *((size, float("nan")) for size in failed)])
            series.append(Series(each.name, [size for size, _ in pairs], [value for _, value in pairs]))
        if any(values for _, values in points):
            ends = [size for one in series for size in one.x]
            pictures.append(
                line_plot(
                    title,
                    series,
                    x_label="batch size",
                    y_label=label,
                    y_range=(0.0, 0.0),
                    levels=levels if label.startswith("peak") else [],
                    lost="did not fit",
                    logarithmic_x=max(ends) >= 8 * min(ends),
                    source=_SOURCE,
                )
            )
    return pictures
