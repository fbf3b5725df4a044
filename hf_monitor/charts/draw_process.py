"""A process of its own that draws the charts of a training that runs; no torch, and last in line for everything.

Started by ``hf_monitor.callbacks._drawing``. The last line that it prints is its answer: JSON where it drew, else the
error.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hf_monitor.run.reader import Run

__all__ = ["DISK", "draw", "main"]

DISK = 3
"""Exit code where the operating system refused something (disk full, folder gone): the next try may work."""

_NICE = 10  # a tenth of a core where the training has all others busy; at 19 it would take minutes
_LOOK_S = 0.5


def draw(history: Run | Sequence[Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw the charts of a training.

    Parameters
    ----------
    history : Run or sequence of mappings
    folder : Path

    Returns
    -------
    list of Path
        The pictures; a chart without data is not drawn.
    """
    from hf_monitor.charts.history import draw_history
    from hf_monitor.run.reader import Run

    return draw_history(history.metrics if isinstance(history, Run) else history, folder)


def _stand_back(training: int, limit_s: float) -> None:
    """Give way to the training in all things, and end when it ends or after `limit_s`, even in the midst of C code."""
    first = os.getppid()
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    with suppress(OSError):  # where memory runs out, this process should be the one that is ended
        Path("/proc/self/oom_score_adj").write_text("1000")
    nowhere = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process lives
    faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
    threading.Thread(target=_end_with, args=(training, first), name="hf_monitor parent", daemon=True).start()


def _end_with(training: int, parent: int) -> None:
    from psutil import pid_exists

    # Both: the training may have ended before we could see whose child we are; later, another may have its number.
    while os.getppid() == parent and pid_exists(training):
        time.sleep(_LOOK_S)
    os._exit(0)


def main(order: Mapping[str, Any]) -> int:
    """Draw, and print what became of it.

    Parameters
    ----------
    order : mapping
        ``"plots"``: the folder for the pictures; ``"run_dir"``: the run folder, or None where the rows come as lines on
        stdin; ``"training"``: the process with whose end this one ends; ``"limit_s"``: after so many seconds it ends
        itself.

    Returns
    -------
    int
        The exit code.
    """
    began = time.perf_counter()
    _stand_back(order["training"], order["limit_s"])
    try:
        from hf_monitor.run.reader import load_run
        from hf_monitor.run.rows import iter_lines

        if order["run_dir"] is None:
            rows = (row for _, row in iter_lines(sys.stdin.buffer.read()))
            paths = draw([row for row in rows if row is not None], Path(order["plots"]))
        else:
            paths = draw(load_run(order["run_dir"]), Path(order["plots"]))
    except OSError as error:
        reason = error.strerror or str(error).partition(". ")[0]  # without what to do about it
        print(f"\n{' '.join(reason.split())}", flush=True)
        return DISK
    except Exception as error:  # noqa: BLE001 - said by the training's process, in one line
        print(f"\n{type(error).__name__}: {' '.join(str(error).split())}", flush=True)
        return 1
    answer = {"paths": [str(path) for path in paths], "seconds": time.perf_counter() - began}
    print(f"\n{json.dumps(answer)}", flush=True)
    return 0
