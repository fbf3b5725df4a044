"""Is there room: for the checkpoints that are asked for, and for data loading in shared memory."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.machine import existing_parent
from hf_monitor.preflight.schedule import Schedule, interval
from hf_monitor.preflight.thresholds import DISK_TIGHT

__all__ = [
    "CheckpointSize",
    "Room",
    "check_disk",
    "check_shared_memory",
    "checkpoint_count",
    "checkpoint_size",
    "room_in",
]

_OTHER_FILES = 16 * 2**20  # tokenizer, state, random numbers, and what the run folder grows by
_STATES = {  # bytes a trained parameter, of a float32 one where it is "4 a state": torch keeps states in its dtype
    "adafactor": 0.1,  # a row and a column of each matrix
    "sgd": 0.0,
    "8bit": 2.0,
    "lion_8bit": 1.0,
    "lion": 4.0,
    "adagrad": 4.0,
    "rmsprop": 4.0,
}


@dataclass(frozen=True, slots=True)
class Room:
    """What is free on a disk for this user.

    Attributes
    ----------
    free_bytes : int
        Blocks kept for root are not counted.
    files_left : int or None
        Inodes; None where the file system has no such number.
    """

    free_bytes: int
    files_left: int | None = None


@dataclass(frozen=True, slots=True)
class CheckpointSize:
    """What a checkpoint takes, in bytes: the weights that are saved, and the optimizer's state."""

    weights: int
    optimizer: int

    @property
    def total(self) -> int:
        """Weights, optimizer's state and the small files."""
        return self.weights + self.optimizer + _OTHER_FILES


def room_in(folder: Path) -> Room:
    """Ask the system what is free where a folder is, or would be made.

    Raises
    ------
    OSError
    """
    there = existing_parent(folder)
    if not hasattr(os, "statvfs"):
        return Room(shutil.disk_usage(there).free)
    found = os.statvfs(there)
    return Room(found.f_bavail * found.f_frsize, found.f_favail if found.f_files else None)


def checkpoint_size(model: Any, args: Any) -> CheckpointSize:
    """Reckon what one checkpoint takes.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Its parameters may be on the meta device. Of an adapter only what is trained is saved.
    args : TrainingArguments
        ``optim`` and ``save_only_model``.
    """
    parameters = list(model.parameters())  # tied ones once
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    saved = trained if hasattr(model, "peft_config") else parameters
    weights = sum(parameter.numel() * parameter.element_size() for parameter in saved)
    optimizer = 0.0
    if not args.save_only_model:
        name = str(getattr(args.optim, "value", args.optim))
        per_parameter = next((size for part, size in _STATES.items() if part in name), None)
        if "lion" in name and "8bit" in name:
            per_parameter = _STATES["lion_8bit"]
        for parameter in trained:
            own = 2.0 * parameter.element_size() if per_parameter is None else per_parameter
            optimizer += parameter.numel() * own
    return CheckpointSize(weights, int(optimizer))


def checkpoint_count(args: Any, schedule: Schedule | None) -> int | None:
    """Give how many checkpoints there are at most at the same time, one that is being written included.

    Parameters
    ----------
    args : TrainingArguments
    schedule : Schedule or None

    Returns
    -------
    int or None
        None where nothing limits them and the number of steps is not known.
    """
    strategy = str(getattr(args.save_strategy, "value", args.save_strategy))
    if strategy == "no":
        return 0
    saves = None
    if schedule is not None:
        every = interval(args, "save", schedule.steps)
        if every is not None:
            saves = math.ceil(schedule.steps / every)  # one at the end, too
        elif strategy == "epoch":
            saves = math.ceil(schedule.epochs)
    limit: int | None = args.save_total_limit
    if not limit or limit < 0:
        return saves
    kept = max(limit, 2) if args.metric_for_best_model else limit  # the best and the last are always kept
    return kept + 1 if saves is None else min(saves, kept + 1)


def check_disk(
    folder: Path,
    model: Any,
    args: Any,
    schedule: Schedule | None = None,
    room: Callable[[Path], Room] = room_in,
) -> Check:
    """Compare what the checkpoints take with what is free.

    Parameters
    ----------
    folder : Path
        The output folder; need not exist.
    model, args
        As for `checkpoint_size`.
    schedule : Schedule, optional
    room : callable
        Gives what is free in a folder.
    """
    name = "disk"
    try:
        free = room(folder)
    except OSError as error:
        return skipped(name, f"what is free in {str(folder)!r} is not known: {error}.")
    size = checkpoint_size(model, args)
    count = checkpoint_count(args, schedule)
    evidence: dict[str, Any] = {
        "free_bytes": free.free_bytes, "files_left": free.files_left, "checkpoint_bytes": size.total,
        "weights_bytes": size.weights, "optimizer_bytes": size.optimizer, "checkpoints": count,
    }  # fmt: skip
    if free.files_left == 0:
        return failed(name, f"{str(folder)!r}: the file system takes no more files (no inodes).", "df -i", **evidence)
    each = f"{_gib(size.total)} (weights {_gib(size.weights)}, optimizer {_gib(size.optimizer)})"
    least = size.total + size.weights + _OTHER_FILES  # one checkpoint, and the model at the end
    if count is None and least > free.free_bytes:
        sentence = f"one checkpoint takes {each}; {_gib(free.free_bytes)} are free in {str(folder)!r}."
        return failed(name, sentence, _smaller(args, 1), **evidence)
    if count is None:
        sentence = (
            f"a checkpoint takes {each}, {_gib(free.free_bytes)} are free, and nothing limits how many there are."
        )
        return warning(name, sentence, "--save_total_limit 2", **evidence)
    needed = count * size.total + size.weights + _OTHER_FILES  # and the model at the end
    evidence["needed_bytes"] = needed
    plural = "" if count == 1 else "s"
    checkpoints = (
        f"{count:,} checkpoint{plural} of {each} and the model at the end" if count else "the model at the end"
    )
    verb = "takes" if not count else "take"
    sentence = f"{checkpoints} {verb} {_gib(needed)}; {_gib(free.free_bytes)} are free in {str(folder)!r}."
    advice = _smaller(args, count)
    if needed > free.free_bytes:
        return failed(name, sentence, advice, **evidence)
    if needed > DISK_TIGHT * free.free_bytes:
        return warning(name, f"{sentence} That is more than {100 * DISK_TIGHT:.0f} % of it.", advice, **evidence)
    return ok(name, sentence, **evidence)


def _smaller(args: Any, count: int) -> str:
    ways = []
    if count > 3:
        ways.append("--save_total_limit 2")
    if not args.save_only_model and count:
        ways.append("--save_only_model true (such checkpoints cannot be resumed from)")
    return "; or ".join([*ways, "an --output_dir on another disk"])


def check_shared_memory(
    args: Any,
    source_length: int,
    target_length: int,
    folder: Path = Path("/dev/shm"),
    room: Callable[[Path], Room] = room_in,
) -> Check | None:
    """Compare what data loading workers hand over in shared memory with what is free there; None without workers.

    Parameters
    ----------
    args : TrainingArguments
    source_length, target_length : int
        Tokens of the longest sample.
    folder : Path
    room : callable
    """
    workers = args.dataloader_num_workers
    if not workers or not folder.is_dir():
        return None
    name = "shared memory"
    # Ids, mask, labels and the decoder's inputs, 8 bytes each.
    batch = args.per_device_train_batch_size * 8 * 2 * (source_length + target_length)
    needed = workers * (args.dataloader_prefetch_factor or 2) * batch
    try:
        free = room(folder).free_bytes
    except OSError as error:
        return skipped(name, f"what is free in {folder} is not known: {error}.")
    evidence: dict[str, Any] = {"needed_bytes": needed, "free_bytes": free, "workers": workers}
    sentence = f"{workers} workers keep up to {needed / 2**20:.1f} MiB in {folder}; {free / 2**20:.0f} MiB are free."
    if needed > free:
        advice = "--dataloader_num_workers 0, or give the container more: docker run --shm-size=1g"
        return failed(name, sentence, advice, **evidence)
    if needed > DISK_TIGHT * free:
        return warning(name, sentence, "In a container: docker run --shm-size=1g", **evidence)
    return ok(name, sentence, **evidence)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 0.1 * 2**30 else f"{size / 2**20:.0f} MiB"
