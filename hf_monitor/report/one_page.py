"""report.html: what a run says about itself, on one page."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from hf_monitor.report.material import Material
from hf_monitor.report.pages import fragment, page
from hf_monitor.run.bulk import collector_paused
from hf_monitor.run.files import replace_file
from hf_monitor.run.reader import Run, load_run

__all__ = ["SECTIONS", "Part", "report_html", "write_report"]

SECTIONS = {
    "verdict": "Verdict",
    "findings": "Findings",
    "curves": "Curves",
    "predictions": "Predictions",
    "machine": "Machine",
    "trials": "Batch-size trials",
    "environment": "Environment and command",
    "gaps": "What could not be measured",
}
"""By name of its module and its template, in the order of the page; gaps is last, since the others add to them."""


class Part(NamedTuple):
    """A section as HTML: what stands below its heading; its name is its anchor."""

    name: str
    title: str
    html: Markup


def report_html(run: Run | Material | str | os.PathLike[str]) -> bytes:
    """Make the page; the same run gives the same bytes.

    Parameters
    ----------
    run : Run or path-like
        Or a `Material`, for whoever asks more of it.

    Returns
    -------
    bytes
        A page of one file. A section that cannot be made is left out, and the page says so.

    Raises
    ------
    RunFolderError
        If there is no run at that path.
    """
    if not isinstance(run, Run | Material):
        run = load_run(run)
    with collector_paused():
        material = run if isinstance(run, Material) else Material(run)
        made = [_part(name, title, material) for name, title in SECTIONS.items()]
    return page("report.html", title=material.run.name, parts=[part for part in made if part is not None])


def _part(name: str, title: str, material: Material) -> Part | None:
    try:
        section = getattr(import_module(f"hf_monitor.report.sections.{name}"), name)(material)
        return None if section is None else Part(name, title, fragment(f"sections/{name}.html", section=section))
    except Exception as error:  # noqa: BLE001 - there must be a page of whatever is in a folder
        material.gaps.append(f"The section “{title}” could not be made: {type(error).__name__}: {error}")
        return None


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
        Where it is.

    Raises
    ------
    RunFolderError
        If there is no run at that path.
    OSError
        If the page cannot be written; one that is there stays whole.
    """
    run = run if isinstance(run, Run) else load_run(run)
    path = run.path / "report.html" if path is None else Path(path)
    replace_file(path, report_html(run), sync=False)
    return path
