"""Every number that a rule over rows decides by, with its reason; ``docs/alerts.md`` shows them as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["AlertThresholds", "thresholds_of"]


def _limit(default: float, why: str) -> Any:
    """Make a field that knows its reason: a source, or what was measured."""
    return field(default=default, metadata={"why": why})


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertThresholds:
    """Thresholds of the rules, each named ``<rule>_<what>``; ``describe()`` gives their reasons.

    Raises
    ------
    InputError
        If a value is not a finite number of at least 0.
    """

    # nan, divergence, learning rate, gradient, plateau, overfitting, scores (rules7)

    # texts: collapse, overlap (texts7)

    collapse_texts: float = _limit(10, "Texts of an evaluation: half of ten is known to 0.26 only (Wilson, 95 %).")
    collapse_share: float = _limit(
        0.5,
        "Share of the texts that are empty, that repeat themselves, or that are one and the same, beyond the share "
        "among the references: most of them.",
    )
    collapse_shared: float = _limit(
        0.8,
        "Share of the texts that stand for three different inputs or more, beyond that among the references: a model "
        "that changes between a few texts has none that is most frequent.",
    )
    collapse_fit_z: float = _limit(
        1.64,
        "Texts that are the same for several inputs are no collapse where they fit their own references better than "
        "those of others by more than chance: 1.64 standard errors (one-sided, 95 %). Of development runs whose texts "
        "were so alike, those with shuffled labels or 100 times the learning rate had 0.7 at most, sound ones 2.4 and "
        "more.",
    )
    collapse_fit_gain: float = _limit(
        0.1, "By so much better, too: among many samples a trace of the input is more than chance, and no use."
    )
    collapse_at_limit: float = _limit(
        0.8, "Share of the texts that the length limit ended. Short limits cut some texts of a sound model, too."
    )
    collapse_in_a_row: float = _limit(
        2, "Evaluations in a row of which most texts are so: one may be a bad moment that the next one ends."
    )
    collapse_late: float = _limit(
        0.5,
        "Share of the training after which such texts are no beginning. Each seq2seq model that starts from random "
        "weights gives everybody the same text at first.",
    )
    collapse_evaluations: float = _limit(
        6, "Evaluations after which the same holds where the length of the training is not known."
    )
    collapse_drop: float = _limit(
        10,
        "Points (0 to 100) and half of its value: what the score has lost since an evaluation with sound texts where a "
        "collapse is found at once.",
    )

    overlap_share: float = _limit(
        0.01,
        "Share of an evaluation set that stands in the training set. Learnt by heart, 1 % lifts a mean score of 40 by "
        "up to 0.6 points, which is what differences between models are about. Lee et al. (2022), Deduplicating "
        "training data makes language models better (ACL), found over 4 % in standard sets; of the dialogues of "
        "DialogSum's test split 1.2 % stand in its development split (measured).",
    )
    overlap_samples: float = _limit(
        2, "Evaluation samples in the training set: one may be chance, and is over 1 % of any set below 100 samples."
    )

    # time and machine (time7)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InputError(f"the threshold {one.name!r} must be a finite number of at least 0, got {value!r}.")

    def describe(self) -> dict[str, tuple[float, str]]:
        """Give name -> (value, reason)."""
        return {one.name: (getattr(self, one.name), one.metadata["why"]) for one in fields(self)}


def thresholds_of(given: AlertThresholds | Mapping[str, float] | None) -> AlertThresholds:
    """Make thresholds of what a user gives: nothing, some by name, or all.

    Raises
    ------
    InputError
        If a name is not one of them, or a value no finite number of at least 0.
    """
    if given is None or isinstance(given, AlertThresholds):
        return given or AlertThresholds()
    if not isinstance(given, Mapping):
        raise InputError(
            f"thresholds must be a dict of names and numbers, or AlertThresholds, got {type(given).__name__}."
        )
    known = [one.name for one in fields(AlertThresholds)]
    if unknown := [name for name in given if name not in known]:
        raise InputError(f"there is no threshold {unknown[0]!r}. There are: {', '.join(known)}.")
    return AlertThresholds(**given)
