"""Mirror: the training's end of the mirror."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from hf_monitor.loggers.mirror.spec import MirrorSpec

__all__ = ["Mirror", "ProcessMirror", "ThreadMirror"]

WAIT_S = 8.0
"""How long the end of a training waits for what is still being sent, where nothing moves."""


class Mirror(Protocol):
    """What a callback or logger holds. No method raises, and none waits longer than it is told."""

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""

    def start(self) -> None:
        """Begin; what becomes known (url, offline and why) is announced later."""

    def drain(self, seconds: float) -> bool:
        """Wait until all that was written into the folder so far has been told to wandb; False where time ran out."""

    def finish(self, exit_code: int | None = None, seconds: float = WAIT_S) -> None:
        """End it; `exit_code` None means "as the rows say". What cannot be sent in time goes on without us."""


class ProcessMirror:
    """A process of its own has the W&B run."""

    def __init__(self, spec: MirrorSpec, announce: Callable[[str], None]) -> None:
        raise NotImplementedError


class ThreadMirror:
    """A thread of this process tells a run that the user has opened; the run is never finished here."""

    def __init__(self, spec: MirrorSpec, run: Any, announce: Callable[[str], None]) -> None:
        raise NotImplementedError
