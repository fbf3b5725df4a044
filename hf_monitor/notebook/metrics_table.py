"""The metrics of a scene: the latest value, its change, the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.charts.metric_names import is_bookkeeping
from hf_monitor.notebook.direction import direction
from hf_monitor.notebook.dress import BETTER, LEFT, QUIET, RIGHT, WORSE, badge, line, name, table
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.watch.layout import Look
from hf_monitor.report.watch.metric_lines import chosen
from hf_monitor.report.watch.state import State
from hf_monitor.report.words import number
from hf_monitor.run.views import NEITHER_WAY

__all__ = ["Reading", "metrics_table", "readings", "shown_metrics"]

_MOST = 12
_OF_THE_TRAINING = ("learning_rate", "grad_norm")


class Reading(NamedTuple):
    """A metric as it stands."""

    name: str
    latest: float
    change: float | None
    better: bool | None
    """None where it did not change, and where nobody knows which way is better."""
    best: tuple[float, float] | None
    """Value and step; None where nobody knows which way is better."""


def shown_metrics(scene: Scene) -> list[str]:
    """Name the metrics that have values: those asked for, else what matters most first, then all others."""
    state = scene.state
    names = chosen(state, Look(metrics=scene.metrics))
    if not scene.metrics:
        names = [*names, *state.curves, *state.alone]
        names.sort(key=lambda one: one in _OF_THE_TRAINING)  # scores stand together
    return [one for one in dict.fromkeys(names) if (curve := state.curve(one)) is not None and curve.last is not None]


def readings(scene: Scene, most: int = _MOST) -> list[Reading]:
    """Read the first metrics."""
    return [_reading(scene.state, one) for one in shown_metrics(scene)[:most]]


def _reading(state: State, metric: str) -> Reading:
    curve = state.curve(metric)
    assert curve is not None
    assert curve.last is not None
    latest = curve.last[1]
    arguments = state.facts.get("arguments")
    if metric in NEITHER_WAY or is_bookkeeping(metric):
        return Reading(metric, latest, None, None, None)
    greater = direction(metric, arguments if isinstance(arguments, Mapping) else {})
    change = latest - curve.before[1] if curve.before is not None else None
    if greater is None:
        return Reading(metric, latest, change, None, None)
    better = None
    if change is not None and change == change:
        better = (change > 0) == greater if change else None
    return Reading(metric, latest, change, better, curve.best(greater))


def metrics_table(scene: Scene) -> Markup:
    """Give the table; of many metrics the first, and how many there are besides."""
    found = readings(scene)
    missing = [one for one in scene.metrics if not any(map(scene.state.curve, (one, f"eval_{one}")))]
    parts = []
    if found:
        judged = any(one.change is not None for one in found)  # of one value each there is nothing more to say
        names = _HEAD if judged else _HEAD[:1]
        head = Markup('<tr><th style="{0}">metric</th>{1}</tr>').format(
            LEFT, Markup("").join(Markup('<th style="{}">{}</th>').format(RIGHT, one) for one in names)
        )
        parts.append(table(Markup("").join([head, *(_row(one, judged) for one in found)])))
    more = len(shown_metrics(scene)) - len(found)
    if more > 0:
        parts.append(line(f"and {more} more metric{'s' if more > 1 else ''}", style=QUIET))
    if missing:
        parts.append(line("not logged so far: ", ", ".join(name(one) for one in missing[:8]), style=QUIET))
    return Markup("").join(parts)


_HEAD = ("latest", "change", "best", "at step")


def _signed(change: float) -> str:
    """Write a change as its values are written: ``"+376,000,000"``, ``"-0.0123"``."""
    return f"{'-' if change < 0 else '+'}{number(abs(float(change)), 3)}"


def _row(one: Reading, judged: bool) -> Markup:
    cell = Markup('<td style="{}">{}</td>')
    latest = number(one.latest)
    change = "" if one.change is None or not math.isfinite(one.change) else _signed(one.change)
    if one.better is not None:
        change = Markup("<span {}>{}</span>").format(BETTER if one.better else WORSE, change)
    best, step = ("", "") if one.best is None else (number(one.best[0]), f"{one.best[1]:,.0f}")
    return Markup("<tr>{}{}{}</tr>").format(
        cell.format(LEFT, name(one.name)),
        cell.format(RIGHT, latest if math.isfinite(one.latest) else badge(latest)),
        Markup("").join(cell.format(RIGHT, told) for told in (change, best, step) if judged),
    )
