"""The words of a GpuReport: plain for files and notebooks, coloured for a terminal.

What torch, the driver or the environment said may hold anything: it is shown as text on one line, and shortened. A
command is never wrapped or shortened, since it is there to be copied.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, TextIO

from hf_monitor.gpu.tiers import EFFECTIVE_BATCH

if TYPE_CHECKING:
    from rich.console import Console

    from hf_monitor.gpu.report import GpuDevice, GpuReport, Problem

__all__ = ["as_text", "console_of", "encodable", "one_line", "print_report"]

_LONGEST = 400  # characters of a text that is not ours
_LABEL = 20
_WIDEST = 100  # longer lines are hard to read, however wide the terminal
_CHECK_STYLES = {"ok": "green", "failed": "bold red", "skipped": "dim"}


class _Line(NamedTuple):
    head: str  # at the left; the text is wrapped beside it
    text: str = ""
    head_style: str = ""
    style: str = ""
    whole: bool = False  # never wrapped


def as_text(report: GpuReport, width: int = 80) -> str:
    """Give a report in words, without colour.

    Parameters
    ----------
    report : GpuReport
    width : int
        Columns at which prose is wrapped.

    Returns
    -------
    str
        Lines, without a newline at the end.
    """
    return "\n".join(
        f"{head}{text}".rstrip() for line in _lines(report) for head, text in _wrapped(line, min(width, _WIDEST))
    )


def print_report(report: GpuReport, file: TextIO | None = None) -> None:
    """Print a report, in colour where `file` is a terminal and ``NO_COLOR`` is not set.

    Parameters
    ----------
    report : GpuReport
    file : text file, optional
        Standard output where None.
    """
    file = sys.stdout if file is None else file
    if file is None:  # a process without standard output
        return
    width = shutil.get_terminal_size().columns
    console = console_of(file)
    if console is None:
        file.write(encodable(as_text(report, width), file) + "\n")
        return
    from rich.text import Text

    for line in _lines(report):
        for head, text in _wrapped(line, min(width, _WIDEST)):
            parts = ((encodable(head, file), line.head_style), (encodable(text, file), line.style))
            console.print(Text.assemble(*parts), soft_wrap=True)


def console_of(file: TextIO) -> Console | None:
    """Give what prints in colour to a terminal; None where there is none, or it is to stay plain (``NO_COLOR``)."""
    if not file.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return None
    from rich.console import Console

    return Console(file=file, force_terminal=True, highlight=False, markup=False, emoji=False)


def one_line(text: object, longest: int = _LONGEST) -> str:
    """Give a text on one line, without control characters, its middle left out where it is long.

    Parameters
    ----------
    text : object
        What is not ours.
    longest : int
        Characters.

    Returns
    -------
    str
    """
    clean = " ".join(_printable(str(text)).split())
    if len(clean) <= longest:
        return clean
    tail = longest // 3
    return f"{clean[: longest - tail - 5]} ... {clean[-tail:]}"


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def encodable(text: str, file: TextIO) -> str:
    """Give a text with ``?`` in place of what the encoding of `file` has no sign for."""
    encoding = getattr(file, "encoding", None) or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)


def _wrapped(line: _Line, width: int) -> Iterator[tuple[str, str]]:
    """Give pairs of head and text, one a line of the screen."""
    if line.whole or not line.text or len(line.head) + len(line.text) <= width:
        yield line.head, line.text
        return
    parts = textwrap.wrap(line.text, max(width - len(line.head), 24), break_long_words=False, break_on_hyphens=False)
    for number, part in enumerate(parts):
        yield line.head if number == 0 else " " * len(line.head), part


def _lines(report: GpuReport) -> Iterator[_Line]:
    if report.usable:
        count = len(report.devices)
        yield _Line(f"GPU usable: {count} device{'' if count == 1 else 's'}", "", "bold green")
        yield from _versions(report)
        yield from _devices(report.devices)
    else:
        yield from _obstacles(report)
        yield _Line("")
        yield from _versions(report)
    for note in report.notes:
        yield _Line("")
        yield from _problem(f"Note: {one_line(note.code, 60)}", "bold yellow", note)
    if report.facts:
        yield _Line("")
        yield from (_row(one_line(name, 40), one_line(value)) for name, value in report.facts.items())
    if not report.usable and report.checks:
        yield _Line("")
        yield _Line("Checks, in order", "", "bold")
        yield from _checks(report)


def _checks(report: GpuReport) -> Iterator[_Line]:
    codes = {problem.cause: problem.code for problem in report.problems}  # which stand above, in full
    skipped = [one_line(check.name, 40) for check in report.checks if check.status == "skipped"]
    for check in report.checks:
        if check.status != "skipped":
            status = one_line(check.status, 20)
            head = f"  {status:<9}{one_line(check.name, 40):<{_LABEL - 4}}"
            detail = one_line(codes.get(check.detail, check.detail))
            yield _Line(f"{head} ", detail, _CHECK_STYLES.get(status, ""))
    if skipped:
        yield _Line(f"  {'skipped':<9}", ", ".join(skipped), _CHECK_STYLES.get("skipped", ""))


def _obstacles(report: GpuReport) -> Iterator[_Line]:
    if not report.problems:
        yield _Line("GPU NOT USABLE", "", "bold red")
        yield _Line("  ", "The cause was not found. The checks below say how far it came.")
        return
    first, *others = report.problems
    yield from _problem(f"GPU NOT USABLE: {one_line(first.code, 60)}", "bold red", first)
    for other in others:
        yield _Line("")
        if first.code == "no_gpu":  # its command would mend nothing here
            yield _Line("With a GPU: ", f"{one_line(other.code, 60)}. {one_line(other.cause)}", "bold")
        else:
            yield from _problem(f"After that: {one_line(other.code, 60)}", "bold red", other)


def _problem(title: str, style: str, problem: Problem) -> Iterator[_Line]:
    yield _Line(title, "", style)
    yield _Line("  ", one_line(problem.cause))
    if problem.evidence:
        yield _Line("  seen: ", one_line(problem.evidence), "dim", "dim")
    if problem.command:
        yield _Line("")
        yield _Line("    ", _printable(problem.command).strip(), "", "bold cyan", whole=True)


def _versions(report: GpuReport) -> Iterator[_Line]:
    torch = [one_line(report.torch_version)] if report.torch_version else ["not known"]
    if report.torch_cuda:
        torch.append(f"built for CUDA {one_line(report.torch_cuda)}")
    driver = [one_line(report.driver_version)] if report.driver_version else ["not known"]
    if report.driver_cuda:
        driver.append(f"up to CUDA {one_line(report.driver_cuda)}")
    yield _row("torch", ", ".join(torch))
    yield _row("driver", ", ".join(driver))


def _devices(devices: Iterable[GpuDevice]) -> Iterator[_Line]:
    known: dict[tuple[object, ...], int] = {}
    for device in devices:
        address = f"  ({one_line(device.pci_address)})" if device.pci_address else ""
        yield _Line("")
        yield _Line(f"cuda:{device.index}  ", f"{one_line(device.name)}{address}", "bold", "bold")
        yield _row("memory", _memory(device))
        rows = list(_rows(device))
        same = known.setdefault((device.name, *rows), device.index)
        if same != device.index:
            yield _row("all else", f"as cuda:{same}")
        else:
            yield from rows


def _rows(device: GpuDevice) -> Iterator[_Line]:
    tier = device.tier.tier
    capability = device.compute_capability
    low, high = tier.accumulation
    steps = f"{low}" if low == high else f"{low} to {high}"
    batch, accumulation = tier.start
    flag = "" if device.precision == "fp32" else f", {device.precision}=True"
    yield _row("compute capability", "not reported" if capability is None else f"{capability[0]}.{capability[1]}")
    abilities = (("bf16", device.bf16), ("fp16", device.fp16), ("flash attention", device.flash_attention))
    yield _row("computes in", ", ".join(f"{name} {'yes' if able else 'no'}" for name, able in abilities))
    yield _row("MIG", f"instance {one_line(device.mig)}" if device.mig else "no, a whole card")
    yield _row("tier", f"{tier.name}, {one_line(device.tier.rule)}", style="bold")
    yield _row("batch", f"{tier.batch_sizes[0]} to {tier.batch_sizes[1]} per device")
    yield _row("accumulation", f"{steps} (batch x accumulation: {EFFECTIVE_BATCH[0]} to {EFFECTIVE_BATCH[1]})")
    yield _row("precision", one_line(device.precision))
    yield _Line("  begin with")
    arguments = f"per_device_train_batch_size={batch}, gradient_accumulation_steps={accumulation}{flag}"
    yield _Line("    ", arguments, "", "bold cyan", whole=True)


def _memory(device: GpuDevice) -> str:
    if device.memory_total_mib is None:
        total = "total not reported"
    else:
        total = f"{device.memory_total_mib / 1024:.1f} GiB ({device.memory_total_mib:.0f} MiB)"
    free = "free not reported" if device.memory_free_mib is None else f"{device.memory_free_mib / 1024:.1f} GiB free"
    return f"{total}, {free}"


def _row(label: str, text: str, style: str = "") -> _Line:
    return _Line(f"  {label:<{_LABEL}}" + ("  " if len(label) >= _LABEL else ""), text or '""', "dim", style)
