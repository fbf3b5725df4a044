"""The live view: from the state of a run, lines for a terminal of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.watch.curve import sparkline
from hf_monitor.report.watch.state import State, finite, greater_is_better
from hf_monitor.report.words import duration, number

__all__ = ["Look", "lines", "plain_line"]

_STATUS = {
    "running": "bold green",
    "finished": "bold green",
    "crashed": "bold red",
    "killed": "bold red",
    "terminated": "bold yellow",
    "interrupted": "bold yellow",
    "unknown": "bold yellow",
}
_SEVERITY = {"error": "bold red", "warning": "yellow", "info": "cyan"}
_WIDE = 76  # from here on a metric and its curve stand on one line
_WIDEST = 120
_TRAINING = ("loss", "learning_rate", "grad_norm")
_TEXT_METRICS = ("eval_score", "eval_rougeL", "eval_rouge1", "eval_bleu", "eval_accuracy", "eval_f1")
_SILENT_SECONDS, _SILENT_PACES = 60.0, 20.0
_LONGEST_NAME = 28
_LONG_WAIT = 0.2  # of the time


class Look(NamedTuple):
    """How things are shown."""

    width: int = 80
    """Columns."""
    height: int | None = None
    """Lines; None for as many as there are."""
    blocks: bool = True
    """Whether the terminal has signs beyond ASCII."""
    metrics: Sequence[str] = ()
    """The metrics to show; those that say most where empty."""


class _Part(NamedTuple):
    rank: int  # the highest are left out first
    lines: list[Text]


def lines(state: State, now: float, look: Look, *, name: str = "", notes: Sequence[str] = ()) -> list[Text]:
    """Give the view.

    Parameters
    ----------
    state : State
    now : float
        Epoch seconds.
    look : Look
    name : str
        Of the run.
    notes : sequence of str
        What else is to be said, at the end.

    Returns
    -------
    list of rich.text.Text
        None wider than `look.width` columns, not more than `look.height`; what matters less is left out.
    """
    look = look._replace(width=max(min(look.width, _WIDEST), 10))
    cards = list(_cards(state, look))
    alerts = list(_alerts(state, look, now))
    parts = [
        _Part(0, [_title(state, now, name)]),
        _Part(0, list(_progress(state, now, look))),
        _Part(1, list(_ending(state, look))),
        _Part(2, alerts[:2]),
        _Part(6, alerts[2:]),
        *_metrics(state, look),
        _Part(3, cards[:4]),
        _Part(7, cards[4:]),
        _Part(4, list(_machine(state, look))),
        _Part(5, list(_last(state, now, look))),
        _Part(5, [Text(one_line(note), "dim") for note in notes]),
    ]
    parts = [part for part in parts if part.lines]
    if look.height is not None:
        parts = _fitting(parts, max(look.height, 1))
    found = [line for part in parts for line in part.lines][: look.height]
    return [_fitted(line, look) for line in found]


def _fitting(parts: list[_Part], height: int) -> list[_Part]:
    """Leave out what matters least, from the end."""
    while sum(len(part.lines) for part in parts) > height:
        least = max(part.rank for part in parts)
        if least == 0:
            break
        last = max(index for index, part in enumerate(parts) if part.rank == least)
        part = parts[last]
        parts = [*parts[:last], *([part._replace(lines=part.lines[:-1])] if part.lines[1:] else []), *parts[last + 1 :]]
    return parts


def _fitted(line: Text, look: Look) -> Text:
    line = line.copy()
    line.truncate(look.width, overflow="ellipsis" if look.blocks else "crop")
    line.no_wrap = True
    return line


def _title(state: State, now: float, name: str) -> Text:
    status = state.ending.status
    line = Text.assemble((status, _STATUS.get(status, "")))
    ended = state.ending.time if status not in ("running", "unknown") else None
    until = ended or (now if status in ("running", "unknown") else state.last_time)
    if state.begun is not None and until is not None:
        line.append(f" {'for' if status == 'running' else 'after'} {duration(max(until - state.begun, 0.0))}")
    if state.phase == "evaluate" and status == "running":
        line.append(", evaluating")
    if state.attempt > 1:
        began = f" from step {state.first_step:,.0f}" if state.first_step else ""
        line.append(f", attempt {state.attempt}{began}")
    if name:
        line.append("  ").append(one_line(name, 60), "bold")
    return line


def _progress(state: State, now: float, look: Look) -> Iterator[Text]:
    step, whole = state.step, state.max_steps
    if step is None:
        if state.ending.status in ("running", "unknown"):
            yield Text("no step yet", "dim")
        return
    words = [f"step {step:,.0f}"]
    if whole is not None and whole > 0:
        share = min(max(step / whole, 0.0), 1.0)
        words = [f"step {step:,.0f} of {whole:,.0f}", f"{math.floor(100 * share)} %"]
        size = max(look.width if look.width < _WIDE else 30, 8)
        bar = _bar(share, size - 2, look)
        if look.width < _WIDE:
            yield bar
            bar = Text()
    else:
        bar = Text()
    if state.epoch is not None:
        words.append(f"epoch {state.epoch:.2f}" + (f" of {state.epochs:g}" if state.epochs else ""))
    left = _left(state, now)
    if left:
        words.append(left)
    text = ", ".join(words)
    if look.width >= _WIDE:
        yield (bar.append("  ") if bar else bar).append(text)
        return
    for index, line in enumerate(_wrapped(text, look.width)):
        if index < 2:
            yield Text(line)


def _left(state: State, now: float) -> str:
    if state.ending.status not in ("running", "unknown"):
        return ""
    silent = 0.0 if state.last_time is None else now - state.last_time
    if silent > max(_SILENT_SECONDS, _SILENT_PACES * (state.pace.seconds_per_step or 0.0)):
        return f"nothing new for {duration(silent)}"
    end_at = state.end_at
    if end_at is None or state.ending.status != "running":
        return ""
    return f"about {_about(max(end_at - now, 0.0))} left"


def _about(seconds: float) -> str:
    """Write a time that is not known to the second."""
    if seconds < 60:
        return f"{max(math.ceil(seconds / 5) * 5, 5)} s"
    minutes = math.ceil(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    return duration(minutes * 60.0)


def _ending(state: State, look: Look) -> Iterator[Text]:
    ending = state.ending
    if ending.status in ("running", "finished") and not ending.type:
        return
    if ending.status == "unknown":
        if state.step is not None:
            yield Text("Whether it is going on cannot be seen from here: it runs on another machine.", "yellow")
        return
    text = one_line(str(ending), 400)
    if ending.status == "killed":
        text += ": the process is gone without a word (SIGKILL, out of memory, or the machine stopped)"
    for index, line in enumerate(_wrapped(text, look.width)):
        if index < 4:
            yield Text(line, _STATUS.get(ending.status, ""))


def _alerts(state: State, look: Look, now: float) -> Iterator[Text]:
    for alert in list(state.alerts)[:-4:-1]:
        text = f"{alert.severity} at step {alert.step:,.0f}: {one_line(alert.sentence or alert.rule, 300)}"
        style = _SEVERITY.get(alert.severity, "")
        for index, line in enumerate(_wrapped(one_line(text, 400), look.width)):
            if index < 2:
                yield Text(line, style)
    total = sum(state.alert_counts.values())
    if total > 3:
        counts = ", ".join(f"{n} {one_line(severity, 10)}" for severity, n in sorted(state.alert_counts.items()))
        yield Text(f"{total} alerts in all: {counts}", "dim")


def _chosen(state: State, look: Look) -> list[str]:
    """Give the metrics to show: those asked for, else loss, validation loss and the score, then the others."""
    if look.metrics:
        return [name if state.curve(name) else f"eval_{name}" for name in look.metrics]
    evaluated = list(state.evaluated)
    text = [name for name in (state.text_metric, *_TEXT_METRICS) if name in evaluated]
    others = [name for name in evaluated if name.endswith("_loss")]
    return list(dict.fromkeys([*_TRAINING[:1], *others, *text, *_TRAINING[1:2], *evaluated, *_TRAINING[2:]]))


def _metrics(state: State, look: Look) -> Iterator[_Part]:
    found = [name for name in _chosen(state, look) if state.curve(name) is not None]
    missing = [name for name in look.metrics if name not in found and f"eval_{name}" not in found]
    if found:
        columns = _columns(found, look)
        yield _Part(5, [Text(columns.row("metric", "latest", "change", "best"), "dim")])
        for place, name in enumerate(found):
            rank = 3 if place < 3 else 5 if place < 8 else 8
            yield _Part(rank, [_metric(state, name, columns, look)])
            curve = state.curve(name)
            if look.width < _WIDE and curve is not None and (place < 3 or look.metrics):  # its curve below it
                line = sparkline(curve.points, look.width - 2, blocks=look.blocks)
                yield _Part(4, [Text(f"  {line}", "cyan")] if len(curve.points) > 1 else [])
    for name in missing:
        known = ", ".join(one_line(one, 40) for one in (*state.curves, *state.alone))
        text = f"{one_line(name, 40)}: not logged so far" + (f" (there are: {known})" if known else "")
        yield _Part(3, [Text(line, "yellow") for line in _wrapped(text, look.width)][:3])


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
    if look.width >= _WIDE:
        return _Columns(min(longest, _LONGEST_NAME), 9, 20)
    return _Columns(max(min(longest, _LONGEST_NAME, look.width - 27), 4), 8, 8)


def _metric(state: State, name: str, columns: _Columns, look: Look) -> Text:
    curve = state.curve(name)
    assert curve is not None
    wide = look.width >= _WIDE
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
    if wide and room >= 4:
        line.append(" ").append(sparkline(curve.points, min(room, 48), blocks=look.blocks), "cyan")
    return line


def _cards(state: State, look: Look) -> Iterator[Text]:
    for (rank, gpu), row in sorted(state.cards.items()):
        known = state.card(rank, gpu)
        line = Text(f"{f'rank {rank} ' if rank else ''}GPU {gpu}", "bold")
        busy, used = finite(row.get("utilization_percent")), finite(row.get("memory_used_mib"))
        total = finite(known.get("memory_total_mib"))
        line.append(f"  {'busy not said' if busy is None else f'{busy:3.0f} % busy'}  ")
        if used is None:
            line.append("memory not said")
        elif total is None or total <= 0:
            line.append(f"{used / 1024:.1f} GiB used")
        else:
            share = min(max(used / total, 0.0), 1.0)
            if look.width >= _WIDE:
                line.append_text(_bar(share, 12, look, "yellow" if share > 0.95 else "cyan")).append(" ")
            line.append(f"{used / 1024:.1f} of {total / 1024:.1f} GiB", "yellow" if share > 0.95 else "")
        for key, unit in (("temperature_c", " C" if not look.blocks else " °C"), ("power_w", " W")):
            value = finite(row.get(key))
            line.append("" if value is None else f"  {value:.0f}{unit}")
        throttle = row.get("throttle")
        if isinstance(throttle, list) and throttle:
            line.append(f"  throttled: {one_line(', '.join(map(str, throttle)), 40)}", "yellow")
        if isinstance(known.get("name"), str):
            line.append(f"  {one_line(known['name'], 40)}", "dim")
        yield line


def _machine(state: State, look: Look) -> Iterator[Text]:
    """How fast it goes, and how the host is."""
    words = []
    for key, unit in (("samples_per_second", "samples/s"), ("tokens_per_second", "tokens/s")):
        value = finite(state.timing.get(key))
        if value is not None:
            words.append(f"{number(value, 3)} {unit}")
    pace = state.pace.seconds_per_step
    if pace is not None:
        words.append(f"{number(pace, 3)} s a step")
    wait = finite(state.timing.get("data_wait_share"))
    if wait is not None:
        words.append(f"waits for data {100 * wait:.0f} % of the time")
    if words:
        style = "yellow" if wait is not None and wait > _LONG_WAIT else ""
        yield from (Text(line, style) for line in _wrapped(", ".join(words), look.width)[:2])
    for rank, row in sorted(state.hosts.items()):
        yield from (Text(line) for line in _wrapped(_host(rank, row), look.width)[:2])


def _host(rank: int, row: Mapping[str, Any]) -> str:
    words = []
    cpu, used, total = (finite(row.get(key)) for key in ("cpu_percent", "ram_used_mib", "ram_total_mib"))
    if cpu is not None:
        words.append(f"CPU {cpu:.0f} %")
    if used is not None:
        words.append(f"RAM {used / 1024:.1f}{'' if total is None else f' of {total / 1024:.1f}'} GiB")
    process = finite(row.get("process_rss_mib"))
    if process is not None:
        words.append(f"process {process / 1024:.1f} GiB")
    return f"{f'rank {rank} ' if rank else ''}host {', '.join(words)}" if words else ""


def _last(state: State, now: float, look: Look) -> Iterator[Text]:
    names = {
        "evaluation": "evaluated",
        "save": "saved",
        "prediction": "predicted",
        "nonfinite": "a value that is not finite",
        "signal": "a signal came",
        "recording_resumed": "recording works again",
    }
    found = [(time or 0.0, names[name], step) for name, (step, time) in state.events.items() if name in names]
    words = []
    for time, what, step in sorted(found, reverse=True)[:3]:
        live = state.ending.status in ("running", "unknown")
        ago = f", {duration(max(now - time, 0.0))} ago" if time and live else ""
        words.append(f"{what} at step {step:,.0f}{ago}")
    if words:
        yield from (Text(line, "dim") for line in _wrapped("; ".join(words), look.width)[:2])


def _bar(share: float, size: int, look: Look, style: str = "green") -> Text:
    full, empty, left, right = ("█", "░", "", "") if look.blocks else ("#", ".", "[", "]")
    n = math.floor(share * size)
    return Text.assemble(left, (full * n, style), (empty * (size - n), "dim"), right)


def _wrapped(text: str, width: int) -> list[str]:
    """Wrap by columns: a Korean sign has two."""
    found, line = [], ""
    for word in text.split(" "):
        while cell_len(word) > width:  # no word of any language is wider than a terminal; a hostile one is cut
            if line:
                found.append(line)
                line = ""
            piece = _cut(word, width)
            found.append(piece)
            word = word[len(piece) :]
        if line and cell_len(line) + 1 + cell_len(word) > width:
            found.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*found, line] if line else found


def _cut(word: str, width: int) -> str:
    for end in range(len(word), 0, -1):
        if cell_len(word[:end]) <= width:
            return word[:end]
    return word[:1]


def plain_line(state: State, now: float) -> str:
    """Give one line that says how it stands, for a log or a pipe.

    Parameters
    ----------
    state : State
    now : float
        Epoch seconds.

    Returns
    -------
    str
        Without control characters and colours.
    """
    look = Look(width=_WIDEST)
    status = state.ending.status
    words = [status if status in ("running", "finished", "unknown") else one_line(str(state.ending), 200)]
    if state.step is not None:
        whole = state.max_steps
        share = f" of {whole:,.0f} ({math.floor(100 * min(state.step / whole, 1.0))} %)" if whole and whole > 0 else ""
        words.append(f"step {state.step:,.0f}{share}")
    if state.epoch is not None:
        words.append(f"epoch {state.epoch:.2f}")
    for name in _chosen(state, look)[:3]:
        curve = state.curve(name)
        if curve is not None and curve.last is not None:
            words.append(f"{one_line(name, 40)} {number(curve.last[1])}")
    for (rank, gpu), row in sorted(state.cards.items())[:4]:
        busy, used = finite(row.get("utilization_percent")), finite(row.get("memory_used_mib"))
        said = [] if busy is None else [f"{busy:.0f} %"]
        said += [] if used is None else [f"{used / 1024:.1f} GiB"]
        words.append(f"{f'rank {rank} ' if rank else ''}GPU {gpu} {' '.join(said)}".rstrip())
    left = _left(state, now)
    return ", ".join([*words, left] if left else words)
