"""How numbers and durations are written for people; the same on every machine."""

from __future__ import annotations

import math

__all__ = ["LONGEST_WHOLE", "duration", "number"]

#: A whole number beyond it is said by its power of ten.
LONGEST_WHOLE = 1 << 80


def number(value: object, digits: int = 4) -> str:
    """Write a number with so many significant digits, a thousand with commas; other things as they are."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "" if value is None else str(value)
    if isinstance(value, int):
        if abs(value) < LONGEST_WHOLE:
            return f"{value:,}"
        return f"{'-' if value < 0 else ''}about 10^{abs(value).bit_length() * 0.30103:.0f}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    if 10 ** (digits - 1) <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def duration(seconds: float | None) -> str:
    """Write seconds as ``"45 s"``, ``"3 min 20 s"``, ``"2 h 05 min"``, ``"3 d 4 h"``; empty for None."""
    if not isinstance(seconds, int | float) or not abs(seconds) < 1e15:
        return ""
    if seconds < 0.01:
        return "0 s" if seconds <= 0 else f"{1000 * seconds:.2g} ms" if seconds >= 1e-5 else "less than 0.01 ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
