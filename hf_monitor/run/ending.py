"""How a training ended, told from what its processes left: events, traces of signals, and whether they still live."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from hf_monitor.run.signals import Trace

__all__ = ["Ending", "Outcome", "Status", "ending_of", "outcome_of"]

Status = Literal["finished", "running", "crashed", "interrupted", "terminated", "killed", "unknown"]

_OUTLIVED_SECONDS = 60.0  # whoever still writes so long after a signal was not ended by it


class Ending(NamedTuple):
    """How a training stands, and what ended it."""

    status: Status
    """``finished``; ``running``; ``crashed`` (an error, or a fault in C code); ``interrupted`` (Ctrl-C,
    ``sys.exit(0)``); ``terminated`` (SIGTERM, SIGHUP ...); ``killed`` (the process is gone without a word);
    ``unknown`` (it ran elsewhere, or its end could not be written)."""
    rank: int = 0
    """The process that ended first and took the others with it."""
    step: int | None = None
    time: float | None = None
    """Epoch seconds; None where nobody wrote it down."""
    type: str | None = None
    """Class of the error (``ValueError``), or the signal (``SIGTERM``, ``SIGSEGV``)."""
    message: str | None = None
    traceback: str | None = None

    def __str__(self) -> str:
        what = ": ".join(part for part in (self.type, _shown(self.message or "")[:200]) if part)
        place = ", ".join(
            part
            for part in (f"rank {self.rank}" if self.rank else "", f"step {self.step}" if self.step is not None else "")
            if part
        )
        return " ".join(part for part in (self.status, f"({place})" if place else "", what) if part)


def _shown(message: str) -> str:
    """Give the line of a message that says most; of a DataLoader worker's error, which quotes a traceback, the last."""
    first, *rest = message.strip().split("\n")
    return rest[-1] if rest and first.startswith("Caught ") else first


class Outcome(NamedTuple):
    """What one process of a training left behind."""

    rank: int
    finished: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    trace: Trace | None = None
    last_step: int = 0
    alive: bool | None = None
    """Whether it still lives; None where that cannot be known, or need not be."""


def outcome_of(
    rank: int, rows: Sequence[Mapping[str, Any]], traces: Sequence[Trace], alive: Callable[[float], bool | None]
) -> Outcome:
    """Judge one process.

    Parameters
    ----------
    rank : int
    rows : sequence of mapping
        What it wrote in this attempt, in order, all kinds.
    traces : sequence of Trace
    alive : callable
        ``(time of the last row) -> bool or None``; asked only where nothing else tells.
    """
    finished = error = ended_by = None  # the training itself by the last one
    step, last = 0, 0.0
    for row in rows:
        kind, last = row.get("kind"), row.get("time") or last
        if (reached := row.get("step") or 0) > step:
            step = reached
        if kind == "event":
            name = row.get("event")
            if name == "train_begin":
                finished = error = ended_by = None
            elif name == "train_end":
                finished = row
            elif name == "error":
                error = row
                ended_by = ended_by if row.get("during") else row
        elif error is not None and error.get("during") and kind in ("eval", "predict"):
            error = ended_by  # an evaluation after the training failed, and was done again
    trace = next((trace for trace in traces if last <= trace.time + _OUTLIVED_SECONDS), None)
    known = finished or error or trace
    return Outcome(rank, finished, error, trace, step, None if known else alive(last))


def ending_of(outcomes: Sequence[Outcome]) -> Ending:
    """Find what ended a training of one or several processes.

    When one process dies, the others die of it: of the broken connection (``collective`` in their error), or by the
    launcher's SIGTERM. So their ends count only where there is no other; a process that is gone without a word while
    others complain is the one that died first.

    Parameters
    ----------
    outcomes : sequence of Outcome
        Rank 0 first.
    """
    first = outcomes[0]
    if first.finished is not None and first.error is None:
        stopped_by = first.finished.get("stopped_by")
        step, when = first.finished.get("step"), first.finished.get("time")
        return Ending("terminated" if stopped_by else "finished", 0, step, when, stopped_by)
    errors = [outcome for outcome in outcomes if outcome.error and not outcome.error.get("collective")]
    causes = [_of_error(outcome) for outcome in errors]
    traces = [_of_trace(outcome, outcome.trace) for outcome in outcomes if outcome.trace]
    causes += [ending for ending in traces if ending.status == "crashed"]
    signals = [ending for ending in traces if ending.status == "terminated"]
    collective = [_of_error(outcome) for outcome in outcomes if outcome.error and outcome.error.get("collective")]
    gone = [outcome for outcome in outcomes if outcome.alive is False]
    if not causes and gone and (signals or collective):
        # A rank above 0 records no steps, but all take the same.
        return Ending("killed", gone[0].rank, max(outcome.last_step for outcome in outcomes))
    for found in (causes + signals, collective):
        if found:
            earliest = min(found, key=lambda ending: ending.time or 0.0)
            # The same mistake met on every rank is told of the first rank.
            same = [ending for ending in found if ending[4:6] == earliest[4:6] and ending.status == earliest.status]
            return same[0] if same[0].rank == 0 else earliest
    status: Status = "unknown" if first.alive is None else "running" if first.alive else "killed"
    return Ending(status, 0, first.last_step)


def _of_error(outcome: Outcome) -> Ending:
    error = outcome.error or {}
    meant = error.get("type") == "KeyboardInterrupt" or error.get("exit_code") == 0
    return Ending(
        "interrupted" if meant else "crashed",
        outcome.rank,
        error.get("step"),
        error.get("time"),
        error.get("type"),
        _text(error.get("message")),
        error.get("traceback"),
    )


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)


def _of_trace(outcome: Outcome, trace: Trace) -> Ending:
    return Ending(
        "crashed" if trace.is_fault else "terminated",
        outcome.rank,
        outcome.last_step,
        trace.time,
        trace.signal,
        None,
        trace.traceback,
    )
