"""The verdict in three sentences, and the facts that tell one run from another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

from hf_monitor.charts.curves import Curve
from hf_monitor.diagnosis.rows import entries, number
from hf_monitor.report import words
from hf_monitor.report.ending_words import what_to_change, what_went_wrong
from hf_monitor.report.kept_weights import is_reversed, loaded_step
from hf_monitor.report.learned import Evaluations, Learned, learned_of
from hf_monitor.report.learning import Change, Course, Tone, change_of, course_of, main_metrics, trained
from hf_monitor.report.material import Material
from hf_monitor.run.better import greater_is_better

__all__ = ["Answer", "Verdict", "verdict"]

_STATUS_TONES: dict[str, Tone] = {"finished": "good", "crashed": "bad", "killed": "bad"}
_STATUS_TONES |= {"interrupted": "warn", "terminated": "warn"}
_LONGEST_TRACEBACK = 20_000
_MANIFOLD = 2.0  # times the loss at the begin
_CANNOT = "Whether it learned cannot be told"


@dataclass(frozen=True)
class Answer:
    """One of the three sentences."""

    question: str
    sentence: str
    tone: Tone


@dataclass(frozen=True)
class Verdict:
    """What stands at the top of the page."""

    status: str
    tone: Tone
    answers: tuple[Answer, ...]
    error: str
    """Type and message of what ended the run, where neither the sentence nor the traceback has them whole."""
    traceback: str
    facts: tuple[tuple[str, str], ...]


def verdict(material: Material) -> Verdict:
    """Answer whether it learned, what went wrong, and what to change first, each in one sentence."""
    learned = _learned(material)
    wrong, wrong_tone = what_went_wrong(material)
    change, change_tone = what_to_change(material, learned)
    ending = material.ending
    status = str(ending.status) if material.run.rows else "nothing recorded"
    error = ": ".join(str(part) for part in (ending.type, ending.message) if part)
    traceback = str(ending.traceback or "")
    is_told = error in traceback or (not traceback and "\n" not in error and len(error) <= 200)
    return Verdict(
        status=status,
        tone=_STATUS_TONES.get(status, "quiet"),
        answers=(
            Answer("Did it learn?", learned.sentence, learned.tone),
            Answer("What went wrong?", wrong, wrong_tone),
            Answer("What to change first?", change, change_tone),
        ),
        error="" if is_told else _middle_cut(error),
        traceback=_middle_cut(traceback),
        facts=tuple((label, value) for label, value in _facts(material) if value),
    )


def _middle_cut(text: str) -> str:
    """Keep the begin and the end, which say most."""
    half = _LONGEST_TRACEBACK // 2
    if len(text) <= _LONGEST_TRACEBACK:
        return text
    return f"{text[:half]}\n[... {len(text) - 2 * half:,} more characters ...]\n{text[-half:]}"


def _learned(material: Material) -> Learned:
    """Say whether it learned."""
    if not material.run.rows:
        return Learned(f"{_CANNOT}: nothing was recorded.", "quiet", 0)
    if not material.has_training:
        told = _single(material, {"eval", "predict"})
        return Learned(f"Nothing was trained here{f': an evaluation gave {told}' if told else ''}.", "quiet", 0)
    curves, config = material.curves, material.config
    data = material.fact("data").get("eval")
    sets = [name for name, one in data.items() if isinstance(one, dict)] if isinstance(data, dict) else []
    names = main_metrics([name for name in curves if name.startswith("eval_")], config, sets)
    loss, loaded = curves.get("loss"), loaded_step(material)
    found = {one.rule: one for one in material.findings if one.verdict == "found"}
    judged = [course_of(curves[name], greater_is_better(name, config), loaded) for name in names]
    courses = [course for course in judged if course is not None]
    n = courses[0].n if courses else min(1, len(names))
    if broken := _broken(loss, found):
        told, before = broken
        return Learned(f"{told}{_before([curves[name] for name in names], config, before)}.", "bad", n)
    if not courses:
        if "divergence" in found and (rise := _rise(change_of(loss))):
            return Learned(f"{rise}; {_few(material)}.", "bad", n)
        told = "; ".join(filter(None, (_few(material), trained(loss))))
        return Learned(f"{_CANNOT}: {told}.", "quiet", n)
    first = _set_of(courses[0].name, sets)
    others: dict[str, Course] = {}
    for course in courses:
        if (name := _set_of(course.name, sets)) != first:
            others.setdefault(name, course)
    own = [course for course in courses if _set_of(course.name, sets) == first]
    saved = {step for step, _ in material.checkpoints}
    return learned_of(
        Evaluations(
            courses=own,
            name=first,
            others=others,
            of=f" of {material.max_steps:,}" if material.max_steps else "",
            rules=found.keys(),
            loss=loss,
            loaded=loaded,
            is_reversed=is_reversed(own[0].name, config),
            saved=saved,
        )
    )


def _set_of(metric: str, sets: list[str]) -> str:
    own = [name for name in sets if metric.startswith(f"eval_{name}_")]
    return max(own, key=len, default="")


def _broken(loss: Curve | None, found: dict[str, Any]) -> tuple[str, int] | None:
    """Say that a training ended in ruins, and before which step it was sound; None where it did not."""
    if "divergence" in found and found["divergence"].severity == "error":
        since = found["divergence"].steps[0] if found["divergence"].steps else 0
        steps, values = ([], []) if loss is None else (part.tolist() for part in loss.finite)
        lowest = min(zip(values, steps, strict=True), default=None)
        if lowest is None:
            return "It did not learn, it diverged", since
        return (
            f"It diverged: the training loss was {words.number(lowest[0])} at step {lowest[1]:,} and "
            f"{words.number(values[-1])} at step {steps[-1]:,}"
        ), since
    if loss is None or not loss or isfinite(loss.values[-1]):
        return None
    values = loss.values.tolist()
    first = len(values)
    while first and not isfinite(values[first - 1]):
        first -= 1
    kind = "NaN" if values[-1] != values[-1] else "infinite"
    # What is logged is a mean over the steps since the row before.
    since = int(loss.steps[first - 1]) if first else 0
    where = f"after step {since:,}" if first else "from its first row on, to the end"
    return f"It broke: the training loss is {kind} {where}{', to the end' if first else ''}", since + 1


def _before(curves: list[Curve], config: dict[str, Any], step: int) -> str:
    """Tell the best evaluation before a step, of the first metric that had one."""
    for curve in curves:
        points = [(value, at) for at, value in zip(*(part.tolist() for part in curve.finite), strict=True) if at < step]
        if points:
            sign = 1 if greater_is_better(curve.name, config) else -1
            value, at = max(points, key=lambda point: sign * point[0])
            return f"; before that {curve.name} was at best {words.number(value)}, at step {at:,}"
    return ""


def _rise(change: Change | None) -> str:
    """Say how many times a loss rose; empty below twice: harder data may do that."""
    if change is None or not 0 < change.first * _MANIFOLD <= change.last:
        return ""
    first, last = words.number(change.first, 3), words.number(change.last, 3)
    return f"The training loss rose {change.last / change.first:,.0f}-fold, from about {first} to about {last}"


def _few(material: Material) -> str:
    """Say why there was nothing to compare."""
    n = len({number(row.get("step")) for row in material.metrics if row.get("kind") == "eval"})
    if not n:
        return "no evaluation was made during the training"
    told = _single(material, {"eval"})
    if n == 1:
        return f"there was one evaluation only{f' ({told})' if told else ''}"
    return f"no metric whose better way is known was a number in two of its {n:,} evaluations"


def _single(material: Material, kinds: set[str]) -> str:
    """Tell the numbers of the latest evaluation: a score and the loss."""
    for row in reversed(material.metrics):
        if row.get("kind") not in kinds:
            continue
        told = []
        for ending in ("_score", "_rougeL", "_f1", "_accuracy", "_loss"):
            for name, value in row.items():
                if str(name).endswith(ending) and number(value, -1e15) is not None:
                    told.append(f"{words.quoted(name, 60)} {words.number(value)}")
        if told:
            step = number(row.get("step"))
            return " and ".join(dict.fromkeys([told[0], told[-1]])) + (f" at step {step:,.0f}" if step else "")
    return ""


def _facts(material: Material) -> Iterator[tuple[str, str]]:
    run, facts = material.run, material.facts
    model, data, devices = material.fact("model"), material.fact("data"), material.fact("devices")
    yield "Run", str(facts.get("run_id") or "")
    size = number(model.get("n_parameters"))
    name = " ".join(str(part) for part in (model.get("class"), model.get("name_or_path")) if part)
    yield "Model", name + (f", {size:,.0f} parameters" if size is not None else "")
    yield "Data", "; ".join(_sizes(data))
    step = f"{material.last_step:,}" + (f" of {material.max_steps:,}" if material.max_steps else "")
    yield "Steps", step if material.has_training else ""
    times = material.times
    yield "Began", words.moment(times[0]) if times else ""
    yield "Last row", words.moment(times[1]) if times else ""
    yield "Took", words.duration(run.duration_seconds)
    yield "Attempts", f"{len(run.attempts):,}" if len(run.attempts) > 1 else ""
    yield "Precision", str(facts.get("precision") or "")
    gpus = [str(gpu["name"]) for gpu in entries(devices.get("gpus")) if gpu.get("name")]
    processes = number(devices.get("world_size"))
    several = f", {processes:.0f} processes" if processes is not None and processes > 1 else ""
    kinds = "; ".join(f"{gpus.count(one)} × {one}" if gpus.count(one) > 1 else one for one in dict.fromkeys(gpus))
    yield "Device", (kinds or str(devices.get("device") or "")) + several


def _sizes(data: dict[str, Any]) -> Iterator[str]:
    """Tell how many samples each data set has."""
    for name, one in data.items():
        if not isinstance(one, dict):
            continue
        sets = {name: one} if "class" in one or "n_samples" in one else {f"{name} {key}": v for key, v in one.items()}
        for own, of in sets.items():
            n = number(of.get("n_samples")) if isinstance(of, dict) else None
            yield f"{n:,.0f} {own}" if n is not None else f"{own} of unknown length"
