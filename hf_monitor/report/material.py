"""What the sections of a report are made of: a run, read once."""

from __future__ import annotations

from functools import cached_property

from hf_monitor.charts.curves import Curves, curves_of
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.findings import diagnose
from hf_monitor.run.reader import Run

__all__ = ["Material"]


class Material:
    """A run for a report; each part is read when a section first asks for it.

    Parameters
    ----------
    run : Run

    Attributes
    ----------
    run : Run
    gaps : list of str
        What could not be measured or shown, in sentences. Sections add to it; the last one shows it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.gaps: list[str] = []

    @cached_property
    def curves(self) -> Curves:
        """A curve for each number that was logged in a training."""
        return curves_of(self.run.metrics)

    @cached_property
    def findings(self) -> list[Finding]:
        """What :func:`diagnose` says, found or not."""
        return diagnose(self.run)
