"""A comparison in words and tables for a terminal."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, TextIO

from hf_monitor.gpu.report_text import console_of, encodable, one_line
from hf_monitor.report.cautions import names_of
from hf_monitor.report.words import duration, number

if TYPE_CHECKING:
    from hf_monitor.charts.curves import Curve
    from hf_monitor.report.comparison import Comparison

__all__ = ["as_text", "print_comparison"]

_WIDEST = 120
_COLUMNS = 6  # metrics in the table
_ROWS = 40  # runs in the table; the page has all
_NAME = 40
_BARS = "▁▂▃▄▅▆▇█"
_ASCII = str.maketrans(_BARS, "_.,-~=*#")  # where the terminal has no blocks
_SPARK = 12


class _Line(NamedTuple):
    text: str
    style: str = ""
    indent: int = 2
    """Of what is wrapped; below 0 it is cut at the terminal's edge by nobody (a table)."""


def as_text(comparison: Comparison, width: int = 100) -> str:
    """Give a comparison in words, without colour."""
    return "\n".join(text for text, _ in _wrapped(comparison, width))


def print_comparison(comparison: Comparison, file: TextIO | None = None) -> None:
    """Print a comparison, in colour where `file` (standard output) is a terminal and ``NO_COLOR`` is not set."""
    file = sys.stdout if file is None else file
    if file is None:  # a process without standard output
        return
    width = shutil.get_terminal_size().columns
    console = console_of(file)
    blocks = encodable(_BARS, file) == _BARS
    for line, style in _wrapped(comparison, width):
        text = line if blocks else line.translate(_ASCII)
        if console is None:
            file.write(encodable(text, file) + "\n")
        else:
            from rich.text import Text

            console.print(Text(encodable(text, file), style=style), soft_wrap=True)


def _wrapped(comparison: Comparison, width: int) -> Iterator[tuple[str, str]]:
    width = max(40, min(width, _WIDEST))
    for line in _lines(comparison, width):
        if line.indent < 0 or len(line.text) <= width:
            yield line.text, line.style
            continue
        after = " " * line.indent
        for part in textwrap.wrap(line.text, width, subsequent_indent=after, break_on_hyphens=False):
            yield part, line.style


def _lines(comparison: Comparison, width: int) -> Iterator[_Line]:
    runs = comparison.runs
    yield _Line(f"{len(runs)} runs", "bold")
    yield _Line("")
    yield _Line("What differs", "bold")
    area = ""
    for row in comparison.differences:
        if row.area != area:
            area = row.area
            yield _Line(f"  {area}", "dim")
        style = "dim" if row.beside else ""
        yield _Line(f"    {one_line(row.name, 80)}" + (f"  ({row.beside})" if row.beside else ""), style)
        for text, places in row.by_value[:8]:
            yield _Line(f"      {text}: {names_of(runs, places)}", style, 8)
        if len(row.by_value) > 8:
            yield _Line(f"      and {len(row.by_value) - 8} more values", "dim")
        if row.follows:
            yield _Line(f"      follows from it: {one_line(row.followers, 300)}", "dim", 8)
    if not comparison.differences:
        yield _Line("  nothing that is recorded")
    if comparison.not_recorded:
        names = list(comparison.not_recorded)
        more = f" and {len(names) - 6} more" if len(names) > 6 else ""
        yield _Line(f"  not recorded in all runs: {', '.join(one_line(one, 60) for one in names[:6])}{more}", "dim", 4)
    if comparison.warnings:
        yield _Line("")
        yield _Line("Warnings", "bold")
        for caution in comparison.warnings:
            yield _Line(f"  {one_line(caution.text)}", "yellow", 4)
    yield _Line("")
    yield _Line("Best values, and the step", "bold")
    yield from _tables(comparison, width)
    yield _Line("")
    yield _Line("Verdict", "bold")
    for text in comparison.verdict.sentences:
        yield _Line(f"  {one_line(text, 2000)}", "", 2)


def _tables(comparison: Comparison, width: int) -> Iterator[_Line]:
    """Give the table of the runs, in as many parts as the width asks for."""
    runs = comparison.runs
    places = comparison.order[:_ROWS]
    main = comparison.verdict.metric
    head = ["run", "status", "steps"]
    columns = [
        [one_line(runs[k].name, _NAME) for k in places],
        [runs[k].status for k in places],
        [f"{runs[k].step:,}" for k in places],
    ]
    for metric in list(comparison.metrics)[:_COLUMNS]:
        values, best = comparison.metrics[metric], comparison.best_run(metric)
        head.append(one_line(metric, 30))
        columns.append(
            [
                "-" if (one := values[k]) is None else f"{number(one.best)} @{one.step}{'*' if k == best else ' '}"
                for k in places
            ]
        )
        if metric == main and (sparks := [_spark(runs[k].curves.get(metric)) for k in places]) and any(sparks):
            head.append("")
            columns.append(sparks)
    for name, cells in (
        ("time", [duration(runs[k].seconds) for k in places]),
        ("samples/s", [number(runs[k].samples_per_second, 3) for k in places]),
        ("GPU MiB", [number(runs[k].gpu_memory_peak_mib) for k in places]),
        ("Wh", [number(runs[k].energy_wh, 3) for k in places]),
    ):
        if any(cells):
            head.append(name)
            columns.append(cells)
    yield from _columns(head, columns, width)
    if len(places) < len(runs):
        yield _Line(f"  The {_ROWS} best of {len(runs)} runs; the page has all.", "dim")
    if main is not None:
        yield _Line("  * the best of its column", "dim")


def _columns(head: Sequence[str], columns: Sequence[Sequence[str]], width: int) -> Iterator[_Line]:
    from rich.cells import cell_len, set_cell_size

    sizes = [max(map(cell_len, (name, *cells))) for name, cells in zip(head, columns, strict=True)]
    parts: list[list[int]] = [[]]
    used = 0
    for k in range(1, len(head)):
        if parts[-1] and used + sizes[k] + 2 > width - sizes[0] - 2:
            parts.append([])
            used = 0
        parts[-1].append(k)
        used += sizes[k] + 2
    for part in parts:
        for row, style in ((-1, "dim"), *((k, "") for k in range(len(columns[0])))):
            cells = [set_cell_size(head[k] if row < 0 else columns[k][row], sizes[k]) for k in (0, *part)]
            yield _Line("  " + "  ".join(cells).rstrip(), style, -1)


def _spark(curve: Curve | None) -> str:
    """Draw a curve with blocks; empty where there are less than two values."""
    values = [] if curve is None else curve.finite[1].tolist()
    if len(values) < 2:
        return ""
    if len(values) > _SPARK:
        values = [values[round(k * (len(values) - 1) / (_SPARK - 1))] for k in range(_SPARK)]
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / ((high - low) or 1.0)
    return "".join(_BARS[round((value - low) * scale)] for value in values)
