"""Guard: after the training's end nothing of W&B may take for ever; a thread that looks whether anything moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import psutil

__all__ = ["Guard", "bytes_moved"]

PATIENCE_S = 300.0
"""How long nothing may move after the training's end."""
_LONGEST_S = 24 * 3600.0
_LOOK_S = 0.5
_MOVED_BYTES = 8 << 10  # between two looks; less is the helper's own log, where a server does not answer
_UPLOAD_BYTES_S = 64 << 10  # less is no checkpoint on its way, but something that is tried again and again


class Moving(Protocol):
    """What is looked at."""

    beats: int
    core: psutil.Process | None

    @property
    def uploading(self) -> bool:
        """Whether a checkpoint is on its way."""


class Guard:
    """Ends the process where nothing has moved for long.

    Parameters
    ----------
    host : Moving
    say : callable
        Told ``wandb="upload"`` while a checkpoint is on its way: what a training's end may wait for.
    give_up : callable
        Told why; it does not come back.
    patience : float
        Seconds.
    """

    def __init__(
        self, host: Moving, say: Callable[..., None], give_up: Callable[[str], None], patience: float = PATIENCE_S
    ) -> None:
        self._host, self._say, self._give_up, self._patience = host, say, give_up, patience
        self._bytes = self._moved = 0
        self._beats = -1

    def begin(self) -> None:
        """Begin to look: the training has ended."""
        threading.Thread(target=self._look, name="hf_monitor W&B guard", daemon=True).start()

    def _look(self) -> None:
        begun = moved = time.monotonic()
        while True:
            now = time.monotonic()
            if self._has_moved():
                moved = now
            if self._moved >= _UPLOAD_BYTES_S * _LOOK_S and self._host.uploading:
                self._say(wandb="upload")
            if now - moved > self._patience or now - begun > _LONGEST_S:
                self._give_up(f"nothing moved for {now - moved:.0f} s")
            time.sleep(_LOOK_S)

    def _has_moved(self) -> bool:
        beats, self._beats = self._beats, self._host.beats
        before, self._bytes = self._bytes, bytes_moved(psutil.Process(), self._host.core)
        self._moved = self._bytes - before if before else 0
        return beats != self._beats or self._moved >= _MOVED_BYTES


def bytes_moved(mirror: psutil.Process, core: psutil.Process | None) -> int:
    """Give what wandb's helper has written, to sockets too, and a mirror has read, as for checksums; Linux tells."""
    moved = 0
    with suppress(psutil.Error, AttributeError):
        moved += int(mirror.io_counters().read_chars)
        moved += int(core.io_counters().write_chars) if core is not None else 0
    return moved
