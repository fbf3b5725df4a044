"""Lines that could not be written yet, in memory until they can."""

from __future__ import annotations

import os

__all__ = ["KEPT_BYTES", "RETRY_SECONDS", "Backlog"]

KEPT_BYTES = 8 * 2**20
"""How many bytes of a file's lines wait in memory at most."""

RETRY_SECONDS = 1.0
"""How long a file that fails is left alone, so that trying does not slow a training."""


class Backlog:
    """Whole lines in order; the oldest are given up, and counted, where there are too many.

    A process forked from the one that kept them has a copy, which is nothing: see :meth:`is_copy`.

    Attributes
    ----------
    lost : int
        Lines given up.
    """

    __slots__ = ("_head", "_limit", "_lines", "_pid", "lost")

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._limit = limit
        self._lines = bytearray()
        self._head = 0  # so many bytes of the first line are in the file already: a nearly full disk takes a part
        self._pid = -1
        self.lost = 0

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        """How many lines wait."""
        return self._lines.count(b"\n")

    @property
    def is_copy(self) -> bool:
        """Whether these lines are another process's, which writes them itself."""
        return bool(self._lines) and self._pid != os.getpid()

    @property
    def begun(self) -> bool:
        """Whether a part of the first line is in the file."""
        return self._head > 0

    def keep(self, lines: bytes) -> None:
        r"""Add complete lines (ending with ``\n``)."""
        self._pid = os.getpid()
        self._lines += lines
        excess = len(self._lines) - self._limit
        if excess > 0:
            # A line of which a part is in the file stays, else what comes next would go on in the middle of it.
            first = self._lines.find(b"\n") + 1 if self._head else 0
            cut = self._lines.find(b"\n", first + excess - 1) + 1 or len(self._lines)
            self.lost += self._lines.count(b"\n", first, cut)
            del self._lines[first:cut]

    def put_first(self, lines: bytes) -> None:
        """Add lines that come before those that wait, for a file that holds none of them."""
        waiting, self._lines, self._head = self._lines, bytearray(), 0
        self.keep(lines)
        self.keep(bytes(waiting))

    def unwritten(self) -> bytes:
        """Give what is to be written next."""
        return bytes(self._lines[self._head :])

    def advance(self, written: int) -> bytes:
        """Take out the lines that are whole in the file, now that `written` more bytes are in it, and give them."""
        reached = self._head + written
        cut = self._lines.rfind(b"\n", 0, reached) + 1
        done = bytes(self._lines[:cut])
        del self._lines[:cut]
        self._head = reached - cut
        return done

    def start_line_anew(self) -> None:
        """Forget how much of the first line was written: the file is no longer known to end with it."""
        self._head = 0

    def clear(self) -> None:
        """Give up all lines, uncounted."""
        self._lines.clear()
        self._head = 0
