"""generation_collapse: a model that writes nothing, the same to everybody, the same again and again, or no end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.rules.base import About, Row, Rule, eval_values
from hf_monitor.diagnosis.wording import percent

__all__ = ["GenerationCollapse"]

_MOST_SETS = 100
_LEAST_FALL = 0.01  # of the loss: what falls by less rests

_LIMITS = {
    "empty": "collapse_share",
    "shared": "collapse_shared",
    "same": "collapse_share",
    "repeated": "collapse_share",
    "at_limit": "collapse_at_limit",
}
_WORDS = {
    "empty": "are empty",
    "shared": "stand for several different inputs each",
    "same": "are one and the same",
    "repeated": "repeat themselves",
    "at_limit": "run into the length limit",
}
_NO_LOOK = (
    "the model does not look at its input: check that each label belongs to its input (shuffled?), try a tenth of the "
    "learning rate, and see whether all layers are trained"
)
_SUGGESTIONS = {
    "empty": "look at the labels (only padding?) and at decoder_start_token_id and min_length of the generation",
    "shared": _NO_LOOK,
    "same": _NO_LOOK,
    "repeated": "train on, or lower the learning rate; no_repeat_ngram_size=3 keeps a sound model from it",
}


@dataclass(slots=True)
class _Set:
    """What is known of one evaluation set."""

    n: int = 0
    in_a_row: int = 0
    since: int = 0
    best: float | None = None  # score
    sound: float | None = None  # best score of an evaluation with sound texts
    sound_step: int = 0
    kinds: tuple[str, ...] = ()  # of the last evaluation: shares beyond their limits, the gravest first


@dataclass(slots=True)
class _Loss:
    """The validation loss of one set."""

    first: float
    lowest: float
    fall: float = 0.0  # of the last evaluation below the lowest before it
    last: float = 0.0

    def add(self, loss: float) -> None:
        self.fall, self.lowest, self.last = self.lowest - loss, min(self.lowest, loss), loss


class GenerationCollapse(Rule):
    """Found where most texts of an evaluation are empty, the same for several inputs, repeated, or cut at the limit.

    It reads ``texts`` of the rows ``text_scores`` (:func:`hf_monitor.metrics.text_statistics.text_statistics`). What
    the references are like, too, is no collapse, nor are texts that several inputs share but that fit their own
    references better than those of others (a model that has learnt a few phrases, and when to use them). Every model
    that starts from random weights begins like this; therefore it is found (a) where the score has fallen to less than
    half since an evaluation with sound texts (after one evaluation; after two while the validation loss still falls),
    (b) else in the later half of a training, after two such evaluations, if neither the score is the best so far nor
    the validation loss still falls; in its last quarter, whatever the loss does. A training of few steps is a try that
    ends where others begin: of it only (a) is said.
    """

    name = "generation_collapse"
    kinds = frozenset({"text_scores", "eval"})
    # Weights that are NaN or thrown about, or that nothing has changed, write no sound texts.
    follows_from = frozenset({"nan", "divergence", "learning_rate_high", "learning_rate_ineffective"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._sets: dict[str, _Set] = {}
        self._losses: dict[str, _Loss] = {}

    def see(self, row: Row) -> Finding | None:
        """Look at an evaluation."""
        if row.get("kind") == "eval":
            self._learn(row)
            return None
        texts = mapping(row.get("texts"))
        n, step, name = number(texts.get("n_inputs"), 1.0), number(row.get("step")), row.get("name")
        if n is None or step is None or not isinstance(name, str) or n < self.limits.collapse_texts:
            return None
        if name not in self._sets and len(self._sets) >= _MOST_SETS:
            return None
        one = self._sets.setdefault(name, _Set())
        score, before = number(row.get("score")), one.best
        one.n += 1
        one.kinds = self._beyond(texts)
        if score is not None:
            one.best = score if before is None else max(score, before)
        if not one.kinds:
            one.in_a_row = 0
            if score is not None and (one.sound is None or score >= one.sound):
                one.sound, one.sound_step = score, int(step)
            return None
        one.in_a_row += 1
        if one.in_a_row == 1:
            one.since = int(step)
        fell = self._fell(one, score) and (one.in_a_row > 1 or not self._still_falls(name))
        if fell or self._stays(name, one, score, before, step):
            return self._found(name, one, row, texts, score, int(step))
        return None

    def _learn(self, row: Row) -> None:
        for name, loss in eval_values(row):
            if (known := self._losses.get(name)) is not None:
                known.add(loss)
            elif len(self._losses) < _MOST_SETS:
                self._losses[name] = _Loss(loss, loss, last=loss)

    def _still_falls(self, name: str) -> bool:
        loss = self._losses.get(name)
        if loss is None:
            return False
        return loss.fall > max(self.limits.collapse_fall * (loss.first - loss.lowest), _LEAST_FALL * abs(loss.last))

    def _beyond(self, texts: Mapping[str, Any]) -> tuple[str, ...]:
        own = mapping(texts.get("references"))
        found = []
        for kind, limit in _LIMITS.items():
            share = number(texts.get(kind), 0.0, 1.0) or 0.0
            if kind in ("same", "shared") and self._follows_input(mapping(texts.get("fit"))):
                continue
            if kind != "at_limit":  # labels without an end are its cause, not its excuse
                share -= number(own.get(kind), 0.0, 1.0) or 0.0
            if share >= getattr(self.limits, limit) and not (kind == "same" and "shared" in found):
                found.append(kind)
        return tuple(found)

    def _follows_input(self, fit: Mapping[str, Any]) -> bool:
        own, others, z = (number(fit.get(name), -1e15) for name in ("own", "others", "z"))
        if own is None or others is None or z is None:
            return False
        return z >= self.limits.collapse_fit_z and own >= (1 + self.limits.collapse_fit_gain) * others

    def _fell(self, one: _Set, score: float | None) -> bool:
        if score is None or one.sound is None:
            return False
        return one.sound - score >= self.limits.collapse_drop and score <= one.sound / 2

    def _stays(self, name: str, one: _Set, score: float | None, before: float | None, step: float) -> bool:
        if one.in_a_row < self.limits.collapse_in_a_row or (self.about.max_steps or step) < self.limits.collapse_steps:
            return False
        if not self.about.max_steps:
            return one.n >= self.limits.collapse_evaluations
        done = step / self.about.max_steps
        rises = score is not None and before is not None and score > before
        if rises:
            return False
        late = self.limits.collapse_later if self._still_falls(name) else self.limits.collapse_late
        return done >= late

    def _found(
        self, name: str, one: _Set, row: Row, texts: Mapping[str, Any], score: float | None, step: int
    ) -> Finding:
        kinds = one.kinds
        words = " and ".join(f"{percent(number(texts.get(kind)) or 0.0)} {_WORDS[kind]}" for kind in kinds)
        examples = mapping(texts.get("examples"))
        example = examples.get("same") or examples.get("repeated") if kinds != ("empty",) else None
        shown = f' ("{example}")' if isinstance(example, str) else ""
        n = int(number(texts.get("n")) or 0)
        if self._fell(one, score):
            since = f"At step {one.sound_step} they were sound, with a score of {one.sound:.1f}; now it is {score:.1f}."
        else:
            since = f"So it is since step {one.since}, {one.in_a_row} evaluations in a row."
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=f"Of the {n} texts of {name!r} at step {step} {words}{shown}. {since}",
            value=number(texts.get(kinds[0])),
            unit="share",
            threshold=getattr(self.limits, _LIMITS[kinds[0]]),
            n_samples=n,
            steps=(one.since, step),
            # Empty texts that are cut at the limit are padding to its end: its length is not what is wrong.
            suggestions=tuple(_suggestion(kind, texts) for kind in kinds if kind != "at_limit" or "empty" not in kinds),
            evidence={
                "name": name,
                "kinds": list(kinds),
                **{key: number(texts.get(key)) for key in (*_LIMITS, "words", "n_distinct", "n_inputs")},
                "references": mapping(texts.get("references")),
                "fit": mapping(texts.get("fit")),
                "score": score,
                "sound_score": one.sound,
                "sound_step": one.sound_step if one.sound is not None else None,
                "evaluations_in_a_row": one.in_a_row,
                "example": example,
            },
        )

    def verdict(self) -> Finding:
        """Say what the texts are like, or why that cannot be said."""
        if not self._sets:
            return self.nothing(
                "No generated texts were seen.",
                missing=f"needs evaluations with {self.limits.collapse_texts:g} generated texts or more "
                "(compute_metrics=TextMetrics(tokenizer), predict_with_generate=True).",
            )
        name, one = max(self._sets.items(), key=lambda item: item[1].in_a_row)
        n = sum(known.n for known in self._sets.values())
        if one.in_a_row:
            kinds = " and ".join(_WORDS[kind] for kind in one.kinds)
            return self.nothing(
                f"Most texts of {name!r} {kinds} since step {one.since}.",
                missing="every model that starts from random weights begins like this; it is too early to tell.",
                n=n,
            )
        return self.nothing(
            "Most texts are neither empty, nor repeated, nor the same, nor cut at the length limit.", n=n
        )


def _suggestion(kind: str, texts: Mapping[str, Any]) -> str:
    if kind != "at_limit":
        return _SUGGESTIONS[kind]
    own = mapping(texts.get("references"))
    if (number(own.get("at_limit")) or 0.0) >= 0.5:
        return "the labels have no end token, so the model cannot learn to end: let the tokenizer add it"
    if (number(own.get("words")) or 0.0) > 1.2 * (number(texts.get("words")) or 0.0):
        return "raise generation_max_length: the references are longer than the texts may become"
    return "the model does not end by itself: check that labels end with the end token, and train on"
