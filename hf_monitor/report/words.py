"""How numbers, durations, moments and others' words are written for people; the same on every machine."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hf_monitor.run.amounts import LONGEST_WHOLE, duration, number

__all__ = ["clean", "duration", "moment", "number", "quoted", "shown"]

# HTML has no place for control characters, surrogates and noncharacters.
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def moment(time: float | None) -> str:
    """Write epoch seconds as ``"2026-11-26 07:12:22 UTC"``; empty for None."""
    if time is None:
        return ""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError, TypeError):
        return ""


def quoted(text: object, most: int = 200) -> str:
    """Give others' words for a sentence of ours: one line, cut, in a direction of their own (a right-to-left isolate).

    Their own marks of direction are taken out: they would turn our words around, too.
    """
    line = " ".join(_DIRECTION.sub("", str(text)).split())
    line = line if len(line) <= most else f"{line[: most - 1]}…"
    return line if line.isascii() else f"\u2068{line}\u2069"


def shown(value: object) -> str:
    """Write a value of ``run.json``: numbers as they are, ``None`` as it stands in Python, lists with commas."""
    if isinstance(value, list) and value:
        return ", ".join(map(shown, value))
    if isinstance(value, dict) and value:
        return ", ".join(f"{key}={shown(one)}" for key, one in value.items())
    if isinstance(value, int) and abs(value) >= LONGEST_WHOLE:
        return number(value)
    return str(value)


def clean(text: str) -> str:
    """Put U+FFFD in the place of each character that an HTML page must not hold."""
    return _NO_TEXT.sub("\ufffd", text)
