"""What every chart has: its data, drawing, saving."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_monitor.charts.fonts import dress, shown
from hf_monitor.charts.style import dark_on_white, new_figure
from hf_monitor.errors import InputError
from hf_monitor.run.files import replace_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Chart", "Rows"]

Rows: TypeAlias = Iterable[Mapping[str, Any]]

_NO_VERSION: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Creator": None, "Date": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
}


class Chart:
    """A chart in the manner of scikit-learn's Displays: data first (``from_run``, ``from_rows``), drawing second.

    Attributes
    ----------
    figure : matplotlib.figure.Figure or None
        What :meth:`plot` drew last into a figure of its own.
    notes : list of str
        What is missing from the chart, and why.
    uncovered : Counter
        Characters that no font has, drawn as U+XXXX.
    """

    title: str = ""

    def __init__(self) -> None:
        self.figure: Figure | None = None
        self.notes: list[str] = []
        self.uncovered: Counter[str] = Counter()

    def plot(self, ax: Axes | None = None) -> Any:
        """Draw into `ax`, or into a figure of its own.

        A chart of several panels takes the room of `ax` for them. Legends and long names need a figure that makes room:
        ``plt.subplots(layout="constrained")``.

        Returns
        -------
        matplotlib.axes.Axes or list of matplotlib.axes.Axes
            A list where the chart has several panels.
        """
        raise NotImplementedError

    def table(self) -> list[dict[str, Any]]:
        """Give the data of the chart: a row for each thing drawn, with plain values."""
        raise NotImplementedError

    def _repr_png_(self) -> bytes:
        """Show the chart in a notebook."""
        return self._picture("png")

    def _picture(self, kind: str) -> bytes:
        if self.figure is None:
            self.plot()
        assert self.figure is not None  # plot() makes it
        picture = io.BytesIO()
        # Without the version of matplotlib in it, the same data gives the same bytes.
        self.figure.savefig(picture, format=kind, metadata=_NO_VERSION.get(kind), facecolor="auto")
        return picture.getvalue()

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str | Path:
        """Give :meth:`table` as JSON, or write it to `path` and give that.

        Numbers that are not finite are written as in the files of a run: ``{"$float": "nan"}``.
        """
        from hf_monitor.run.rows import encode_row

        lines = [encode_row(row).decode().rstrip("\n") for row in self.table()]
        return _written("[\n" + ",\n".join(lines) + "\n]\n", path)

    def to_csv(self, path: str | os.PathLike[str] | None = None) -> str | Path:
        """Give :meth:`table` as CSV, or write it to `path` and give that."""
        rows = self.table()
        file = io.StringIO()
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return _written(file.getvalue(), path)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as a picture; the kind is told by the ending of `path` (``.png``, ``.svg``, ``.pdf``).

        Returns
        -------
        Path

        Raises
        ------
        OSError
            As the operating system says. The old picture is as it was, and there is no half one.
        ValueError
            If matplotlib knows no such kind of picture.
        """
        path = Path(path)
        picture = self._picture(path.suffix.lower().lstrip(".") or "png")
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, picture, sync=False)  # whoever looks sees the old picture or the new one
        return path

    def shown(self, text: object, limit: int = 40) -> str:
        """Make one short line of a user's text; what no font has is counted in :attr:`uncovered`."""
        return shown(text, limit, self.uncovered)

    def _axes(self, ax: Axes | None, width: float, height: float, n: int = 1, columns: int | None = None) -> list[Axes]:
        """Give `n` axes to draw into: in a new figure (inches, the height of one line), or in the room of `ax`."""
        self.uncovered.clear()
        if ax is None:
            self.figure, axes = new_figure(width, height, n, columns)
            return axes
        if not hasattr(ax, "get_subplotspec"):
            what = type(ax).__name__
            raise InputError(
                f"plot() draws into axes of matplotlib, got {what}: plot(figure.add_subplot()), or plot()."
            )
        if n == 1:
            return [ax]
        place = ax.get_subplotspec()
        figure = ax.figure
        if place is None or figure is None:
            raise InputError(f"{type(self).__name__} has {n} panels: pass axes made by add_subplot, or none at all.")
        ax.set_axis_off()
        columns = columns or 2
        grid = place.subgridspec(-(-n // columns), columns)
        current = figure.gca()  # pyplot's, where the figure is of pyplot
        axes = [figure.add_subplot(grid[index // columns, index % columns]) for index in range(n)]
        figure.sca(current)
        return axes

    def _is_own(self, ax: Axes) -> bool:
        return self.figure is not None and ax.figure is self.figure

    def _ink(self, ax: Axes) -> Any:
        """Give the colour of lines that belong to no series: black on our white, that of the texts on others' axes."""
        from matplotlib import rcParams

        return "black" if self._is_own(ax) else rcParams["text.color"]

    def _dress(self, axes: Iterable[Axes]) -> None:
        """Last step of every plot(): fonts for all texts, and none of them is parsed as mathematics."""
        for ax in axes:
            dress(ax)
            if self._is_own(ax):
                dark_on_white(ax)


def _written(text: str, path: str | os.PathLike[str] | None) -> str | Path:
    if path is None:
        return text
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, text.encode(errors="backslashreplace"), sync=False)
    return path
