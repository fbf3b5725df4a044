"""Rule: a small state that sees the rows of a training one by one, and speaks at most once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from hf_monitor.diagnosis.alert_thresholds import AlertThresholds
from hf_monitor.diagnosis.finding import Finding, Verdict

__all__ = ["About", "Row", "Rule", "any_number", "eval_losses", "eval_values"]

Row = Mapping[str, Any]


@dataclass(slots=True)
class About:
    """What all rules know of the training that they watch.

    Attributes
    ----------
    facts : mapping
        Of ``run.json``, as far as known: ``arguments``, ``devices``, ``loss_scaling`` ...
    thresholds : AlertThresholds
    max_steps : int
        Optimizer steps that the training was begun for; 0 where not known.
    first_step : int
        After which step it began: above 0 where it resumed.
    peak_rate : float
        Highest learning rate that was logged; 0 where none was.
    """

    facts: Mapping[str, Any] = field(default_factory=dict)
    thresholds: AlertThresholds = field(default_factory=AlertThresholds)
    max_steps: int = 0
    first_step: int = 0
    peak_rate: float = 0.0

    def argument(self, name: str) -> Any:
        """Give a training argument; None where it is not known."""
        arguments = self.facts.get("arguments")
        known = arguments.__class__ is dict or isinstance(arguments, Mapping)  # the latter takes its time
        return arguments.get(name) if known else None  # type: ignore[union-attr]

    @property
    def in_fp16(self) -> bool:
        """Whether it trains in fp16 mixed precision, with a gradient scaler: by argument or ``accelerate launch``."""
        return self.argument("fp16") is True or self.facts.get("mixed_precision") == "fp16"


class Rule:
    """What all rules share. A rule sees rows of its `kinds` until it has found something; nothing is asked of it then.

    Rows may hold anything (an older version, another program, a user's own row): what is not understood is passed by,
    never an error. The state is small and a row costs the same, however many came before.

    Attributes
    ----------
    name : str
        Stable, for programs and for muting.
    kinds : frozenset of str
        Of the rows that it wants to see.
    follows_from : frozenset of str
        Rules that name the cause where both would speak: once one of them has, this one keeps silent.
    may_worsen : bool
        Whether it goes on looking after a finding that is no error, for one of a higher severity.
    of_attempt : bool
        Whether it is about the machine and the job, so that a training that resumes is judged anew.
    """

    name: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    follows_from: ClassVar[frozenset[str]] = frozenset()
    may_worsen: ClassVar[bool] = False
    of_attempt: ClassVar[bool] = False

    def __init__(self, about: About) -> None:
        self.about = about
        self.limits = about.thresholds

    def see(self, row: Row) -> Finding | None:
        """Look at a row, and give what was found, if that is just now."""
        raise NotImplementedError

    def verdict(self) -> Finding:
        """Say, where nothing was found, whether it was looked for (``clear``) or could not be (``inconclusive``)."""
        raise NotImplementedError

    def nothing(self, sentence: str, *, missing: str = "", n: int = 0, **more: Any) -> Finding:
        """Make the finding that nothing was found.

        Parameters
        ----------
        sentence : str
            What was seen.
        missing : str
            What would be needed to say more; then it is inconclusive, else clear.
        n : int
            Values that were looked at.
        **more
            Of :class:`Finding`: ``value``, ``unit``, ``threshold``, ``steps``, ``evidence``.
        """
        verdict: Verdict = "inconclusive" if missing else "clear"
        return Finding(rule=self.name, verdict=verdict, sentence=sentence, reason=missing, n_samples=n, **more)


def any_number(value: Any) -> float | None:
    """Give a float or int as it is, also one that is not finite; else None."""
    kind = type(value)
    if kind is float:
        return value  # type: ignore[no-any-return]  # its type was just looked at
    return float(value) if kind is int and abs(value) < 2**1000 else None


def eval_values(row: Row) -> Iterable[tuple[str, float]]:
    """Give ``(set, value)`` of an evaluation's row: ``eval_loss`` is that of ``eval``, ``eval_ko_loss`` of ``eval_ko``.

    Values that are no finite numbers are left out.
    """
    return ((name, value) for name, value in eval_losses(row) if math.isfinite(value))


def eval_losses(row: Row) -> Iterable[tuple[str, float]]:
    """Give ``(set, loss)`` of an evaluation's row, also losses that are not finite.

    A loss of a set other than ``eval`` counts only beside that set's ``_runtime``, which the Trainer adds: else it is
    a metric that ends so (``eval_kl_loss``).
    """
    for key, value in row.items():
        if type(key) is str and key.startswith("eval_") and key.endswith("_loss"):
            name = key[:-5]
            found = any_number(value) if name == "eval" or f"{name}_runtime" in row else None
            if found is not None:
                yield name, found
