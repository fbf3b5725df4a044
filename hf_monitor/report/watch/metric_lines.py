"""The metrics of the live view: the latest value, its change, the best so far, the curve."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.watch.curve import sparkline
from hf_monitor.report.watch.layout import WIDE, Look, Part, wrapped
from hf_monitor.report.watch.state import State, greater_is_better
from hf_monitor.report.words import number

__all__ = ["chosen", "metric_parts"]

_TRAINING = ("loss", "learning_rate", "grad_norm")
_TEXT_METRICS = ("eval_score", "eval_rougeL", "eval_rouge1", "eval_bleu", "eval_accuracy", "eval_f1")
_LONGEST_NAME = 28


def chosen(state: State, look: Look) -> list[str]:
    """Give the metrics to show: those asked for, else loss, validation losses and scores, then the others."""
    if look.metrics:
        return [name if state.curve(name) else f"eval_{name}" for name in look.metrics]
    evaluated = list(state.evaluated)
    text = [name for name in (state.text_metric, *_TEXT_METRICS) if name in evaluated]
    text += [name for name in evaluated if name.endswith("_score")]  # of each set
    others = [name for name in evaluated if name.endswith("_loss")]
    return list(dict.fromkeys([*_TRAINING[:1], *others, *text, *_TRAINING[1:2], *evaluated, *_TRAINING[2:]]))


def metric_parts(state: State, look: Look) -> Iterator[Part]:
    """Give the table of metrics, a line each, with what may be left out first."""
    found = [name for name in chosen(state, look) if state.curve(name) is not None]
    missing = [name for name in look.metrics if name not in found and f"eval_{name}" not in found]
    if found:
        columns = _columns(found, look)
        yield Part(5, [Text(columns.row("metric", "latest", "change", "best"), "dim")])
        for place, name in enumerate(found):
            rank = 3 if place < 3 else 5 if place < 8 else 8
            yield Part(rank, [_metric(state, name, columns, look)])
            curve = state.curve(name)
            if look.width < WIDE and curve is not None and (place < 3 or look.metrics):  # its curve below it
                line = sparkline(curve.points, look.width - 2, blocks=look.blocks)
                yield Part(4, [Text(f"  {line}", "cyan")] if len(curve.points) > 1 else [])
    for name in missing:
        known = ", ".join(one_line(one, 40) for one in (*state.curves, *state.alone))
        text = f"{one_line(name, 40)}: not logged so far" + (f" (there are: {known})" if known else "")
        yield Part(3, [Text(line, "yellow") for line in wrapped(text, look.width)][:3])


class _Columns(NamedTuple):
    name: int
    value: int
    best: int

    def row(self, name: str, latest: str, change: str, best: str) -> str:
        cells = [set_cell_size(name, self.name), f"{latest:>{self.value}}", f"{change:>{self.value}}"]
        cells.append(set_cell_size(f" {best}", self.best) if self.best > self.value else f"{best:>{self.value}}")
        return " ".join(cells)


def _columns(names: Sequence[str], look: Look) -> _Columns:
    longest = max(max(cell_len(one_line(name, 60)) for name in names), 8)
    if look.width >= WIDE:
        return _Columns(min(longest, _LONGEST_NAME), 9, 20)
    return _Columns(max(min(longest, _LONGEST_NAME, look.width - 27), 4), 8, 8)


def _metric(state: State, name: str, columns: _Columns, look: Look) -> Text:
    curve = state.curve(name)
    assert curve is not None
    wide = look.width >= WIDE
    digits = 4 if wide else 3
    latest = "" if curve.last is None else number(curve.last[1], digits)
    change, better, best = "", None, ""
    judged = not name.endswith("gen_len")  # longer is not better
    if name in state.evaluated:
        if curve.last is not None and curve.before is not None:
            difference = curve.last[1] - curve.before[1]
            change = ("+" if difference > 0 else "") + number(difference, 3)
            better = (difference > 0) == greater_is_better(name) if difference and judged else None
        found = state.best(name) if judged else None
        if found is not None:
            best = f"{number(found[0], digits)}{f' at {found[1]:,.0f}' if wide else ''}"
    line = Text(columns.row(one_line(name, 60), latest, change, best))
    start = columns.name + 1 - (cell_len(one_line(name, 60)[: columns.name]) - len(one_line(name, 60)[: columns.name]))
    if better is not None:
        line.stylize("green" if better else "yellow", start + columns.value, start + 1 + 2 * columns.value)
    if curve.last is not None and not math.isfinite(curve.last[1]):
        line.stylize("bold red", start, start + columns.value)
    room = look.width - line.cell_len - 1
    if wide and room >= 4 and len(curve.points) > 1:
        line.append(" ").append(sparkline(curve.points, min(room, 48), blocks=look.blocks), "cyan")
    return line
