"""The rules over rows, in the order in which they look at a row."""

from __future__ import annotations

from hf_monitor.diagnosis.rules.base import Rule
from hf_monitor.diagnosis.rules.data_wait import DataBound
from hf_monitor.diagnosis.rules.deadline import TimeShort
from hf_monitor.diagnosis.rules.memory import MemoryEdge, MemoryHeadroom
from hf_monitor.diagnosis.rules.room import CheckpointBroken, DiskShort
from hf_monitor.diagnosis.rules.slow_steps import SlowerSteps

__all__ = ["RULES"]

RULES: tuple[type[Rule], ...] = (
    DataBound,
    MemoryEdge,
    MemoryHeadroom,
    SlowerSteps,
    DiskShort,
    CheckpointBroken,
    TimeShort,
)
