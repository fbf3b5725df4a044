"""The experiment that is open, and who ends it when nobody does: with its logger, or with the process."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import weakref
from collections.abc import Mapping
from typing import Any, NoReturn

from hf_monitor.notebook.experiment import Experiment
from hf_monitor.notebook.shell import in_notebook

__all__ = ["Held", "watch_exit"]

_all: weakref.WeakSet[Held] = weakref.WeakSet()


class Held:
    """The experiment that a logger has open.

    Attributes
    ----------
    pid : int
        Of the process that made the logger.
    experiment : Experiment or None
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.experiment: Experiment | None = None
        _all.add(self)

    def let_go(self, otherwise: BaseException | Mapping[str, Any] | None = None) -> None:
        """End it, if one is open, as :meth:`Experiment.let_go` does; in a forked child it is left to the parent."""
        experiment, self.experiment = self.experiment, None
        if experiment is not None and self.pid == os.getpid():
            experiment.let_go(otherwise)


_leave = sys.exit


def watch_exit() -> None:
    """Hear of ``sys.exit(3)`` in a script: Python leaves nothing of it in :mod:`sys`, as it does of other errors."""
    if sys.exit is _leave and not in_notebook():
        sys.exit = _exit


def _exit(status: Any = None, /) -> NoReturn:
    if status not in (None, 0) and threading.current_thread() is threading.main_thread():
        for one in list(_all):  # should somebody catch it, the experiment goes on with the next value
            if one.experiment is not None and one.pid == os.getpid():
                one.experiment.stop(SystemExit(status))
    _leave(status)


def _at_exit() -> None:
    """End what nobody has: a kernel that is shut down with an experiment open did not finish it; a script did.

    Python leaves the error that ended a script in :mod:`sys`.
    """
    otherwise: BaseException | Mapping[str, Any] | None = None
    if in_notebook():
        told = "the kernel ended before end_experiment()"
        otherwise = {"type": "SystemExit", "message": told, "traceback": "", "exit_code": 0}
    elif not hasattr(sys, "ps1"):
        otherwise = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    for one in list(_all):
        one.let_go(otherwise)


atexit.register(_at_exit)
