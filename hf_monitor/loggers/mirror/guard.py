"""Guard: after the training's end nothing of W&B may take for ever; a thread that looks whether anything moves."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

import psutil

__all__ = ["Guard"]

PATIENCE_S = 300.0
"""How long nothing may move after the training's end."""
_LONGEST_S = 24 * 3600.0
_LOOK_S = 0.5
_WINDOW_S = 5.0
_MOVED_BYTES = 32 << 10  # in the window; less is the helper's own log, where a server does not answer


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
        self._written: deque[tuple[float, int]] = deque()
        self._beats = -1

    def begin(self) -> None:
        """Begin to look: the training has ended."""
        threading.Thread(target=self._look, name="hf_monitor W&B guard", daemon=True).start()

    def _look(self) -> None:
        begun = moved = time.monotonic()
        while True:
            now = time.monotonic()
            if self._has_moved(now):
                moved = now
                self._say(wandb="progress")
            if now - moved > self._patience or now - begun > _LONGEST_S:
                self._give_up(f"nothing moved for {now - moved:.0f} s")
            time.sleep(_LOOK_S)

    def _has_moved(self, now: float) -> bool:
        beats, self._beats = self._beats, self._host.beats
        written = _written_by(self._host.core)
        if written is None:
            self._written.clear()
        else:
            self._written.append((now, written))
            while self._written[0][0] < now - _WINDOW_S:
                self._written.popleft()
        grown = self._written[-1][1] - self._written[0][1] if self._written else 0
        return beats != self._beats or grown >= _MOVED_BYTES


def _written_by(core: psutil.Process | None) -> int | None:
    """Give the bytes that wandb's helper has written, to whatever: sockets count only there (Linux)."""
    try:
        if core is not None:
            return int(core.io_counters().write_chars)
    except (psutil.Error, AttributeError):
        pass
    return None
