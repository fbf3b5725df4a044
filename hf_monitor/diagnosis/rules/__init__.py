"""The rules over rows, in the order in which they look at a row."""

from __future__ import annotations

from hf_monitor.diagnosis.rules.base import Rule
from hf_monitor.diagnosis.rules.collapse import GenerationCollapse
from hf_monitor.diagnosis.rules.data_wait import DataBound
from hf_monitor.diagnosis.rules.deadline import TimeShort
from hf_monitor.diagnosis.rules.divergence import Divergence
from hf_monitor.diagnosis.rules.gradient_clipped import GradientClipped
from hf_monitor.diagnosis.rules.learning_rate_high import LearningRateHigh
from hf_monitor.diagnosis.rules.learning_rate_ineffective import LearningRateIneffective
from hf_monitor.diagnosis.rules.memory import MemoryEdge, MemoryHeadroom
from hf_monitor.diagnosis.rules.nan import NotFinite
from hf_monitor.diagnosis.rules.overfitting import Overfitting
from hf_monitor.diagnosis.rules.overlap import DataOverlap
from hf_monitor.diagnosis.rules.plateau import Plateau
from hf_monitor.diagnosis.rules.room import CheckpointBroken, DiskShort
from hf_monitor.diagnosis.rules.rouge_falls import RougeFalls
from hf_monitor.diagnosis.rules.slow_steps import SlowerSteps

__all__ = ["RULES"]

RULES: tuple[type[Rule], ...] = (
    NotFinite,
    Divergence,
    LearningRateHigh,
    LearningRateIneffective,
    GradientClipped,
    Plateau,
    Overfitting,
    RougeFalls,
    GenerationCollapse,
    DataOverlap,
    DataBound,
    MemoryEdge,
    MemoryHeadroom,
    SlowerSteps,
    DiskShort,
    CheckpointBroken,
    TimeShort,
)
