"""Where an alert goes: the record, the console and its log file, the W&B run that is open."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
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


def say(finding: Finding, *, stops: bool, note: str = "", is_shown: bool = False) -> None:
    """Tell whoever sits there; the log file has it too, since it takes what is logged.

    What `is_shown` elsewhere goes everywhere but to the console.
    """
    note = "The training ends here (stop_on)." if stops else note
    lines = [*finding.lines(), *([f"    {note}"] if note else [])]
    begin = "\n" if _has_bar() else ""
    with _off_the_console() if is_shown else contextlib.nullcontext():
        log.log(_LEVELS[finding.severity], "%shf_monitor: %s", begin, "\n".join(lines))


@contextlib.contextmanager
def _off_the_console() -> Iterator[None]:
    """Keep what this thread logs from handlers that print it; files and others get it as always."""
    thread = threading.get_ident()

    def elsewhere(record: logging.LogRecord) -> bool:
        return record.name != log.name or record.thread != thread

    printing = [handler for handler in _handlers() if _prints(handler)]
    for handler in printing:
        handler.addFilter(elsewhere)
    try:
        yield
    finally:
        for handler in printing:
            handler.removeFilter(elsewhere)


def _handlers() -> Iterator[logging.Handler]:
    """Give those that a record of ours comes to: of our logger and those above it, else Python's last resort."""
    found = False
    logger: logging.Logger | None = log
    while logger is not None:
        found = found or bool(logger.handlers)
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None
    if not found and logging.lastResort is not None:
        yield logging.lastResort


def _prints(handler: logging.Handler) -> bool:
    streams = (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    return isinstance(handler, logging.StreamHandler) and handler.stream in streams


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
