"""Plots as pictures that stand on their own: SVG with its own colours, in an <img>.

A notebook that is not trusted, and pages that show notebooks, take style sheets and SVG elements out of an output (and
leave the words of the SVG behind); a picture stays a picture, and its words are in its ``alt``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from hf_monitor.notebook.dress import name
from hf_monitor.report.line_plot import line_plot
from hf_monitor.report.picture import Picture, Series

__all__ = ["as_image", "curve_image"]

# The light colours of report/style.css; in a dark notebook the style of the area turns the whole picture.
_LINE = re.compile(r"M[\d.]+ [\d.]+(?:L[\d.]+ [\d.]+)+")
_LABEL = re.compile(r' role="img" aria-label="[^"]*"')
_COLOURS = ("#35b", "#c60", "#398", "#900", "#98d", "#444", "#865", "#707")
_STYLE = (
    "svg{font:13px system-ui,'Noto Sans','Noto Sans KR','Apple SD Gothic Neo','Malgun Gothic',sans-serif;fill:#1c2024;"
    "background:#fff}"
    "path{fill:none}.word{font-size:12px}[class^=s] path{stroke:currentColor;stroke-width:2;stroke-linejoin:round}"
    "[class^=s] .all{stroke-width:.7;opacity:.4}[class^=s] .dot,.bar{fill:currentColor;stroke:none}"
    ".grid{stroke:#d5dae0}"
    ".axis,.mark{stroke:#5b6470}.level{stroke:#1c2024;stroke-width:1.5;stroke-dasharray:6 3}"
    ".mark{stroke-dasharray:3 2}"
    ".mark.good{stroke:#1a7f4b}.mark.warn{stroke:#8a5a00}.mark.bad{stroke:#b3261e}"
    ".word.good{fill:#1a7f4b}.word.warn{fill:#8a5a00}.word.bad{fill:#b3261e}"
    + "".join(f".s{index}{{color:{colour}}}" for index, colour in enumerate(_COLOURS))
)


def as_image(picture: Picture, width: int = 384) -> Markup:
    """Give a picture of the report as an ``<img>`` that needs no style sheet.

    Parameters
    ----------
    picture : Picture
    width : int
        Pixels; by default two have room side by side in JupyterLab beside its file browser in a window of 1280.

    Returns
    -------
    Markup
    """
    svg = str(picture.svg).replace(
        '<svg class="plot"', f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" class="plot"', 1
    )
    head, end, rest = svg.partition(">")
    head = _LABEL.sub("", head)  # the same words as alt
    # In texts quotes are escaped: those that are left stand around attributes. ' needs no escape in the URL.
    svg = f"{head}{end}<style>{_STYLE}</style>{rest}".replace('"', "'")
    source = "data:image/svg+xml," + quote(_relative(svg), safe=" =:/;,()!*+-._~'@$&")
    return Markup('<img class="hfm-plot" width="{}" style="{}" alt="{}" src="{}">').format(
        width,
        "max-width:100%;height:auto;margin:0 12px 8px 0",
        name(picture.alt, 1000),
        Markup(source.replace("&", "&amp;")),
    )


def _relative(svg: str) -> str:
    """Write the points of lines as steps from the one before, in tenths: half as long."""
    return _LINE.sub(_steps, svg)


def _steps(found: re.Match[str]) -> str:
    begin, *points = ([round(10 * float(one)) for one in pair.split()] for pair in found[0][1:].split("L"))
    said, (x, y) = [f"M{begin[0] / 10:g} {begin[1] / 10:g}l"], begin
    for a, b in points:
        said.append(f"{_short(a - x)} {_short(b - y)} ")
        x, y = a, b
    return "".join(said).rstrip().replace(" -", "-")


def _short(tenths: int) -> str:
    """Write tenths as SVG can read them: ``"-.5"``."""
    said = f"{tenths / 10:g}"
    return said.replace("0.", ".", 1) if 0 < abs(tenths) < 10 else said


def curve_image(title: str, series: Sequence[Series], **options: Any) -> Markup:
    """Draw lines as :func:`hf_monitor.report.line_plot.line_plot` does, as an ``<img>``."""
    return as_image(line_plot(title, series, **options))
