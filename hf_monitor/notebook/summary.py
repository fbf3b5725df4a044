"""What an experiment came to, in a small table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.notebook.area import Drawing
from hf_monitor.report.words import duration, number

__all__ = ["Row", "Summary"]

_HEAD = ("metric", "last", "at step", "best", "at step", "values")
_CELL = "padding:2px 10px;text-align:right"
_FIRST = "padding:2px 10px;text-align:left"


class Row(NamedTuple):
    """A metric."""

    name: str
    last: float
    step: float
    best: float | None
    """The lowest of what ends with ``loss``, the highest of all else; None where none was finite."""
    best_step: float | None
    n: int
    """How many values were logged."""

    def cells(self) -> list[str]:
        """Give it as the texts of a table's row."""
        best = ("", "") if self.best is None else (number(self.best), number(self.best_step))
        return [self.name, number(self.last), number(self.step), *best, number(self.n)]


class Summary(NamedTuple):
    """An experiment as it is at a moment, or was at its end."""

    title: str
    status: str
    ending: str
    seconds: float
    rows: Sequence[Row]
    place: str
    """Of the run folder; empty where there is none."""

    def drawing(self) -> Drawing:
        """Give it as HTML without a style sheet, and as text."""
        about = [duration(self.seconds)]
        about.append(f"recorded in {self.place}" if self.place else "not recorded: no run_dir was given")
        status = f"{self.status}: {self.ending}" if self.ending else self.status
        head = Markup("<p><b>{}</b> {}<br>{}</p>").format(self.title, status, "; ".join(about))
        table = [list(_HEAD), *(row.cells() for row in self.rows)]
        lines = [f"{self.title}: {status}", "; ".join(about)]
        if not self.rows:
            nothing = "No metric was logged."
            return Drawing(str(head + Markup("<p>{}</p>").format(nothing)), "\n".join([*lines, nothing]))
        widths = [max(len(cells[n]) for cells in table) for n in range(len(_HEAD))]
        lines += [
            "  ".join(
                [
                    cells[0].ljust(widths[0]),
                    *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
                ]
            )
            for cells in table
        ]
        return Drawing(str(head + _table(table)), "\n".join(lines))


def _table(table: Sequence[Sequence[str]]) -> Markup:
    rows = []
    for n, cells in enumerate(table):
        tag = Markup("td" if n else "th")
        row = [
            Markup('<{} style="{}">{}</{}>').format(tag, _CELL if k else _FIRST, cell, tag)
            for k, cell in enumerate(cells)
        ]
        rows.append(Markup("<tr>{}</tr>").format(Markup("").join(row)))
    return Markup("<table>{}</table>").format(Markup("").join(rows))
