"""Where an alert goes: the record, the console and its log file, the W&B run that is open."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from hf_monitor.callbacks._report import described, report_once
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.loggers.mirror.wishes import open_run

__all__ = ["alert_row", "say", "tell_wandb"]

log = logging.getLogger("hf_monitor")

_LEVELS = {"error": logging.ERROR, "warning": logging.WARNING, "info": logging.INFO}
_WANDB_LEVELS = {"error": "ERROR", "warning": "WARN"}


def alert_row(finding: Finding, *, stops: bool) -> dict[str, Any]:
    """Give the values of a row of kind ``alert``."""
    values = finding.to_dict()
    del values["verdict"], values["reason"]
    return {**values, "stops_training": stops}


def say(finding: Finding, *, stops: bool, note: str = "") -> None:
    """Tell whoever sits there; the log file has it too, since it takes what is logged."""
    note = "The training ends here (stop_on)." if stops else note
    lines = [*finding.lines(), *([f"    {note}"] if note else [])]
    begin = "\n" if _has_bar() else ""
    log.log(_LEVELS[finding.severity], "%shf_monitor: %s", begin, "\n".join(lines))


def _has_bar() -> bool:
    """Whether a progress bar stands in the line that is to be written into."""
    bars = getattr(getattr(sys.modules.get("tqdm.std"), "tqdm", None), "_instances", None)
    return any(not getattr(bar, "disable", True) for bar in list(bars or ()))


def tell_wandb(finding: Finding, mask: Callable[[str], str], owner: Any, *, told: Any = None) -> None:
    """Send an alert to the W&B run of this process, if there is one; wandb hands it on by itself, nobody waits.

    Nothing is imported: who has a run open has imported wandb. The run `told` hears of it by its row.
    """
    run = open_run()
    if run is None or run is told or finding.severity not in _WANDB_LEVELS:
        return
    text = finding.sentence
    if finding.suggestions:
        text += f"\nTry: {'; '.join(finding.suggestions)}"
    try:
        run.alert(title=f"hf_monitor: {finding.rule}", text=mask(text), level=_WANDB_LEVELS[finding.severity])
    except Exception as error:  # noqa: BLE001 - the policy: wandb raises what it likes once its run is over
        report_once(owner, "wandb", f"an alert could not be sent to W&B: {described(error)}")
