"""``hf-monitor diagnose``: what the rules find in a run, in words or as JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hf_monitor.run.rows import plain

if TYPE_CHECKING:
    from hf_monitor.diagnosis.finding import Finding

__all__ = ["add_diagnose", "run_diagnose"]

_NOTHING, _FOUND, _WRONG_USAGE = 0, 1, 2
_WIDEST = 110  # as in a checklist


def add_diagnose(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    parser = commands.add_parser(
        "diagnose",
        help="what went wrong in a training, by its rows",
        description=(
            "Show the rows of a run to the rules of the alerts, and the samples of its GPU and host to those about the "
            "machine. A run that crashed or is still going can be judged, too. What each rule looks for: "
            "docs/alerts.md, docs/gpu.md."
        ),
        epilog="Exit code: 0 nothing found (what is only worth knowing may stand there), 1 a warning or an error, "
        "2 wrong usage.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, or the output_dir it lies in")
    parser.add_argument("--all", action="store_true", help="also what could not be said, and why, and what is well")
    parser.add_argument("--mute", nargs="+", metavar="NAME", help="rules to leave out, such as plateau")
    parser.add_argument("--json", action="store_true", help="print all findings as JSON, and nothing else")
    parser.set_defaults(command=run_diagnose)


def run_diagnose(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_diagnose`.

    Raises
    ------
    HfMonitorError
        As :func:`hf_monitor.diagnosis.diagnose` does.
    """
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the answer
        from hf_monitor.diagnosis.findings import diagnose

        findings = diagnose(options.run, mute=options.mute)
    try:
        if options.json:
            shown = plain([finding.to_dict() for finding in findings])  # JSON has no NaN
            print(json.dumps(shown, indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print("\n".join(_lines(findings, options.all, min(shutil.get_terminal_size().columns, _WIDEST))))
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk: whoever reads the file must not take it for the answer
        print(f"hf-monitor: error: the findings cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    return _FOUND if any(one.verdict == "found" and one.severity != "info" for one in findings) else _NOTHING


def _lines(findings: Sequence[Finding], whole: bool, width: int) -> Iterator[str]:
    counts = Counter(finding.verdict for finding in findings)
    for finding in findings:
        if finding.verdict == "found" or whole:
            head, *others = finding.lines()
            yield head
            for line in others:
                yield from textwrap.wrap(
                    line, max(width, 40), subsequent_indent=" " * 8, break_long_words=False, break_on_hyphens=False
                )
    more = "" if whole else " (--all says which)"
    yield (
        f"{counts['found'] or 'nothing'} found; {counts['clear']} looked for and not there, {counts['inconclusive']} "
        f"not to be told{more}."
    )
