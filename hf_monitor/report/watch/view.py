"""The live view: from the state of a run, lines for a terminal of any size."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.watch.layout import WIDE, Look, Part, bar, wrapped
from hf_monitor.report.watch.machine_lines import card_lines, machine_lines
from hf_monitor.report.watch.metric_lines import chosen, metric_parts
from hf_monitor.report.watch.state import State, finite
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
_WIDEST = 120
_BAR, _LEAST_BAR = 30, 10  # columns beside the words
_SILENT_SECONDS, _SILENT_PACES = 60.0, 20.0


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
    cards = list(card_lines(state, look))
    alerts = list(_alerts(state, look, now))
    parts = [
        Part(0, [_title(state, now, name)]),
        Part(0, list(_progress(state, now, look))),
        Part(1, list(_ending(state, look))),
        Part(2, alerts[:2]),
        Part(6, alerts[2:]),
        *metric_parts(state, look),
        Part(3, cards[:4]),
        Part(7, cards[4:]),
        Part(4, list(machine_lines(state, look))),
        Part(5, list(_last(state, now, look))),
        Part(5, [Text(one_line(note), "dim") for note in notes]),
    ]
    parts = [part for part in parts if part.lines]
    if look.height is not None:
        parts = _fitting(parts, max(look.height, 1))
    found = [line for part in parts for line in part.lines][: look.height]
    return [_fitted(line, look) for line in found]


def _fitting(parts: list[Part], height: int) -> list[Part]:
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
    step, whole = state.shown_step, state.max_steps
    if step is None:
        if state.ending.status in ("running", "unknown"):
            yield Text("no step yet", "dim")
        return
    share = min(max(step / whole, 0.0), 1.0) if whole is not None and whole > 0 else None
    words = [f"step {step:,.0f}" if share is None else f"step {step:,.0f} of {whole:,.0f}"]
    if share is not None:
        words.append(f"{math.floor(100 * share)} %")
    if state.epoch is not None:
        words.append(f"epoch {state.epoch:.2f}" + (f" of {state.epochs:g}" if state.epochs else ""))
    left = _left(state, now)
    text = ", ".join([*words, left] if left else words)
    room = min(look.width - cell_len(text) - 2, _BAR)
    if share is not None and room >= _LEAST_BAR and look.width >= WIDE:
        yield bar(share, room - 2, look).append("  ").append(text)
        return
    if share is not None:
        yield bar(share, max(look.width - 2, 6), look)
    yield from (Text(line) for line in wrapped(text, look.width)[:2])


def _left(state: State, now: float) -> str:
    if state.ending.status not in ("running", "unknown"):
        return ""
    silent = 0.0 if state.last_time is None else now - state.last_time
    if silent > max(_SILENT_SECONDS, _SILENT_PACES * (state.pace.seconds_per_step or 0.0)):
        return f"nothing new for {duration(silent)}"
    end_at = state.end_at
    if end_at is None or state.ending.status != "running":
        return ""
    if state.phase == "evaluate" and end_at <= now:  # it takes longer than the steps that are left
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
    for index, line in enumerate(wrapped(text, look.width)):
        if index < 4:
            yield Text(line, _STATUS.get(ending.status, ""))


def _alerts(state: State, look: Look, now: float) -> Iterator[Text]:
    for alert in list(state.alerts)[:-4:-1]:
        text = f"{alert.severity} at step {alert.step:,.0f}: {one_line(alert.sentence or alert.rule, 300)}"
        style = _SEVERITY.get(alert.severity, "")
        for index, line in enumerate(wrapped(one_line(text, 400), look.width)):
            if index < 2:
                yield Text(line, style)
    total = sum(state.alert_counts.values())
    if total > 3:
        counts = ", ".join(f"{n} {one_line(severity, 10)}" for severity, n in sorted(state.alert_counts.items()))
        yield Text(f"{total} alerts in all: {counts}", "dim")


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
        yield from (Text(line, "dim") for line in wrapped("; ".join(words), look.width)[:2])


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
    step = state.shown_step
    if step is not None:
        whole = state.max_steps
        share = f" of {whole:,.0f} ({math.floor(100 * min(step / whole, 1.0))} %)" if whole and whole > 0 else ""
        words.append(f"step {step:,.0f}{share}")
    if state.epoch is not None:
        words.append(f"epoch {state.epoch:.2f}")
    for name in chosen(state, look)[:3]:
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
