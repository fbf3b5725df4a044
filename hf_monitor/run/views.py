"""What people ask of rows: a curve, a line for each step, the names of the metrics, the time that a training took."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, NamedTuple

from hf_monitor.run.better import greater_is_better, is_direction_known

__all__ = [
    "NEITHER_WAY",
    "Curve",
    "Reached",
    "curve_of",
    "html_tables",
    "in_order_of_interest",
    "last_and_best",
    "metric_names",
    "rows_by_step",
    "trained_seconds",
]

#: Kinds of rows that hold metrics under the names that the Trainer gave them.
_METRIC_KINDS = ("train", "eval", "log", "train_summary", "predict", "fold")
_NO_METRICS = re.compile(
    r"(_runtime|_per_second|_samples|_steps|_gen_len|_preparation_time|_flos)$|(^|_)loss_(raw|scale)$"
)
#: Metrics of which neither end is good, and the mean of a whole training.
NEITHER_WAY = frozenset(("learning_rate", "grad_norm", "train_loss"))
#: What a row says of itself, which is no metric.
_OWN = frozenset(("time", "attempt", "step", "kind", "epoch", "standalone", "weights_step"))


class Curve(NamedTuple):
    """A metric over the steps of a training: two lists of one length."""

    steps: list[int]
    values: list[float]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def curve_of(rows: Iterable[Mapping[str, Any]], metric: str) -> Curve:
    """Collect a metric of the training itself, ascending in the step; NaN and infinities are among the values.

    Of a metric that was only measured outside of the training, those; their step is that of the weights.
    """
    found = [row for row in rows if _is_number(row.get(metric)) and isinstance(row.get("step"), int)]
    found = [row for row in found if not row.get("standalone")] or found
    points = [(row.get("weights_step", row["step"]), row[metric]) for row in found]
    points.sort(key=lambda point: point[0])
    return Curve([step for step, _ in points], [value for _, value in points])


def rows_by_step(rows: Iterable[Mapping[str, Any]], kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Put rows of one step together; of a key that two have, the earlier one's value stays."""
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        step = row.get("step")
        if isinstance(step, int) and row.get("kind") in kinds and not row.get("standalone"):
            line = merged.setdefault(step, {"step": step})
            line.update({key: value for key, value in row.items() if key not in line and key not in ("kind", "time")})
    return [merged[step] for step in sorted(merged)]


def metric_names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Name what was a finite number in a row of metrics, in the order of first appearance."""
    names: dict[str, None] = {}
    for row in rows:
        if row.get("kind") in _METRIC_KINDS:
            for key, value in row.items():
                if key not in names and key not in _OWN and _is_number(value) and value - value == 0:
                    names[key] = None
    return list(names)


def trained_seconds(rows: Iterable[Mapping[str, Any]]) -> float | None:
    """Add up the time of all attempts from ``train_begin`` to the end, or to the last row of a training without one."""
    begun: dict[Any, float] = {}
    last: dict[Any, float] = {}
    ended: set[Any] = set()
    for row in rows:
        attempt, time = row.get("attempt"), row.get("time")
        if not _is_number(time) or not isinstance(attempt, int) or attempt in ended or row.get("standalone"):
            continue
        if row.get("event") == "train_begin":
            begun.setdefault(attempt, float(time or 0))
        if attempt in begun:
            last[attempt] = float(time or 0)
            if row.get("event") in ("train_end", "error"):
                ended.add(attempt)
    return sum(max(last[attempt] - begun[attempt], 0.0) for attempt in begun) if begun else None


class Reached(NamedTuple):
    """A value, and the step of the weights that it was measured with."""

    value: float
    step: int


def last_and_best(
    rows: Iterable[Mapping[str, Any]], names: Iterable[str], config: Mapping[str, Any]
) -> dict[str, tuple[Reached, Reached | None]]:
    """Find the last and the best value of metrics in one walk; outside of the training only where it has none.

    Parameters
    ----------
    rows : iterable of mapping
        Ascending in time.
    names : iterable of str
    config : mapping
        The training arguments, which may say which way a metric is better.

    Returns
    -------
    dict of str to (Reached, Reached or None)
        In the order of `names`; the best is the first of equals, None where no value is finite.
    """
    sign = {name: 1 if greater_is_better(name, config) else -1 for name in names}
    last: dict[bool, dict[str, Mapping[str, Any]]] = {False: {}, True: {}}
    best: dict[bool, dict[str, tuple[float, Mapping[str, Any]]]] = {False: {}, True: {}}
    for row in rows:
        if row.get("kind") not in _METRIC_KINDS:
            continue
        place = bool(row.get("standalone"))
        own = best[place]
        for name, value in row.items():
            if name not in sign or not _is_number(value):
                continue
            last[place][name] = row
            known = own.get(name)
            if value - value == 0 and (known is None or sign[name] * value > known[0]):
                own[name] = sign[name] * value, row
    found = {}
    for name in sign:
        place = name not in last[False]
        if name in last[place]:
            top = best[place].get(name)
            found[name] = _reached(last[place][name], name), None if top is None else _reached(top[1], name)
    return found


def _reached(row: Mapping[str, Any], name: str) -> Reached:
    return Reached(row[name], row.get("weights_step", row.get("step", 0)))


def in_order_of_interest(rows: Iterable[Mapping[str, Any]], config: Mapping[str, Any]) -> list[str]:
    """Name what a table of a run shows: what was never finite, losses, the run's own metric, scores, then all else.

    Run times, counts and the Trainer's raw loss are left out.
    """
    finite: dict[str, None] = {}
    broken: dict[str, None] = {}
    for row in rows:
        if row.get("kind") in _METRIC_KINDS:
            for name, value in row.items():
                if name not in finite and name not in _OWN and _is_number(value):
                    (finite if value - value == 0 else broken)[name] = None
    names = [name for name in {**finite, **broken} if not _NO_METRICS.search(name)]
    own = str(config.get("metric_for_best_model")).removeprefix("eval_")

    def rank(name: str) -> int:
        if name not in finite:
            return 0
        if name == "loss" or (name.endswith("_loss") and name not in NEITHER_WAY):
            return 1
        if name.removeprefix("eval_") == own or name.endswith("_score"):
            return 2
        return 5 if name in NEITHER_WAY else 3 if is_direction_known(name, config) else 4

    return sorted(names, key=rank)


def html_tables(
    title: str, facts: Iterable[tuple[str, str]], head: Iterable[str], lines: Iterable[Iterable[str]]
) -> str:
    """Make two small tables for a notebook, facts with a name each, and lines below a head; everything is escaped."""
    first, other = (f'style="text-align:{side}"' for side in ("left", "right"))
    told = "".join(f"<tr><th {first}>{escape(name)}</th><td {first}>{escape(fact)}</td></tr>" for name, fact in facts)
    html = f"<table><caption>{escape(title)}</caption>{told}</table>"
    rows = "".join(
        "<tr>"
        + "".join(f"<td {other if place else first}>{escape(one)}</td>" for place, one in enumerate(cells))
        + "</tr>"
        for cells in lines
    )
    if not rows:
        return html
    names = "".join(f"<th {other if place else first}>{escape(one)}</th>" for place, one in enumerate(head))
    return f"{html}<table><tr>{names}</tr>{rows}</table>"
