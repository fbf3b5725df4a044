"""What the sections of a report are made of: a run, read once, and whatever is in its rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar

from hf_monitor.charts.curves import Curves, curves_of
from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.findings import diagnose
from hf_monitor.diagnosis.readings import Readings, read
from hf_monitor.diagnosis.rows import mapping, number
from hf_monitor.diagnosis.watcher import lineage
from hf_monitor.report.recording import Recorder, Recording
from hf_monitor.run.ending import Ending
from hf_monitor.run.odd import has_known_form
from hf_monitor.run.reader import Rows, Run

__all__ = ["Material"]

T = TypeVar("T")
_SPOILS = ("nan", "divergence", "checkpoint_broken")


class Material:
    """A run for a report; each part is read when a section first asks for it.

    What cannot be made of rows that somebody else wrote is empty, and the gaps say so.

    Parameters
    ----------
    run : Run

    Attributes
    ----------
    run : Run
    gaps : list of str
        What could not be measured or shown, in sentences. Sections add to it; the last one shows it.
    """

    def __init__(self, run: Run) -> None:
        self.gaps: list[str] = []
        self.run = self._of_known_form(run)

    def _of_known_form(self, run: Run) -> Run:
        """Give the run without rows whose step, time, kind ... are no such thing: sections sort and group by them."""
        rows = run.rows
        kept = [row for row in rows if has_known_form(row)]
        if len(kept) == len(rows):
            return run
        n = len(rows) - len(kept)
        self.gaps.append(
            f"{n:,} row{'s' if n > 1 else ''} of metrics.jsonl {'are' if n > 1 else 'is'} left out: step, time, "
            "attempt, kind or name are of another form than hf_monitor writes."
        )
        own = copy.copy(run)  # whoever handed it over keeps it as it was
        for name, made in vars(Run).items():
            if isinstance(made, cached_property) and name != "facts":
                vars(own).pop(name, None)
        own.rows = Rows(kept)
        return own

    def _made(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - there must be a page of whatever is in a folder
            self.gaps.append(f"{what} cannot be told from these rows: {type(error).__name__}: {error}")
            return otherwise

    @cached_property
    def metrics(self) -> Rows:
        """As :attr:`Run.metrics`; all rows of ``metrics.jsonl`` where attempts cannot be told apart."""
        return self._made("Which attempt each row belongs to", lambda: self.run.metrics, self.run.rows)

    @cached_property
    def curves(self) -> Curves:
        """A curve for each number that was logged in a training."""
        return self._made("The curves", lambda: curves_of(self.metrics), Curves())

    @cached_property
    def findings(self) -> list[Finding]:
        """What :func:`diagnose` says, found or not."""
        return self._made("What the rules find", lambda: diagnose(self.run, readings=self._samples[0]), [])

    @property
    def recording(self) -> Recording:
        """What was sampled of the machine."""
        return self._samples[1]

    @cached_property
    def _samples(self) -> tuple[Readings, Recording]:
        """What the rules need of the samples, and what is drawn of them: gone through once, and not kept."""
        recorder = Recorder()
        readings = read(self.run, recorder.passing(self.run.iter_rows("system.jsonl")))
        return readings, recorder.recording()

    @cached_property
    def ending(self) -> Ending:
        """As :attr:`Run.ending`."""
        return self._made("How it ended", lambda: self.run.ending, Ending("unknown"))

    @cached_property
    def last_step(self) -> int:
        """The highest step of the latest attempt that trained; 0 where nothing was logged."""
        return int(number(self._made("The last step", lambda: self.run.last_step, 0)) or 0)

    @cached_property
    def max_steps(self) -> int | None:
        """How many steps it was to take; None where that is not known."""
        steps = number(self.facts.get("max_steps"), 1.0)
        return None if steps is None else int(steps)

    @cached_property
    def has_training(self) -> bool:
        """Whether a training began in it."""
        return any(
            row.get("kind") == "train" or (row.get("kind") == "event" and row.get("event") in ("train_begin", "error"))
            for row in self.run.rows
        )

    @cached_property
    def times(self) -> tuple[float, float] | None:
        """Epoch seconds of the first and the last that was recorded; None where nothing was."""
        begun = [time for entry in self.run.attempts if (time := number(entry.get("time"))) is not None]
        times = [*begun, *chain.from_iterable(self.spans)]
        return (min(times), max(times)) if times else None

    @cached_property
    def spans(self) -> list[tuple[float, float]]:
        """Epoch seconds of the first and the last row of each attempt."""
        times: dict[int | None, list[float]] = {}
        for row in self.run.rows:
            if (time := row.get("time")) is not None:
                times.setdefault(row.get("attempt"), []).append(time)
        return [(float(min(own)), float(max(own))) for own in times.values()]

    @cached_property
    def checkpoints(self) -> list[tuple[int, str]]:
        """Step and path of each checkpoint that the latest training, and what it went on from, saved; in that order."""
        told = [row for row in self.run.rows if "event" in row]
        rows: list[Mapping[str, Any]] = self._made("Which checkpoint is the last", lambda: lineage(told), [])
        found = []
        for row in rows:
            step, path = number(row.get("step")), row.get("checkpoint")
            if row.get("event") == "save" and isinstance(path, str) and path and step is not None:
                found.append((int(step), path))
        return found

    @property
    def checkpoint(self) -> tuple[int, str] | None:
        """The last of them; None where no row tells of one."""
        return self.checkpoints[-1] if self.checkpoints else None

    @cached_property
    def fault_step(self) -> int | None:
        """From where on checkpoints are of no use: NaN, a divergence, one that cannot be loaded; None for nowhere."""
        steps = [
            one.steps[0]
            for one in self.findings
            if one.verdict == "found" and one.severity == "error" and one.rule in _SPOILS and one.steps is not None
        ]
        return min(steps, default=None)

    @cached_property
    def sound_checkpoint(self) -> tuple[int, str] | None:
        """The last checkpoint before a fault that ``save_total_limit`` has left; None for none."""
        limit = number(self.config.get("save_total_limit"), 1.0, 1e6)
        left = self.checkpoints if limit is None else self.checkpoints[-int(limit) :]
        sound = [one for one in left if self.fault_step is None or one[0] < self.fault_step]
        return sound[-1] if sound else None

    @cached_property
    def trained_attempt(self) -> int:
        """Number of the latest attempt that trained or tried to; 0 where none did."""
        trained = [row for row in self.run.events if row.get("event") in ("train_begin", "error")]
        return max((int(number(row.get("attempt")) or 0) for row in trained), default=0)

    @cached_property
    def facts(self) -> dict[str, Any]:
        """As :attr:`Run.training_facts`."""
        return self._made("Whose facts run.json holds", lambda: self.run.training_facts, self.run.facts)

    @property
    def config(self) -> dict[str, Any]:
        """The training arguments of the latest attempt that trained."""
        return mapping(self.facts.get("arguments"))

    def fact(self, name: str) -> dict[str, Any]:
        """Give a fact of ``run.json`` that is a mapping; an empty one for any other."""
        return mapping(self.facts.get(name))
