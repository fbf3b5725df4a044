"""Drawing in a process of its own, which the training never waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import hf_monitor
from hf_monitor.charts.draw_process import DISK
from hf_monitor.run.rows import encode_row

__all__ = ["Drawing", "Outcome"]

LIMIT_S = 300.0
"""A drawing that takes longer is given up."""

_PATIENCE_S = 5.0  # for a process that was killed, and for what it does to end by itself
_LONGEST_LINE = 300  # characters of an error

# -P, no -m, and this process's path behind the other's own: a random.py or matplotlib.py beside the training script is
# not taken for the real one. Our package is the one that runs here, wherever else there may be another.
_START = (
    "import importlib.util, json, sys; order = json.loads(sys.argv[1]); "
    "sys.path += [place for place in order['path'] if place not in sys.path]; "
    "spec = importlib.util.spec_from_file_location('hf_monitor', order['package'] + '/__init__.py', "
    "submodule_search_locations=[order['package']]); "
    "module = sys.modules['hf_monitor'] = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); "
    "from hf_monitor.charts.draw_process import main; sys.exit(main(order))"
)
_LONGEST_VARIABLE = 131_071  # bytes; Linux starts no program with a longer one (MAX_ARG_STRLEN)


@dataclass(frozen=True)
class Outcome:
    """What became of a drawing.

    Attributes
    ----------
    kind : str
        ``"drawn"``, ``"disk"`` (the operating system refused something), ``"failed"`` or ``"stopped"``.
    reason : str
    paths : list of Path
        The pictures.
    seconds : float
        What the drawing took, without the start of the process.
    """

    kind: Literal["drawn", "disk", "failed", "stopped"]
    reason: str = ""
    paths: list[Path] = field(default_factory=list)
    seconds: float = 0.0


class Drawing:
    """One drawing. A thread starts the process and waits for it, since even a start may take its time.

    Parameters
    ----------
    plots : Path
        Where the pictures are to be.
    run_dir : Path or None
        The run folder whose rows are drawn.
    rows : sequence of mappings
        Without `run_dir`: rows that came since the drawing before.
    lines : bytearray
        Without `run_dir`: the rows before those, encoded; the new ones are added.
    limit_s : float

    Attributes
    ----------
    outcome : Outcome or None
        None as long as it draws.
    """

    def __init__(
        self,
        plots: Path,
        *,
        run_dir: Path | None,
        rows: Sequence[Mapping[str, Any]] = (),
        lines: bytearray | None = None,
        limit_s: float = LIMIT_S,
    ) -> None:
        self.outcome: Outcome | None = None
        self._order = {
            "path": [os.path.abspath(place) for place in sys.path],  # noqa: PTH100 - '' is the folder we are in
            "package": str(Path(hf_monitor.__file__).parent),
            "plots": str(plots),
            "run_dir": None if run_dir is None else str(run_dir),
            "training": os.getpid(),
            "limit_s": limit_s + _PATIENCE_S,  # where nobody is left to end it
        }
        self._rows, self._lines, self._limit_s = rows, lines, limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped, self._pid = threading.Event(), os.getpid()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hf_monitor drawing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the process, and wait until it has ended; nothing happens where it has. Never raises."""
        if self._pid != os.getpid():  # a forked child's copy
            return
        with self._lock:  # it is started now, or not at all
            self._stopped.set()
            if self._process is not None:
                self._process.kill()
        self._thread.join(_PATIENCE_S)

    def _run(self) -> None:
        try:
            self.outcome = self._draw()
        except Exception as error:  # noqa: BLE001 - said by the callback, in one line
            self.outcome = Outcome("failed", f"{type(error).__name__}: {error}"[:_LONGEST_LINE])

    def _draw(self) -> Outcome:
        given = None
        if self._lines is not None:
            self._lines += b"".join(map(encode_row, self._rows))
            given = self._lines
        with self._lock:
            if self._stopped.is_set():
                return Outcome("stopped")
            self._process = process = self._start(given is not None)
        try:
            said, _ = process.communicate(given, timeout=self._limit_s)  # type: ignore[arg-type]  # any buffer will do
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate(timeout=_PATIENCE_S)
            return Outcome("failed", f"not done after {self._limit_s:g} s")
        if self._stopped.is_set():
            return Outcome("stopped")
        return _judged(process.returncode, said.decode(errors="replace").strip().rpartition("\n")[2].strip())

    def _start(self, takes_rows: bool) -> subprocess.Popen[bytes]:
        environment = {
            name: value for name, value in os.environ.items() if len(os.fsencode(value)) + len(name) < _LONGEST_VARIABLE
        }
        # A notebook's backend cannot be had there; and threads for matrices would only take cores from the training.
        environment |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        flag = "-I" if sys.flags.isolated else "-P"
        return subprocess.Popen(
            [sys.executable, flag, "-W", "ignore", "-c", _START, json.dumps(self._order)],
            stdin=subprocess.PIPE if takes_rows else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the training
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)  # the same on Windows
            | getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0),
        )


def _judged(code: int, line: str) -> Outcome:
    try:  # where somebody else waits for all children, the exit code is not known
        answer = json.loads(line)
        return Outcome("drawn", paths=[Path(path) for path in answer["paths"]], seconds=float(answer["seconds"]))
    except (ValueError, TypeError, KeyError):
        pass
    if code == DISK:
        return Outcome("disk", line[:_LONGEST_LINE])
    ended = f"ended by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
    return Outcome("failed", f"{line[:_LONGEST_LINE]} ({ended})" if line else ended)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
