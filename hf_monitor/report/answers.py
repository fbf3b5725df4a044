"""The verdict of a run in plain text: for a terminal, a script, a message."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from hf_monitor.gpu.report_text import one_line
from hf_monitor.report.material import Material
from hf_monitor.run.bulk import collector_paused
from hf_monitor.run.reader import Run, load_run

__all__ = ["RunVerdict", "verdict_of"]

_LONGEST = 4000  # characters of a sentence


class RunVerdict(NamedTuple):
    """The sentences at the top of ``report.html``, without control characters; ``str()``: a line each."""

    status: str
    """As ``Run.status``."""
    learned: str
    went_wrong: str
    change_first: str

    def __str__(self) -> str:
        questions = ("Did it learn?", "What went wrong?", "What to change first?")
        return "\n".join(f"{question} {said}" for question, said in zip(questions, self[1:], strict=True))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Show the text as the value of a notebook's cell (IPython's protocol)."""
        printer.text(repr(self) if cycle else str(self))


def verdict_of(run: Run | Material | str | os.PathLike[str]) -> RunVerdict:
    """Say of a run whether it learned, what went wrong, and what to change first.

    Parameters
    ----------
    run : Run or path-like
        Or the `Material` of a page that is made anyway: nothing is read twice then.

    Returns
    -------
    RunVerdict
        As the page has them.

    Raises
    ------
    RunFolderError
        If there is no run at that path.

    Examples
    --------
    >>> print(verdict_of("outputs/demo"))  # doctest: +SKIP
    Did it learn? It learned: eval_rougeL rose from 4.98 to 6.1 ...
    """
    from hf_monitor.report.sections.verdict import verdict

    if not isinstance(run, Material):
        run = Material(run if isinstance(run, Run) else load_run(run))
    with collector_paused():
        found = verdict(run)
    learned, wrong, change = (one_line(answer.sentence, _LONGEST) for answer in found.answers)
    return RunVerdict(str(run.ending.status), learned, wrong, change)
