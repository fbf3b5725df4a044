"""A scene as HTML for a notebook, and as text."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import quote

from markupsafe import Markup

from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.curve_pictures import curve_pictures
from hf_monitor.notebook.dress import QUIET, badge, card, line, name
from hf_monitor.notebook.metrics_table import metrics_table, readings
from hf_monitor.notebook.sample_texts import sample_texts
from hf_monitor.notebook.scene import Bar, Scene
from hf_monitor.report.watch.layout import Look
from hf_monitor.report.watch.machine_lines import card_lines, machine_lines
from hf_monitor.report.watch.state import Alert
from hf_monitor.report.words import duration, number

__all__ = ["draw"]

_OVER = ("finished", "stopped", "interrupted", "terminated", "crashed", "killed")
_MOST_ALERTS, _MOST_MESSAGES, _MOST_CARDS, _MOST_BARS = 5, 8, 8, 8
_SHADE = "background:rgba(128,128,128,.25);border-radius:3px;margin:2px 0 6px 0;max-width:520px"


def draw(scene: Scene) -> Drawing:
    """Draw a scene.

    Parameters
    ----------
    scene : Scene
        Whatever its texts hold, they are shown as text: escaped, cut, in a direction of their own.

    Returns
    -------
    Drawing
        A card that needs no script, and is legible without its style sheet; and a few lines of text.
    """
    plots = [*curve_pictures(scene), *scene.pictures]
    parts = [
        line(*_head(scene), style="margin-bottom:4px"),
        *([line(name(scene.ending, 600))] if scene.ending else []),
        *(line(badge("warning"), " ", name(one, 400), style="margin:4px 0") for one in scene.warnings),
        *map(_bar, scene.bars[:_MOST_BARS]),
        *_alerts(scene),
        metrics_table(scene),
        *([line(*plots, style="display:flex;flex-wrap:wrap;margin:6px 0")] if plots else []),
        sample_texts(scene.samples),
        *_machine(scene),
        *_messages(scene),
        *(line(_link(label, path)) for label, path in scene.links),
        *(line(name(note, 600), style=QUIET) for note in scene.notes),
    ]
    return Drawing(card(Markup("").join(parts)), _text(scene))


def _head(scene: Scene) -> Iterator[Markup]:
    yield Markup("<b>{}</b> {} ").format(name(scene.title, 80), badge(scene.status))
    elapsed = duration(max(scene.now - scene.began, 0.0))
    over = scene.status in _OVER
    words = f"{'after' if over else 'for'} {elapsed}" if elapsed else ""
    # A saved notebook, and a kernel that is gone, leave the last picture standing.
    yield Markup('<span style="{}">{}{}</span>').format(QUIET, words, "" if over else f", as of {_clock(scene.now)}")


def _clock(now: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(now))
    except (OverflowError, OSError, ValueError):
        return "an unknown time"


def _share(bar: Bar) -> float | None:
    if bar.total is None or not bar.total > 0 or not math.isfinite(bar.done / bar.total):
        return None
    return min(max(bar.done / bar.total, 0.0), 1.0)


def _counted(bar: Bar) -> str:
    share = _share(bar)
    if share is None:
        return f"{bar.done:,.0f}"
    return f"{bar.done:,.0f} of {bar.total:,.0f}, {math.floor(100 * share)} %"


def _bar(bar: Bar) -> Markup:
    share = _share(bar)
    note = f" · {name(bar.note, 120)}" if bar.note else ""
    words = line(name(bar.label, 60), f" {_counted(bar)}{note}")
    if share is None:
        return words
    inner = Markup('<div style="width:{:.1f}%;height:8px;background:#4878d0;border-radius:3px"></div>').format(
        100 * share
    )
    return words + line(inner, style=_SHADE)


def _alerts(scene: Scene) -> Iterator[Markup]:
    for alert in list(scene.state.alerts)[: -_MOST_ALERTS - 1 : -1]:
        tries = Markup("").join(
            line("Try: ", name(one, 300), style="margin-left:16px") for one in alert.suggestions[:3]
        )
        yield line(badge(alert.severity), f" {_told(alert)}", tries, style="margin:4px 0")
    total = sum(scene.state.alert_counts.values())
    if total > _MOST_ALERTS:
        counts = ", ".join(f"{n} {name(severity, 20)}" for severity, n in sorted(scene.state.alert_counts.items()))
        yield line(f"{total} alerts in all: {counts}", style=QUIET)


def _told(alert: Alert, most: int = 500) -> str:
    return f"step {alert.step:,.0f}: {name(alert.sentence or alert.rule, most)}"


def _machine(scene: Scene) -> Iterator[Markup]:
    look = Look(width=60)
    cards = [name(one.plain, 200) for one in card_lines(scene.state, look)]
    speed = [name(one.plain, 200) for one in machine_lines(scene.state, Look(width=200))]
    yield from (line(one) for one in cards[:_MOST_CARDS])
    if len(cards) > _MOST_CARDS:
        yield line(f"and {len(cards) - _MOST_CARDS} more GPUs", style=QUIET)
    yield from (line(one, style=QUIET) for one in speed[:4])


def _messages(scene: Scene) -> Iterator[Markup]:
    if len(scene.messages) > _MOST_MESSAGES:
        yield line(f"{len(scene.messages) - _MOST_MESSAGES} earlier messages", style=QUIET)
    yield from (line(name(one, 400)) for one in scene.messages[-_MOST_MESSAGES:])


def _link(label: str, path: str) -> Markup:
    """Give a link that Jupyter can follow where the file lies below the notebook; else say where it is."""
    try:
        below = os.path.relpath(path)
    except ValueError:  # on another drive
        below = ".."
    shown = Markup("<code>{}</code>").format(name(path, 300))
    if PurePath(below).is_absolute() or below.startswith(".."):
        return Markup("{}: {}").format(name(label, 60), shown)
    href = "./" + quote(PurePath(below).as_posix().encode(errors="replace"))
    return Markup('{}: <a style="color:inherit" href="{}" target="_blank">{}</a>').format(name(label, 60), href, shown)


def _text(scene: Scene) -> str:
    """Give a few lines for front ends without HTML."""
    elapsed = duration(max(scene.now - scene.began, 0.0))
    lines = [f"{name(scene.title, 80)}: {name(scene.status, 40)}{f' after {elapsed}' if elapsed else ''}"]
    lines += [name(scene.ending, 300)] if scene.ending else []
    lines += [name(one, 300) for one in scene.warnings]
    for bar in scene.bars[:3]:
        lines.append(f"{name(bar.label, 60)} {_counted(bar)}{f', {name(bar.note, 120)}' if bar.note else ''}")
    words = []
    for one in readings(scene, 4):
        best = "" if one.best is None else f" (best {number(one.best[0])} at step {one.best[1]:,.0f})"
        words.append(f"{name(one.name)} {number(one.latest)}{best}")
    lines += [", ".join(words)] if words else []
    lines += [f"{name(alert.severity, 20)} at {_told(alert, 200)}" for alert in list(scene.state.alerts)[-2:]]
    return "\n".join([*lines, *(name(one, 200) for one in scene.messages[-2:])])
