"""What of ours must be known again after a resume; it lies in the checkpoint, where the Trainer's own state lies.

Not as ``ExportableState``: that crashes a resume from a checkpoint that was saved without us (``KeyError``), and gives
back a new object in the place of the user's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hf_monitor.run.files import replace_file
from hf_monitor.run.rows import decode_line, encode_row

__all__ = ["STATE_FILE", "checkpoint_folder", "read_state", "write_state"]

STATE_FILE = "hf_monitor.json"
_FORMAT = 1


def checkpoint_folder(args: Any, step: int, state: Any = None) -> Path:
    """Give the folder in which the Trainer saves the checkpoint of a step.

    Parameters
    ----------
    args : transformers.TrainingArguments
    step : int
    state : transformers.TrainerState, optional
        That of a trial of ``hyperparameter_search``, which has a folder of its own: the one that was saved last.
    """
    name = f"checkpoint-{step}"
    if not getattr(state, "is_hyper_param_search", False):
        return Path(args.output_dir) / name
    if state.trial_name is not None:
        return Path(args.output_dir) / str(state.trial_name) / name
    saved = [(path.stat().st_mtime_ns, path) for path in Path(args.output_dir).glob(f"run-*/{name}") if path.is_dir()]
    return max(saved)[1] if saved else Path(args.output_dir) / "run-unknown" / name


def write_state(checkpoint: Path, state: Mapping[str, Any]) -> None:
    """Write our state into a checkpoint; where there is no such folder, nothing.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    if checkpoint.is_dir():
        replace_file(checkpoint / STATE_FILE, encode_row({"format": _FORMAT, **state}))


def read_state(args: Any, step: int, named: Any = None) -> tuple[Path | None, dict[str, Any]]:
    """Find the checkpoint from which a training goes on, and read our state in it.

    Parameters
    ----------
    args : transformers.TrainingArguments
    step : int
        At which the training goes on.
    named : path-like, optional
        What ``train(resume_from_checkpoint=...)`` was given.

    Returns
    -------
    checkpoint : Path or None
        None where it is not known.
    state : dict
        Empty where there is none of ours: saved without us, by another version, or torn.
    """
    for folder in _candidates(args, step, named):
        if not folder.is_dir():
            continue
        try:
            state = decode_line((folder / STATE_FILE).read_bytes())
        except (OSError, ValueError):
            state = {}
        usable = state.get("format") == _FORMAT and state.get("step") == step
        return folder, state if usable else {}
    return None, {}


def _candidates(args: Any, step: int, named: Any) -> Iterator[Path]:
    for given in (named, getattr(args, "resume_from_checkpoint", None)):
        if given and not isinstance(given, bool):
            yield Path(given)
    yield checkpoint_folder(args, step)
