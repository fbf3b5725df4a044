"""What the Trainer knows about a training, as facts for ``run.json``."""

from __future__ import annotations

import hashlib
from typing import Any

from hf_monitor.run.rows import encode_row

__all__ = ["data_facts", "length_of", "training_facts"]

_FINGERPRINT_SAMPLES = 64


def data_facts(dataset: Any) -> dict[str, Any] | None:
    """Describe a data set: its class, length, columns and a fingerprint of its content.

    The fingerprint (SHA-256, 16 hex digits) covers the length, the column names and up to 64 samples at even distances.
    It is made only where reading a sample has no side effect (a ``datasets.Dataset``, a list); a data set of the
    user's own class may draw random numbers when it is read, which would change the training.

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
    readable = dataset
    if type(dataset).__module__.startswith("datasets.") and hasattr(dataset, "with_format"):
        readable = dataset.with_format(None)  # a transform of the user's may be random
    elif not isinstance(dataset, list | tuple):
        return found
    if n_samples:
        try:
            found["fingerprint"] = _fingerprint(readable, n_samples, columns)
        except Exception as error:  # noqa: BLE001 - reading runs the user's code (an image that cannot be decoded ...)
            found["fingerprint"] = None
            found["fingerprint_error"] = f"{type(error).__name__}: {error}"[:200]
    return found


def length_of(dataset: Any) -> int | None:
    """Give the number of samples, or None for a stream; some streams have a ``__len__`` that raises."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None


def _fingerprint(dataset: Any, n_samples: int, columns: Any) -> str:
    digest = hashlib.sha256(encode_row({"n": n_samples, "columns": columns}))
    picked = sorted({i * (n_samples - 1) // max(1, _FINGERPRINT_SAMPLES - 1) for i in range(_FINGERPRINT_SAMPLES)})
    for index in picked:
        digest.update(encode_row({"row": dataset[index]}))
    return digest.hexdigest()[:16]


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
            {"name": properties.name, "memory_total_mib": properties.total_memory // 2**20}
            for properties in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
        ]
        found["cuda"] = torch.version.cuda
    return found


def training_facts(
    args: Any, state: Any, model: Any, train_dataloader: Any, eval_dataset: Any = None
) -> dict[str, Any]:
    """Collect the facts that a Trainer hands to its callbacks.

    Parameters
    ----------
    args : transformers.TrainingArguments
    state : transformers.TrainerState
    model : torch.nn.Module or None
    train_dataloader : torch.utils.data.DataLoader or None
    eval_dataset : Dataset, dict of Dataset, or None

    Returns
    -------
    dict
        ``arguments``, ``model``, ``data``, ``devices``, ``precision``, ``seed``, ``max_steps``,
        ``train_batch_size_total``; not masked yet.
    """
    facts: dict[str, Any] = {
        "arguments": args.to_dict(),
        "devices": _device_facts(args),
        "precision": "bf16" if args.bf16 else "fp16" if args.fp16 else "fp32",
        "seed": args.seed,
    }
    if state is not None and state.max_steps:
        facts["max_steps"] = state.max_steps
        facts["train_batch_size_total"] = (
            args.train_batch_size * args.gradient_accumulation_steps * max(1, args.world_size)
        )
    if model is not None:
        facts["model"] = _model_facts(model)
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
