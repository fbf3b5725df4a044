"""A model's shape and a tokenizer from a folder on this machine: no weights are loaded, nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.checkpoint_files import weights_problem
from hf_monitor.errors import InputError
from hf_monitor.preflight.checklist import Check, failed, ok
from hf_monitor.seq2seq.checks import words_of

__all__ = ["check_weights", "load_config_and_model", "load_tokenizer"]

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def load_config_and_model(folder: str) -> tuple[Any, Check]:
    """Build a model without memory for its weights, and look whether these are there.

    Parameters
    ----------
    folder : str
        Of a seq2seq model.

    Returns
    -------
    tuple of (PreTrainedModel, Check)
        Its parameters are on the meta device.

    Raises
    ------
    InputError
        If it is no folder, or no seq2seq model.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationConfig

    path = _folder(folder, "the model")
    config = _loading(lambda: AutoConfig.from_pretrained(folder, local_files_only=True), "the model", folder)
    if type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise InputError(f"the model {folder!r} is a {config.model_type!r}, which is no sequence-to-sequence model.")
    make: Any = AutoModelForSeq2SeqLM.from_config  # transformers gives it no types
    with torch.device("meta"):
        model = make(config)
    if (path / "generation_config.json").is_file():
        model.generation_config = _loading(
            lambda: GenerationConfig.from_pretrained(folder, local_files_only=True), "the generation config of", folder
        )
    n = sum(parameter.numel() for parameter in model.parameters())
    return model, check_weights(path, f"{type(model).__name__}, {n / 1e6:.1f} million parameters")


def load_tokenizer(folder: str) -> Any:
    """Load a tokenizer from a folder.

    Raises
    ------
    InputError
    """
    from transformers import AutoTokenizer

    _folder(folder, "the tokenizer")
    return _loading(lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True), "the tokenizer", folder)


def check_weights(folder: Path, what: str) -> Check:
    """Look whether a model's weights are there, all parts of them, each as long as its header says."""
    name = "model"
    for file in _WEIGHTS:
        if (folder / file).is_file():
            if problem := weights_problem(folder):
                return failed(name, f"{what}; {problem}.", "Copy the model again.")
            return ok(name, f"{what}; {file} is there (it was not loaded).")
        index = folder / f"{file}.index.json"
        if index.is_file():
            try:
                parts = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                return failed(name, f"{str(index)!r} cannot be read: {words_of(error)}.", "Copy the model again.")
            missing = [part for part in parts if not (folder / part).is_file()]
            if missing:
                sentence = f"{what}; {len(missing)} of {len(parts)} files of weights are missing: {missing[0]} ..."
                return failed(name, sentence, "Copy the model again.")
            if problem := weights_problem(folder):
                return failed(name, f"{what}; {problem}.", "Copy the model again.")
            return ok(name, f"{what}; all {len(parts)} files of weights are there (they were not loaded).")
    return failed(name, f"{what}; {str(folder)!r} holds no weights ({' or '.join(_WEIGHTS)}).", "Copy the model again.")


def _folder(folder: str, what: str) -> Path:
    path = Path(folder)
    if not path.is_dir():
        raise InputError(f"{what} {folder!r} is no folder that exists; nothing is downloaded here.")
    return path


def _loading(load: Callable[[], Any], what: str, folder: str) -> Any:
    try:
        return load()
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError) as error:
        raise InputError(f"{what} {folder!r} cannot be loaded: {words_of(error)}") from error
