"""Drawing in a process of its own, for which the training never waits."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from hf_monitor.charts.draw_process import ANSWER
from hf_monitor.loggers.apart import how_it_ended, start_apart
from hf_monitor.run.rows import encode_row

__all__ = ["Outcome", "Painter"]

LIMIT_S = 300.0
"""A drawing that takes longer is given up."""

_PATIENCE_S = 5.0  # for a process that was killed
_SLICE = 500  # rows, some milliseconds of Python
_BREATH_S = 0.001
_LONGEST_REASON = 300  # characters


@dataclass(frozen=True)
class Outcome:
    """What became of a drawing.

    Attributes
    ----------
    kind : str
        ``"drawn"``, ``"disk"`` (the operating system refused something) or ``"failed"``.
    reason : str
    paths : list of Path
        The pictures.
    seconds : float
        What the drawing took.
    """

    kind: Literal["drawn", "disk", "failed"]
    reason: str = ""
    paths: list[Path] = field(default_factory=list)
    seconds: float = 0.0


class Painter:
    """Draws the charts of one training, one drawing at a time.

    A thread starts the process at the first drawing, and anew where it has ended. It does all the waiting: even a start
    may take long.

    Parameters
    ----------
    plots : Path
        Where the pictures are to be.
    run_dir : Path or None
        The run folder whose rows are drawn; None: those of `history`.
    history : sequence of mappings
        Rows; more may be added while it is drawn. Each is handed over once.
    limit_s : float

    Attributes
    ----------
    outcome : Outcome or None
        What became of the last drawing that ended; whoever takes it in sets it to None.
    """

    def __init__(
        self,
        plots: Path,
        *,
        run_dir: Path | None = None,
        history: Sequence[Mapping[str, Any]] = (),
        limit_s: float = LIMIT_S,
    ) -> None:
        self.outcome: Outcome | None = None
        self.busy = False
        self._order = {"plots": str(plots), "run_dir": None if run_dir is None else str(run_dir)}
        self._history, self._n_handed, self._limit_s = history, 0, limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._thread: threading.Thread | None = None
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._stopped, self._pid = threading.Event(), os.getpid()
        self._lock = threading.RLock()

    def draw(self) -> None:
        """Have the charts drawn; returns at once. Not while it is :attr:`busy`."""
        self.busy = True
        self._orders.put(True)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hf_monitor painter", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the process, and wait until it has ended; nothing happens where there is none. Never raises."""
        if self._pid != os.getpid():  # a forked child's copy
            return
        with self._lock:  # it is started now, or not at all
            self._stopped.set()
            process = self._process
            if process is not None:
                process.kill()
        self._orders.put(False)
        if self._thread not in (None, threading.current_thread()):  # which may be the one that collects garbage
            self._thread.join(_PATIENCE_S)

    def _work(self) -> None:
        while self._orders.get():
            try:
                outcome = self._draw()
            except Exception as error:  # noqa: BLE001 - said by the callback, in one line
                outcome = Outcome("failed", f"{type(error).__name__}: {error}")
            if self._stopped.is_set():
                break
            self.outcome, self.busy = outcome, False
        self.busy = False
        self._clear()

    def _draw(self) -> Outcome:
        began = time.monotonic()
        with self._lock:
            if self._stopped.is_set():
                return Outcome("failed", "stopped")
            if self._process is None or self._process.poll() is not None:
                self._clear()
                self._process = start_apart("hf_monitor.charts.draw_process", os.getpid(), self._limit_s)
                self._n_handed = 0
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        pieces = self._encoded()
        last = ""
        try:
            order = {**self._order, "n_bytes": sum(map(len, pieces))}
            process.stdin.write(json.dumps(order).encode() + b"\n")
            for piece in pieces:
                process.stdin.write(piece)
            process.stdin.flush()
        except OSError:  # it has ended; why, it may have said
            pass
        for line in process.stdout:
            text = line.decode(errors="replace").strip()
            if f'"{ANSWER}"' in text:
                answer = json.loads(text)
                if answer["ends"]:
                    self._clear()
                return _outcome(answer)
            last = text or last
        code = process.wait()
        if time.monotonic() - began >= self._limit_s:
            return Outcome("failed", f"not done after {self._limit_s:g} s")
        ended = how_it_ended(code)
        return Outcome("failed", f"{last[:_LONGEST_REASON]} ({ended})" if last else ended)

    def _encoded(self) -> list[bytes]:
        """Encode the rows that have come since the last drawing, in pieces.

        Between two of them the training gets the interpreter: there may be hundreds of thousands of rows.
        """
        n = len(self._history)
        pieces = []
        for start in range(self._n_handed, n, _SLICE):
            pieces.append(b"".join(map(encode_row, self._history[start : min(start + _SLICE, n)])))
            if self._stopped.wait(_BREATH_S):
                break
        self._n_handed = n
        return pieces

    def _clear(self) -> None:
        """Let go of a process that has ended, or was told to."""
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what was left in the buffer
                pass
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _outcome(answer: Mapping[str, Any]) -> Outcome:
    reason = " ".join(str(answer.get("reason", "")).split())[:_LONGEST_REASON]
    return Outcome(
        answer["kind"], reason, [Path(path) for path in answer.get("paths", ())], float(answer.get("seconds", 0.0))
    )
