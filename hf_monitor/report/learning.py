"""How a metric went over the evaluations of a training, and the training loss over its rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, sqrt
from typing import Any, Literal

from hf_monitor.charts.curves import Curve
from hf_monitor.report import words

__all__ = ["Change", "Course", "Tone", "Way", "change_of", "course_of", "main_metrics", "trained"]

Tone = Literal["good", "warn", "bad", "quiet"]
Way = Literal["learned", "fell back", "lost", "same", "worse"]

_MARGIN = 0.02  # of the value: what two seeds of the same training easily differ by
_SCORE_MARGIN = 1.0  # of 100: as much as other samples of the same kind change a text score by
_BACK = 0.25  # of the gain: so much lost since the best evaluation is said
_FEW_ROWS = 20  # fewer losses of single batches tell no course: a tenth of them is one row
_SEEN = 2.0  # standard errors
_SCORES = ("score", "rougeL", "rougeLsum", "rouge1", "rouge2", "bleu", "chrf", "f1", "accuracy", "exact_match")
_OF_100 = frozenset({"score", "rougeL", "rougeLsum", "rouge1", "rouge2", "bleu", "chrf"})


@dataclass(frozen=True)
class Course:
    """How a metric went over the evaluations of a training."""

    name: str
    way: Way
    greater: bool
    n: int
    first: tuple[int, float]
    best: tuple[int, float]
    last: tuple[int, float]
    ends_finite: bool
    """Whether the last evaluation of all gave a finite number."""
    kept: Way
    """As `way`, of the weights that there were in the end: those of the best checkpoint, where these were loaded."""

    def told(self, of: str = "") -> str:
        """Say it in words; `of` stands behind the step of the best value, such as ``" of 968"``."""
        value = words.number
        (first_step, first), (step, best), (last_step, last) = self.first, self.best, self.last
        when = "before the training" if first_step == 0 else f"at step {first_step:,}"
        if self.way in ("same", "worse"):
            if value(first) == value(last):
                since = "from before the training" if first_step == 0 else f"from step {first_step:,}"
                return f"{self.name} stayed at {value(first)} {since} to step {last_step:,}{of}"
            moved = "went" if self.way == "worse" else "hardly moved,"
            return f"{self.name} {moved} from {value(first)} {when} to {value(last)} at step {last_step:,}{of}"
        end = (
            "" if step == last_step or value(best) == value(last) else f", and was {value(last)} at step {last_step:,}"
        )
        verb = "rose" if self.greater else "fell"
        return f"{self.name} {verb} from {value(first)} {when} to its best, {value(best)}, at step {step:,}{of}{end}"


def main_metrics(names: Collection[str], config: Mapping[str, Any], sets: Sequence[str] = ()) -> list[str]:
    """Choose what to judge a training by: the metric it was to be best in, else a text score; then the loss.

    Parameters
    ----------
    names : collection of str
        Of what was evaluated, in the order met: ``"eval_loss"``, ``"eval_korean_rougeL"`` ...
    config : mapping
        The training arguments.
    sets : sequence of str
        Names of the evaluation sets where there are several.

    Returns
    -------
    list of str
        At most two of each set, the metric first, the first set first.
    """
    wanted = config.get("metric_for_best_model")
    key = wanted if isinstance(wanted, str) and wanted.startswith("eval_") else f"eval_{wanted}"
    prefixes = [f"eval_{name}_" for name in sets if any(one.startswith(f"eval_{name}_") for one in names)] or ["eval_"]
    if key in names:
        own = next((prefix for prefix in prefixes if key.startswith(prefix)), None)
        prefixes = [prefix for prefix in prefixes if prefix == own] + [one for one in prefixes if one != own]
        wanted = key.removeprefix(own or "eval_")
    found: list[str] = []
    for prefix in prefixes:
        order = [f"{prefix}{wanted}"] if key in names and wanted != "loss" else []
        order += [f"{prefix}{score}" for score in _SCORES]
        score = next((name for name in order if name in names), None)
        found += [name for name in (score, f"{prefix}loss") if name is not None and name in names]
    return found


def course_of(curve: Curve, greater: bool, loaded: int | None = None) -> Course | None:
    """Judge how a metric went; None where fewer than two evaluations gave a number.

    Parameters
    ----------
    curve : Curve
    greater : bool
        Whether a greater value is a better one.
    loaded : int, optional
        Step of the weights that were loaded at the end.
    """
    steps, values = (part.tolist() for part in curve.finite)
    if len(values) < 2:
        return None
    points = list(zip(steps, values, strict=True))
    sign = 1 if greater else -1
    first, last = points[0], points[-1]
    best = max(points, key=lambda point: sign * point[1])
    margin = _MARGIN * max(abs(first[1]), abs(best[1]))
    if curve.name.rpartition("_")[2] in _OF_100 and abs(best[1]) > 1.0:
        margin = max(margin, _SCORE_MARGIN)
    gain = sign * (best[1] - first[1])
    kept = next((value for step, value in points if step == loaded), last[1])
    way, way_kept = (_way(gain, sign * (value - first[1]), margin) for value in (last[1], kept))
    ends_finite = isfinite(curve.values[-1]) or any(step == loaded for step, _ in points)
    return Course(curve.name, way, greater, len(points), first, best, last, ends_finite, way_kept)


def _way(gain: float, kept: float, margin: float) -> Way:
    if gain <= margin:
        return "worse" if kept < -margin else "same"
    if kept <= margin:
        return "lost"
    return "fell back" if gain - kept > max(_BACK * gain, margin) else "learned"


@dataclass(frozen=True)
class Change:
    """The training loss at its begin and at its end: means of a tenth of its rows."""

    first: float
    last: float
    verb: Literal["fell", "rose", "stayed"]


def change_of(loss: Curve | None) -> Change | None:
    """Tell how the training loss went; None where its rows are few, or scatter more than it changed."""
    values = [] if loss is None else loss.finite[1].tolist()
    if len(values) < _FEW_ROWS:
        return None
    n = min(len(values) // 10, 20)
    first, last = sum(values[:n]) / n, sum(values[-n:]) / n
    # Of neighbours, as a trend is no scatter; their median distance is about one standard deviation.
    apart = sorted(abs(one - other) for one, other in pairwise(values))
    error = _SEEN * apart[len(apart) // 2] * sqrt(2.0 / n)
    moved = abs(first - last)
    if moved <= _MARGIN * abs(first):
        return Change(first, last, "stayed") if error <= 2 * _MARGIN * abs(first) else None
    return None if moved <= error else Change(first, last, "fell" if last < first else "rose")


def trained(loss: Curve | None) -> str:
    """Say how the training loss went; empty where that cannot be told."""
    change = change_of(loss)
    if change is None:
        return ""
    first, last = words.number(change.first, 3), words.number(change.last, 3)
    if change.verb == "stayed":
        return f"the training loss stayed near about {first}"
    return f"the training loss {change.verb} from about {first} to about {last}"
