"""How all charts look: colours with a second channel, figures without pyplot, axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hf_monitor.charts.fonts import text_columns, text_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

__all__ = ["SeriesStyle", "dark_on_white", "finish", "new_figure", "series_style", "tick_labels"]

# Found by search on a grid of sRGB: each has a contrast of at least 3:1 on white, and the smallest CIEDE2000 distance
# between any two of the first five is 19.7 (of the first six 19.0, of all 13.9), in normal vision and in deuteranopia,
# protanopia and tritanopia as Machado, Oliveira & Fernandes (2009) simulate them, severity 1.0. Five of Okabe & Ito
# (2008) have 10.9. tests/charts/test_style.py computes it again.
_COLOURS = ("#3355BB", "#CC6600", "#339988", "#990000", "#9988DD", "#444444", "#886655", "#770066")
# The second channel.
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LINES: tuple[Any, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (5, 1)),
    (0, (3, 1, 1, 1)),
    (0, (8, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_HATCHES = ("", "//", "..", "xx", "\\\\", "++", "oo", "--")
# What rcParams must say for all that is no series to be dark on white, as matplotlib's own defaults do.
_DARK: dict[Any, tuple[Any, ...]] = {
    "text.color": ("black",),
    "axes.titlecolor": ("auto", "black"),
    "axes.labelcolor": ("black",),
    "axes.edgecolor": ("black",),
    "xtick.color": ("black",),
    "ytick.color": ("black",),
    "xtick.labelcolor": ("inherit", "black"),
    "ytick.labelcolor": ("inherit", "black"),
    "grid.color": ("#b0b0b0",),
    "legend.labelcolor": (None, "black"),
}
_DPI = 120
_LEGEND_SIZE = 9
_LONGEST_LEGEND = {1: 7, 2: 11, 3: 11}  # by its columns


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
    """Give the look of series number `index`.

    There are eight, with a marker, a line style and a hatch of its own each. After them the colours come again, with
    the next marker, line style and hatch.
    """
    n = len(_COLOURS)
    turn = index + index // n
    return SeriesStyle(_COLOURS[index % n], _MARKERS[turn % n], _LINES[turn % n], _HATCHES[turn % n])


def new_figure(width: float, height: float, n: int = 1, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """Make a white figure with `n` axes, two columns of them where there are several; no pyplot.

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
    # White whatever rcParams say: the colours are chosen for it.
    figure = Figure(figsize=(width, height * lines), dpi=_DPI, layout="constrained", facecolor="white")
    return figure, [figure.add_subplot(lines, columns, index + 1, facecolor="white") for index in range(n)]


def dark_on_white(ax: Axes) -> None:
    """Give axes dark texts, ticks and frames where rcParams (a dark style, say) made them otherwise.

    Texts with a colour of their own keep it.
    """
    from matplotlib import rcParams

    if all(rcParams[name] in values for name, values in _DARK.items()):
        return  # ticks cost
    legend = ax.get_legend()
    for text in [*ax.texts, *([] if legend is None else [legend.get_title(), *legend.get_texts()])]:
        if text.get_color() in (rcParams["text.color"], rcParams["legend.labelcolor"]):
            text.set_color("black")
    for text in (ax.title, ax._left_title, ax._right_title, ax.xaxis.label, ax.yaxis.label):  # type: ignore[attr-defined]
        text.set_color("black")
    ax.tick_params(which="both", colors="black", grid_color="#b0b0b0")
    for spine in ax.spines.values():
        spine.set_edgecolor("black")


def finish(ax: Axes, title: str, xlabel: str, ylabel: str, *, legend: bool = False, integer_x: bool = False) -> None:
    """Set title, labels and grid; a legend where there are several labelled artists, or where `legend` asks for it.

    More than three labels stand below the axes; of many only the first, and how many more.
    """
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=11)
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    if integer_x:
        ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > 3:
        _legend_below(ax, handles, labels)
    elif len(labels) > 1 or legend:
        ax.legend(frameon=False, fontsize=_LEGEND_SIZE)


def _legend_below(ax: Axes, handles: list[Any], labels: list[str]) -> None:
    """Put a legend under the axes, not on the curves, and no wider or longer than leaves the axes their room."""
    from matplotlib import rcParams
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    widest = max(text_columns(line) for label in labels for line in label.split("\n"))
    root = ax.get_figure(root=True)
    assert root is not None  # axes have a figure
    # A column of text is about 0.6 of the font size wide, line and gaps take 4.5; layout widens axes a bit.
    room = 1.15 * 72 * ax.bbox.width / root.dpi
    ncols = max(1, min(3, int(room / (_LEGEND_SIZE * (0.6 * widest + 4.5)))))
    longest = _LONGEST_LEGEND[ncols]
    more = len(labels) - longest
    if more > 1:
        handles = [*handles[:longest], Line2D([], [], linestyle="none")]
        labels = [*labels[:longest], f"and {more} more"]
    # Numbers and the label of the axis are as high as their text, whatever the height of the axes.
    drop = ScaledTranslation(0, -3.6 * rcParams["font.size"] / 72, root.dpi_scale_trans)
    ax.legend(
        handles,
        labels,
        frameon=False,
        fontsize=_LEGEND_SIZE,
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        bbox_transform=ax.transAxes + drop,
        ncols=ncols,
    )


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
    axis.set_ticks(list(positions), labels=list(labels), **{**text_style(), **kwargs})
