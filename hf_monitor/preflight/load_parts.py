"""Loading the parts of a checkpoint back: adapter, tokenizer, states. Each adds to `parts` what it loaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from hf_monitor.diagnosis.weight_files import json_problem

__all__ = [
    "BAD_WEIGHTS",
    "DIVERGED",
    "load_adapter",
    "load_states",
    "load_tokenizer",
    "not_finite",
    "said",
    "some",
]

_SHOWN = 3
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")
BAD_WEIGHTS = "weights are NaN or infinite"
_NO_RESUME = "The model can be used, but no training resumed from it."
_MOMENTS = ("exp_avg", "momentum_buffer")  # of the shape of their parameter: Adam, Lion, Adafactor, SGD
_LOW_RANK = ("rank", "proj_type", "update_proj_gap")  # of the groups of GaLore and APOLLO, whose moments are smaller
DIVERGED = "The training diverged before this was saved: go back to an earlier one."


def load_adapter(path: Path, parts: list[str], left_out: list[str], doubts: list[str]) -> str | None:
    """Load the weights of a PEFT adapter; say what is wrong."""
    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
        return f"{path.name} cannot be loaded: {said(error)}. Go back to another checkpoint."
    if bad := not_finite(weights):
        return f"{BAD_WEIGHTS}: {bad}. {DIVERGED}"
    parts.append(f"adapter ({sum(tensor.numel() for tensor in weights.values()):,} parameters)")
    left_out.append("the model below the adapter")
    base = json_problem(path.with_name("adapter_config.json"))[0].get("base_model_name_or_path")
    is_path = isinstance(base, str) and (Path(base).is_absolute() or base.startswith(("~", ".")))  # else of the Hub
    if is_path and not Path(str(base)).expanduser().exists():
        doubts.append(f"the model below the adapter is not at {base!r} (adapter_config.json), and is needed to use it")
    return None


def load_tokenizer(folder: Path, parts: list[str], left_out: list[str]) -> str | None:
    """Load the tokenizer, if there is one; say what is wrong."""
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
        return f"the tokenizer cannot be loaded: {said(error)}. Save it again: tokenizer.save_pretrained(folder)."
    embeddings = json_problem(folder / "config.json")[0].get("vocab_size")
    if isinstance(embeddings, int) and len(tokenizer) > embeddings:
        return (
            f"the tokenizer has {len(tokenizer):,} tokens, the model embeddings for {embeddings:,}: a text with one of "
            "the others ends in an IndexError. Is it another model's tokenizer?"
        )
    parts.append("tokenizer")
    return None


def load_states(folder: Path, parts: list[str], shapes: list[tuple[int, ...]]) -> str | None:
    """Load the states of optimizer and scheduler, if they are there; say what is wrong.

    Parameters
    ----------
    folder : Path
    parts : list of str
        Is added to.
    shapes : list of tuple of int
        Those of the model's parameters; empty where they are not known.
    """
    import torch

    for name in ("optimizer.pt", "optimizer.bin", "scheduler.pt"):
        path = folder / name
        if not path.is_file():
            continue
        try:
            state = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
        except Exception as error:  # noqa: BLE001 - whatever keeps it from loading is the answer
            return f"{name} cannot be loaded: {said(error)}. {_NO_RESUME}"
        what = path.stem
        if what == "optimizer":
            if not (isinstance(state, dict) and "state" in state and "param_groups" in state):
                return f"{name} holds no optimizer's state. {_NO_RESUME}"
            if problem := _of_another_model(state, shapes):
                return f"{name} {problem}. {_NO_RESUME}"
            tensors = {
                f"{number}.{key}": value
                for number, one in state["state"].items()
                if isinstance(one, dict)
                for key, value in one.items()
            }
            if bad := not_finite(tensors):
                return f"{name} has values that are NaN or infinite: {bad}. A training that resumes from it is lost."
        parts.append(what)
    return None


def _of_another_model(state: dict[str, Any], shapes: list[tuple[int, ...]]) -> str | None:
    """Hold an optimizer's state against the model's parameters; which of them were trained is not known."""
    groups = [group for group in state["param_groups"] if isinstance(group, dict)]
    n = sum(len(group.get("params") or ()) for group in groups)
    moments = [one for one in state["state"].values() if isinstance(one, dict)]
    if not n:
        return "is of no parameter at all"
    if not moments and any("betas" in group for group in groups):
        return f"holds no moments of its {n} parameters"
    if not shapes:
        return None
    if n > len(shapes):
        return f"is of {n} parameters, the model has {len(shapes)}"
    if any(name in group for group in groups for name in _LOW_RANK):
        return None
    for key in _MOMENTS:
        held = Counter(tuple(one[key].shape) for one in moments if hasattr(one.get(key), "shape"))
        if more := held - Counter(shapes):
            shape, count = next(iter(more.items()))
            return f"holds moments of another model: {count} of shape {shape} fit none of this one's parameters"
    return None


def not_finite(tensors: dict[str, Any]) -> str:
    """Give how many values are not finite, and where; empty where all are."""
    import torch

    found: list[str] = []
    count = total = 0
    seen: set[tuple[int, int]] = set()
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point():
            continue
        place = tensor.data_ptr(), tensor.numel()
        if place in seen:  # tied
            continue
        seen.add(place)
        total += tensor.numel()
        tensor = tensor.float() if tensor.element_size() == 1 else tensor  # no arithmetic for 8 bits on the CPU
        if not bool(torch.isfinite(tensor).all()):
            count += int((~torch.isfinite(tensor)).sum())
            found.append(name)
    return f"{count:,} of {total:,} values, in {some(found)}" if found else ""


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def some(names: list[str]) -> str:
    """Give the first of some names, and how many more there are."""
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def said(error: Exception) -> str:
    """Give an error's first lines, on one; libraries add whole manuals."""
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200].rstrip('.')}{' ...' if len(words) > 200 else ''}"
