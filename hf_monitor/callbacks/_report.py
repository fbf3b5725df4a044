"""Saying a thing once."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["report_once"]

log = logging.getLogger("hf_monitor")


def report_once(owner: Any, topic: str, message: str) -> None:
    """Log a warning, the first time that `owner` has something to say about `topic` in this attempt."""
    reported: set[str] = owner.__dict__.setdefault("_reported", set())
    if topic not in reported:
        reported.add(topic)
        log.warning("hf_monitor: %s", message)
