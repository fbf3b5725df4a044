"""Whether a checkpoint can be loaded back, as far as its files tell: milliseconds, no torch, whatever its size."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hf_monitor.diagnosis.weight_files import json_problem, safetensors_names, torch_file_problem

__all__ = ["ADAPTERS", "MODELS", "checkpoint_files_problem", "checkpoint_step", "holds_model", "weights_problem"]

MODELS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""What ``from_pretrained`` looks for, in its order."""
ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
_SHARDED_FOLDERS = ("pytorch_model_fsdp_*", "global_step*")  # of FSDP and DeepSpeed: written by their own means
_STATES = ("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth")
_OPTIMIZERS = ("optimizer.pt*", "optimizer.bin", "optimizer_*", "global_step*", "rank*-optimizer.pt", "*fsdp*")
_SHOWN = 3
_NAME = re.compile(r"checkpoint-(\d+)")

_LOST = "It cannot be loaded: go back to another checkpoint, and look at the disk (df -h)."
_NO_RESUME = "The model can be loaded, but a training cannot be resumed from it: resume from another checkpoint."


def checkpoint_step(folder: str | os.PathLike[str]) -> int | None:
    """Give the step in a folder's name (``checkpoint-500``); None where it has another name."""
    found = _NAME.fullmatch(Path(folder).name)
    return None if found is None else int(found[1])


def holds_model(folder: Path) -> bool:
    """Say whether weights of a model or of an adapter lie in a folder, whole or not."""
    return any((folder / name).exists() for name in (*MODELS, *ADAPTERS)) or _has_any(folder, _SHARDED_FOLDERS)


def checkpoint_files_problem(folder: str | os.PathLike[str]) -> str | None:
    """Say why a checkpoint cannot be loaded back, as far as its files tell.

    Looked at are sizes and headers: the weights (safetensors; a sharded model's index and every shard; torch files;
    PEFT adapters), ``config.json``, ``trainer_state.json`` and its step, and where they are there the states of
    optimizer, scheduler, scaler and random numbers. Weights that FSDP or DeepSpeed keep in folders of their own are not
    judged. A value that was changed within a whole file is not found; ``hf_monitor.preflight.loadable`` really loads.

    Parameters
    ----------
    folder : path-like
        ``checkpoint-500``, or a folder in which a model was saved.

    Returns
    -------
    str or None
        What is wrong and what to do; None where nothing was found.
    """
    folder = Path(folder)
    try:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "is not there"
            return f"the checkpoint {str(folder)!r} {what}. Pass a folder in which a model was saved."
        os.listdir(folder)  # noqa: PTH208 - whether it may be read at all
        found = list(_of_weights(folder))
        advice = _LOST if found else _NO_RESUME
        found = found or list(_of_states(folder))
    except OSError as error:
        return f"{folder.name} cannot be read: {error.strerror or error}. Mend its permissions, or the disk."
    if not found:
        return None
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{folder.name}: {'; '.join(found[:_SHOWN])}{more}. {advice}"


def weights_problem(folder: Path) -> str | None:
    """Say what is wrong with the weights in a folder, as far as their files tell; a state to resume from is not needed.

    Parameters
    ----------
    folder : Path
        One that is there.

    Returns
    -------
    str or None
        ``"model.safetensors is empty (0 bytes)"``; None where nothing was found.
    """
    return "; ".join(list(_of_weights(folder))[:_SHOWN]) or None


def _of_weights(folder: Path) -> Iterator[str]:
    if any((folder / name).is_symlink() and not (folder / name).exists() for name in (*MODELS, *ADAPTERS)):
        name = next(name for name in (*MODELS, *ADAPTERS) if (folder / name).is_symlink())
        yield f"{name} is a link to nothing"
        return
    adapter = next((name for name in ADAPTERS if (folder / name).exists()), None)
    model = next((name for name in MODELS if (folder / name).exists()), None)
    if adapter is not None or (folder / "adapter_config.json").exists():
        yield from _told(folder, "adapter_config.json", json_problem(folder / "adapter_config.json")[1])
        if adapter is None:
            yield "the weights of the adapter are missing (adapter_model.safetensors)"
        else:
            yield from _told(folder, adapter, _weights_problem(folder / adapter))
    elif model is None:
        if not _has_any(folder, _SHARDED_FOLDERS):
            yield "the weights are missing (no model.safetensors, no pytorch_model.bin)"
    elif model.endswith(".index.json"):
        yield from _of_shards(folder, model)
    else:
        yield from _told(folder, model, _weights_problem(folder / model))
    # A model that is no PreTrainedModel is saved without one; one that generates has both.
    if (folder / "config.json").exists() or (folder / "config.json").is_symlink():
        yield from _told(folder, "config.json", json_problem(folder / "config.json")[1])
    elif (folder / "generation_config.json").exists() and adapter is None:
        yield "config.json is missing"


def _of_shards(folder: Path, index: str) -> Iterator[str]:
    held, problem = json_problem(folder / index)
    weights = held.get("weight_map")
    if problem is None and not (isinstance(weights, dict) and weights):
        problem = "names no weights (weight_map)"
    if problem is not None or not isinstance(weights, dict):
        yield from _told(folder, index, problem)
        return
    wanted: dict[str, set[str]] = {}
    for name, shard in weights.items():
        wanted.setdefault(str(shard), set()).add(name)
    for shard in sorted(wanted):
        path = folder / shard
        if not path.exists():
            yield f"{shard} is missing, {index} names it"
        elif shard.endswith(".safetensors"):
            names, problem = safetensors_names(path)
            missing = sorted(wanted[shard] - names) if problem is None else []
            yield from _told(
                folder, shard, f"lacks {missing[0]!r}, which {index} says is there" if missing else problem
            )
        else:
            yield from _told(folder, shard, torch_file_problem(path))


def _of_states(folder: Path) -> Iterator[str]:
    step = checkpoint_step(folder)
    state = folder / "trainer_state.json"
    if state.exists() or state.is_symlink():
        held, problem = json_problem(state)
        reached = held.get("global_step")
        if problem is None and step is not None and reached != step:
            problem = f"is of step {reached}, the folder's name says {step}"
        yield from _told(folder, state.name, problem)
    elif step is not None:  # the last file that the Trainer writes
        yield "trainer_state.json is missing: the process was ended while it saved, or the file was deleted"
    for pattern in _STATES:
        for path in sorted(folder.glob(pattern)):
            if path.is_file() or path.is_symlink():
                yield from _told(folder, path.name, torch_file_problem(path))
    if (folder / "scheduler.pt").exists() and not _has_any(folder, _OPTIMIZERS):
        yield "optimizer.pt is missing, scheduler.pt is there: the Trainer would begin with a new optimizer"


def _weights_problem(path: Path) -> str | None:
    if path.suffix != ".safetensors":
        return torch_file_problem(path)
    names, problem = safetensors_names(path)
    return "holds no weights" if problem is None and not names else problem


def _told(folder: Path, name: str, problem: str | None) -> Iterator[str]:
    if problem is not None:
        dead = (folder / name).is_symlink() and not (folder / name).exists()
        yield f"{name} {'is a link to nothing' if dead else problem}"


def _has_any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)
