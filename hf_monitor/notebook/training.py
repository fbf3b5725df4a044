"""What is shown of a training, and of evaluations outside of one: what the run folder tells, and what is told."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.errors import RunFolderError
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.draw import draw
from hf_monitor.notebook.first_texts import FirstTexts
from hf_monitor.notebook.scene import Bar, Scene
from hf_monitor.report.watch.follow import Follower
from hf_monitor.report.watch.layout import Look
from hf_monitor.report.watch.metric_lines import chosen
from hf_monitor.report.watch.pace import Pace
from hf_monitor.report.watch.state import MOST_EPOCHS, State
from hf_monitor.report.words import duration, number, quoted
from hf_monitor.run.ending import Ending
from hf_monitor.run.trouble import Trouble

__all__ = ["EvaluationsView", "TrainingView"]

_LINE_METRICS = 3
_FIRST = ("_loss", "_score")  # of each set, where there are more values than room


class _View:
    """What both have: the batches of an evaluation, the texts, a line for where there is no notebook."""

    def __init__(
        self,
        folder: Path,
        *,
        samples: int,
        metrics: Sequence[str],
        echo: Callable[[str], None] | None = None,
        trouble: Trouble | None = None,
    ) -> None:
        self.began = time.time()
        self.evaluating = ""  # what: the prefix of its metrics; "evaluation" where nobody knows it
        self._batches: tuple[int, int | None] = (0, None)
        self._since: float | None = None  # when the evaluation began that runs
        self._folder, self._metrics, self._echo = folder, metrics, echo
        self._trouble = trouble
        self._texts = FirstTexts(folder, samples)

    def announce(self, prefix: str) -> None:
        """Say that an evaluation begins."""
        self.evaluated()
        self.evaluating, self._since = prefix, time.time()

    def batch(self, dataloader: Any) -> None:
        """Say that a batch of an evaluation is done."""
        done, total = self._batches
        if done == 0:
            self.evaluating, self._since = self.evaluating or "evaluation", self._since or time.time()
            total = _length(dataloader)
        self._batches = (done + 1, total)

    def evaluated(self) -> None:
        """Say that an evaluation is done."""
        self.evaluating, self._batches = "", (0, None)
        self._since = None

    def drawing(self) -> Drawing:
        """Draw what there is now; for :class:`hf_monitor.notebook.area.Area`."""
        return draw(self.scene())

    def line(self) -> str:
        """Give what there is now on one line; for :class:`hf_monitor.notebook.plain.PlainArea`."""
        text = _line(self.scene(), self._title())
        if self._echo is not None:
            self._echo(text)
        return text

    def scene(self) -> Scene:
        raise NotImplementedError

    def _bars(self) -> list[Bar]:
        done, total = self._batches
        return [Bar(self.evaluating, done, total, "batches")] if self.evaluating else []

    def _title(self) -> str:
        folder = self._folder
        return folder.parent.name if folder.name == "monitor" else folder.name


class TrainingView(_View):
    """A training on its way, followed in its run folder.

    Attributes
    ----------
    step, epoch : float
        Told at each step's end, since rows come more seldom; nothing else is done then.

    Parameters
    ----------
    folder : Path
        The run folder.
    attempt : int
        Number of the attempt; what the folder holds of others is not shown.
    first_step, max_steps : int
    epochs : float
    samples : int
        How many texts.
    metrics : sequence of str
        Which ones; those that say most where empty.
    echo : callable, optional
        Told each line that is printed.
    trouble : Trouble, optional
        Of who writes the folder: what the disk does not take cannot be read there.
    """

    def __init__(
        self, folder: Path, *, attempt: int, first_step: int, max_steps: int, epochs: float | None, **options: Any
    ) -> None:
        super().__init__(folder, **options)
        self.step, self.epoch = first_step, 0.0
        self._follower = Follower(folder)
        self._problem = self._waits = ""
        self._over: tuple[str, str] | None = None
        self.begins(attempt, first_step, max_steps, epochs)

    def begins(self, attempt: int, first_step: int, max_steps: int, epochs: float | None) -> None:
        """Say that it begins, again maybe: with ``auto_find_batch_size`` it does after an error."""
        self._attempt, self._first_step, self._max_steps = attempt, first_step, max_steps
        self._epochs = epochs if epochs is not None and epochs < MOST_EPOCHS else None
        self.step, self._pace = first_step, Pace(first_step)
        self._held: tuple[float, str] | None = None  # the time left that is shown through the evaluations of a step
        super().evaluated()

    def evaluated(self) -> None:
        """Say that an evaluation is done."""
        if self._since is not None:
            self._pace.pause(time.time(), self.step)
        super().evaluated()

    def over(self, status: str, ending: str) -> None:
        """Say how it ended, for where the run folder does not know; what is said first counts."""
        if self._over is None:
            how = "" if status == "finished" else ", ".join(filter(None, (f"at step {self.step:,}", ending)))
            self._over = (status, how)

    def scene(self) -> Scene:
        """Give what there is now."""
        now, state = time.time(), self._look()
        status, ending = state.ending.status, _ending(state.ending)
        if self._over is not None and status in ("running", "unknown"):
            status, ending = self._over  # type: ignore[assignment]  # a Status, or "stopped"
        live = self._over is None and status in ("running", "unknown")
        shown = "evaluating" if live and self.evaluating else "running" if live else status
        report = self._folder / "report.html"
        return Scene(
            title=self._title(),
            status=shown,
            ending=ending,
            began=self.began,
            now=now if live or state.ending.time is None else max(state.ending.time, self.began),
            state=state,
            metrics=self._metrics,
            bars=[self._progress(state, now, live=live), *(self._bars() if live else [])],
            samples=self._texts.samples(),
            notes=[self._problem] if self._problem else [],
            warnings=[self._waits] if self._waits else [],
            links=[("report", str(report))] if not live and report.is_file() else [],
        )

    def _look(self) -> State:
        """Read what is new; of what cannot be read a note tells, and what was told remains."""
        try:
            self._follower.look()
            self._texts.look()
            self._problem = self._follower.problem
        except (OSError, RunFolderError) as error:
            self._problem = str(error)
        state = self._follower.state
        if state.attempt < self._attempt:  # its rows wait for a disk
            state = State(state.facts)
        begun = state.begun or 0.0
        if any(alert.time is not None and alert.time < begun for alert in state.alerts):  # of an earlier attempt
            own = [alert for alert in state.alerts if alert.time is None or alert.time >= begun]
            state.alerts = deque(own, maxlen=state.alerts.maxlen)
            state.alert_counts = Counter(alert.severity for alert in own)
        self._waits = ""
        if self._trouble is not None and self._trouble.since is not None:
            shown = max((curve.last[0] for curve in state.curves.values() if curve.last), default=self._first_step)
            told = f"what is shown ends at step {shown:,.0f}, what came since waits in memory"
            self._waits = f"The disk takes nothing ({self._trouble.reason}): {told}."
        return state

    def _progress(self, state: State, now: float, *, live: bool) -> Bar:
        step, last = max(self.step, 0 if live else state.ending.step or 0), self._max_steps
        words = []
        if self.epoch:
            words.append(f"epoch {self.epoch:.2f}" + (f" of {self._epochs:g}" if self._epochs else ""))
        if live and (left := self._left(state, now)):
            words.append(f"{left} left")
        return Bar("steps", step, last if last > 0 else None, ", ".join(words))

    def _left(self, state: State, now: float) -> str:
        """Give the time left; while evaluations run, that of their beginning: the steps wait."""
        if self._since is not None:
            if self._held is not None and self._held[0] == self.step:  # of the set before
                return self._held[1]
            now = min(self._since, now)
        elif self.step > self._first_step:
            self._pace.log(now, self.step)
        end_at = state.end_at or self._pace.end_at(self._max_steps)  # before the second log by the steps seen
        left = ""
        if end_at is not None and self.step < self._max_steps and (self._since is None or end_at > now):
            left = duration(max(end_at - now, 0.0))
        if self._since is not None:
            self._held = (self.step, left)
        return left


class EvaluationsView(_View):
    """Evaluations and predictions outside of a training: those of one cell together, a few values of each."""

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        self._state = State()
        self._notes: list[str] = []
        self._over: tuple[str, str] | None = None
        self._ended: float | None = None

    def line(self) -> str:
        """Give what there is now on one line; nothing before the first batch is done."""
        return "" if self.evaluating and not self._batches[0] else super().line()

    def add(self, prefix: str, metrics: Mapping[str, Any], step: int) -> None:
        """Add what an evaluation gave."""
        self.evaluated()
        self._ended = time.time()
        self._state.feed([{"kind": "eval", "step": step, "time": self._ended, **metrics}])
        seconds, rate = (metrics.get(f"{prefix}_{name}") for name in ("runtime", "samples_per_second"))
        if isinstance(seconds, int | float):
            speed = f", {number(rate, 3)} samples/s" if isinstance(rate, int | float) else ""
            self._notes = [note for note in self._notes if not note.startswith(f"{prefix}: ")]
            self._notes.append(f"{prefix}: {number(seconds, 3)} s{speed}, weights of step {step:,}")

    def over(self, status: str, ending: str) -> None:
        """Say what ended an evaluation before its end."""
        self._over, self._ended = (status, ending), time.time()

    def scene(self) -> Scene:
        """Give what there is now."""
        problem = ""
        try:
            self._texts.look()
        except OSError as error:
            problem = str(error)
        status, ending = self._over or ("evaluating" if self.evaluating else "finished", "")
        return Scene(
            title=f"evaluation of {self._title()}",
            status=status,
            ending=ending,
            began=self.began,
            now=time.time() if self.evaluating and self._over is None else self._ended or self.began,
            state=self._state,
            metrics=self._metrics or sorted(self._state.evaluated, key=lambda name: not name.endswith(_FIRST)),
            bars=self._bars(),
            samples=self._texts.samples(),
            notes=[*self._notes, *([problem] if problem else [])],
        )


def _length(dataloader: Any) -> int | None:
    try:
        return len(dataloader)
    except Exception:  # noqa: BLE001 - of a stream, of a loader of somebody's own: nobody knows it
        return None


def _ending(ending: Ending) -> str:
    """Say what ended a training; behind its status: ``interrupted`` "at step 40, by KeyboardInterrupt"."""
    if ending.status in ("running", "unknown") or not ending.type:
        return ""
    rank = f" in process {ending.rank}" if ending.rank else ""
    what = f"{ending.type}: {quoted(ending.message)}" if ending.message else ending.type
    return f"at step {ending.step or 0:,}{rank}, by {what}"


def _line(scene: Scene, name: str) -> str:
    """Give a scene in one line."""
    words = [f"{name}: {' '.join(part for part in (scene.status, scene.ending) if part)}"]
    words += (_bar(bar) for bar in scene.bars)
    words += _values(scene.state, scene.metrics)
    return ", ".join(words)


def _bar(bar: Bar) -> str:
    done = f"{bar.done:,.0f}"
    if bar.total:
        done += f" of {bar.total:,.0f} ({math.floor(100 * min(bar.done / bar.total, 1.0))} %)"
    return f"{bar.label} {done}{f', {bar.note}' if bar.note and bar.note != 'batches' else ''}"


def _values(state: State, metrics: Sequence[str]) -> Iterable[str]:
    names = chosen(state, Look(metrics=metrics))
    for name in names if metrics else names[:_LINE_METRICS]:
        curve = state.curve(name)
        if curve is not None and curve.last is not None:
            yield f"{name} {number(curve.last[1])}"
