"""Tail: of a file of rows that somebody else is writing, only what came since the last look."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hf_monitor.run.rows import decode_line

__all__ = ["PIECE_BYTES", "Tail"]

PIECE_BYTES = 1 << 20
"""How much is read at once: a long file is read in pieces, so that whoever reads it can do something in between."""
_MARK_BYTES = 64


class Tail:
    r"""A ``.jsonl`` file, read on from where it was read last.

    A last line without its ``\n`` is left for the next look, when the rest of it may be there. The file is not kept
    open and never written. It may not be there yet, or no longer. Where it is another one than before (replaced, cut
    short, or with other bytes before the place where it was read to), it is read from its beginning: :attr:`restarts`
    counts that, and rows handed out before are then no longer those of the file.

    Parameters
    ----------
    path : path-like

    Attributes
    ----------
    offset : int
        Bytes that were read; the next line begins there.
    broken_lines : int
        Lines that are no JSON object.
    restarts : int
        How often the file had become another one.
    behind : int
        Bytes that were there at the last look and not read.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.offset = self.broken_lines = self.restarts = self.behind = 0
        self._seen: tuple[int, ...] | None = None  # device, inode, size and time of change when all was read
        self._file: tuple[int, int] | None = None
        self._mark = b""  # the bytes before `offset`

    def lines(self, most: int = PIECE_BYTES) -> list[bytes]:
        r"""Read complete lines that are not blank, without their ``\n``.

        Parameters
        ----------
        most : int
            Bytes to read at most; more where one line is longer. :attr:`behind` says whether there is more.

        Returns
        -------
        list of bytes
            Empty where nothing came, or there is no file.

        Raises
        ------
        OSError
            As the operating system says, but for a file that is not there.
        """
        try:
            stat = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self.behind = None, 0
            return []
        now = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if now == self._seen:
            return []
        if self._file not in (None, now[:2]) or stat.st_size < self.offset:
            self._restart()
        self._file = now[:2]
        with self.path.open("rb") as file:
            data = self._next(file, most)
        end = data.rfind(b"\n") + 1
        self.offset += end
        self._mark = (self._mark[-_MARK_BYTES:] + data[max(end - _MARK_BYTES, 0) : end])[-_MARK_BYTES:]
        self.behind = max(stat.st_size - self.offset, 0)
        torn = len(data) - end
        # What is left is a torn line, or nothing: until the size changes there is nothing to read.
        self._seen = now if self.behind <= torn else None
        if self._seen:
            self.behind = 0
        return [line for line in data[:end].split(b"\n") if line.strip()]

    def rows(
        self, select: Callable[[list[bytes]], Iterable[bytes]] | None = None, most: int = PIECE_BYTES
    ) -> list[dict[str, Any]]:
        """Read rows, as :func:`decode_line` gives them; broken lines are counted and passed by.

        Parameters
        ----------
        select : callable, optional
            Chooses among the lines before they are decoded.
        most : int
            As for :meth:`lines`.

        Raises
        ------
        OSError
            As :meth:`lines` does.
        """
        lines = self.lines(most)
        found = []
        for line in lines if select is None else select(lines):
            try:
                found.append(decode_line(line))
            except ValueError:  # of orjson, too
                self.broken_lines += 1
        return found

    def skip(self, keep: int) -> None:
        """Pass by all but about the last `keep` bytes, from the beginning of a line on; nothing where there are fewer.

        Raises
        ------
        OSError
            As :meth:`lines` does.
        """
        try:
            size = self.path.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return
        if size - keep <= self.offset:
            return
        with self.path.open("rb") as file:
            file.seek(size - keep)
            passed = len(file.readline())
            self.offset = size - keep + passed
            file.seek(max(self.offset - _MARK_BYTES, 0))
            self._mark = file.read(min(_MARK_BYTES, self.offset))

    def _next(self, file: Any, most: int) -> bytes:
        """Give the bytes from `offset` on: at most so many, but a whole line at least where there is one."""
        file.seek(self.offset - len(self._mark))
        if file.read(len(self._mark)) != self._mark:
            self._restart()
            file.seek(0)
        pieces = [file.read(most)]
        while pieces[-1] and b"\n" not in pieces[-1]:
            pieces.append(file.read(most))
        return b"".join(pieces)

    def _restart(self) -> None:
        self.restarts += 1
        self.offset = self.broken_lines = 0
        self._mark = b""
