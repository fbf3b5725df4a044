"""A training in W&B, from the training's own process: what is shown beside the rows, until it is finished.

It holds the writer and no recorder, so that a Trainer and its data sets can go before the process ends.
"""

from __future__ import annotations

import logging
import time
import weakref
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_monitor.callbacks._exit import before_exit, no_more_before_exit
from hf_monitor.callbacks._report import described
from hf_monitor.loggers.mirror import orders
from hf_monitor.loggers.mirror.link import Link
from hf_monitor.loggers.mirror.staging import as_it_is
from hf_monitor.loggers.mirror.wishes import Wishes
from hf_monitor.run.trouble import reason_of
from hf_monitor.run.writer import RunWriter

__all__ = ["MirroredTraining", "finish_those_that_ended"]

log = logging.getLogger("hf_monitor")

_all: weakref.WeakSet[MirroredTraining] = weakref.WeakSet()


def finish_those_that_ended(writer: RunWriter) -> None:
    """Finish the W&B runs of trainings that ended in this process: another one begins, which is recorded by `writer`.

    An evaluation before it that is not told yet is in its attempt, and will be in its run.
    """
    for one in list(_all):
        if one.owed and one.link.writer is writer:
            one.forget()
        elif one.ended:
            one.settle(for_good=one.link.writer is writer or one.link.is_over)


class MirroredTraining:
    """The W&B run of an attempt.

    Parameters
    ----------
    writer : RunWriter
    wishes : Wishes

    Attributes
    ----------
    link : Link
    ended : bool
        Whether the training has ended; that of an evaluation alone always has.
    owed : bool
        Whether the run is yet to be opened, at the end: see :meth:`owe`.
    at_end : tuple or None
        Checkpoint and step, to be sent at the end.
    """

    def __init__(self, writer: RunWriter, wishes: Wishes) -> None:
        self.link = Link(writer, wishes)
        self.ended = False
        self.owed = False
        self.at_end: tuple[Path, int] | None = None
        self._step = 0
        self._began_ns = time.time_ns() - 10**9  # some file systems know no better time
        self._shown: dict[Path, tuple[int, int]] = {}  # when it was changed, and a checksum
        _all.add(self)

    @property
    def is_open(self) -> bool:
        """Whether W&B is told, or will be, or cannot be."""
        return self.owed or self.link.is_open or self.link.failed

    def open(self, *, resumed: bool, known: Mapping[str, Any] | None = None) -> None:
        """Begin to tell W&B; `known` is what the checkpoint has of :attr:`Link.kept`."""
        self.owed = False
        self.link.open(resumed=resumed, known=known)
        before_exit(self, last=True)

    def owe(self) -> None:
        """Tell W&B at the end only, of an evaluation in a folder with W&B runs.

        It belongs to the last one of them, unless a training comes in the same attempt, which may begin another one.
        """
        self.owed = self.ended = True
        before_exit(self, last=True)

    def forget(self) -> None:
        """Owe nothing."""
        self.owed = False
        no_more_before_exit(self)

    def goes_on(self, known: str | None) -> bool:
        """Whether a training that begins is in this run: an evaluation before it, in its attempt, has opened it."""
        mine = self.link.is_open and self.link.attempt == self.link.writer.attempt and known in (None, self.link.id)
        if mine:
            self.ended = False
        return mine

    def saved(self, checkpoint: Path, step: int, *, send: bool) -> None:
        """Hear of a checkpoint to be sent, now or at the end, where it takes the place of the one before."""
        if send:
            self._send(checkpoint, step, [f"step-{step}", "latest"], weights_only=False)
        else:
            self.at_end = checkpoint, step

    def _send(self, checkpoint: Path, step: int, aliases: list[str], *, weights_only: bool) -> None:
        try:
            self.link.checkpoint(checkpoint, aliases, step, weights_only=weights_only)
        except OSError as error:
            self.link.say("checkpoint", f"{str(checkpoint)!r} is not sent to W&B: {reason_of(error)}.")

    def end(self, step: int) -> None:
        """Show what a training leaves: its checkpoint, pictures and page."""
        self.ended, self._step = True, max(step, self._step)
        self.show()
        self.link.drain()

    def show(self) -> None:
        """Show what is new: the checkpoint that is to be sent at the end, the pictures, the page."""
        if self.at_end is not None:
            (checkpoint, step), self.at_end = self.at_end, None
            self._send(checkpoint, step, ["best"], weights_only=True)
        folder = self.link.writer.run_dir
        plots = folder / "plots"
        found = [path for path in sorted(plots.rglob("*.png")) if self._is_new(path)]
        if found:
            pictures = {path.relative_to(plots).with_suffix("").as_posix(): self._kept(path) for path in found}
            self.link.order(orders.images(pictures, self._step))
        page = folder / "report.html"
        if self._is_new(page):
            self.link.order(orders.html("report", self._kept(page), self._step))

    def _kept(self, path: Path) -> Path:
        writer = self.link.writer
        return as_it_is(path, writer.run_dir, f"{self.link.attempt}-{self._step}")

    def _is_new(self, path: Path) -> bool:
        """Whether a file is of this training and not as it was shown: the page is often written anew, the same."""
        try:
            changed = path.stat().st_mtime_ns
            before, checksum = self._shown.get(path, (self._began_ns, -1))
            if changed <= before:
                return False
            now = zlib.crc32(path.read_bytes())
        except OSError:
            return False
        self._shown[path] = changed, now
        return now != checksum

    def settle(self, exit_code: int | None = None, *, for_good: bool = False) -> None:
        """Show what is new and finish; never raises.

        A run that the user has open is told on, unless it is `for_good`: nobody could say later what it was told.
        """
        no_more_before_exit(self)
        try:
            if self.owed:
                self.open(resumed=True)
                no_more_before_exit(self)
            if self.link.is_open:
                self.show()
        except OSError as error:
            self.link.say("disk", f"not all of the run can be shown in W&B: {reason_of(error)}.")
        except Exception as error:
            self.link.say("show", f"not all of the run can be shown in W&B: {described(error)}.")
            log.debug("hf_monitor: traceback", exc_info=True)
        self.link.drain()
        if self.link.run is None or for_good:
            self.link.finish(exit_code)
        elif self.link.is_open:
            before_exit(self, last=True)
