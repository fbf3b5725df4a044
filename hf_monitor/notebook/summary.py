"""What an experiment came to, in a small table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup
from rich.cells import cell_len

from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.dress import LEFT, QUIET, RIGHT, badge, card, line, name, table
from hf_monitor.report.words import duration, number

__all__ = ["Row", "Summary"]

_HEAD = ("metric", "last", "at step", "best", "at step", "values")


class Row(NamedTuple):
    """A metric."""

    name: str
    last: float
    step: float
    best: float | None
    """None where none was finite, and where nobody knows which way is better (:mod:`hf_monitor.notebook.direction`)."""
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
        head = line(Markup("<b>{}</b> {} {}").format(name(self.title, 80), badge(self.status), name(self.ending, 300)))
        head += line(name("; ".join(about), 400), style=QUIET)
        cells_of = [list(_HEAD), *(row.cells() for row in self.rows)]
        lines = [f"{self.title}: {status}", "; ".join(about)]
        if not self.rows:
            nothing = "No metric was logged."
            return Drawing(card(head + line(nothing)), "\n".join([*lines, nothing]))
        widths = [max(cell_len(cells[n]) for cells in cells_of) for n in range(len(_HEAD))]
        for cells in cells_of:
            gaps = [" " * (width - cell_len(cell)) for cell, width in zip(cells, widths, strict=True)]
            rest = (gap + cell for gap, cell in zip(gaps[1:], cells[1:], strict=True))
            lines.append("  ".join([cells[0] + gaps[0], *rest]))
        return Drawing(card(head + _table(cells_of)), "\n".join(lines))


def _table(rows: Sequence[Sequence[str]]) -> Markup:
    found = Markup("")
    for n, cells in enumerate(rows):
        tag = Markup("td" if n else "th")
        row = Markup("").join(
            Markup('<{} style="{}">{}</{}>').format(tag, RIGHT if k else LEFT, name(cell, 80), tag)
            for k, cell in enumerate(cells)
        )
        found += Markup("<tr>{}</tr>").format(row)
    return table(found)
