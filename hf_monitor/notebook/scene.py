"""What an area shows, told by whoever records: an experiment of one's own, a training, an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.report.watch.state import State

__all__ = ["Bar", "Sample", "Scene"]


class Bar(NamedTuple):
    """Something that goes on: the steps of a training, the batches of an evaluation, a loop."""

    label: str
    done: float
    total: float | None = None
    """None where nobody knows how much there is to do."""
    note: str = ""
    """What stands behind it: the time left, the epoch."""


class Sample(NamedTuple):
    """A text that was evaluated."""

    label: str
    """Its index in the data."""
    prediction: str
    references: Sequence[str] = ()
    input: str = ""
    score: str = ""
    """``"rougeL 41.2"``; empty where there is none."""


@dataclass
class Scene:
    """All of it at one moment.

    Attributes
    ----------
    title : str
        Of the experiment, or the name of the run.
    status : str
        ``"running"``, ``"finished"``, ``"interrupted"``, ``"crashed"``, ``"evaluating"`` ...
    ending : str
        What ended it, in a sentence; mostly empty.
    began, now : float
        Epoch seconds.
    state : State
        Curves, best values, alerts, cards, timing.
    metrics : sequence of str
        Which metrics to show, in this order; empty: what :func:`hf_monitor.report.watch.metric_lines.chosen` chooses.
    bars : sequence of Bar
    pictures : sequence of Markup
        Further ones (:mod:`hf_monitor.notebook.pictures`).
    samples : sequence of Sample
    messages : sequence of str
        What was said, the oldest first.
    notes : sequence of str
        Small print.
    warnings : sequence of str
        What whoever looks must know: it stands on top.
    links : sequence of (str, str)
        Label and path of a file.
    """

    title: str
    status: str
    began: float
    now: float
    state: State
    ending: str = ""
    metrics: Sequence[str] = ()
    bars: Sequence[Bar] = ()
    pictures: Sequence[Markup] = ()
    samples: Sequence[Sample] = ()
    messages: Sequence[str] = ()
    notes: Sequence[str] = ()
    links: Sequence[tuple[str, str]] = field(default_factory=tuple)
    warnings: Sequence[str] = ()
