"""How all charts look: colours with a second channel, figures without pyplot, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["SeriesStyle", "finish", "new_figure", "series_style", "tick_labels"]

# Okabe & Ito (2008), safe for colour-blind readers; marker, line style and hatch are the second channel.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_HATCHES = ("", "//", "..", "xx", "\\\\", "++")
_DPI = 120


class SeriesStyle(NamedTuple):
    """What one series looks like.

    Attributes
    ----------
    colour : str
    marker : str
    line : str or tuple
        A line style of matplotlib.
    hatch : str
        For bars and areas; empty for the first series.
    """

    colour: str
    marker: str
    line: Any
    hatch: str


def series_style(index: int) -> SeriesStyle:
    """Give the look of series number `index`; after the sixth they come again."""
    index %= len(_COLOURS)
    return SeriesStyle(_COLOURS[index], _MARKERS[index], _LINES[index], _HATCHES[index])


def new_figure(width: float, height: float, n: int = 1, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """Make a figure with `n` axes, two columns of them where there are several; no pyplot.

    Parameters
    ----------
    width, height : float
        Inches; `height` of one line of axes.
    n : int
    columns : int, optional

    Returns
    -------
    Figure, list of Axes
    """
    from matplotlib.figure import Figure

    columns = columns or (1 if n == 1 else 2)
    lines = -(-n // columns)
    figure = Figure(figsize=(width, height * lines), dpi=_DPI, layout="constrained")
    return figure, [figure.add_subplot(lines, columns, index + 1) for index in range(n)]


def finish(ax: Axes, title: str, xlabel: str, ylabel: str, *, legend: bool = False, integer_x: bool = False) -> None:
    """Set title, labels and grid; a legend where there are several labelled artists, or where `legend` asks for it."""
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=11)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if integer_x:
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    _, labels = ax.get_legend_handles_labels()
    if len(labels) > 3:  # would lie on the curves; no wider than the axes, or the layout gives way to it
        widest = max(len(line) for label in labels for line in label.split("\n"))
        columns = 3 if widest <= 18 else 2 if widest <= 28 else 1
        ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)
    elif len(labels) > 1 or legend:
        ax.legend(frameon=False, fontsize=9)


def tick_labels(axis: Axis, positions: Sequence[float], labels: Sequence[str], **kwargs: Any) -> None:
    """Put texts at positions of an axis, in the fonts of :func:`hf_monitor.charts.fonts.text_style`, never parsed.

    Parameters
    ----------
    axis : matplotlib.axis.Axis
    positions : sequence of float
    labels : sequence of str
        As :meth:`Chart.shown` gives them.
    **kwargs
        Properties of matplotlib's Text: ``rotation``, ``fontsize`` ...
    """
    from hf_monitor.charts.fonts import text_style

    axis.set_ticks(list(positions), labels=list(labels), **{**text_style(), **kwargs})
