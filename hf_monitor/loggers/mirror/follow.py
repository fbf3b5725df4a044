"""Follower: what is new in a run folder goes to an :class:`~hf_monitor.loggers.mirror.apply.Applier`, in its order."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hf_monitor.loggers.mirror.spec import ORDERS, MirrorSpec
from hf_monitor.loggers.mirror.told import Told
from hf_monitor.run.rows import decode_line
from hf_monitor.run.tail import Tail

__all__ = ["Follower", "Receiver"]

_ATTEMPT = b'"attempt":'
_HEAD_BYTES = 80  # of a line: time and attempt come first
_LATER = float("inf")
_STAMP = "%Y-%m-%d %H:%M:%S"
_LOG_BYTES = 1 << 18
_LOG_LINE_BYTES = 8192  # of a line that is longer than all of the above
_LOG_CUT = " ... (the line is cut; train.log has it whole)\n"


class Receiver(Protocol):
    """What a follower tells; :class:`~hf_monitor.loggers.mirror.apply.Applier` is one."""

    @property
    def step(self) -> int:
        """The last step that was used in W&B."""

    def row(self, line: int, row: dict[str, Any]) -> None:
        """Tell a row of ``metrics.jsonl``."""

    def predictions(self, rows: list[dict[str, Any]]) -> None:
        """Tell the texts of one evaluation."""

    def order(self, order: dict[str, Any], sent: Callable[[], None]) -> None:
        """Do what ``wandb.jsonl`` asks for; `sent` is called when a checkpoint is in W&B."""

    def logs(self, text: str) -> None:
        """Tell what came in ``train.log``."""


class Follower:
    """Reads on in ``metrics.jsonl``, ``predictions.jsonl``, ``wandb.jsonl`` and ``train.log`` of a run folder.

    What lies beside the rows is told where it was written, by the time that each of its rows carries; so tables and
    pictures come to the same place among the rows when a whole run is sent later.

    Parameters
    ----------
    spec : MirrorSpec
    told : Told
        What W&B has already of what is no row.
    since : float
        Epoch seconds: lines of ``train.log`` from then on are told, unless `log_offset` is given.
    log_offset : int, optional
        Bytes of ``train.log`` that were told.
    logs : bool
        Whether ``train.log`` is told.
    emptied : pair of int and float
        What :attr:`emptied` was when the folder was followed before.

    Attributes
    ----------
    lines : int
        Lines of ``metrics.jsonl`` so far.
    log_offset : int
        Bytes of ``train.log`` that are told; -1 before the first look.
    emptied : pair of int and float
        Where the folder was emptied during the run: how many lines had come by then, and the time of the last one.
        W&B's steps go on from there.
    """

    def __init__(
        self,
        spec: MirrorSpec,
        told: Told,
        *,
        since: float = 0.0,
        log_offset: int = -1,
        logs: bool = True,
        emptied: tuple[int, float] = (0, 0.0),
    ) -> None:
        self.spec, self._told, self._since = spec, told, since
        self._attempts = frozenset(spec.attempts)
        self._metrics = Tail(spec.folder / "metrics.jsonl")
        self._beside = (_Predictions(spec.folder, self._attempts), _Orders(spec.folder, self._attempts))
        self._log = _Log(spec.folder / "train.log", log_offset) if logs else None
        self._restarts = 0
        self._shown = 0.0  # time of the last row that was told
        self.emptied = emptied
        self.lines = emptied[0]

    @property
    def log_offset(self) -> int:
        """Bytes of ``train.log`` that are told; -1 before the first look."""
        return -1 if self._log is None else self._log.offset

    def poll(self, to: Receiver, *, last: bool = False) -> int:
        """Tell what is new.

        Parameters
        ----------
        to : Receiver
        last : bool
            Whether nothing comes any more: then the last evaluation's texts are complete.

        Returns
        -------
        int
            How many rows, tables and so on were told.

        Raises
        ------
        OSError
            If a file cannot be read.
        """
        count = 0
        for stream in self._beside:
            stream.look_again()
        while True:
            lines = self._metrics.lines()
            self._numbers_go_on()
            for line in lines:
                self.lines += 1
                row = _decoded(line, self._attempts)
                if row is None or not self._is_new(row):
                    continue
                count += self._tell_beside(to, _time_of(row))
                to.row(self.lines, row)
                self._shown = _time_of(row)
                count += 1
            if not self._metrics.behind:
                break
        count += self._tell_beside(to, _LATER, last=last)
        while self._log is not None and (text := self._log.text(self._since)):
            to.logs(text)
        return count

    def _numbers_go_on(self) -> None:
        """Where the file has become another one (it was deleted, and is filled again), W&B's steps still ascend."""
        if self._metrics.restarts != self._restarts:
            self._restarts = self._metrics.restarts
            self.emptied = self.lines, self._shown

    def _is_new(self, row: dict[str, Any]) -> bool:
        # Into a file that was deleted the rows of the last second are written again.
        return _time_of(row) > self.emptied[1]

    def _tell_beside(self, to: Receiver, before: float, *, last: bool = False) -> int:
        count = 0
        while True:
            heads = [(head[0], number) for number, one in enumerate(self._beside) if (head := one.head(last))]
            if not heads or min(heads)[0] >= before:
                return count
            stream = self._beside[min(heads)[1]]
            _, key, value = stream.take()
            if not self._told.has(key):
                self._tell(to, key, value)
                count += 1

    def _tell(self, to: Receiver, key: str, value: Any) -> None:
        if isinstance(value, list):
            to.predictions(value)
            self._told.put(key, to.step, "predictions")
            return
        do = str(value.get("do"))
        to.order(value, partial(self._told.put, key, to.step, do))
        if do != "checkpoint":
            self._told.put(key, to.step, do)

    def ended_well(self) -> None:
        """Note that the W&B run was finished, and has all that was told."""
        self._told.ended_well()


class _Beside:
    """Things with a time, in the order of their file."""

    name = ""

    def __init__(self, folder: Path, attempts: Collection[int]) -> None:
        self._tail = Tail(folder / self.name)
        self._attempts = attempts
        self._ready: list[tuple[float, str, Any]] = []
        self._dry = False
        self._line = 0

    def look_again(self) -> None:
        """Read on at the next :meth:`head`: a new poll has begun."""
        self._dry = False

    def head(self, last: bool) -> tuple[float, str, Any] | None:
        """Give what is next: time, key, and what it is; None where nothing is complete."""
        while not self._ready and not self._dry:
            lines = self._tail.lines()
            self._dry = not self._tail.behind
            for line in lines:
                self._line += 1
                row = _decoded(line, self._attempts)
                if row is not None:
                    self._add(row)
            self._after(bool(lines), last)
        if last and not self._ready:
            self._after(False, last)
        return self._ready[0] if self._ready else None

    def take(self) -> tuple[float, str, Any]:
        """Take the next one out."""
        return self._ready.pop(0)

    def _add(self, row: dict[str, Any]) -> None:
        raise NotImplementedError

    def _after(self, came: bool, last: bool) -> None:
        """Do what is to be done when the file was read to where it goes now."""


class _Orders(_Beside):
    name = ORDERS

    def _add(self, row: dict[str, Any]) -> None:
        self._ready.append((_time_of(row), f"order {self._line}", row))


class _Predictions(_Beside):
    """Rows of one evaluation together: complete when others follow, or when a later look brings no more of them."""

    name = "predictions.jsonl"

    def __init__(self, folder: Path, attempts: Collection[int]) -> None:
        super().__init__(folder, attempts)
        self._group: list[dict[str, Any]] = []
        self._begun = 0  # its first line

    def _add(self, row: dict[str, Any]) -> None:
        if self._group and _of(self._group[0]) != _of(row):
            self._close()
        if not self._group:
            self._begun = self._line
        self._group.append(row)

    def _after(self, came: bool, last: bool) -> None:
        if self._group and self._dry and (last or not came):
            self._close()

    def _close(self) -> None:
        self._ready.append((_time_of(self._group[-1]), f"predictions {self._begun}", self._group))
        self._group = []


def _of(row: dict[str, Any]) -> tuple[Any, ...]:
    # Two evaluations may have one step and name; all rows of one have the same time.
    return row.get("attempt"), row.get("step"), row.get("name"), row.get("time")


def _time_of(row: dict[str, Any]) -> float:
    found = row.get("time")
    return float(found) if isinstance(found, int | float) else 0.0


def _decoded(line: bytes, attempts: Collection[int]) -> dict[str, Any] | None:
    """Decode a line of one of these attempts; None for others, and where it is broken."""
    at = line.find(_ATTEMPT, 0, _HEAD_BYTES)
    if at >= 0:
        number = line[at + len(_ATTEMPT) : at + len(_ATTEMPT) + 12].split(b",")[0]
        if number.isdigit() and int(number) not in attempts:
            return None
    try:
        row = decode_line(line)
    except ValueError:
        return None
    return row if row.get("attempt") in attempts else None


class _Log:
    """The text of ``train.log`` from a time on, in whole lines; of one without an end only the beginning."""

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self.offset = path, offset
        self._passes_over = False  # the rest of such a line

    def text(self, since: float) -> str:
        try:
            size = self._path.stat().st_size
            if size == self.offset:
                return ""
            with self._path.open("rb") as file:
                if self.offset < 0:
                    self.offset = sum(map(len, _earlier(file, since)))
                if size < self.offset:  # another file
                    self.offset, self._passes_over = 0, False
                file.seek(self.offset)
                while self._passes_over and (data := file.readline(_LOG_BYTES)):
                    self.offset += len(data)
                    self._passes_over = not data.endswith(b"\n")
                data = file.read(_LOG_BYTES)
        except OSError:
            return ""
        end = data.rfind(b"\n") + 1
        if not end and len(data) == _LOG_BYTES:
            self.offset, self._passes_over = self.offset + len(data), True
            return data[:_LOG_LINE_BYTES].decode("utf-8", "ignore") + _LOG_CUT
        self.offset += end
        return data[:end].decode("utf-8", "replace")


def _earlier(lines: Iterator[bytes], since: float) -> Iterator[bytes]:
    """Give the lines before the first one with a time from `since` on."""
    begin = time.strftime(_STAMP, time.localtime(since)).encode() if since else b""
    for line in lines:
        if not since or (line[:2] == b"20" and line[4:5] == b"-" and line[: len(begin)] >= begin):
            return
        yield line
