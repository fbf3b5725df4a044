"""Guard: after the training's end nothing of W&B may take for ever; a thread that looks whether anything moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

import psutil

__all__ = ["Guard"]

PATIENCE_S = 300.0
"""How long nothing may move after the training's end."""
_LONGEST_S = 24 * 3600.0
_LOOK_S = 0.5
_MOVED_BYTES = 8 << 10  # between two looks; less is the helper's own log, where a server does not answer


class Moving(Protocol):
    """What is looked at."""

    beats: int
    core: psutil.Process | None


class Guard:
    """Ends the process where nothing has moved for long.

    Parameters
    ----------
    host : Moving
    say : callable
        Told ``wandb="progress"`` while something moves.
    give_up : callable
        Told why; it does not come back.
    patience : float
        Seconds.
    """

    def __init__(
        self, host: Moving, say: Callable[..., None], give_up: Callable[[str], None], patience: float = PATIENCE_S
    ) -> None:
        self._host, self._say, self._give_up, self._patience = host, say, give_up, patience
        self._bytes = 0
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
                self._say(wandb="progress")
            if now - moved > self._patience or now - begun > _LONGEST_S:
                self._give_up(f"nothing moved for {now - moved:.0f} s")
            time.sleep(_LOOK_S)

    def _has_moved(self) -> bool:
        beats, self._beats = self._beats, self._host.beats
        moved, self._bytes = self._bytes, _bytes_moved(self._host.core)
        return beats != self._beats or self._bytes - moved >= _MOVED_BYTES


def _bytes_moved(core: psutil.Process | None) -> int:
    """Give what wandb's helper has written, to sockets too, and what we have read, as for checksums; Linux tells."""
    moved = 0
    with suppress(psutil.Error, AttributeError):
        moved += int(psutil.Process().io_counters().read_chars)
        moved += int(core.io_counters().write_chars) if core is not None else 0
    return moved
