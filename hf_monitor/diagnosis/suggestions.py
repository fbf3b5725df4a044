"""What to do about a finding, as the run's own arguments have it: never what is set already."""

from __future__ import annotations

from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.thresholds import (
    BUSY_HOST_PERCENT,
    FEW_WORKERS,
    MEMORY_EDGE_SHARE,
    TEXT_COLUMNS,
    USUAL_WORKERS,
)

__all__ = ["can_bf16", "for_data", "for_memory_edge", "for_memory_headroom", "for_speed"]


def for_data(known: Known) -> tuple[str, ...]:
    """Suggest how batches can be made faster."""
    return tuple(filter(None, (_workers(known), _cached_samples(known), _pinned(known))))


def for_speed(known: Known, gpu: int | None) -> tuple[str, ...]:
    """Suggest how the same steps can take less computing."""
    return tuple(filter(None, (_bf16(known, gpu), _by_length(known))))


def for_memory_edge(known: Known, gpu: int | None, *, kept_share: float) -> tuple[str, ...]:
    """Suggest what needs less memory.

    Parameters
    ----------
    known : Known
    gpu : int
    kept_share : float
        Of the card's memory, what torch's allocator keeps without a tensor in it.
    """
    allocator = (
        "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True (much of it is kept by the allocator and in no tensor)"
        if kept_share > 1 - MEMORY_EDGE_SHARE
        else None
    )
    found = (allocator, _checkpointing(known), _smaller_batch(known), _bf16(known, gpu), _by_length(known))
    return tuple(filter(None, found))


def for_memory_headroom(known: Known, peak_share: float) -> tuple[str, ...]:
    """Suggest how memory that lies idle buys speed."""
    name = _checkpointing_name(known)
    off = f"{name}=False (it saves memory that is not short, and costs about a fifth of the speed)"
    return tuple(filter(None, (off if known.config.get(name) is True else None, _larger_batch(known, peak_share))))


def _workers(known: Known) -> str | None:
    workers = number(known.config.get("dataloader_num_workers"))
    cores = known.cpu_count
    if workers is None or workers > FEW_WORKERS or cores is None:
        return None
    used = known.host.numbers("cpu_percent", 100.0)
    if used and sum(used) / len(used) >= BUSY_HOST_PERCENT:
        return None  # no core is left for them
    advised = min(USUAL_WORKERS, cores // known.world_size - 1)
    if advised <= workers:
        return None
    now = "it is 0: the training process makes the batches itself" if workers == 0 else f"it is {workers:.0f}"
    return f"dataloader_num_workers={advised} ({now}; the machine has {cores} cores)"


def _cached_samples(known: Known) -> str | None:
    data = mapping(mapping(known.fact("data")).get("train"))
    found = data.get("columns")
    columns = [column.lower() for column in found if isinstance(column, str)] if isinstance(found, list) else []
    if "input_ids" in columns:
        return None
    if any(word in column for column in columns for word in TEXT_COLUMNS):
        return (
            "tokenize before the training with dataset.map(..., batched=True), which keeps the result on the disk "
            "(not in set_transform, the collator or __getitem__, which do it anew in every epoch)"
        )
    where = f"{data['class']}.__getitem__" if not columns and isinstance(data.get("class"), str) else "__getitem__"
    transform = "the transform" if columns else where
    return (
        f"look at what {transform} and the collator do for each sample (reading files, decoding, tokenizing), and "
        "do it once before the training where it is the same in every epoch"
    )


def _pinned(known: Known) -> str | None:
    off = known.on_cuda and known.config.get("dataloader_pin_memory") is False
    return "dataloader_pin_memory=True (it is off; copies to the GPU then run beside the computing)" if off else None


def _bf16(known: Known, gpu: int | None) -> str | None:
    config = known.config
    if gpu is None or not config or config.get("bf16") or config.get("fp16"):
        return None
    if known.fact("precision") in ("bf16", "fp16"):
        return None
    return "bf16=True (the card computes in it, and it is off)" if can_bf16(known, gpu) else None


def can_bf16(known: Known, gpu: int) -> bool:
    """Whether a card is known to compute in bf16."""
    info = known.gpu_info(gpu)
    if isinstance(info.get("bf16"), bool):
        return bool(info["bf16"])
    capability = info.get("compute_capability")
    if isinstance(capability, str):  # as the facts have it: "8.9"
        capability = [int(part) for part in capability.split(".") if part.isdecimal()]
    # 8.0 (Ampere) is the first with bf16 in hardware.
    return isinstance(capability, list) and bool(capability) and (number(capability[0]) or 0.0) >= 8.0


def _by_length(known: Known) -> str | None:
    config = known.config
    if "train_sampling_strategy" in config:
        free = config["train_sampling_strategy"] == "random"
        return 'train_sampling_strategy="group_by_length" (less padding)' if free else None
    return "group_by_length=True (less padding)" if config.get("group_by_length") is False else None


def _checkpointing_name(known: Known) -> str:
    """Give the argument's name: transformers 5.23 renamed it, and the old name mirrors the new one there."""
    name = "activation_checkpointing"
    return name if name in known.config else "gradient_checkpointing"


def _checkpointing(known: Known) -> str | None:
    name = _checkpointing_name(known)
    off = known.config.get(name) is False
    return f"{name}=True (gradient checkpointing: much less memory, steps about a fifth slower)" if off else None


def _batch(known: Known) -> tuple[int, int] | None:
    """Give batch size and gradient accumulation; None where they are not known."""
    batch = number(known.config.get("per_device_train_batch_size"), 1.0, 1e6)
    accumulation = number(known.config.get("gradient_accumulation_steps"), 1.0, 1e6)
    return None if batch is None or accumulation is None else (int(batch), int(accumulation))


def _smaller_batch(known: Known) -> str | None:
    found = _batch(known)
    if found is None or found[0] < 2:
        return None
    total = found[0] * found[1]
    batch = next(size for size in range(found[0] // 2, 0, -1) if total % size == 0)
    return _batch_words(batch, total // batch, total)


def _larger_batch(known: Known, peak_share: float) -> str | None:
    """Memory is a fixed part and one that grows with the batch, so that ``budget / peak`` times the batch fits."""
    found = _batch(known)
    if found is None or peak_share <= 0:
        return None
    batch, accumulation = found
    # Where hardly any memory is used the rule of three would promise the moon: a factor of 8 at a time is enough.
    most = int(batch * min(8.0, MEMORY_EDGE_SHARE / peak_share))
    total = batch * accumulation
    kept = next((size for size in range(min(most, total), batch, -1) if total % size == 0), None)
    if kept is not None:
        return _batch_words(kept, total // kept, total)
    if accumulation > 1 or most <= batch:
        return None
    return (
        f"per_device_train_batch_size={most} (it is {batch}; this changes the effective batch, so that the learning "
        "rate wants another look)"
    )


def _batch_words(batch: int, accumulation: int, total: int) -> str:
    return (
        f"per_device_train_batch_size={batch}, gradient_accumulation_steps={accumulation} "
        f"(the effective batch stays {total} a device)"
    )
