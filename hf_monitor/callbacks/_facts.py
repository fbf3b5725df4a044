"""What the Trainer knows about a training, as facts for ``run.json``."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from hf_monitor.callbacks._fingerprint import fingerprint
from hf_monitor.callbacks._report import described
from hf_monitor.run.secrets import MASK

__all__ = ["data_facts", "length_of", "mixed_precision", "optimizer_facts", "training_facts"]


def data_facts(dataset: Any) -> dict[str, Any] | None:
    """Describe a data set: its class, length, columns and a fingerprint of its content.

    The fingerprint is made only where reading a sample has no side effect (a ``datasets.Dataset``, a list); a data set
    of the user's own class may draw random numbers when it is read, which would change the training.

    Returns
    -------
    dict or None
        None where there is no data set.
    """
    if dataset is None:
        return None
    found: dict[str, Any] = {"class": type(dataset).__name__}
    n_samples = length_of(dataset)
    if n_samples is not None:
        found["n_samples"] = n_samples
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, list):
        found["columns"] = columns
    of_datasets = type(dataset).__module__.startswith("datasets.") and hasattr(dataset, "with_format")
    if n_samples and (of_datasets or isinstance(dataset, list | tuple)):
        try:
            found |= fingerprint(dataset)
        except Exception as error:  # noqa: BLE001 - reading runs the user's code (an image that cannot be decoded ...)
            found["fingerprint"] = None
            found["fingerprint_error"] = described(error)[:200]
    return found


def length_of(dataset: Any) -> int | None:
    """Give the number of samples, or None for a stream; some streams have a ``__len__`` that raises."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None


_TRAINED = 20  # names of parameters


def _model_facts(model: Any) -> dict[str, Any]:
    config = getattr(model, "config", None)
    parameters = list(model.parameters())
    found: dict[str, Any] = {
        "class": type(model).__name__,
        "name_or_path": getattr(config, "_name_or_path", "") or None,
        "n_parameters": sum(p.numel() for p in parameters),
        "n_trainable": sum(p.numel() for p in parameters if p.requires_grad),
        "dtype": sorted({str(p.dtype).removeprefix("torch.") for p in parameters}),
    }
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    if found["n_trainable"] < found["n_parameters"]:
        found["trained"] = [name[:200] for name in trained[:_TRAINED]]
    if config is not None and hasattr(config, "to_diff_dict"):
        found["config"] = config.to_diff_dict()
    return found


def _device_facts(args: Any) -> dict[str, Any]:
    import torch

    found: dict[str, Any] = {
        "device": str(args.device),
        "world_size": args.world_size,
        "threads": torch.get_num_threads(),
    }
    if args.device.type == "cuda":
        found["gpus"] = [
            {
                "name": properties.name,
                "memory_total_mib": properties.total_memory // 2**20,
                "compute_capability": f"{properties.major}.{properties.minor}",
            }
            for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
        found["cuda"] = torch.version.cuda
    return found


def _arguments(args: Any) -> dict[str, Any]:
    """As ``to_dict``, which writes ``<HUB_TOKEN>`` whether there is a token or not: None where there is none."""
    found: dict[str, Any] = args.to_dict()
    for name, value in found.items():
        if value == f"<{name.upper()}>":
            found[name] = None if getattr(args, name, None) is None else MASK
    return found


_PRECISIONS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}


def mixed_precision(args: Any) -> str:
    """Name the mixed precision that the Trainer trains in: by its arguments, or by ``accelerate launch``.

    Returns
    -------
    str
        ``"no"``, ``"fp16"`` (with a gradient scaler), ``"bf16"``, ``"fp8"``.
    """
    if args.bf16 or args.fp16:
        return "bf16" if args.bf16 else "fp16"
    found = getattr(args, "mixed_precision", None)  # what the Trainer gives its Accelerator
    return str(found or os.environ.get("ACCELERATE_MIXED_PRECISION") or "no").lower()


def _precision(args: Any, model: Any) -> str:
    """Name the mixed precision, else the type of most of the weights."""
    if (mixed := mixed_precision(args)) != "no":
        return mixed
    counts: Counter[str] = Counter()
    for parameter in () if model is None else model.parameters():
        if parameter.is_floating_point():
            counts[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
    dtype = max(counts, key=counts.__getitem__, default="float32")
    return _PRECISIONS.get(dtype, dtype)


def optimizer_facts(optimizer: Any) -> dict[str, Any]:
    """Name the optimizer that steps, whatever accelerate has wrapped around it.

    Returns
    -------
    dict
        ``class``, ``learning_rates`` (of its groups, each once, without what the scheduler makes of them).
    """
    for _ in range(3):
        if type(optimizer).__module__.partition(".")[0] == "accelerate" and hasattr(optimizer, "optimizer"):
            optimizer = optimizer.optimizer
    groups = getattr(optimizer, "param_groups", None)
    rates: dict[float, None] = {}  # each once, in the order of the groups
    for group in groups if isinstance(groups, list) else ():
        rate = group.get("initial_lr", group.get("lr"))  # a scheduler, which warms up from 0, keeps it there
        if isinstance(rate, int | float) or hasattr(rate, "item"):
            rates[float(rate)] = None
    return {"class": type(optimizer).__name__, "learning_rates": list(rates)}


def training_facts(
    args: Any, state: Any, model: Any, train_dataloader: Any, eval_dataset: Any = None, optimizer: Any = None
) -> dict[str, Any]:
    """Collect the facts that a Trainer hands to its callbacks.

    Parameters
    ----------
    args : transformers.TrainingArguments
    state : transformers.TrainerState
    model : torch.nn.Module or None
    train_dataloader : torch.utils.data.DataLoader or None
    eval_dataset : Dataset, dict of Dataset, or None
    optimizer : torch.optim.Optimizer or None

    Returns
    -------
    dict
        ``arguments``, ``model``, ``data``, ``devices``, ``precision``, ``mixed_precision``, ``optimizer``, ``seed``,
        ``max_steps``, ``train_batch_size_total``; not masked yet.
    """
    facts: dict[str, Any] = {
        "arguments": _arguments(args),
        "devices": _device_facts(args),
        "precision": _precision(args, model),
        "mixed_precision": mixed_precision(args),
        "seed": args.seed,
    }
    if state is not None and state.max_steps:
        facts["max_steps"] = state.max_steps
        facts["train_batch_size_total"] = (
            args.train_batch_size * args.gradient_accumulation_steps * max(1, args.world_size)
        )
    if model is not None:
        facts["model"] = _model_facts(model)
    if optimizer is not None:
        facts["optimizer"] = optimizer_facts(optimizer)
    data: dict[str, Any] = {}
    if train_dataloader is not None:
        data["train"] = data_facts(getattr(train_dataloader, "dataset", None))
    if isinstance(eval_dataset, dict):
        data["eval"] = {name: data_facts(dataset) for name, dataset in eval_dataset.items()}
    elif eval_dataset is not None:
        data["eval"] = data_facts(eval_dataset)
    if data:
        facts["data"] = data
    return facts
