"""Whether a checkpoint can be loaded back: by its files, or by really loading it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from logging import ERROR
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.checkpoint_files import ADAPTERS, MODELS, checkpoint_files_problem
from hf_monitor.diagnosis.weight_files import json_problem

__all__ = ["LoadedBack", "checkpoint_problem", "load_back"]

_SHOWN = 3
_ROOM = 1.2  # a model is read piece by piece: its weights once, and a little
_BAD_WEIGHTS = "weights are NaN or infinite"
_DIVERGED = "The training diverged before this was saved: go back to an earlier one."
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, slots=True)
class LoadedBack:
    """What loading a checkpoint back came to.

    Attributes
    ----------
    problem : str or None
        What is wrong and what to do; None where it was loaded.
    parts : tuple of str
        What was loaded: ``"model (T5ForConditionalGeneration, 12,384 parameters)"``, ``"tokenizer"``, ``"optimizer"``.
    left_out : tuple of str
        What was not tried, each with its reason.
    """

    problem: str | None = None
    parts: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def checkpoint_problem(folder: str | os.PathLike[str], *, deep: bool = False) -> str | None:
    """Say why a checkpoint cannot be loaded back.

    Parameters
    ----------
    folder : path-like
        ``checkpoint-500``, or a folder in which a model was saved.
    deep : bool
        Without it only sizes and headers are looked at (milliseconds, no torch). With it the model, its tokenizer and
        the optimizer's state are really loaded, see :func:`load_back`.

    Returns
    -------
    str or None
        What is wrong and what to do; None where nothing was found.
    """
    return load_back(folder).problem if deep else checkpoint_files_problem(folder)


def load_back(folder: str | os.PathLike[str]) -> LoadedBack:
    """Load a checkpoint, as a training that resumes or a user who wants to predict would, and let go of it again.

    Files are looked at first. Then ``from_pretrained`` loads the model into the memory of the host (never from the
    network, never with code that lies in the folder): no weight may be missing, none left over, none NaN or infinite.
    Tied weights, which are saved once, are not missing. Then its tokenizer, which may not have more tokens than the
    model has embeddings. The states of optimizer and scheduler are read with ``torch.load(weights_only=True)``, as the
    Trainer reads them. Of a PEFT adapter only its own weights are read, the model below it is not.

    Parameters
    ----------
    folder : path-like

    Returns
    -------
    LoadedBack
    """
    folder = Path(folder)
    problem = checkpoint_files_problem(folder)
    if problem is not None:
        return LoadedBack(problem)
    parts: list[str] = []
    left_out: list[str] = []
    with _quiet():
        for load in (_model, _tokenizer, _states):
            problem = load(folder, parts, left_out)
            if problem is not None:
                return LoadedBack(f"{folder.name}: {problem}", tuple(parts), tuple(left_out))
    return LoadedBack(None, tuple(parts), tuple(left_out))


def _model(folder: Path, parts: list[str], left_out: list[str]) -> str | None:
    adapter = next((folder / name for name in ADAPTERS if (folder / name).exists()), None)
    if adapter is not None:
        return _adapter(adapter, parts, left_out)
    if not any((folder / name).exists() for name in MODELS):
        left_out.append("the model: its weights lie in shards of FSDP or DeepSpeed")
        return None
    config, _ = json_problem(folder / "config.json")
    if not config:
        left_out.append("the model: no config.json, so it is none of transformers' own")
        return None
    if config.get("auto_map"):
        left_out.append("the model: it comes with code of its own (auto_map)")
        return None
    if config.get("quantization_config"):
        left_out.append("the model: it is quantized, and most kinds of that need the GPU")
        return None
    if (short := _too_large(folder)) is not None:
        left_out.append(f"the model: {short}")
        return None
    try:
        model, info = _class_of(config).from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
        return f"the model cannot be loaded: {_said(error)}. Go back to another checkpoint."
    for key, words in (("missing_keys", "are missing"), ("unexpected_keys", "have no place in the model")):
        if names := sorted(map(str, info.get(key) or ())):
            return (
                f"{len(names)} of the model's weights {words} ({_some(names)}). Was it saved by another class than "
                f"{type(model).__name__}? Go back to another checkpoint."
            )
    state = model.state_dict()
    if bad := _not_finite(state):
        return f"{_BAD_WEIGHTS}: {bad}. {_DIVERGED}"
    count = sum(parameter.numel() for parameter in model.parameters())
    parts.append(f"model ({type(model).__name__}, {count:,} parameters)")
    return None


def _class_of(config: dict[str, Any]) -> Any:
    """Give the class that the checkpoint was saved by, else the most likely one."""
    import transformers

    for name in config.get("architectures") or ():
        found = getattr(transformers, str(name), None)
        if found is not None and hasattr(found, "from_pretrained"):
            return found
    return transformers.AutoModelForSeq2SeqLM if config.get("is_encoder_decoder") else transformers.AutoModel


def _adapter(path: Path, parts: list[str], left_out: list[str]) -> str | None:
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
        return f"{path.name} cannot be loaded: {_said(error)}. Go back to another checkpoint."
    if bad := _not_finite(weights):
        return f"{_BAD_WEIGHTS}: {bad}. {_DIVERGED}"
    parts.append(f"adapter ({sum(tensor.numel() for tensor in weights.values()):,} parameters)")
    left_out.append("the model below the adapter")
    return None


def _tokenizer(folder: Path, parts: list[str], left_out: list[str]) -> str | None:
    if not any((folder / name).exists() for name in _TOKENIZERS):
        return None
    if json_problem(folder / "tokenizer_config.json")[0].get("auto_map"):
        left_out.append("the tokenizer: it comes with code of its own (auto_map)")
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        tokenizer.decode(tokenizer("안녕 hello")["input_ids"])
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
        return f"the tokenizer cannot be loaded: {_said(error)}. Save it again: tokenizer.save_pretrained(folder)."
    embeddings = json_problem(folder / "config.json")[0].get("vocab_size")
    if isinstance(embeddings, int) and len(tokenizer) > embeddings:
        return (
            f"the tokenizer has {len(tokenizer):,} tokens, the model embeddings for {embeddings:,}: a text with one of "
            "the others ends in an IndexError. Is it another model's tokenizer?"
        )
    parts.append("tokenizer")
    return None


def _states(folder: Path, parts: list[str], left_out: list[str]) -> str | None:
    import torch

    for name in ("optimizer.pt", "optimizer.bin", "scheduler.pt"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
        except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
            return f"{name} cannot be loaded: {_said(error)}. The model can be used, but no training resumed from it."
        what = path.stem
        if what == "optimizer":
            if not (isinstance(state, dict) and "state" in state and "param_groups" in state):
                return f"{name} holds no optimizer's state. The model can be used, but no training resumed from it."
            tensors = {
                f"{number}.{key}": value
                for number, one in state["state"].items()
                if isinstance(one, dict)
                for key, value in one.items()
            }
            if bad := _not_finite(tensors):
                return f"{name} has values that are NaN or infinite: {bad}. A training that resumes from it is lost."
        parts.append(what)
    return None


def _not_finite(tensors: dict[str, Any]) -> str:
    """Give how many values are not finite, and where; empty where all are."""
    import torch

    found: list[str] = []
    count = total = 0
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        total += tensor.numel()
        tensor = tensor.float() if tensor.element_size() == 1 else tensor  # no arithmetic for 8 bits on the CPU
        if not bool(torch.isfinite(tensor).all()):
            count += int((~torch.isfinite(tensor)).sum())
            found.append(name)
    return f"{count:,} of {total:,} values, in {_some(found)}" if found else ""


def _too_large(folder: Path) -> str | None:
    import psutil

    needed = _ROOM * sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    free = psutil.virtual_memory().available
    if needed < free:
        return None
    return f"loading it takes {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _said(error: Exception) -> str:
    """Give an error's first lines, on one; libraries add whole manuals."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200].rstrip('.')}{' ...' if len(words) > 200 else ''}"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and from warning of what is told here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(ERROR)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
