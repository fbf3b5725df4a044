"""Plots as pictures that stand on their own: SVG with its own colours, in an <img>.

A notebook that is not trusted, and pages that show notebooks, take style sheets and SVG elements out of an output (and
leave the words of the SVG behind); a picture stays a picture, and its words are in its ``alt``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from hf_monitor.report.line_plot import line_plot
from hf_monitor.report.picture import Picture, Series

__all__ = ["as_image", "curve_image"]

# The light colours of report/style.css; in a dark notebook the style of the area turns the whole picture.
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


def as_image(picture: Picture, width: int = 440) -> Markup:
    """Give a picture of the report as an ``<img>`` that needs no style sheet.

    Parameters
    ----------
    picture : Picture
    width : int
        Pixels.

    Returns
    -------
    Markup
    """
    svg = str(picture.svg).replace(
        '<svg class="plot"', f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" class="plot"', 1
    )
    head, end, rest = svg.partition(">")
    source = "data:image/svg+xml;utf8," + quote(f"{head}{end}<style>{_STYLE}</style>{rest}", safe=" =:/;,()!*+-._~'@$&")
    return Markup('<img class="hfm-plot" width="{}" alt="{}" src="{}">').format(width, picture.alt, source)


def curve_image(title: str, series: Sequence[Series], **options: Any) -> Markup:
    """Draw lines as :func:`hf_monitor.report.line_plot.line_plot` does, as an ``<img>``."""
    return as_image(line_plot(title, series, **options))
