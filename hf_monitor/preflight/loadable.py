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
from hf_monitor.preflight.load_parts import (
    BAD_WEIGHTS,
    DIVERGED,
    load_adapter,
    load_states,
    load_tokenizer,
    not_finite,
    said,
    some,
)

__all__ = ["LoadedBack", "checkpoint_problem", "load_back"]

_ROOM = 1.2  # a model is read piece by piece: its weights once, and a little


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
    doubts : tuple of str
        What was loaded and is probably not what it should be.
    """

    problem: str | None = None
    parts: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()


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
    if not deep:
        return checkpoint_files_problem(folder)
    found = load_back(folder)
    return found.problem or (f"{Path(folder).name}: {'; '.join(found.doubts)}." if found.doubts else None)


def load_back(folder: str | os.PathLike[str]) -> LoadedBack:
    """Load a checkpoint, as a training that resumes or a user who wants to predict would, and let go of it again.

    Files are looked at first. Then ``from_pretrained`` loads the model into the memory of the host (never from the
    network, never with code that lies in the folder): no weight may be missing, none left over, none NaN or infinite.
    Tied weights, which are saved once, are not missing. A matrix of nothing but zeros is a doubt. Then its tokenizer,
    which may not have more tokens than the model has embeddings. The states of optimizer and scheduler are read with
    ``torch.load(weights_only=True)``, as the Trainer reads them; moments have to be of the shapes of the model's
    parameters. Of a PEFT adapter only its own weights are read, the model below it is not; where that is named by a
    path that is not there, that is a doubt.

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
    doubts: list[str] = []
    shapes: list[tuple[int, ...]] = []
    with _quiet():
        try:
            problem = (
                _model(folder, parts, left_out, doubts, shapes)
                or load_tokenizer(folder, parts, left_out)
                or load_states(folder, parts, shapes)
            )
        except OSError as error:  # deleted meanwhile
            problem = f"it cannot be read: {error.strerror or error}"
    named = None if problem is None else f"{folder.name}: {problem}"
    return LoadedBack(named, tuple(parts), tuple(left_out), tuple(doubts))


def _model(
    folder: Path, parts: list[str], left_out: list[str], doubts: list[str], shapes: list[tuple[int, ...]]
) -> str | None:
    adapter = next((folder / name for name in ADAPTERS if (folder / name).exists()), None)
    if adapter is not None:
        return load_adapter(adapter, parts, left_out, doubts)
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
        model, info = _class_of(config).from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
        return f"the model cannot be loaded: {said(error)}. Go back to another checkpoint."
    other = [(str(name), tuple(held), tuple(built)) for name, held, built in info.get("mismatched_keys") or ()]
    if other:
        name, held, built = min(other)
        return (
            f"{len(other)} of the model's weights have other shapes than its config says ({name}: {held} in the file, "
            f"{built} by the config). Is it another model's config.json? Go back to another checkpoint."
        )
    for key, words in (("missing_keys", "are missing"), ("unexpected_keys", "have no place in the model")):
        if names := sorted(map(str, info.get(key) or ())):
            return (
                f"{len(names)} of the model's weights {words} ({some(names)}). Was it saved by another class than "
                f"{type(model).__name__}? Go back to another checkpoint."
            )
    state = model.state_dict()
    if bad := not_finite(state):
        return f"{BAD_WEIGHTS}: {bad}. {DIVERGED}"
    shapes += [tuple(parameter.shape) for parameter in model.parameters()]
    if zeros := [name for name, one in model.named_parameters() if one.ndim > 1 and not bool(one.any())]:
        doubts.append(f"{len(zeros)} of its matrices hold nothing but zeros ({some(zeros)}), as in a damaged file")
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


def _too_large(folder: Path) -> str | None:
    import psutil

    needed = _ROOM * sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".safetensors", ".bin"))
    free = psutil.virtual_memory().available
    if needed < free:
        return None
    return f"loading it takes {needed / 2**30:.1f} GiB of memory, {free / 2**30:.1f} GiB are free"


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
