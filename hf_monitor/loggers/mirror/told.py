"""Told: what W&B has been told beside the rows, and at which of its steps; kept in the run folder."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from hf_monitor.run.rows import encode_row
from hf_monitor.run.tail import Tail

__all__ = ["Told"]

_FILE = "told.jsonl"
_HOW = "how"
_OPEN, _SURE = "open", "sure"
_ENDED_WELL = "ended well"
_SETTLED_S = 900.0


class Told:
    """Tables, pictures and orders that were told: W&B has those up to the step that it knows itself, and no others.

    A row's step tells whether W&B has it; a table's does not, since it lies where there is a free one. So it is
    written down when it is told, and counts only where the step that W&B has come to is as high: what a killed mirror
    had told and not brought to the disk or the server is told again.

    Online the step is not enough: a table's file, and what stands in the summary, go their own ways to the server. They
    count when the opening of the run has ended well; after any other end those of its last 15 minutes are told again.
    A checkpoint is put down only when the server has it.

    Parameters
    ----------
    run_dir : Path or None
        None: it is kept in memory only.
    wandb_id : str
    last_step : int
        That W&B has of this run; -1: nothing.
    online : bool
        Whether the run is open online.
    ended : float
        When the opening before this one ended, in epoch seconds; 0: nobody knows.
    """

    def __init__(
        self, run_dir: Path | None, wandb_id: str, last_step: int, *, online: bool = False, ended: float = 0.0
    ) -> None:
        self._path = None if run_dir is None else run_dir / "wandb" / _FILE
        self._id = wandb_id
        self._online = online
        self._known: set[str] = set()
        if self._path is None:
            return
        steps: dict[str, int] = {}
        open_ones: dict[str, tuple[float, int]] = {}
        with suppress(OSError):
            for row in Tail(self._path).rows(most=1 << 30):
                what, step, how = str(row.get("what")), row.get("step"), row.get(_HOW)
                if row.get("id") != wandb_id or not isinstance(step, int):
                    continue
                if how == _ENDED_WELL:
                    steps |= {one: step for one, (_, step) in open_ones.items()}
                    open_ones = {}
                elif how == _OPEN:
                    open_ones[what] = float(row.get("time") or 0.0), step
                else:
                    steps[what] = -1 if how == _SURE else step
        steps |= {one: step for one, (when, step) in open_ones.items() if when < ended - _SETTLED_S}
        self._known = {what for what, step in steps.items() if step <= last_step}

    def has(self, what: str) -> bool:
        """Say whether W&B has it."""
        return what in self._known

    def put(self, what: str, step: int, do: str = "") -> None:
        """Note what was told at a step.

        Parameters
        ----------
        what : str
        step : int
        do : str
            What the order asks for.
        """
        self._known.add(what)
        row: dict[str, Any] = {"what": what, "step": step}
        if do == "checkpoint":
            row |= {_HOW: _SURE} if self._online else {}
        elif do in ("summary", "config") or (self._online and do != "alert"):  # an alert that rings twice is worse
            row |= {_HOW: _OPEN, "time": time.time()}
        self._write(row)

    def ended_well(self) -> None:
        """Note that the run was finished: all that was told is there."""
        self._write({"what": "", "step": 0, _HOW: _ENDED_WELL})

    def _write(self, row: dict[str, Any]) -> None:
        if self._path is None:
            return
        with suppress(OSError):  # a full disk: then it may be told twice
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(encode_row({"id": self._id, **row}))
