"""PlottingCallback: the curves of a training as pictures in the run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers.trainer_callback import TrainerCallback

from hf_monitor.callbacks._policy import guarded
from hf_monitor.callbacks._recorder import recorder_for, run_dir_for
from hf_monitor.errors import RunFolderError
from hf_monitor.run.reader import load_run

__all__ = ["PlottingCallback"]


class PlottingCallback(TrainerCallback):
    """Draw training history and train/validation loss into ``plots/`` of the run folder when the training ends.

    Parameters
    ----------
    run_dir : path-like, optional
        The run folder; ``<output_dir>/monitor`` by default.

    Attributes
    ----------
    paths : list of Path
        The pictures drawn last.
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None = None) -> None:
        self.run_dir = run_dir
        self.paths: list[Path] = []

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Forget the pictures of an earlier training, and settle where those of this one will be."""
        self.__dict__.pop("_set_aside", None)
        self.__dict__.pop("_reported", None)
        self.paths = []
        self.run_dir = run_dir_for(self.run_dir, args)

    @guarded
    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Draw."""
        if not state.is_world_process_zero:
            return
        try:
            self.draw(args, state.log_history)
        except OSError as error:
            folder = run_dir_for(self.run_dir, args)
            writer = recorder_for(folder).writer
            reason = error.strerror or str(error)
            message = (
                f"the charts could not be drawn into {str(folder / 'plots')!r}: {reason}. The rows are there: "
                f"draw_history(load_run({str(folder)!r}).metrics, 'another_folder') draws them."
            )
            if not writer.trouble.say(message, reason, lasting=False) and writer.trouble.since is None:
                writer.announce(f"hf_monitor: {message}")  # no second warning, but charts are missed

    def draw(self, args: Any, rows: Sequence[Mapping[str, Any]]) -> list[Path]:
        """Draw from rows (``trainer.state.log_history``), with the loss that the run folder has for them.

        Returns
        -------
        list of Path
            The pictures; a chart without data is not drawn.
        """
        from hf_monitor.charts.history import draw_history

        folder = run_dir_for(self.run_dir, args)
        self.paths = draw_history(_honest(rows, folder), folder / "plots")
        return self.paths


def _honest(rows: Sequence[Mapping[str, Any]], folder: Path) -> list[Mapping[str, Any]]:
    """Put the recorded loss where the Trainer logged another (too large, 0.0 for NaN)."""
    try:
        recorded = load_run(folder).rows.of("train")
    except (RunFolderError, OSError):
        return list(rows)
    known = {(row.get("step"), row["loss_raw"]): row.get("loss") for row in recorded if "loss_raw" in row}
    return [
        {**row, "loss": known[key]} if (key := (row.get("step"), row.get("loss"))) in known else row for row in rows
    ]
