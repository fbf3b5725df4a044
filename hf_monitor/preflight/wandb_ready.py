"""Is Weights & Biases ready: the package, a key or offline mode. Nothing is sent, and no key is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from hf_monitor.errors import close_names
from hf_monitor.loggers.wandb_environment import wandb_missing, wandb_state
from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning

__all__ = ["check_trackers", "check_wandb"]

_ASKING = ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_ENTITY", "WANDB_NAME", "WANDB_RUN_GROUP", "WANDB_RUN_ID")


def check_trackers(report_to: Sequence[str] | None) -> Check | None:
    """Look whether transformers knows the trackers that are asked for; None where it knows them all.

    Parameters
    ----------
    report_to : sequence of str or None
        As in ``TrainingArguments``. Whether W&B is ready is for :func:`check_wandb` to say.
    """
    from transformers.integrations import integration_utils

    known = integration_utils.INTEGRATION_TO_CALLBACK
    unknown = [str(one) for one in report_to or () if one not in known and one not in ("none", "all")]
    if not unknown:
        return None
    close = close_names(unknown[0], known)
    sentence = f"{', '.join(map(repr, unknown))} is no tracker that transformers knows: the training would not start."
    advice = f"--report_to {close[0]}" if close else f"none, all, or of {', '.join(sorted(known))}."
    return failed("report_to", sentence, advice, unknown=unknown)


def check_wandb(
    report_to: Sequence[str] | None, environment: Mapping[str, str] | None = None, home: Path | None = None
) -> Check:
    """Look whether a training that reports to W&B will come through its start.

    Whether the server can be reached is not asked: without a network that may take minutes.

    Parameters
    ----------
    report_to : sequence of str or None
        As in ``TrainingArguments``; None where that is not known, then variables ``WANDB_*`` count as asking for it.
    environment : mapping, optional
        That of the process.
    home : Path, optional
        Where ``.netrc`` and ``.config/wandb`` are.
    """
    name = "W&B"
    environment = os.environ if environment is None else environment
    found = [variable for variable in _ASKING if environment.get(variable)]
    if report_to is None and not found:
        return skipped(name, "it is not asked for: --report_to is not given.")
    if report_to is not None and "wandb" not in report_to:
        return skipped(name, "it is not asked for.", f"--report_to wandb, since {found[0]} is set." if found else "")
    missing = wandb_missing()
    if missing:
        return failed(name, f"{missing}.", "pip install wandb")
    state = wandb_state(environment, home)
    if state.asked == "disabled":
        return warning(name, "it is asked for, and switched off by WANDB_MODE or WANDB_DISABLED.", state.advice)
    if state.asked == "offline":
        sentence = "offline mode: runs are kept on this disk; `wandb sync` sends them later."
        return ok(name, sentence, mode="offline")
    if not state.ready:
        waits = "" if state.key_source else "; wandb would ask for one, or break (attach goes on offline)"
        return failed(name, f"{state.why}{waits}.", state.advice, mode=state.asked)
    return ok(name, f"{state.why}; whether the server takes it was not asked.", mode=state.mode)
