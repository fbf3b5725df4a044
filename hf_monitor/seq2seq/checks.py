"""What is found out before anything is loaded, made or trained, so that a mistake costs seconds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from hf_monitor.errors import InputError, MissingPackageError
from hf_monitor.run.writer import RunWriter

__all__ = [
    "check_best_metric",
    "check_checkpoint",
    "check_model_path",
    "check_output_folder",
    "check_report_to",
    "check_run_folder",
    "words_of",
]

_TRACKER_PACKAGES = {
    "clearml": "clearml",
    "codecarbon": "codecarbon",
    "comet_ml": "comet-ml",
    "dagshub": "dagshub",
    "dvclive": "dvclive",
    "mlflow": "mlflow",
    "neptune": "neptune",
    "swanlab": "swanlab",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
}
"""Values of --report_to whose packages transformers can look for, and what pip calls these."""


def words_of(error: BaseException) -> str:
    """Give an error of another library in one sentence: its first line, or all where that one only opens a list."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    if isinstance(error, KeyError):
        return f"{lines[0]} is missing in it."
    return " ".join(lines) if lines[0].endswith(":") else lines[0]


def check_output_folder(option: str, folder: Path) -> None:
    """Refuse a folder that cannot be made or written. Nothing is made: a refused command leaves nothing behind.

    Raises
    ------
    InputError
        In terms of `option`.
    """
    try:
        there = next(path for path in (folder, *folder.parents) if path.exists())
    except OSError as error:
        raise InputError(f"{option} {str(folder)!r} cannot be used: {error.strerror or error}.") from error
    if not there.is_dir():
        what = "is" if there == folder else f"cannot be made: {str(there)!r} is"
        raise InputError(f"{option} {str(folder)!r} {what} a file, not a folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise InputError(
            f"{option} {str(folder)!r} cannot be written: no permission to write in {str(there)!r}. "
            "Name another folder or mend its permissions."
        )


def check_run_folder(folder: Path) -> None:
    """Refuse a run folder that a newer hf_monitor wrote.

    Raises
    ------
    RunFolderError
    """
    if (folder / "run.json").exists():
        RunWriter(folder).open()


def check_model_path(what: str, name: str, *, file_allowed: bool = False) -> None:
    """Refuse what is written as a path but is none, before it is taken for a name on the hub.

    Raises
    ------
    InputError
    """
    path = Path(name)
    if path.is_file() and not file_allowed:
        raise InputError(f"{what} {name!r} cannot be loaded: it is a file; name the folder that holds it.")
    # Names on the hub are `name` or `owner/name`.
    written_as_path = name.startswith((".", "~")) or path.is_absolute() or name.count("/") > 1
    if written_as_path and not path.exists():
        raise InputError(f"{what} {name!r} cannot be loaded: there is no such folder.")


def check_checkpoint(name: str) -> None:
    """Refuse a folder that is no checkpoint of a Trainer.

    Raises
    ------
    InputError
        Where the folder holds checkpoints, the newest is named.
    """
    from transformers.trainer_utils import get_last_checkpoint

    option = f"--resume_from_checkpoint {name!r}"
    if not Path(name).is_dir():
        raise InputError(f"{option} is no folder that exists.")
    newest = get_last_checkpoint(name)  # type: ignore[no-untyped-call]  # transformers gives it no types
    if newest is not None:
        raise InputError(f"{option} holds checkpoints but is none itself; the newest of them is {newest!r}.")
    if not (Path(name) / "trainer_state.json").is_file():
        raise InputError(f"{option} is no checkpoint: it has no trainer_state.json. 'last' takes the newest there is.")


def check_report_to(names: Iterable[str]) -> None:
    """Refuse trackers that transformers does not know, or whose packages are not there.

    Raises
    ------
    InputError, MissingPackageError
    """
    from transformers.integrations import integration_utils

    known = integration_utils.INTEGRATION_TO_CALLBACK
    there = integration_utils.get_available_reporting_integrations()  # type: ignore[no-untyped-call]  # as above
    for name in names:
        if name not in known:
            raise InputError(f"--report_to {name!r} is unknown: use none, all, or of {', '.join(sorted(known))}.")
        if name in _TRACKER_PACKAGES and name not in there:
            raise MissingPackageError(
                f"--report_to {name} needs a package that is not installed: pip install {_TRACKER_PACKAGES[name]}"
            )


def check_best_metric(name: str | None, keys: Sequence[str] | None) -> None:
    """Refuse a --metric_for_best_model that no evaluation will give; the Trainer would find out after the first one.

    Parameters
    ----------
    name : str, optional
        With or without ``eval_`` before it.
    keys : sequence of str, optional
        What `TextMetrics` gives; None where nothing is generated.

    Raises
    ------
    InputError
    """
    if name is None or name.removeprefix("eval_") in {"loss", *(keys or ())}:
        return
    hint = "loss; texts are scored with --predict_with_generate only" if keys is None else ", ".join(("loss", *keys))
    raise InputError(f"--metric_for_best_model {name!r} is no metric of this evaluation: use {hint}.")
