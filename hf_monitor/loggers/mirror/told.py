"""Told: what W&B has been told beside the rows, and at which of its steps; kept in the run folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from hf_monitor.run.rows import encode_row
from hf_monitor.run.tail import Tail

__all__ = ["Told"]

_FILE = "told.jsonl"


class Told:
    """Tables, pictures and orders that were told: W&B has those up to the step that it knows itself, and no others.

    A row's step tells whether W&B has it; a table's does not, since it lies where there is a free one. So it is
    written down when it is told, and counts only where the step that W&B has come to is as high: what a killed mirror
    had told and not brought to the disk or the server is told again.

    Parameters
    ----------
    run_dir : Path or None
        None: it is kept in memory only.
    wandb_id : str
    last_step : int
        That W&B has of this run; -1: nothing.
    """

    def __init__(self, run_dir: Path | None, wandb_id: str, last_step: int) -> None:
        self._path = None if run_dir is None else run_dir / "wandb" / _FILE
        self._id = wandb_id
        self._known: set[str] = set()
        if self._path is None:
            return
        with suppress(OSError):
            for row in Tail(self._path).rows(most=1 << 30):
                if row.get("id") == wandb_id and isinstance(row.get("step"), int) and row["step"] <= last_step:
                    self._known.add(str(row.get("what")))

    def has(self, what: str) -> bool:
        """Say whether W&B has it."""
        return what in self._known

    def put(self, what: str, step: int) -> None:
        """Note what was told at a step."""
        self._known.add(what)
        if self._path is None:
            return
        with suppress(OSError):  # a full disk: then it may be told twice
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as file:
                file.write(encode_row({"id": self._id, "what": what, "step": step}))
