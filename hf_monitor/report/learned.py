"""Did a training learn? Told from its evaluations, in a sentence; never more than they show."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hf_monitor.charts.curves import Curve
from hf_monitor.report import words
from hf_monitor.report.learning import Course, Tone, trained

__all__ = ["Evaluations", "Learned", "learned_of"]

_RUINED = {"worse": "became worse", "lost": "did not keep it", "fell back": "fell back"}
_GRAVITY = tuple(_RUINED)


@dataclass(frozen=True)
class Learned:
    """Whether it learned, and what that alone asks for."""

    sentence: str
    tone: Tone
    n: int
    """Evaluations that it is made of."""
    advice: str = ""
    """What to change where no rule says so; empty for nothing."""
    is_urgent: bool = False
    """Whether the advice stands before that of a warning."""


@dataclass(frozen=True)
class Evaluations:
    """What there is to judge by."""

    courses: Sequence[Course]
    """Of the set that counts: the metric, and its loss; at least one."""
    name: str = ""
    """Of that set; empty where there is one only."""
    others: Mapping[str, Course] = field(default_factory=dict)
    """Of each other set what it is judged by: its score, without one its loss."""
    of: str = ""
    """Such as ``" of 968"``."""
    rules: Collection[str] = ()
    """What was found."""
    loss: Curve | None = None
    """The training loss."""
    loaded: int | None = None
    """Step of the weights that were loaded at the end."""
    is_reversed: bool = False
    """Whether the Trainer took the worst value of the metric for the best."""
    saved: Collection[int] = ()
    """Steps of which there are checkpoints."""


def learned_of(seen: Evaluations) -> Learned:
    """Say whether it learned, where there were evaluations enough."""
    main, second = seen.courses[0], next(iter(seen.courses[1:]), None)
    head, tone = _head(main, second, seen.loaded)
    advice = _advice(main, second, seen.saved)
    if "learning_rate_ineffective" in seen.rules and tone != "bad":
        head, tone = "It hardly learned", "bad"
    if "overfitting" in seen.rules and head == "It learned":
        head, tone = "It learned, and then overfitted", "warn"
    if not main.ends_finite:
        head, tone = _joined(head, "its last evaluation gave no finite number"), "bad"
    told = [main.told(seen.of), *(course.told() for course in seen.courses[1:])]
    if main.way in ("same", "worse") and (training := trained(seen.loss)):
        told.append(training)
    ruined = _ruined(seen.others)
    if ruined and tone != "bad":
        (name, course), more = ruined[0], len(ruined) - 1
        on = f"on {words.quoted(name, 60)}{f' and {more} more set' if more else ''}{'s' if more > 1 else ''}"
        did = _RUINED[course.kept]
        if head == "It learned":
            head = f"It learned on {words.quoted(seen.name, 60)}, but {did} {on}"
        else:
            head = _joined(head, f"it {did} {on}")
        tone = "warn"
        advice = advice or (
            f"Put samples like those of {words.quoted(name, 60)} into the training set, or end sooner: it was best "
            f"there at step {course.best[0]:,}."
        )
        told.append(course.told())
    elif other := [course for course in seen.others.values() if course.way != main.way]:
        told.append(f"on another set {other[0].told()}")
    doubts = []
    if "generation_collapse" in seen.rules and tone != "bad":
        doubts.append("its texts are not sound")
    if "data_overlap" in seen.rules and tone != "bad":
        doubts.append("it was evaluated partly on samples of its training set")
    if doubts:
        head, tone = _joined(head, " and ".join(doubts)), "warn"
    if seen.is_reversed:
        which = "counts as the best" if seen.loaded is None else f"was loaded at the end, that of step {seen.loaded:,}"
        told.append(f"greater_is_better=False is missing: the worst checkpoint {which}")
        advice = f"Set greater_is_better=False: it is True, but a smaller {main.name} is better."
        tone = "warn" if tone in ("good", "quiet") else tone
    elif seen.loaded is not None:
        told.append(f"the weights of step {seen.loaded:,} were loaded at the end")
    return Learned(f"{head}: {'; '.join(told)}.", tone, main.n, advice, seen.is_reversed)


def _joined(head: str, more: str) -> str:
    return f"{head}{' and' if ', but' in head else ', but'} {more}"


def _ruined(others: Mapping[str, Course]) -> list[tuple[str, Course]]:
    """Give the other sets that it became worse on, the worst first."""
    found = [(name, course) for name, course in others.items() if course.kept in _RUINED]
    return sorted(found, key=lambda one: (_GRAVITY.index(one[1].kept), -_moved(one[1])))


def _moved(course: Course) -> float:
    return abs(course.last[1] - course.best[1]) / max(abs(course.best[1]), 1e-9)


def _head(main: Course, second: Course | None, loaded: int | None) -> tuple[str, Tone]:
    """Say it in a few words; the loss counts where the score says little, or the contrary."""
    loss = None if second is None else second.kept
    rises, falls = loss in ("learned", "fell back"), loss in ("fell back", "lost", "worse")
    if main.kept == "learned":
        return (f"It learned by {main.name}, but its loss became worse", "warn") if falls else ("It learned", "good")
    if main.kept == "fell back":
        return "It learned, and then became worse", "warn"
    if main.kept == "lost":
        return ("It did not keep what it learned" if loaded is None else "It learned, but did not keep it"), "bad"
    if rises:
        since = " since its first evaluation" if main.first[0] > 0 else ""
        became = "became worse" if main.kept == "worse" else f"hardly moved{since}"
        return f"It learned by its loss, but {main.name} {became}", "warn"
    if main.kept == "worse":
        return "It became worse", "bad"
    if main.first[0] == 0:
        return "It did not learn", "bad"
    # What came before the first evaluation is not known.
    if main.way == "worse":  # and the weights of the first were loaded
        return "It was best at its first evaluation", "warn"
    before = f"before the first evaluation, at step {main.first[0]:,}"
    if falls:
        since = "became worse since" if loss == "worse" else "rose again since its best"
        return f"What it learned, if anything, came {before}, and its loss {since}", "warn"
    return f"Most was learned {before}, or nothing (eval_on_start=True would tell)", "quiet"


def _advice(main: Course, second: Course | None, saved: Collection[int]) -> str:
    """Say what the evaluations alone ask for."""
    step = main.best[0]
    if main.kept in ("fell back", "lost", "worse") and step > 0:
        best = f"the weights of step {step:,}, its best by {main.name}"
        if step in saved:
            return f"Take {best}: they were saved (load_best_model_at_end=True does so by itself)."
        return f"Keep {best}, next time: load_best_model_at_end=True, with a checkpoint at each evaluation."
    loss = None if second is None else second.kept
    if main.kept == "learned":
        is_worse = loss in ("fell back", "lost", "worse")
        return f"Nothing needs changing, if {main.name} counts for more than the loss." if is_worse else ""
    if main.first[0] > 0:
        return "Evaluate before the training, too (eval_on_start=True): that tells what it learned."
    if loss in ("learned", "fell back"):
        return f"Look at some of its texts or answers: the loss fell, and {main.name} did not follow."
    return (
        "No rule says why: see first whether it can learn twenty samples by heart, which tells a mistake in the set-up "
        "from data that are too hard."
    )
