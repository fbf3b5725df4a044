"""Did a training learn? Told from its evaluations, in a sentence; never more than they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from hf_monitor.charts.curves import Curve
from hf_monitor.report import words

__all__ = ["Course", "Tone", "course_of", "greater_is_better", "main_metrics", "sentence"]

Tone = Literal["good", "warn", "bad", "quiet"]
Way = Literal["learned", "fell back", "lost", "same", "worse"]

_MARGIN = 0.02  # of the value: what two seeds of the same training easily differ by
_SCORE_MARGIN = 1.0  # of 100: as much as other samples of the same kind change a text score by
_BACK = 0.25  # of the gain: so much lost since the best evaluation is said
_SCORES = ("score", "rougeL", "rougeLsum", "rouge1", "rouge2", "bleu", "chrf", "f1", "accuracy", "exact_match")
_OF_100 = frozenset({"score", "rougeL", "rougeLsum", "rouge1", "rouge2", "bleu", "chrf"})
_SMALLER = ("loss", "perplexity", "ppl", "wer", "cer", "ter", "error", "mse", "mae", "rmse")


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


def greater_is_better(metric: str, config: Mapping[str, Any]) -> bool | None:
    """Tell which way a metric is better: by the run's own arguments, else by its name; None where neither tells."""
    wanted, greater = config.get("metric_for_best_model"), config.get("greater_is_better")
    if isinstance(wanted, str) and isinstance(greater, bool) and metric in (wanted, f"eval_{wanted}"):
        return greater
    ending = metric.rpartition("_")[2]
    if ending in _SMALLER:
        return False
    return True if any(metric.endswith(f"_{score}") for score in _SCORES) else None


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


def course_of(curve: Curve, greater: bool) -> Course | None:
    """Judge how a metric went; None where fewer than two evaluations gave a number."""
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
    gain, kept = sign * (best[1] - first[1]), sign * (last[1] - first[1])
    way: Way
    if gain <= margin:
        way = "worse" if kept < -margin else "same"
    elif kept <= margin:
        way = "lost"
    else:
        way = "fell back" if gain - kept > max(_BACK * gain, margin) else "learned"
    return Course(curve.name, way, greater, len(points), first, best, last, isfinite(curve.values[-1]))


def trained(loss: Curve | None) -> str:
    """Say how the training loss went, as means of the first and the last tenth of its rows; empty without two."""
    values = [] if loss is None else loss.finite[1].tolist()
    if len(values) < 2:
        return ""
    n = min(max(len(values) // 10, 1), 20)
    first, last = sum(values[:n]) / n, sum(values[-n:]) / n
    verb = "stayed near" if abs(first - last) <= _MARGIN * abs(first) else "fell from" if last < first else "rose from"
    to = "" if verb == "stayed near" else f" to about {words.number(last, 3)}"
    return f"the training loss {verb} about {words.number(first, 3)}{to}"


def sentence(
    courses: Sequence[Course], others: Sequence[Course], *, of: str, rules: Collection[str], loss: Curve | None
) -> tuple[str, Tone]:
    """Say whether it learned, where there were evaluations enough.

    Parameters
    ----------
    courses : sequence of Course
        Of the set that counts: the metric, and its loss.
    others : sequence of Course
        Of other sets.
    of : str
        Such as ``" of 968"``.
    rules : collection of str
        What was found.
    loss : Curve, optional
        The training loss.
    """
    main, second = courses[0], next(iter(courses[1:]), None)
    head, tone = _head(main, second)
    if "learning_rate_ineffective" in rules and tone != "bad":
        head, tone = "It hardly learned", "bad"
    if "overfitting" in rules and head == "It learned":
        head, tone = "It learned, and then overfitted", "warn"
    if not main.ends_finite:
        head, tone = f"{head}{' and' if ', but' in head else ', but'} its last evaluation gave no finite number", "bad"
    told = [main.told(of), *(course.told() for course in courses[1:])]
    if main.way in ("same", "worse") and (training := trained(loss)):
        told.append(training)
    if other := [course for course in others if course.way != main.way]:
        told.append(f"on another set {other[0].told()}")
    doubts = []
    if "generation_collapse" in rules and tone != "bad":
        doubts.append("its texts are not sound")
    if "data_overlap" in rules and tone != "bad":
        doubts.append("it was evaluated partly on samples of its training set")
    if doubts:
        head, tone = f"{head}{' and' if ', but' in head else ', but'} {' and '.join(doubts)}", "warn"
    return f"{head}: {'; '.join(told)}.", tone


def _head(main: Course, second: Course | None) -> tuple[str, Tone]:
    """Say it in a few words; the loss counts where the score says little, or the contrary."""
    loss = None if second is None else second.way
    rises, falls = loss in ("learned", "fell back"), loss in ("fell back", "lost", "worse")
    if main.way == "learned":
        return (f"It learned by {main.name}, but its loss became worse", "warn") if falls else ("It learned", "good")
    if main.way == "fell back":
        return "It learned, and then became worse", "warn"
    if main.way == "lost":
        return "It did not keep what it learned", "bad"
    if rises:
        became = "became worse" if main.way == "worse" else "hardly moved"
        return f"It learned by its loss, but {main.name} {became}", "warn"
    if main.way == "worse":
        return "It became worse", "bad"
    if main.first[0] > 0:
        return "It learned next to nothing after its first evaluation", "bad"
    return "It did not learn", "bad"
