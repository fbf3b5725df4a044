"""Processes above rank 0: a log of their warnings and errors, and what ended them."""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.callbacks._exit import disarm, watch_exit
from hf_monitor.callbacks._report import text_of
from hf_monitor.run.ranks import RankFile
from hf_monitor.run.signals import unwatch, watch

if TYPE_CHECKING:
    from hf_monitor.loggers.file_logger import Logger

__all__ = ["RankRecorder", "describe_error", "next_training"]

log = logging.getLogger("hf_monitor")

_HEADER = "Traceback (most recent call last):\n"
_COLLECTIVE_TYPES = frozenset({"DistBackendError", "DistError", "DistNetworkError", "DistStoreError"})
# What gloo, NCCL and the store say when another process is gone.
_COLLECTIVE = re.compile(
    r"gloo|nccl|c10d|tcpstore|connection (?:closed|reset)|broken pipe|socket timeout|recvvalue failed|process group",
    re.IGNORECASE,
)

_PART = 10_000
_SEARCHED = 10 * _PART  # how much is masked to get a part of it: an error may hold the text of a whole data set

_trainings: dict[str, int] = {}


def next_training(run_dir: Path) -> int:
    """Count the trainings that this process begins into a folder; all ranks of a launch count alike."""
    key = str(run_dir.resolve())
    _trainings[key] = _trainings.get(key, 0) + 1
    return _trainings[key]


def describe_error(
    error: BaseException | None, mask: Callable[[str], str], callers: Sequence[str] = ()
) -> dict[str, Any]:
    """Give what an ``error`` event holds: ``type``, ``message``, ``traceback``, ``collective``.

    `callers` are the lines of the frames that the error has not come to yet: where the user called us.

    Of what is long the beginning and the end; masked before the cut, which may go through a secret. ``collective`` says
    that the error is one of the communication between the processes: most likely another process died first.
    """
    if error is None:
        return {
            "type": "SystemExit",
            "message": "the process ended in the middle of the training; attach() would know by which error",
            "traceback": "",
        }
    message, trace = text_of(error), "".join(traceback.format_exception(error))
    before, header, after = trace.rpartition(_HEADER)
    if header and callers and not isinstance(error, BaseExceptionGroup):
        trace = "".join([before, header, *callers, after])
    found: dict[str, Any] = {
        "type": type(error).__name__,
        "message": mask(message[:_SEARCHED])[:2000],
        "traceback": _shortened(trace, mask),
    }
    if type(error).__name__ in _COLLECTIVE_TYPES or (
        isinstance(error, RuntimeError | OSError) and _COLLECTIVE.search(message[:_SEARCHED])
    ):
        found["collective"] = True
    if isinstance(error, SystemExit) and error.code in (None, 0):
        found["exit_code"] = 0
    return found


def _shortened(text: str, mask: Callable[[str], str]) -> str:
    """Give a text of at most some 20 000 characters: where it began (the frames) and how it ended."""
    if len(text) <= _SEARCHED:
        text = mask(text)
        head, tail = text[:_PART], text[-_PART:]
    else:
        head, tail = mask(text[:_SEARCHED])[:_PART], mask(text[-_SEARCHED:])[-_PART:]
    return text if len(text) <= 2 * _PART else f"{head}\n... {len(text) - 2 * _PART} characters ...\n{tail}"


class RankRecorder:
    """Writes ``rank<N>.log`` and ``rank<N>.jsonl`` in the run folder, in a process above rank 0.

    Nothing here waits for other processes. What cannot be written is reported once: the record is rank 0's.

    Parameters
    ----------
    run_dir : Path
    rank : int
    redirect : bool
        Whether the log gets the warnings and errors that this process prints or logs.
    """

    def __init__(self, run_dir: Path, rank: int, *, redirect: bool = True) -> None:
        self.rank = rank
        self._run_dir = run_dir
        self._redirect = redirect
        self._file = RankFile(run_dir, rank)
        self._logger: Logger | None = None
        self._state: Any = None
        self._running = False
        self._reported = False

    def begin(self, args: Any, state: Any) -> None:
        """Begin a training."""
        if state is self._state and self._running:
            return
        self._state = state
        self._file.mask.learn(vars(args))
        step = state.global_step
        self._guarded(self._begin, step)
        if self._redirect and not self._running:
            self._guarded(self._start, args, step)
        self._running = True
        watch_exit(self)

    def _begin(self, step: int) -> None:
        signals = watch(self._run_dir, self.rank)
        self._file.begin(step, training=next_training(self._run_dir), signals=signals)

    def _start(self, args: Any, step: int) -> None:
        from hf_monitor.loggers.file_logger import Logger

        if self._logger is None:
            path = self._run_dir / f"rank{self.rank}.log"
            self._logger = Logger(path, print_also=False, level="WARNING", mask=self._file.mask)
        self._logger.start_redirect()

    def end(self, state: Any) -> None:
        """Record the end of a training."""
        if self._running and state is self._state:
            self._guarded(self._file.event, "train_end", state.global_step)
            self._stop()

    def error(self, error: BaseException | None, step: int) -> None:
        """Record what ended a training, or kept it from beginning."""
        if not self._running:
            self._guarded(self._begin, step)
        described = describe_error(error, self._file.mask.text)
        self._guarded(self._file.event, "error", step, **described)
        if self._logger is not None:
            told = described["traceback"].rstrip() or described["message"]
            self._logger.put_text(logging.ERROR, "log", f"rank {self.rank} stopped at step {step}\n{told}")
        self._stop()

    def die(self, error: BaseException | None) -> None:
        """As :meth:`error`, at the end of the process."""
        if self._run_dir.is_dir():
            self.error(error, self._state.global_step)

    def _stop(self) -> None:
        self._running = False
        disarm(self)
        unwatch(self._run_dir)
        if self._logger is not None:
            self._logger.stop_redirect()

    def _guarded(self, action: Any, *arguments: Any, **more: Any) -> None:
        try:
            action(*arguments, **more)
        except Exception as error:  # noqa: BLE001 - the policy: nothing of ours may end a training
            if not self._reported:
                self._reported = True
                log.warning(
                    "hf_monitor: rank %d cannot write into %s (%s): its log is left out. The training is not affected.",
                    self.rank,
                    self._run_dir,
                    error,
                )
