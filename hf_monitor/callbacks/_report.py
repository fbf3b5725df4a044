"""Saying a thing once."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["described", "report_once", "text_of"]

log = logging.getLogger("hf_monitor")


def report_once(owner: Any, topic: str, message: str) -> None:
    """Log a warning, the first time that `owner` has something to say about `topic` in this attempt."""
    reported: set[str] = owner.__dict__.setdefault("_reported", set())
    if topic not in reported:
        reported.add(topic)
        log.warning("hf_monitor: %s", message)


def text_of(error: BaseException) -> str:
    """Give an error's text; its ``__str__`` is somebody's code, and may fail."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - whatever it raises, the error itself is what matters
        return "<exception str() failed>"  # as Python says it in a traceback


def described(error: BaseException) -> str:
    """Give ``ValueError: its text``."""
    return f"{type(error).__name__}: {text_of(error)}"
