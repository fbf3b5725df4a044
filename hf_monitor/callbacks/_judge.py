"""Whether a training is to end, decided by each of its processes, and by all alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hf_monitor.callbacks._facts import mixed_precision, optimizer_facts
from hf_monitor.diagnosis.alert_thresholds import AlertThresholds
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.rules import RULES
from hf_monitor.diagnosis.rules.base import Rule
from hf_monitor.diagnosis.watcher import Watcher, names_of
from hf_monitor.errors import InputError

__all__ = ["STOPPING", "Judge", "stopping"]

STOPPING = frozenset({"nan", "divergence"})
"""Rules that may stop a training: they need only what the Trainer itself logs, so that all processes judge alike."""


def stopping(names: Collection[str]) -> frozenset[str]:
    """Give the rules that are to stop a training.

    Raises
    ------
    InputError
        If one is no rule that may.
    """
    found = names_of("stop_on", names)
    if unknown := sorted(found - STOPPING):
        raise InputError(
            f"stop_on takes {' and '.join(map(repr, sorted(STOPPING)))}, got {unknown[0]!r}. "
            "For an end by a metric use transformers.EarlyStoppingCallback."
        )
    return found


class Judge:
    """Decides in each of several processes, by nothing but what all of them are told alike.

    That is what the Trainer itself logs from this begin on: the record, with what was before a resume and what
    ``attach`` finds out about losses, is rank 0's. Processes that decide differently would wait for each other for
    good.

    Parameters
    ----------
    args : transformers.TrainingArguments
    state : transformers.TrainerState
    rules : collection of str
    thresholds : AlertThresholds
    on_error : callable
        Of :class:`hf_monitor.diagnosis.watcher.Watcher`.
    optimizer : torch.optim.Optimizer, optional
    """

    def __init__(
        self,
        args: Any,
        state: Any,
        rules: Collection[str],
        *,
        thresholds: AlertThresholds,
        on_error: Callable[[Rule, Exception], None],
        optimizer: Any = None,
    ) -> None:
        facts = {"arguments": args.to_dict(), "mixed_precision": mixed_precision(args)}
        if optimizer is not None:
            facts["optimizer"] = optimizer_facts(optimizer)
        chosen = [rule for rule in RULES if rule.name in rules]
        self._watcher = Watcher(facts, thresholds=thresholds, rules=chosen, on_error=on_error)
        self._event("train_begin", state)

    def _event(self, name: str, state: Any) -> None:
        row = {"kind": "event", "event": name, "step": state.global_step, "max_steps": state.max_steps}
        self._watcher.see(row)

    def saved(self, state: Any) -> None:
        """Hear of a checkpoint."""
        self._event("save", state)

    def decide(self, kind: str, state: Any, logs: Mapping[str, Any]) -> list[Finding]:
        """Give what ends the training, of a dict that was logged."""
        if kind != "eval" and not (kind == "train" and "learning_rate" in logs):  # a user may log on one process alone
            return []
        found = self._watcher.see({**logs, "kind": kind, "step": state.global_step})
        return [finding for finding in found if finding.severity == "error"]
