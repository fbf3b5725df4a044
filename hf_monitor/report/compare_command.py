"""``hf-monitor compare``: several runs in the terminal, and as one page."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from typing import Any

__all__ = ["add_compare", "run_compare"]

_DONE, _WRONG_USAGE = 0, 2
_PAGE = "comparison.html"


def add_compare(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    parser = commands.add_parser(
        "compare",
        help="what differs between runs, and whether it matters",
        description=(
            "Say what differs between runs in settings, code, data and machine, show their best values, time and "
            "memory, and whether a difference is more than chance. Runs that differ by seed or fold only are one group."
        ),
        epilog=(
            f"The page is written to {_PAGE} in the working folder; an earlier one is written over, another file never "
            "is. Exit code: 0, or 2 for wrong usage and for a page that cannot be written. How it is judged: "
            "docs/compare.md."
        ),
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="a run folder, the output_dir it lies in, or a folder with several runs"
    )
    parser.add_argument("--metric", metavar="NAME", help="by which runs are judged, such as eval_rougeL")
    page = parser.add_mutually_exclusive_group()
    page.add_argument("--html", metavar="FILE", help=f"where the page is written (default: {_PAGE}; not with --json)")
    page.add_argument("--no_html", action="store_true", help="write no page")
    parser.add_argument("--json", action="store_true", help="print everything as JSON, and nothing else")
    parser.set_defaults(command=run_compare)


def run_compare(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_compare`.

    Raises
    ------
    HfMonitorError
        As :func:`hf_monitor.compare_runs` and :meth:`Comparison.to_html` do.
    """
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the answer
        from hf_monitor.report.comparison import compare_runs
        from hf_monitor.report.comparison_text import print_comparison

        comparison = compare_runs(options.runs, metric=options.metric)
    try:
        if options.json:
            print(json.dumps(comparison.to_dict(), indent=2, ensure_ascii=False, allow_nan=False))
        else:
            print_comparison(comparison)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        pass
    except OSError as error:  # a full disk: whoever reads the file must not take it for the answer
        print(f"hf-monitor: error: the comparison cannot be written: {error}", file=sys.stderr)
        return _WRONG_USAGE
    page = options.html or (None if options.json or options.no_html else _PAGE)
    if page is not None:
        place = comparison.to_html(page)
        if not options.json:
            with contextlib.suppress(BrokenPipeError):
                print(f"\nPage: {place}", flush=True)
    return _DONE
