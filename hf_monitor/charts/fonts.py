"""Which fonts draw a text, and what is drawn where no font has a character."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["dress", "families", "shown", "text_style"]


def families() -> list[str]:
    """Give the fonts that are here: DejaVu Sans first, which has the minus sign, then one for Korean."""
    return ["DejaVu Sans"]


def text_style() -> dict[str, Any]:
    """Give the properties of matplotlib's Text that draw a user's text as it is: fonts, no mathtext, no TeX."""
    return {"fontfamily": families(), "parse_math": False, "usetex": False}


def shown(text: object, limit: int = 40, uncovered: Counter[str] | None = None) -> str:
    """Make one line of at most `limit` characters of a user's text, with U+XXXX for what no font has.

    Parameters
    ----------
    text : object
        Drawn as ``str(text)``.
    limit : int
        Characters; a longer text ends with an ellipsis.
    uncovered : Counter, optional
        Characters without a glyph are counted in it.

    Returns
    -------
    str
    """
    line = " ".join(str(text).split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def dress(ax: Axes) -> None:
    """Give all texts of axes (titles, labels, legend, annotations) the fonts, and have none of them parsed."""
    legend = ax.get_legend()
    texts = [ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label, *ax.texts]  # type: ignore[attr-defined]
    style = text_style()
    for text in texts + (legend.get_texts() if legend is not None else []):
        text.update(style)
