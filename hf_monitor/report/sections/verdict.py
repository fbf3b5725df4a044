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
from hf_monitor.report.learning import Tone, course_of, greater_is_better, main_metrics, sentence, trained
from hf_monitor.report.material import Material

__all__ = ["Answer", "Verdict", "verdict"]

_STATUS_TONES: dict[str, Tone] = {"finished": "good", "crashed": "bad", "killed": "bad"}
_STATUS_TONES |= {"interrupted": "warn", "terminated": "warn"}
_LONGEST_TRACEBACK = 20_000
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
    learned, tone, n_evaluations = _learned(material)
    wrong, wrong_tone = what_went_wrong(material)
    change, change_tone = what_to_change(material, tone, n_evaluations)
    ending = material.ending
    status = str(ending.status) if material.run.rows else "nothing recorded"
    error = ": ".join(str(part) for part in (ending.type, ending.message) if part)
    traceback = str(ending.traceback or "")
    is_told = error in traceback or (not traceback and "\n" not in error and len(error) <= 200)
    return Verdict(
        status=status,
        tone=_STATUS_TONES.get(status, "quiet"),
        answers=(
            Answer("Did it learn?", learned, tone),
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


def _learned(material: Material) -> tuple[str, Tone, int]:
    """Give the sentence, its tone, and of how many evaluations it is made."""
    if not material.run.rows:
        return f"{_CANNOT}: nothing was recorded.", "quiet", 0
    if not material.has_training:
        told = _single(material, {"eval", "predict"})
        return f"Nothing was trained here{f': an evaluation gave {told}' if told else ''}.", "quiet", 0
    of = f" of {material.max_steps:,}" if material.max_steps else ""
    curves, config = material.curves, material.run.config
    data = material.fact("data").get("eval")
    sets = [name for name, one in data.items() if isinstance(one, dict)] if isinstance(data, dict) else []
    names = main_metrics([name for name in curves if name.startswith("eval_")], config, sets)
    loss = curves.get("loss")
    found = {one.rule: one for one in material.findings if one.verdict == "found"}
    judged = [course_of(curves[name], _greater(name, config)) for name in names]
    courses = [course for course in judged if course is not None]
    n = courses[0].n if courses else min(1, len(names))
    if broken := _broken(loss, found):
        before = next((one for one in courses if one.n > 1 and one.way in ("learned", "fell back", "lost")), None)
        value = "" if before is None else f"; before that {before.name} was at best {words.number(before.best[1])}"
        where = "" if before is None else f", at step {before.best[0]:,}"
        return f"{broken}{value}{where}.", "bad", n
    if not courses:
        told = "; ".join(filter(None, (_few(material), trained(loss))))
        return f"{_CANNOT}: {told}.", "quiet", n
    first = _set_of(names[0], sets)
    own = [one for one in courses if _set_of(one.name, sets) == first]
    others = [one for one in courses if one not in own and one.name.rpartition("_")[2] != "loss"]
    said, tone = sentence(own or courses, others if own else [], of=of, rules=found.keys(), loss=loss)
    return said, tone, n


def _greater(name: str, config: dict[str, Any]) -> bool:
    found = greater_is_better(name, config)
    return not name.endswith("loss") if found is None else found


def _set_of(metric: str, sets: list[str]) -> str:
    own = [name for name in sets if metric.startswith(f"eval_{name}_")]
    return max(own, key=len, default="")


def _broken(loss: Curve | None, found: dict[str, Any]) -> str:
    """Say that a training ended in ruins; empty where it did not."""
    if "divergence" in found and found["divergence"].severity == "error":
        steps, values = ([], []) if loss is None else (part.tolist() for part in loss.finite)
        lowest = min(zip(values, steps, strict=True), default=None)
        if lowest is None:
            return "It did not learn, it diverged"
        return (
            f"It diverged: the training loss was {words.number(lowest[0])} at step {lowest[1]:,} and "
            f"{words.number(values[-1])} at step {steps[-1]:,}"
        )
    if loss is None or not loss or isfinite(loss.values[-1]):
        return ""
    values = loss.values.tolist()
    first = len(values)
    while first and not isfinite(values[first - 1]):
        first -= 1
    kind = "NaN" if values[-1] != values[-1] else "infinite"
    return f"It broke: the training loss is {kind} from step {int(loss.steps[first]):,} to the end"


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
    run, facts = material.run, material.run.facts
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
    yield "Took", _took(material)
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


def _took(material: Material) -> str:
    """Sum the time of the attempts, without the pauses between them."""
    spans = material.spans
    return words.duration(sum(high - low for low, high in spans)) if spans else ""
