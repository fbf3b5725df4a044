"""The metrics of a scene: the latest value, its change, the best."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.notebook.direction import direction
from hf_monitor.notebook.dress import BETTER, LEFT, QUIET, RIGHT, WORSE, badge, line, name, table
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.watch.layout import Look
from hf_monitor.report.watch.metric_lines import chosen
from hf_monitor.report.watch.state import State
from hf_monitor.report.words import number

__all__ = ["Reading", "metrics_table", "readings", "shown_metrics"]

_MOST = 12
_WITHOUT_CHANGE = ("learning_rate", "grad_norm", "epoch")


class Reading(NamedTuple):
    """A metric as it stands."""

    name: str
    latest: float
    change: float | None
    better: bool | None
    """None where it did not change, and where nobody knows which way is better."""
    best: tuple[float, float] | None
    """Value and step."""


def shown_metrics(scene: Scene) -> list[str]:
    """Name the metrics that have values: those asked for, else what matters most first, then all others."""
    state = scene.state
    names = chosen(state, Look(metrics=scene.metrics))
    if not scene.metrics:
        names = [*names, *state.curves, *state.alone]
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
    greater = direction(metric, arguments if isinstance(arguments, Mapping) else {})
    change = latest - curve.before[1] if curve.before is not None else None
    if greater is None:
        return Reading(
            metric, latest, None if metric in _WITHOUT_CHANGE or metric.endswith("gen_len") else change, None, None
        )
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
        head = Markup('<tr><th style="{0}">metric</th>{1}</tr>').format(
            LEFT, Markup("").join(Markup('<th style="{}">{}</th>').format(RIGHT, one) for one in _HEAD)
        )
        parts.append(table(Markup("").join([head, *map(_row, found)])))
    more = len(shown_metrics(scene)) - len(found)
    if more > 0:
        parts.append(line(f"and {more} more metric{'s' if more > 1 else ''}", style=QUIET))
    if missing:
        parts.append(line("not logged so far: ", ", ".join(name(one) for one in missing[:8]), style=QUIET))
    return Markup("").join(parts)


_HEAD = ("latest", "change", "best", "at step")


def _row(one: Reading) -> Markup:
    cell = Markup('<td style="{}">{}</td>')
    latest = number(one.latest)
    change = "" if one.change is None or not math.isfinite(one.change) else f"{one.change:+.3g}"
    if one.better is not None:
        change = Markup("<span {}>{}</span>").format(BETTER if one.better else WORSE, change)
    best, step = ("", "") if one.best is None else (number(one.best[0]), f"{one.best[1]:,.0f}")
    return Markup("<tr>{}{}{}{}{}</tr>").format(
        cell.format(LEFT, name(one.name)),
        cell.format(RIGHT, latest if math.isfinite(one.latest) else badge(latest)),
        cell.format(RIGHT, change),
        cell.format(RIGHT, best),
        cell.format(RIGHT, step),
    )
