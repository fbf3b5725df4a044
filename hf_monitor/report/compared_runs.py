"""What a comparison keeps of a run: its numbers and curves; the rows are let go again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from hf_monitor.charts.curves import Curve, curves_of
from hf_monitor.errors import InputError, did_you_mean
from hf_monitor.report.compared_facts import flat_facts
from hf_monitor.run.better import greater_is_better as is_greater_better
from hf_monitor.run.reader import Rows, Run
from hf_monitor.run.rows import iter_lines

__all__ = ["ComparedRun", "NotFinite", "Scored", "greater_is_better", "main_metric", "peak_and_energy", "read_side"]

_FAVOURITES = ("eval_score", "eval_rougeL", "eval_rouge1", "eval_bleu", "eval_accuracy", "eval_f1", "eval_loss")
_NOT_SCORES = re.compile(r".*(_runtime|_per_second|_samples|_gen_len|_time|_mem_.*|_epoch|_loss_raw|_loss_scale)|epoch")
_SET_BACK = 60  # seconds that a clock is set back by; less is rows that are not in order
_ENDS = 1 << 16  # bytes at each end of system.jsonl that hold every card of a machine


class Scored(NamedTuple):
    """A metric of a run."""

    best: float
    step: int
    last: float
    """As it is: NaN where the training had diverged by then."""
    n: int
    """Evaluations that it is the best of."""


class NotFinite(NamedTuple):
    """A metric that ends without finite values."""

    value: float
    since: int
    """Step from which no value is finite."""
    always: bool
    """It has no finite value at all."""


@dataclass(frozen=True)
class ComparedRun:
    """A run in a comparison.

    Attributes
    ----------
    name : str
        As much of its path as tells it from the others.
    path : Path
    status : str
        As :attr:`Run.status`.
    step : int
        The last one.
    max_steps : int or None
        As planned.
    attempts : int
    metrics : dict of str to Scored
        Best values during the training (of ``test_`` metrics the only one).
    loss : float or None
        The last training loss, as it is (NaN too).
    seconds : float or None
        From the first to the last row, all attempts together; by how much a clock was set back does not count.
    samples_per_second : float or None
        Of training steps (median over the logged windows); else as the Trainer says at the end.
    gpu_memory_peak_mib : float or None
        What torch held at most; where that is not recorded, what was used on the fullest card.
    gpu_memory_of : str
        Which of both: ``"torch"``, ``"card"``; empty where neither is known.
    energy_wh : float or None
        Of the cards, from the first to the last sample. None where the hardware does not say.
    not_finite : dict of str to NotFinite
        Training loss and metrics whose last values are NaN, infinite or beyond 1e150.
    """

    name: str
    path: Path
    status: str
    step: int
    max_steps: int | None
    attempts: int
    metrics: dict[str, Scored]
    loss: float | None
    seconds: float | None
    samples_per_second: float | None
    gpu_memory_peak_mib: float | None
    gpu_memory_of: str
    energy_wh: float | None
    run_id: str
    facts: Mapping[str, Any] = field(repr=False)
    curves: Mapping[str, Curve] = field(repr=False)
    not_finite: Mapping[str, NotFinite] = field(repr=False, default_factory=dict)


def greater_is_better(metric: str, runs: Iterable[ComparedRun]) -> bool:
    """Say which end of a metric is good: as the runs' arguments say where it is their own metric, else by its name."""
    said = {is_greater_better(metric, _config(run.facts)) for run in runs if _is_own(metric, run.facts)}
    return said == {True} if len(said) == 1 else is_greater_better(metric, {})


def _config(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: facts.get(f"arguments.{name}") for name in ("metric_for_best_model", "greater_is_better")}


def _is_own(metric: str, facts: Mapping[str, Any]) -> bool:
    own = str(facts.get("arguments.metric_for_best_model") or "").removeprefix("eval_")
    return own == metric.removeprefix("eval_") and isinstance(facts.get("arguments.greater_is_better"), bool)


def main_metric(runs: Sequence[ComparedRun], wanted: str | None = None) -> str | None:
    """Choose the metric that runs are judged by; None where no two have one.

    It is `wanted`, else their ``metric_for_best_model``, else the usual one that most of them have.

    Raises
    ------
    InputError
        If no run has the metric that was asked for.
    """
    counts: dict[str, int] = {}
    for run in runs:
        for name in run.metrics:
            counts[name] = counts.get(name, 0) + 1
    if wanted is not None:
        found = [name for name in (wanted, f"eval_{wanted}") if name in counts]
        if not found:
            there = ", ".join(sorted(counts)[:12]) or "none; evaluate during training"
            raise InputError(f"no run has a metric {wanted!r}.{did_you_mean(wanted, counts)} There are: {there}.")
        return found[0]
    said = {str(run.facts.get("arguments.metric_for_best_model")) for run in runs} - {"None"}
    own = [name for one in said for name in (one, f"eval_{one}") if name in counts] if len(said) == 1 else []
    others = sorted(
        counts, key=lambda name: (not name.endswith("_score"), name.endswith("loss"), name)
    )  # of sets with names
    for names in (own, _FAVOURITES, others):
        most = max((counts.get(name, 0) for name in names), default=0)
        if most > 1:
            return next(name for name in names if counts.get(name) == most)
    return None


def read_side(run: Run, name: str) -> ComparedRun:
    """Read a run for a comparison; nothing of its rows is kept."""
    run = Run(run.path)  # what is read is let go with it
    rows = run.metrics
    curves = curves_of(rows)
    facts = flat_facts(run)
    loss = curves.get("loss")
    last = None if loss is None or not len(loss.values) else float(loss.values[-1])
    peak, of, energy = peak_and_energy(run.path / "system.jsonl", len(run.attempts))
    planned = run.training_facts.get("max_steps")
    evaluated = [name for name in curves if name.startswith("eval_") and not _NOT_SCORES.fullmatch(name)]
    metrics = {metric: scored for metric in evaluated if (scored := _scored(curves[metric], facts, metric)) is not None}
    ends = {name: _not_finite(curves[name]) for name in ("loss", *evaluated) if name in curves}
    kept = {metric: curves[metric] for metric in ("loss", *metrics) if metric in curves}
    return ComparedRun(
        name=name,
        path=run.path,
        status=run.status,
        step=run.last_step,
        max_steps=planned if isinstance(planned, int) else None,
        attempts=max(1, len(run.attempts)),
        metrics={**metrics, **_outside(rows, metrics)},
        loss=last,
        seconds=_seconds(run.rows),
        samples_per_second=_speed(rows),
        gpu_memory_peak_mib=peak,
        gpu_memory_of=of,
        energy_wh=energy,
        run_id=str(run.facts.get("run_id") or ""),
        facts=facts,
        curves=kept,
        not_finite={name: end for name, end in ends.items() if end is not None},
    )


def _scored(curve: Curve, facts: Mapping[str, Any], metric: str) -> Scored | None:
    steps, values = curve.finite
    if not len(values):
        return None
    greater = is_greater_better(metric, _config(facts))
    place = int(values.argmax() if greater else values.argmin())
    return Scored(float(values[place]), int(steps[place]), float(curve.values[-1]), len(values))


def _not_finite(curve: Curve) -> NotFinite | None:
    steps, _ = curve.finite
    after = curve.steps > steps[-1] if len(steps) else curve.steps >= 0
    if not after.any():
        return None
    return NotFinite(float(curve.values[-1]), int(curve.steps[after][0]), not len(steps))


def _outside(rows: Rows, known: Mapping[str, Scored]) -> dict[str, Scored]:
    """Give scores of predictions, of folds, and of evaluations outside of a training where there are no others."""
    found: dict[str, Scored] = {}
    for row in rows:
        kind, step = row.get("kind"), row.get("weights_step", row.get("step")) or 0
        if kind == "fold":
            picked = {name: row.get(name) for name in ("f1", "accuracy")}
        elif kind == "predict" or (kind == "eval" and row.get("standalone")):
            picked = {
                name: value
                for name, value in row.items()
                if name.startswith(("eval_", "test_", "predict_")) and not _NOT_SCORES.fullmatch(name)
            }
        else:
            continue
        for name, value in picked.items():
            if _is_number(value) and name not in known:
                found[name] = Scored(float(value), int(step), float(value), 1)
    return found


def _seconds(rows: Rows) -> float | None:
    spans: dict[Any, list[tuple[float, float]]] = {}  # of each attempt; one more each time the clock was set back
    for row in rows:
        time = row.get("time")
        if isinstance(time, int | float) and not row.get("standalone"):
            own = spans.setdefault(row.get("attempt"), [(time, time)])
            low, high = own[-1]
            if time < high - _SET_BACK:
                own.append((time, time))
            else:
                own[-1] = (min(low, time), max(high, time))
    return sum(high - low for own in spans.values() for low, high in own) if spans else None


def _speed(rows: Rows) -> float | None:
    import numpy as np

    speeds = [
        row["samples_per_second"] for row in rows if row.get("kind") == "timing" and row.get("samples_per_second")
    ]
    if not speeds:
        speeds = [row.get("train_samples_per_second") for row in rows.of("train_summary")][-1:]
    speeds = [float(value) for value in speeds if isinstance(value, int | float) and value - value == 0]
    return float(np.median(speeds)) if speeds else None


def peak_and_energy(path: Path, attempts: int) -> tuple[float | None, str, float | None]:
    """Give the peak of GPU memory in MiB, of what it is (``"torch"``, ``"card"``), and the energy in Wh.

    Torch's peak and the card's counter of energy count up from the beginning, so of a run of one attempt both ends of
    the file are enough.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if attempts > 1 or size <= 2 * _ENDS:
                data = [file.read()]
            else:
                data = [file.read(_ENDS)]
                file.seek(size - _ENDS)
                data.append(file.read().partition(b"\n")[2])
    except OSError:
        return None, "", None
    rows = [row for part in data for _, row in iter_lines(part) if row is not None and row.get("kind") == "gpu"]
    if not rows:
        return None, "", None
    torch = [row["torch_reserved_peak_mib"] for row in rows if _is_number(row.get("torch_reserved_peak_mib"))]
    if torch:
        return max(torch), "torch", _energy(rows)
    used = re.findall(rb'"memory_used_mib":([0-9.]+)[,}]', path.read_bytes())
    return (max(map(float, used)), "card", _energy(rows)) if used else (None, "", _energy(rows))


def _energy(rows: list[dict[str, Any]]) -> float | None:
    counters: dict[tuple[Any, Any], list[float]] = {}
    for row in rows:
        if _is_number(row.get("energy_j")):
            counters.setdefault((row.get("attempt"), row.get("gpu")), []).append(row["energy_j"])
    joules = [values[-1] - values[0] for values in counters.values() if len(values) > 1]
    if not joules or min(joules) < 0:  # the driver was loaded anew
        return None
    return sum(joules) / 3600


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
