"""A process of its own that draws the charts of a training that runs; no torch, and last in line for everything.

Started by ``hf_monitor.callbacks._painter``, which gives it orders on stdin. It answers each with a line of JSON.
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

__all__ = ["ANSWER", "draw", "main", "stand_back"]

ANSWER = "hf_monitor_drawing"
"""A key of every answer: libraries may print, too."""

_NICE = 10  # a tenth of a core where the training has all others busy; at 19 it would take minutes
_LOOK_S = 0.5
_MOST_BYTES = 512 * 2**20  # one that grew larger (a million rows) ends, and the next order goes to a new one


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


def stand_back(training: int) -> None:
    """Give way to the training, a process, in all things, and end when it ends."""
    first = os.getppid()
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
    with suppress(OSError):  # where memory runs out, this process should be the one that is ended
        Path("/proc/self/oom_score_adj").write_text("1000")
    threading.Thread(target=_end_with, args=(training, first), name="hf_monitor parent", daemon=True).start()


def _end_with(training: int, parent: int) -> None:
    from psutil import pid_exists

    # Both: the training may have ended before we could see whose child we are; later, another may have its number.
    # The end of stdin would not tell: workers of a data loader, which may live on for a while, have a copy of it.
    while os.getppid() == parent and pid_exists(training):
        time.sleep(_LOOK_S)
    os._exit(0)


def _answer(order: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    from hf_monitor.run.reader import load_run

    began = time.perf_counter()
    try:
        history = rows if order["run_dir"] is None else load_run(order["run_dir"])
        paths = draw(history, Path(order["plots"]))
    except OSError as error:
        reason = error.strerror or str(error).partition(". ")[0]  # without what to do about it
        return {"kind": "disk", "reason": reason}
    except Exception as error:  # noqa: BLE001 - said by the training's process, in one line
        return {"kind": "failed", "reason": f"{type(error).__name__}: {error}"}
    return {"kind": "drawn", "paths": [str(path) for path in paths], "seconds": time.perf_counter() - began}


def main(training: int, limit_s: float) -> int:
    """Draw what is ordered, until nobody is left to order anything.

    An order is a line of JSON: ``plots``, the folder for the pictures; ``run_dir``, the run folder, or None where rows
    are handed over; ``n_bytes``, how many bytes of encoded rows follow, to be drawn after those that came before. An
    answer has ``kind`` (``"drawn"``, ``"disk"``, ``"failed"``), ``reason`` or ``paths`` and ``seconds``, and ``ends``:
    whether this process ends now.

    Parameters
    ----------
    training : int
        The process with whose end this one ends.
    limit_s : float
        An order that takes longer ends this process, even in the midst of C code.

    Returns
    -------
    int
        The exit code.
    """
    import psutil

    from hf_monitor.run.rows import iter_lines

    stand_back(training)
    rows: list[dict[str, Any]] = []
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
        for line in sys.stdin.buffer:
            faulthandler.dump_traceback_later(limit_s, exit=True, file=nowhere)
            order = json.loads(line)
            rows += [row for _, row in iter_lines(sys.stdin.buffer.read(order["n_bytes"])) if row is not None]
            answer = _answer(order, rows)
            ends = answer["kind"] == "failed" or psutil.Process().memory_info().rss > _MOST_BYTES
            print(f"\n{json.dumps({ANSWER: True, 'ends': ends, **answer})}", flush=True)
            if ends:
                break
            faulthandler.cancel_dump_traceback_later()
    return 0
