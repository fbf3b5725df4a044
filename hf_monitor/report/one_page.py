"""report.html: what a run says about itself, on one page."""

from __future__ import annotations

import os
from pathlib import Path

from hf_monitor.report.material import Material
from hf_monitor.report.pages import page
from hf_monitor.run.files import replace_file
from hf_monitor.run.reader import Run, load_run

__all__ = ["report_html", "write_report"]


def report_html(run: Run | str | os.PathLike[str]) -> bytes:
    """Make the page; the same run gives the same bytes.

    Parameters
    ----------
    run : Run or path-like

    Returns
    -------
    bytes
    """
    run = run if isinstance(run, Run) else load_run(run)
    material = Material(run)
    return page("report.html", title=run.path.name, material=material)


def write_report(run: Run | str | os.PathLike[str], path: str | os.PathLike[str] | None = None) -> Path:
    """Write the page.

    Parameters
    ----------
    run : Run or path-like
    path : path-like, optional
        ``report.html`` in the run folder by default.

    Returns
    -------
    Path
    """
    run = run if isinstance(run, Run) else load_run(run)
    path = run.path / "report.html" if path is None else Path(path)
    replace_file(path, report_html(run), sync=False)
    return path
