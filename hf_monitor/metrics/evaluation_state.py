"""What `TextMetrics` holds between the begin and the end of one evaluation."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.metrics.decoding import Ending

__all__ = ["DecodedSoFar", "Inputs", "Link", "error_words", "world_size"]

Inputs = Callable[[int], Any] | Sequence[Any]


@dataclass(frozen=True)
class Link:
    """What a callback knows about the evaluation that comes next."""

    n_samples: int | None = None
    inputs: Inputs | None = None
    references: Sequence[Any] | None = None
    references_from: str = "given texts"
    name: str = ""
    ending: Ending | None = None
    on_problem: Callable[[str], None] | None = None


@dataclass
class DecodedSoFar:
    """Texts of the evaluation that is under way; several batches with ``batch_eval_metrics=True``."""

    predictions: list[str] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    ended: list[bool | None] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    labels_ended: list[bool | None] = field(default_factory=list)
    beyond: int = 0


def error_words(error: Exception) -> str:
    """Our own errors are sentences; others need their type to be understood."""
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def world_size() -> int:
    """Give the number of processes, from torch if it is initialised, else from the launcher's environment."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_world_size())
    try:
        return int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 1
