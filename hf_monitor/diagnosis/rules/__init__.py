"""The rules over rows, in the order in which they look at a row."""

from __future__ import annotations

from hf_monitor.diagnosis.rules.base import Rule

__all__ = ["RULES"]

RULES: tuple[type[Rule], ...] = ()
