"""How numbers, durations and moments are written for people; the same on every machine."""

from __future__ import annotations

import math
from datetime import UTC, datetime

__all__ = ["duration", "moment", "number"]


def number(value: object, digits: int = 4) -> str:
    """Write a number with so many significant digits, a thousand with commas; other things as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Write seconds as ``"45 s"``, ``"3 min 20 s"``, ``"2 h 05 min"``, ``"3 d 4 h"``; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    if seconds < 10:
        return f"{max(seconds, 0.0):.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(time: float | None) -> str:
    """Write epoch seconds as ``"2026-11-26 07:12:22 UTC"``; empty for None."""
    if time is None:
        return ""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError, TypeError):
        return ""
