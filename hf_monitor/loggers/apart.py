"""A process of its own for what the training should not do itself; it has our package, and no torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import hf_monitor

__all__ = ["how_it_ended", "start_apart"]

_LONGEST_VARIABLE = 131_071  # bytes; Linux starts no program with a longer one (MAX_ARG_STRLEN)

# -P, no -m, and this process's path behind the other's own: a random.py or matplotlib.py beside the training script is
# not taken for the real one. Our package is the one that runs here, wherever else there may be another.
_START = (
    "import importlib.util, json, sys; path, package, name, given = json.loads(sys.argv[1]); "
    "sys.path += [place for place in path if place not in sys.path]; "
    "spec = importlib.util.spec_from_file_location('hf_monitor', package + '/__init__.py', "
    "submodule_search_locations=[package]); "
    "module = sys.modules['hf_monitor'] = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
    "sys.exit(importlib.import_module(name).main(*given))"
)


def start_apart(module: str, *given: Any) -> subprocess.Popen[bytes]:
    """Start ``module.main(*given)`` in a process of its own, with pipes for stdin and stdout; stderr goes there, too.

    Parameters
    ----------
    module : str
        One of ours: ``"hf_monitor.charts.draw_process"``.
    *given
        What JSON holds.

    Raises
    ------
    RuntimeError
        If there is no Python interpreter to start.
    """
    environment = {
        name: value for name, value in os.environ.items() if len(os.fsencode(value)) + len(name) < _LONGEST_VARIABLE
    }
    # A notebook's backend cannot be had there; and threads for matrices would only take cores from the training.
    environment |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if not sys.executable or getattr(sys, "frozen", False):  # a program that would start itself once more
        raise RuntimeError("there is no Python interpreter to start")
    path = [place for place in sys.path if os.path.isabs(place)]  # noqa: PTH117 - '' may be a folder that is gone
    order = [path, str(Path(hf_monitor.__file__).parent), module, given]
    flag = "-I" if sys.flags.isolated else "-P"
    return subprocess.Popen(
        [sys.executable, flag, "-W", "ignore", "-c", _START, json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # Ctrl-C is for the training
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # the same on Windows
        | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
    )


def how_it_ended(code: int) -> str:
    """Give ``ended by SIGKILL`` or ``exit code 1``."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"ended by signal {-code}"
