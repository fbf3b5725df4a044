"""The curves of a scene as pictures: losses, scores, and what else was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.metric_names import is_bookkeeping, is_text_score, score_of
from hf_monitor.charts.thin import thin
from hf_monitor.notebook.dress import name
from hf_monitor.notebook.metrics_table import shown_metrics
from hf_monitor.notebook.pictures import curve_image
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.picture import Mark, Series
from hf_monitor.report.watch.curve import Curve, Point
from hf_monitor.report.watch.state import State

__all__ = ["curve_pictures"]

_MOST_SERIES = 8
_MOST_PICTURES = 6
_POINTS = 240
_MOST_BROKEN = 40
_HEIGHT = 150.0
_NO_QUALITY = ("learning_rate", "grad_norm", "epoch")
_BY_WEIGHT = ("score", "rougeL", "rouge1", "bleu", "rouge2", "rougeLsum")
_KINDS = {"error": "bad", "warning": "warn"}

# Per run and title: what the picture was drawn from, and the picture. A curve that stands still is not drawn anew.
_drawn: WeakKeyDictionary[State, dict[str, tuple[object, Markup]]] = WeakKeyDictionary()


def curve_pictures(scene: Scene) -> list[Markup]:
    """Draw the losses in one picture, the scores in another, and each further metric that was asked for in its own.

    Where no evaluation of a Trainer was (a loop of one's own) two further metrics are drawn unasked.
    """
    state = scene.state
    names = [one for one in shown_metrics(scene) if one in state.curves and len(state.curves[one].points) > 1]
    losses = [one for one in names if one == "loss" or one.endswith("_loss")]
    scores = sorted((one for one in names if is_text_score(one, names)), key=lambda one: _weight(one))
    others = [one for one in names if one not in losses and one not in scores]
    if not scene.metrics:
        own = () if state.evaluated else others
        others = [one for one in own if one not in _NO_QUALITY and not is_bookkeeping(one)][:2]
    panels = [("Loss", losses, _marks(state)), ("Scores", scores, _resumed(state))]
    panels += [(one, [one], _resumed(state)) for one in others]
    return [_picture(state, *panel) for panel in panels if panel[1]][:_MOST_PICTURES]


def _weight(metric: str) -> int:
    return _BY_WEIGHT.index(score_of(metric))


def _picture(state: State, title: str, names: Sequence[str], marks: list[Mark]) -> Markup:
    curves = {one: state.curves[one] for one in names}
    told = ([(one, len(curve.points), curve.last) for one, curve in curves.items()], marks)
    kept = _drawn.setdefault(state, {})
    if title not in kept or kept[title][0] != told:
        joined: dict[int, list[str]] = {}
        places: list[Curve] = []
        for one, curve in curves.items():  # of texts of one line rougeL and rougeLsum are the same
            same = next((place for place, other in enumerate(places) if other.points == curve.points), None)
            if same is None and len(places) < _MOST_SERIES:
                same = len(places)
                places.append(curve)
            if same is not None:
                joined.setdefault(same, []).append(one.removeprefix("eval_") if title == "Scores" else one)
        series = [_series(" = ".join(joined[place]), curve) for place, curve in enumerate(places)]
        picture = curve_image(name(title), series, marks=marks, height=_HEIGHT)
        kept[title] = (told, Markup("<div><b>{}</b><br>{}</div>").format(name(title), picture))
    return kept[title][1]


def _series(title: str, curve: Curve) -> Series:
    """Give some 240 points that make the same line, spikes and the last value too; crosses where one was no number."""
    fine = [pair for point in curve.points if point.n for pair in _ends(point)]
    if curve.last is not None and math.isfinite(curve.last[1]) and curve.last not in fine[-2:]:
        fine.append(curve.last)
    xs = np.array([step for step, _ in fine])
    ys = np.array([value for _, value in fine])
    points = [(float(xs[place]), float(ys[place])) for place in thin(xs, ys, _POINTS)]
    points += [(point.step, math.nan) for point in curve.points if point.broken][:_MOST_BROKEN]
    points.sort(key=lambda pair: pair[0])
    return Series(title, [x for x, _ in points], [y for _, y in points])


def _ends(point: Point) -> list[tuple[float, float]]:
    """Give the step and value of a point; of several values in one the lowest and the highest: no spike is lost."""
    if point.n == 1:
        return [(point.step, point.total)]
    return sorted({(step, value) for value, step in (point.low, point.high)})


def _resumed(state: State) -> list[Mark]:
    return [Mark(state.first_step, f"attempt {state.attempt}")] if state.attempt > 1 and state.first_step else []


def _marks(state: State) -> list[Mark]:
    """Mark the first alert of each rule."""
    first = {alert.rule: alert for alert in reversed(state.alerts)}
    return _resumed(state) + [
        Mark(alert.step, rule.replace("_", " "), _KINDS.get(alert.severity, "")) for rule, alert in first.items()
    ]
