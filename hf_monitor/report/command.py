"""``hf-monitor report``: the page of a run."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError, RunFolderError

if TYPE_CHECKING:
    from hf_monitor.report.answers import RunVerdict
    from hf_monitor.report.material import Material

__all__ = ["add_report", "run_report"]

_SUFFIXES = (".html", ".htm")


def add_report(commands: Any) -> None:
    """Add the command to the parser of ``hf-monitor``."""
    parser = commands.add_parser(
        "report",
        help="one page that says how a training went",
        description=(
            "Write report.html: did it learn, what went wrong, what to change; with curves, texts, GPU and more. One "
            "file, no request to anywhere. For a run that is finished, crashed, killed or still going; a training "
            "that is attached to has written it at its end. Nothing else in the run folder is changed."
        ),
        epilog="Prints the verdict, and as the last line where the page is. Exit code: 0 written, 2 wrong usage, no "
        "such run, or it cannot be written.",
        allow_abbrev=False,
    )
    parser.add_argument("run", metavar="RUN", help="the run folder, or the output_dir it lies in")
    parser.add_argument("--output", metavar="FILE", help="another place than report.html in the run folder")
    parser.add_argument("--json", action="store_true", help="print verdict and path as JSON, and nothing else")
    parser.set_defaults(command=run_report)


def run_report(options: argparse.Namespace) -> int:
    """Do the command, and give its exit code.

    Parameters
    ----------
    options : argparse.Namespace
        Of `add_report`.

    Raises
    ------
    InputError
        If ``--output`` names no HTML file: what a run was made of is not to be written over by mistake.
    RunFolderError
        If there is no run, or the page cannot be written.
    """
    with contextlib.redirect_stdout(sys.stderr):  # whatever is printed meanwhile is not the answer
        from hf_monitor.report.material import Material
        from hf_monitor.report.one_page import report_html
        from hf_monitor.run.files import replace_file
        from hf_monitor.run.reader import load_run

        run = load_run(Path(options.run).absolute())
        path = run.path / "report.html" if options.output is None else _output(options.output)
        try:
            _ = run.rows  # a page leaves out what it cannot read; without these there is none
            material = Material(run)
            page = report_html(material)
        except OSError as error:
            raise RunFolderError(f"{str(run.path)!r} cannot be read: {error}.") from error
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, page, sync=False)
        except OSError as error:
            reason = error.strerror or error
            raise RunFolderError(
                f"{str(path)!r} cannot be written: {reason}. Name another place: --output FILE"
            ) from error
        verdict = _verdict(material)
    with contextlib.suppress(BrokenPipeError):
        if options.json:
            said = None if verdict is None else verdict._asdict()
            print(json.dumps({"report": str(path), "verdict": said}, indent=2, ensure_ascii=False), flush=True)
        else:
            _print(path, verdict)
    return 0


def _verdict(material: Material) -> RunVerdict | None:
    from hf_monitor.report.answers import verdict_of

    try:
        return verdict_of(material)
    except Exception as error:  # noqa: BLE001 - as in the page: whatever is in a folder, the page is there
        print(f"hf-monitor: no verdict could be made: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def _print(path: Path, verdict: RunVerdict | None) -> None:
    from hf_monitor.gpu.report_text import encodable

    if sys.stdout is None:
        return
    if verdict is not None:
        print(encodable(str(verdict), sys.stdout))
    print(path, flush=True)


def _output(given: str) -> Path:
    path = Path(given).expanduser().absolute()
    if path.is_dir():
        return path / "report.html"
    if path.suffix.lower() not in _SUFFIXES:
        raise InputError(f"--output must be a folder or an HTML file ({' or '.join(_SUFFIXES)}), got {given!r}.")
    return path
