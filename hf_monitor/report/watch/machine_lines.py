"""The machine in the live view: its cards, how fast it goes, what the host does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.watch.layout import WIDE, Look, bar, wrapped
from hf_monitor.report.watch.state import State, finite
from hf_monitor.report.words import duration, number

__all__ = ["card_lines", "machine_lines"]

_LONG_WAIT = 0.2  # of the time
_NEARLY_FULL = 0.95


def card_lines(state: State, look: Look) -> Iterator[Text]:
    """Give a line a card; what its driver does not tell is not shown as 0."""
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
            if look.width >= WIDE:
                line.append_text(bar(share, 12, look, "yellow" if share > _NEARLY_FULL else "cyan")).append(" ")
            line.append(f"{used / 1024:.1f} of {total / 1024:.1f} GiB", "yellow" if share > _NEARLY_FULL else "")
        for key, unit in (("temperature_c", " C" if not look.blocks else " °C"), ("power_w", " W")):
            value = finite(row.get(key))
            line.append("" if value is None else f"  {value:.0f}{unit}")
        throttle = row.get("throttle")
        if isinstance(throttle, list) and throttle:
            line.append(f"  throttled: {one_line(', '.join(map(str, throttle)), 40)}", "yellow")
        if isinstance(known.get("name"), str):
            line.append(f"  {one_line(known['name'], 40)}", "dim")
        yield line


def machine_lines(state: State, look: Look) -> Iterator[Text]:
    """How fast it goes, and how the host is."""
    words = []
    for key, unit in (("samples_per_second", "samples/s"), ("tokens_per_second", "tokens/s")):
        value = finite(state.timing.get(key))
        if value is not None:
            words.append(f"{number(value, 3)} {unit}")
    pace = state.pace.seconds_per_step
    if pace is not None:
        words.append(f"{f'{number(pace, 3)} s' if pace >= 0.01 else duration(pace)} a step")
    wait = finite(state.timing.get("data_wait_share"))
    if wait is not None:
        words.append(f"waits for data {100 * wait:.0f} % of the time")
    if words:
        style = "yellow" if wait is not None and wait > _LONG_WAIT else ""
        yield from (Text(line, style) for line in wrapped(", ".join(words), look.width)[:2])
    for rank, row in sorted(state.hosts.items()):
        yield from (Text(line) for line in wrapped(_host(rank, row), look.width)[:2])


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
