"""Saving a set of charts by their fixed names; what has no data is left out and said."""

from __future__ import annotations

import logging
import os
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Sequence
from html import escape
from io import BytesIO
from pathlib import Path

from hf_monitor.charts.chart import Chart
from hf_monitor.errors import InputError, NothingToDraw

__all__ = ["NotGiven", "Pictures", "save_charts"]

_log = logging.getLogger(__name__)


class NotGiven(NothingToDraw):
    """The caller passed nothing for this chart: it stands in ``left_out``, and no warning is due."""


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

    def __repr__(self) -> str:
        parts = [f"{len(self)} pictures" + (f" in {str(self[0].parent)!r}" if self else "")]
        parts += [f"{len(self.left_out)} left out (.left_out)"] if self.left_out else []
        parts += [f"{len(self.notes)} with notes (.notes)"] if self.notes else []
        parts += [f"{self.uncovered.total()} characters without a glyph (.uncovered)"] if self.uncovered else []
        return f"<{', '.join(parts)}: {', '.join(path.name for path in self) or 'none'}>"

    def _repr_html_(self) -> str:
        """Show the pictures in a notebook, small: all fifteen take some 200 kB in it."""
        parts = [f"<div>{escape(repr(self))}</div>"]
        for path in self:
            found = _thumbnail(path)
            if found:
                source = f"data:image/webp;base64,{b64encode(found).decode()}"
                parts.append(f'<img width="440" style="max-width:100%" alt="{escape(path.name)}" src="{source}">')
        parts += [f"<div>{escape(name)} is left out: {escape(why)}</div>" for name, why in self.left_out.items()]
        return "\n".join(parts)


def _thumbnail(path: Path) -> bytes:
    """Make a picture 700 pixels wide; empty where the file is gone."""
    from PIL import Image  # matplotlib needs it, too

    small = BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail((700, 7000))
            picture.convert("RGB").save(small, "webp", quality=60, method=2)
    except (OSError, ValueError):
        return b""
    return small.getvalue()


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

    Raises
    ------
    InputError
        If `output_dir` is no path.
    OSError
        As the operating system says, if a picture cannot be written.
    """
    if not isinstance(output_dir, str | os.PathLike):
        raise InputError(f"output_dir must be the path of a folder, got {output_dir!r}.")
    folder = Path(output_dir).expanduser()
    pictures, due = Pictures(), []
    for name, make in charts:
        try:
            chart = make()
        except NothingToDraw as error:
            pictures.left_out[name] = str(error)
            due += [] if isinstance(error, NotGiven) else [name]
            continue
        pictures.append(chart.save(folder / name))
        if chart.notes:
            pictures.notes[name] = list(chart.notes)
        pictures.uncovered.update(chart.uncovered)
    if due:
        reasons: dict[str, list[str]] = {}
        for name in due:
            reasons.setdefault(pictures.left_out[name], []).append(name)
        said = "; ".join(f"{', '.join(names)}: {reason}" for reason, names in reasons.items())
        _log.warning("%d of %d charts are left out: %s", len(due), len(charts), said)
    return pictures
