"""check_after: the checklist after a training, or in the middle of it: what is there, and whether it is of use."""

from __future__ import annotations

import os
from collections.abc import Callable

from hf_monitor.diagnosis.checkpoint_files import checkpoint_files_problem
from hf_monitor.preflight.after_models import check_models
from hf_monitor.preflight.after_run import check_run
from hf_monitor.preflight.checklist import Checklist
from hf_monitor.preflight.checkpoints import Checkpoints
from hf_monitor.preflight.loadable import LoadedBack, load_back
from hf_monitor.run.reader import Run, load_run

__all__ = ["check_after"]


def check_after(
    run: Run | str | os.PathLike[str], output_dir: str | os.PathLike[str] | None = None, *, deep: bool = True
) -> Checklist:
    """Say what a training left behind, and whether it is of use.

    Looked at are: how it ended; what :func:`hf_monitor.diagnosis.findings` finds, a line each; the record (rows, log,
    predictions, charts, report); the best and the last checkpoint and the model in ``output_dir``, which are loaded
    back; checkpoints of other runs beside them; the disk. Works on a run that is finished, still going or dead, and
    where the folders were moved since: then checkpoints are looked for beside the run folder. Nothing is written.

    Parameters
    ----------
    run : Run or path-like
        From :func:`hf_monitor.load_run`, or what that takes.
    output_dir : path-like, optional
        Where checkpoints and model lie, if neither beside the run folder nor where the run says.
    deep : bool
        Really load models, tokenizers and optimizer states (needs torch and transformers, some seconds and the memory
        of one model). Without it only their files are looked at.

    Returns
    -------
    Checklist
        ``.ok`` is False and ``.exit_code`` 1 where something failed: the training did not end well, or what it saved
        cannot be used.

    Raises
    ------
    RunFolderError
        If there is no run at that path.
    """
    run = load_run(run.path if isinstance(run, Run) else run)  # what it is now
    checkpoints = Checkpoints(run, output_dir)
    return Checklist(
        "After the training", (*check_run(run), *check_models(run, checkpoints, load_back if deep else _by_files))
    )


Loader = Callable[[str | os.PathLike[str]], LoadedBack]


def _by_files(folder: str | os.PathLike[str]) -> LoadedBack:
    return LoadedBack(checkpoint_files_problem(folder), ("files",))
