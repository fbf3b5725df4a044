"""What the verdict says of the texts that a training ended with: a score may rise and they still be of no use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.report import words
from hf_monitor.report.kept_weights import loaded_step
from hf_monitor.report.learned import Learned
from hf_monitor.report.learning import Tone
from hf_monitor.report.material import Material

__all__ = ["with_texts"]

_FEWEST = 8  # texts; a share of fewer says little
_MOST = 0.5  # of the texts, beyond the share of the references that are so: of no use
_MANY = 0.25  # the same: worth a word
_LOW = 5.0  # of 100: texts share next to nothing with their references
_FIT_Z, _FIT_GAIN, _FIT_TEXTS = 1.64, 0.1, 16  # one-sided, 95 %; below so many texts chance hides a fit
_KINDS = {
    "empty": "are empty",
    "same": "are one and the same text",
    "shared": "are texts that three or more different inputs share",
    "repeated": "repeat themselves",
}
_CAUSES = frozenset({"learning_rate_ineffective", "learning_rate_high", "gradient_clipped", "rouge_falls"})
_SAID = frozenset({"nan", "divergence", "generation_collapse"})
"""Rules that say of themselves what the texts are like, or that make them of no account."""


@dataclass(frozen=True)
class _Texts:
    told: str
    tone: Tone
    is_empty: bool
    gravity: float


def with_texts(learned: Learned, material: Material, rules: Collection[str]) -> Learned:
    """Add to the verdict what the texts are like that the training ended with, where they are not sound.

    Judged is the latest evaluation of each set (of the weights that were loaded at the end, where some were), once
    the training is half done. A share counts beyond that of the references: where they are one text, too, nothing is
    wrong with texts that are.

    Parameters
    ----------
    learned : Learned
        What the evaluations say.
    material : Material
    rules : collection of str
        Names of the rules that found something.

    Returns
    -------
    Learned
        As it was where the texts are sound, or where a rule says already that they are not.
    """
    if not _SAID.isdisjoint(rules) or not material.run.rows:
        return learned
    judged = [texts for row in _rows(material) if (texts := _judged(row)) is not None]
    if not judged:
        return learned
    worst = max(judged, key=lambda one: (one.tone == "bad", one.gravity))
    head, colon, rest = learned.sentence.partition(": ")
    if not colon:
        head, rest = learned.sentence.rstrip("."), ""
    is_good = head.startswith(("It learned", "Whether", "Nothing"))
    joined = " and" if ", but" in head else ", but" if is_good else ", and"
    use = "of no use so far" if material.ending.status == "running" else "of no use"
    its = f"its texts are {use}" if worst.tone == "bad" else "its texts are not sound"
    tone: Tone = "bad" if "bad" in (worst.tone, learned.tone) else "warn"
    if learned.is_urgent or (learned.tone == "bad" and learned.advice):
        advice, is_urgent = learned.advice, learned.is_urgent
    else:
        advice, is_urgent = _advice(worst), _CAUSES.isdisjoint(rules)
    sentence = f"{head}{joined} {its}: {worst.told}{f'; {rest}' if rest else '.'}"
    return replace(learned, sentence=sentence, tone=tone, advice=advice, is_urgent=is_urgent)


def _rows(material: Material) -> Iterator[Mapping[str, Any]]:
    """Give the row of each set that tells of the weights in the end; none of a training that is not half done."""
    loaded, half = loaded_step(material), (material.max_steps or material.last_step) / 2
    latest: dict[str, tuple[float, Mapping[str, Any]]] = {}
    for row in material.metrics:
        if row.get("kind") != "text_scores":
            continue
        step = number(row.get("weights_step"))
        step = number(row.get("step")) if step is None else step
        name = str(row.get("name", "eval"))
        if step is None or (loaded is not None and name in latest and latest[name][0] == loaded != step):
            continue
        latest[name] = (step, row)
    for step, own in latest.values():
        if not material.has_training or (step > 0 and (step >= half or step == loaded)):
            yield own


def _judged(row: Mapping[str, Any]) -> _Texts | None:
    """Say what is wrong with the texts of one evaluation; None for nothing."""
    texts = mapping(row.get("texts"))
    n = number(texts.get("n_inputs"), 1.0)
    if n is None or n < _FEWEST:
        return None
    own, follows = mapping(texts.get("references")), _follows(mapping(texts.get("fit")))
    shares: dict[str, float] = {}
    beyond: dict[str, float] = {}
    for kind in _KINDS:
        shares[kind] = number(texts.get(kind), 0.0, 1.0) or 0.0
        beyond[kind] = shares[kind] - (number(own.get(kind), 0.0, 1.0) or 0.0)
        if kind in ("same", "shared") and follows is not False:
            beyond[kind] = 0.0
    if beyond["same"] >= _MANY:
        beyond["shared"] = 0.0
    found = [kind for kind in _KINDS if beyond[kind] >= _MANY]
    metric = next((name for name in ("rougeL", "score") if number(row.get(name)) is not None), "")
    score = number(row.get(metric)) if metric else None
    is_low = score is not None and score < _LOW
    said = [f"{100 * shares[kind]:.0f} % {_KINDS[kind]}" for kind in found]
    if "same" in found or "repeated" in found:
        examples = mapping(texts.get("examples"))
        example = examples.get("same" if "same" in found else "repeated")
        if isinstance(example, str) and example.strip():
            begin = example[:40].strip() + ("..." if len(example) > 40 else "")
            said[-1] += f' ("{words.quoted(begin, 60)}")'
    is_blind = follows is False and n >= _FIT_TEXTS
    if is_blind and not found and not is_low:
        said.append("they fit their own references no better than those of other inputs")
    if not said and not is_low:
        return None
    name = str(row.get("name", "eval"))
    step = number(row.get("weights_step") or row.get("step"))
    on = "" if name == "eval" else f" of {words.quoted(name, 60)}"
    of = f"of {number(texts.get('n')) or n:,.0f} texts{on}{f' at step {step:,.0f}' if step else ''}"
    told = [f"{of}, {' and '.join(said)}" if said and found else " and ".join(said)] if said else []
    if score is not None:
        told.append(f"{metric}{on if not found else ''} is {words.number(score)} of 100")
    is_bad = max(beyond.values()) >= _MOST or (is_low and not follows)
    return _Texts("; ".join(told), "bad" if is_bad else "warn", "empty" in found, max(beyond.values()))


def _follows(fit: Mapping[str, Any]) -> bool | None:
    """Tell whether texts fit their own references better than those of others; None where that is not known."""
    own, others, z = (number(fit.get(name), -1e15) for name in ("own", "others", "z"))
    if own is None or others is None or z is None:
        return None
    return z >= _FIT_Z and own >= (1 + _FIT_GAIN) * others


def _advice(texts: _Texts) -> str:
    if texts.is_empty:
        return (
            "See why texts are empty before it is used: the generation settings (start token, forced tokens, lengths), "
            "labels that are not all padding; a model that is new needs a longer training."
        )
    return (
        "Read its texts (Predictions, below) before it is used, and train longer or with another learning rate; where "
        "they stay so, see whether it can learn twenty samples by heart."
    )
