"""A plot that somebody asked for: as a picture, and as lines of text where there are none."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from hf_monitor.charts.thin import thin
from hf_monitor.gpu.report_text import encodable
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.draw import draw
from hf_monitor.notebook.dress import QUIET, card, line, name
from hf_monitor.notebook.pictures import curve_image
from hf_monitor.notebook.scene import Scene
from hf_monitor.report.picture import Series
from hf_monitor.report.watch.curve import Curve, sparkline
from hf_monitor.report.words import number
from hf_monitor.run.secrets import SecretMask

__all__ = ["Plot", "drawn"]

_COLUMNS = 40
_BLOCK = "▁"
_POINTS = 1600
"""Of all lines of a plot together: some 20 kB, as several plots stand in one notebook, ..."""
_MOST_SERIES = 16
"""... and so many lines, which leaves each enough to look the same."""
_MOST_LOST = 40
_ROOM = 120_000
"""Characters for the plots of an area."""


class Plot:
    """Lines under a title; drawn when it is shown, and once.

    Parameters
    ----------
    title : str
    series : sequence of Series
    """

    def __init__(self, title: str, series: Sequence[Series]) -> None:
        self.title = title
        self._series: Sequence[Series] = series
        self._image: Markup | None = None

    def hide(self, mask: SecretMask) -> Plot:
        """Mask the secrets in its words."""
        self.title = mask.text(self.title)
        self._series = [one._replace(name=mask.text(one.name)) for one in self._series]
        return self

    def image(self) -> Markup:
        """Draw it; the values are let go."""
        if self._image is None:
            shown = self._series[:_MOST_SERIES]
            points = [_thinned(one, _POINTS // max(len(shown), 2)) for one in shown]
            label = "index" if all(isinstance(one.x, range) for one in shown) else "step"
            self._image = curve_image(self.title, points, x_label=label)
            if more := len(self._series) - len(shown):
                self._image += line(f"and {more:,} more lines, not drawn", style=QUIET)
            self._series = ()
        return self._image

    def titled(self) -> Markup:
        """Draw it under its title."""
        return line(Markup("<b>{}</b><br>{}").format(name(self.title, 200), self.image()))

    def drawing(self) -> Drawing:
        """Give it as an output of its own."""
        text = self.text()
        return Drawing(card(self.titled()), text)

    def text(self) -> str:
        """Write each line as one of characters: ``"loss ▇▅▂▁ 2.1 to 0.3"``; before it was drawn."""
        blocks = sys.stdout is None or encodable(_BLOCK, sys.stdout) == _BLOCK
        lines = []
        for one, steps, values, *_ in self._series:
            curve = Curve()
            pairs = sorted(zip(steps, values, strict=True), key=lambda pair: pair[0])
            for step, value in pairs:
                curve.add(step, value)
            said = f"{number(pairs[0][1])} to {number(pairs[-1][1])}" if pairs else "no values"
            label = self.title if one == self.title else f"{self.title}, {one}"
            lines.append(f"{label} {sparkline(curve.points, _COLUMNS, blocks=blocks)} {said}")
        return "\n".join(lines) or f"{self.title}: no values"


def drawn(scene: Scene, plots: Sequence[Plot]) -> Drawing:
    """Draw a scene with the latest plots that have room: an area stays in the saved notebook."""
    pictures: list[Markup] = []
    for plot in reversed(plots):
        pictures.insert(0, plot.titled())
        if sum(map(len, pictures)) > _ROOM and len(pictures) > 1:
            del pictures[0]
            left_out = len(plots) - len(pictures)
            scene.notes = [*scene.notes, f"{left_out:,} more plot{'s' * (left_out > 1)} would be too large together."]
            break
    scene.pictures = pictures
    return draw(scene)


def _thinned(series: Series, limit: int) -> Series:
    """Give points that make the same picture; of values that are no numbers the first."""
    xs, ys = np.asarray(series.x, dtype=float), np.asarray(series.y, dtype=float)
    if len(xs) <= limit:
        return series
    order = np.argsort(xs, kind="stable")
    xs, ys = xs[order], ys[order]
    fine = np.isfinite(ys)
    kept = np.flatnonzero(fine)[thin(xs[fine], ys[fine], limit)] if fine.any() else np.array([], dtype=int)
    kept = np.sort(np.append(kept, np.flatnonzero(~fine)[:_MOST_LOST]))
    return Series(series.name, xs[kept].tolist(), ys[kept].tolist(), series.breaks)
