"""What is right to be said about which fault, and what is plainly true of a training: what bench_alerts judges by.

Reasons are dated: what was called right after alerts of development runs had been looked at is worth less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["HEALTHY", "PLAINLY", "TRUTH", "Judged", "Reason", "Said", "Truth", "is_harmed", "is_plainly_healthy"]

HEALTHY = "healthy"
SPEAKING = ("error", "warning")
"""Severities that interrupt somebody; ``info`` goes into the record alone and is counted apart."""


class Reason(NamedTuple):
    """Why a rule is right beside the expected one, and since when it has been called so."""

    why: str
    since: str


@dataclass(frozen=True)
class Truth:
    """What rules are to say of a fault.

    Attributes
    ----------
    expected : tuple of str
        One of these has to speak, else the fault was missed.
    along : mapping of str to Reason
        Rules that are right, too, if they speak.
    """

    expected: tuple[str, ...]
    along: Mapping[str, Reason] = field(default_factory=dict)

    def is_right(self, rule: str) -> bool:
        """Say whether a rule that speaks is right."""
        return rule in self.expected or rule in self.along


_FIRST = "2026-11-26, with the first trainings"
_LATER = "2026-11-26, after alerts of development runs were seen"
_JUMP = "2026-11-26, with this fault"
_STAYS = Reason("the loss does stay where it is", _FIRST)
_SAME_TEXTS = Reason("a model that has learnt nothing gives the same text, or none, for every input", _FIRST)
TRUTH: dict[str, Truth] = {
    "learning_rate_x100": Truth(
        ("learning_rate_high",),
        {
            "divergence": Reason("where the loss rises and stays there, that is what such a rate does", _FIRST),
            "nan": Reason("weights that are thrown so far may overflow", _FIRST),
            "plateau": _STAYS,
            "generation_collapse": _SAME_TEXTS,
        },
    ),
    "shuffled_labels": Truth(
        ("generation_collapse",),  # texts that do not depend on the input are what such labels teach
        {
            "plateau": Reason("once it is known how targets look, nothing more can be learnt", _LATER),
            "overfitting": Reason("such labels can only be learnt by heart", _LATER),
            "rouge_falls": Reason("how targets look lowers the loss and says nothing about the input", _FIRST),
        },
    ),
    "leaked_data": Truth(("data_overlap",)),
    "tiny_training_set": Truth(
        ("overfitting",),
        {
            "generation_collapse": Reason(
                "of samples learnt by heart, texts for other inputs come out garbled", _FIRST
            ),
            "plateau": Reason("once the samples are learnt by heart nothing gets better any more", _FIRST),
        },
    ),
    "frozen_model": Truth(
        ("learning_rate_ineffective",),
        {"plateau": _STAYS, "generation_collapse": _SAME_TEXTS},
    ),
    "nan": Truth(
        ("nan",),
        {
            "divergence": Reason("the loss is infinite before it is NaN", _FIRST),
            "generation_collapse": Reason("a model whose weights are NaN gives empty texts", _FIRST),
        },
    ),
    "slow_loader": Truth(("data_bound",)),
    "learning_rate_jump": Truth(
        ("divergence",),
        {
            "learning_rate_high": Reason("it is the rate that drives the loss up", _JUMP),
            "nan": Reason("weights that are thrown so far may overflow", _JUMP),
            "generation_collapse": Reason(
                "a model that has lost what it had learnt gives the same text, or none", _JUMP
            ),
            "rouge_falls": Reason("what was learnt is lost, and the score with it", _JUMP),
        },
    ),
}


class Said(NamedTuple):
    """A rule has spoken."""

    rule: str
    severity: str
    step: int


class Judged(NamedTuple):
    """A training, and what the rules said of it.

    Attributes
    ----------
    fault, seed, max_steps
        Of the training.
    said : tuple of Said
        By all rules.
    since : int or None
        The step at which the fault came, where it has one.
    kind : str
        How the fault came, where there are several ways.
    losses : tuple of float
        Validation losses, in order.
    unlimited : tuple of Said
        What the rules would have said without the limit that calls a rate too high whatever the loss does
        (``learning_rate_high_extreme``).
    """

    fault: str
    seed: int
    max_steps: int
    said: tuple[Said, ...]
    since: int | None = None
    kind: str = ""
    losses: tuple[float, ...] = ()
    unlimited: tuple[Said, ...] = ()

    @property
    def rules(self) -> set[str]:
        """Rules that interrupted somebody."""
        return {one.rule for one in self.said if one.severity in SPEAKING}

    @property
    def rules_unlimited(self) -> set[str]:
        """Rules that would have interrupted somebody without that limit."""
        return {one.rule for one in self.unlimited if one.severity in SPEAKING}


# --- plain truth: from the validation losses alone, whatever any rule says ---


def is_plainly_healthy(losses: Sequence[float], scores: Sequence[float]) -> bool:
    """Say whether a training was healthy.

    Parameters
    ----------
    losses, scores : sequence of float
        Validation loss and ROUGE-L of each evaluation.

    Returns
    -------
    bool
        The loss ends at most 3 % above its lowest and at most at 3/4 of the first evaluation's, and ROUGE-L ends higher
        than it began.
    """
    return losses[-1] <= min(1.03 * min(losses), 0.75 * losses[0]) and scores[-1] > scores[0]


def is_harmed(losses: Sequence[float], healthy: Sequence[float]) -> bool:
    """Say whether a training ends over 10 % above the healthy one of the same seed, or at NaN."""
    return not losses[-1] <= 1.1 * healthy[-1]


def _is_learnt_by_heart(losses: Sequence[float]) -> bool:
    return losses[-1] > 1.03 * min(losses)


def _has_lost(losses: Sequence[float]) -> bool:
    lowest = losses[0]
    for loss in losses:
        if lowest < losses[0] and not loss <= 0.5 * (lowest + losses[0]):
            return True
        lowest = min(lowest, loss)
    return False


PLAINLY = {
    "tiny_training_set": ("the validation loss ends over 3 % above its lowest", _is_learnt_by_heart),
    "learning_rate_jump": ("half of what the validation loss had fallen, or more, is lost again", _has_lost),
}
"""Faults that show in the validation losses of their own training."""
