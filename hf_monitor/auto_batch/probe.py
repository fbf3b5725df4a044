"""Find the largest batch that fits, by real steps at their worst, few of them, leaving no trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hf_monitor.auto_batch.shapes import Precision, ProbeResult
from hf_monitor.seq2seq.batches import MakeBatch

__all__ = ["find_optimal_batch_size", "probe_batch_size"]


def find_optimal_batch_size(model: Any, device: Any = None, safe_factor: float = 0.95, **options: Any) -> int:
    """Give the largest batch size: ``probe_batch_size(...).batch_size``."""
    return probe_batch_size(model, device, safe_factor, **options).batch_size


def probe_batch_size(
    model: Any,
    device: Any = None,
    safe_factor: float = 0.95,
    *,
    source_length: int | None = None,
    target_length: int | None = None,
    memory_limit: int | None = None,
    tokenizer: Any = None,
    dataset: Any = None,
    collator: Any = None,
    length_quantile: float = 1.0,
    max_batch_size: int = 1024,
    precision: Precision = "fp32",
    gradient_checkpointing: bool = False,
    optimizer: str | Callable[..., Any] = "adamw_torch_fused",
    accumulation: bool = True,
    max_grad_norm: float = 1.0,
    label_smoothing: float = 0.0,
    ddp_bucket_bytes: int = 0,
    make_batch: MakeBatch | None = None,
    evaluation: dict[str, Any] | None = None,
    estimate: bool = True,
    repeats: int = 1,
) -> ProbeResult:
    """Probe a seq2seq model."""
    raise NotImplementedError
