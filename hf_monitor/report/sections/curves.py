"""Curves: what was logged over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.curves import Curve, Curves
from hf_monitor.charts.metric_names import is_bookkeeping, is_loss, is_share, is_text_score, score_of, set_of
from hf_monitor.diagnosis.overfitting import overfitting_onset
from hf_monitor.report.material import Material
from hf_monitor.report.plots import Mark, Picture, Series, line_plot, sparkline
from hf_monitor.run.reader import Run

__all__ = ["CurvesSection", "Other", "curves"]

_MOST_PANELS = 8
_MOST_SERIES = 8
_MOST_SETS = 3
_MOST_OTHERS = 60
_MOST_REPEATED = 15
_SOURCE = "metrics.jsonl"
_KINDS = {"error": "bad", "warning": "warn"}


@dataclass(frozen=True)
class Other:
    """A number that was logged and has no picture of its own."""

    name: str
    n: int
    first: float
    last: float
    lowest: float | None
    highest: float | None
    spark: Markup


@dataclass(frozen=True)
class CurvesSection:
    """Pictures of the curves, and a table of what has none."""

    pictures: Sequence[Picture]
    others: Sequence[Other]
    notes: Sequence[str]


def curves(material: Material) -> CurvesSection | None:
    """Draw loss, text scores, learning rate, gradient norm, and other numbers while there is room.

    Parameters
    ----------
    material : Material

    Returns
    -------
    CurvesSection or None
        None where nothing was logged.
    """
    found = material.curves
    material.gaps += [f"A curve lacks {what}." for what in found.unusable]
    if not any(found.values()):
        material.gaps.append("No metric was logged in a training, so there are no curves.")
        return None
    run = material.run
    attempts, alerts = _attempt_marks(run), _alert_marks(run)
    drawn: set[str] = set()
    pictures = [
        *_losses(found, attempts + alerts, drawn),
        *_scores(found, attempts, drawn, _chosen(material.config)),
    ]
    others = {name: curve for name, curve in found.items() if name not in drawn and not is_bookkeeping(name) and curve}
    shares = [curve for name, curve in others.items() if name.startswith("eval_") and is_share(curve)]
    if shares:
        pictures.append(_panel("Other evaluation metrics (0-1)", shares, drawn, attempts, y_range=(0.0, 1.0)))
    for name, title in (("learning_rate", "Learning rate"), ("grad_norm", "Gradient norm")):
        if found.get(name):
            marks = attempts + (alerts if name == "grad_norm" else [])
            pictures.append(_panel(title, [found[name]], drawn, marks, y_label=title.lower()))
    for name, curve in others.items():
        if name not in drawn and len(pictures) < _MOST_PANELS and len(curve.values) > 1:
            pictures.append(_panel(name, [curve], drawn, attempts))
    notes = []
    if len(pictures) > _MOST_PANELS:
        notes.append(f"{len(pictures) - _MOST_PANELS} more panels are not drawn: more evaluation sets than have room.")
        pictures = pictures[:_MOST_PANELS]
    missing = [word for word, name in _WANTED.items() if not found.get(name)]
    missing += [] if any(is_loss(name) and name != "loss" for name in found) else ["validation loss"]
    missing += [] if any(is_text_score(name, found) for name in found) else ["text scores"]
    if missing:
        material.gaps.append(f"Not logged, so without a curve: {', '.join(missing)}.")
    left = [curve for name, curve in found.items() if name not in drawn and curve]
    if len(left) > _MOST_OTHERS:
        notes.append(f"{len(left) - _MOST_OTHERS} more numbers were logged; {_SOURCE} has them.")
    return CurvesSection(pictures, [_other(curve) for curve in left[:_MOST_OTHERS]], notes)


_WANTED = {
    "training loss": "loss",
    "learning rate": "learning_rate",
    "gradient norm": "grad_norm",
}


def _losses(found: Curves, marks: list[Mark], drawn: set[str]) -> list[Picture]:
    """Draw the training loss (always with the first colour) and the validation losses."""
    train = found.get("loss", Curve("loss"))
    evaluations = [curve for name, curve in found.items() if name != "loss" and is_loss(name) and curve]
    if not train and not evaluations:
        return []
    marks = list(marks)
    for curve in evaluations[:_MOST_SETS]:
        steps, values = curve.finite
        if len(values) < 2:
            continue
        of = f", {set_of(curve.name)}" if len(evaluations) > 1 and set_of(curve.name) else ""
        onset = overfitting_onset(*train.finite, *curve.finite)
        if onset is not None:
            before = " or before" if onset.is_first else ""
            marks.append(Mark(onset.step, f"overfitting begins{before}{of}", "warn"))
        else:
            marks.append(Mark(int(steps[int(values.argmin())]), f"lowest validation loss{of}", "good"))
    drawn |= {"loss"} | {curve.name for curve in evaluations[: _MOST_SERIES - 1]}
    series = [_series(train, "training loss")]
    for curve in evaluations[: _MOST_SERIES - 1]:
        of = set_of(curve.name)
        series.append(_series(curve, f"validation loss ({of})" if of else "validation loss"))
    return [line_plot("Loss", series, y_label="loss", marks=marks, source=_SOURCE)]


def _scores(found: Curves, marks: list[Mark], drawn: set[str], chosen: str | None) -> list[Picture]:
    """Draw ROUGE, BLEU and the score of each evaluation set in a panel of its own."""
    scores = [curve for name, curve in found.items() if is_text_score(name, found) and curve]
    # Of one scale all: 0.31 alone may be 31 of 100, or a third of one.
    hundred = any(np.any(curve.finite[1] > 1) for curve in scores)
    sets: dict[str, list[Curve]] = {}
    for curve in scores:
        sets.setdefault(curve.name.removesuffix(score_of(curve.name)).rstrip("_"), []).append(curve)
    pictures = []
    for prefix, some in sets.items():
        names = [curve.name for curve in some]
        wanted = (chosen, f"{prefix}_score", f"{prefix}_rougeL", names[0])
        best = some[names.index(next(name for name in wanted if name in names))]
        steps, values = best.finite
        marked = list(marks)
        if len(values) > 1 and values.min() < values.max():
            marked.append(Mark(int(steps[int(values.argmax())]), f"best {score_of(best.name)}", "good"))
        title = "Text scores" + (" (0-100)" if hundred else "") + (f", {prefix[5:]}" if prefix != "eval" else "")
        pictures.append(_panel(title, some, drawn, marked, y_label="score", y_range=(0.0, 0.0), names=score_of))
    return pictures


def _panel(
    title: str,
    some: Sequence[Curve],
    drawn: set[str],
    marks: list[Mark],
    y_label: str = "",
    y_range: tuple[float, float] | None = None,
    names: Any = str,
) -> Picture:
    """Draw curves; those with the same points (rougeL and rougeLsum of one-line texts) are one."""
    joined: list[tuple[Curve, list[str]]] = []
    for curve in some:
        same = next((known for other, known in joined if curve.same_points(other)), None)
        if same is not None:
            same.append(names(curve.name))
        elif len(joined) < _MOST_SERIES:
            joined.append((curve, [names(curve.name)]))
        else:
            continue
        drawn.add(curve.name)
    series = [_series(curve, " = ".join(known)) for curve, known in joined]
    y_label = series[0].name if len(series) == 1 and len(some) > 1 else y_label
    return line_plot(title, series, y_label=y_label, marks=marks, y_range=y_range, source=_SOURCE)


def _series(curve: Curve, name: str) -> Series:
    return Series(name, curve.steps, curve.values)  # type: ignore[arg-type]  # arrays are sequences enough


def _chosen(config: Mapping[str, Any]) -> str | None:
    """Give the metric that the best checkpoint is chosen by, as it stands in the rows."""
    name = config.get("metric_for_best_model")
    if not isinstance(name, str):
        return None
    return name if name.startswith("eval_") else f"eval_{name}"


def _attempt_marks(run: Run) -> list[Mark]:
    """Mark where a later attempt went on."""
    found: dict[int, Mark] = {}
    for row in run.events:
        step, attempt = row.get("step"), row.get("attempt")
        if row.get("event") == "train_begin" and type(step) is int and type(attempt) is int and step > 0:
            found[attempt] = Mark(step, f"attempt {attempt}")
    return list(found.values())


def _alert_marks(run: Run) -> list[Mark]:
    """Mark the alerts: of each rule the first with its name, the others without."""
    by_rule: dict[str, list[Mapping[str, Any]]] = {}
    for row in run.metrics:
        if row.get("kind") == "alert" and type(row.get("step")) is int:
            by_rule.setdefault(str(row.get("rule") or "alert"), []).append(row)
    marks = []
    for rule, rows in by_rule.items():
        times = f" ({len(rows)} times)" if len(rows) > 1 else ""
        for number, alert in enumerate(rows[:_MOST_REPEATED]):
            label = "" if number else rule.replace("_", " ") + times
            marks.append(Mark(alert["step"], label, _KINDS.get(str(alert.get("severity")), "")))
    return marks


def _other(curve: Curve) -> Other:
    finite = curve.finite[1]
    lowest, highest = (float(finite.min()), float(finite.max())) if len(finite) else (None, None)
    first, last = float(curve.values[0]), float(curve.values[-1])
    spark = sparkline(curve.values, label=curve.name) if len(finite) > 1 else Markup("")  # type: ignore[arg-type]
    return Other(curve.name, len(curve.values), first, last, lowest, highest, spark)
