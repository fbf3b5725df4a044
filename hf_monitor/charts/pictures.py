"""Saving a set of charts by their fixed names; what has no data is left out and said."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from hf_monitor.charts.chart import Chart
from hf_monitor.errors import NothingToDraw

__all__ = ["Pictures", "save_charts"]

_log = logging.getLogger(__name__)


class Pictures(list[Path]):
    """The pictures that were drawn, in order.

    Attributes
    ----------
    left_out : dict of str to str
        Name of a picture that was not drawn -> why.
    notes : dict of str to list of str
        Name of a picture -> what is missing from it.
    uncovered : Counter
        Characters that no font has, drawn as U+XXXX.
    """

    def __init__(self, paths: Sequence[Path] = ()) -> None:
        super().__init__(paths)
        self.left_out: dict[str, str] = {}
        self.notes: dict[str, list[str]] = {}
        self.uncovered: Counter[str] = Counter()


def save_charts(charts: Sequence[tuple[str, Callable[[], Chart]]], output_dir: str | os.PathLike[str]) -> Pictures:
    """Make, draw and save charts, one after another, so that only one is in memory.

    Parameters
    ----------
    charts : sequence of (name, maker)
        File name with ending, and a function that makes the chart; `NothingToDraw` from it leaves the chart out.
    output_dir : path-like
        Made when missing; pictures of these names are replaced.

    Returns
    -------
    Pictures
    """
    pictures = Pictures()
    for name, make in charts:
        try:
            chart = make()
        except NothingToDraw as error:
            pictures.left_out[name] = str(error)
            continue
        pictures.append(chart.save(Path(output_dir) / name))
        if chart.notes:
            pictures.notes[name] = list(chart.notes)
        pictures.uncovered.update(chart.uncovered)
    if pictures.left_out:
        reasons: dict[str, list[str]] = {}
        for name, reason in pictures.left_out.items():
            reasons.setdefault(reason, []).append(name)
        said = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        _log.warning("%d of %d charts are left out: %s", len(pictures.left_out), len(charts), said)
    return pictures
