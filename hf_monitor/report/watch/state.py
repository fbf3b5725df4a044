"""What is known of a run on its way: fed with rows as they come, bounded in memory, without clock and files."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hf_monitor.report.watch.curve import Curve
from hf_monitor.report.watch.pace import Pace
from hf_monitor.run.ending import Ending

__all__ = ["MOST_EPOCHS", "Alert", "State", "finite"]

_HEAD = frozenset({"time", "attempt", "step", "kind", "epoch", "standalone", "weights_step", "name"})
_ABOUT_COST = ("_runtime", "_per_second", "_time", "_flos", "loss_raw", "loss_scale")  # no quality of the model
_KEPT_ATTEMPTS = 8  # from an earlier one's checkpoint hardly anybody goes on
_KEPT_ALERTS = 20
MOST_EPOCHS = 1e9
"""More than this is no number of epochs: the Trainer has ``sys.maxsize`` of a stream that ends by ``max_steps``."""
_CURVES = 64  # metrics of one attempt: what somebody logs under ever new names must not fill the memory


class Alert(NamedTuple):
    """An alert, as its row has it."""

    severity: str
    rule: str
    sentence: str
    step: float
    time: float | None
    suggestions: tuple[str, ...] = ()
    """What to try."""


class State:
    """A run, as its rows have told it so far.

    What is shown is the latest attempt that trained (as ``Run.status`` takes it). One that resumes goes on with the
    curves of the attempt whose checkpoint it took, up to that step; one that begins anew, with none.

    Attributes
    ----------
    facts : dict
        ``run.json``; put here by whoever reads it.
    attempt : int
        Number of the attempt; 0 before the first row.
    first_step : float
        After which step it began.
    begun, first_time, last_time : float or None
        When it began, when the run's first row was written, and the attempt's latest; epoch seconds.
    step, epoch, max_steps, epochs : float or None
    phase : str
        What the latest sample of the machine says: ``"train"``, ``"data"``, ``"evaluate"`` ...
    curves : dict of str to Curve
        By metric, of this attempt and what it goes on from; ``alone`` has those of evaluations outside of trainings.
    alerts : deque of Alert
        The latest ones, of all attempts; ``alert_counts`` counts them all by severity.
    cards : dict
        ``(rank, gpu)`` -> latest sample.
    hosts : dict
        rank -> latest sample of its machine.
    timing : dict
        The latest row of how the time was spent.
    events : dict of str to (step, time)
        The latest ``save``, ``evaluation``, ``nonfinite`` ...
    """

    def __init__(self, facts: Mapping[str, Any] | None = None) -> None:
        self.facts: Mapping[str, Any] = facts or {}
        self.attempt = 0
        self.first_step = 0.0
        self.begun: float | None = None
        self.first_time: float | None = None
        self.last_time: float | None = None
        self.step: float | None = None
        self.epoch: float | None = None
        self.max_steps: float | None = None
        self.epochs: float | None = None
        self.phase = ""
        self.curves: dict[str, Curve] = {}
        self.alone: dict[str, Curve] = {}
        self.evaluated: dict[str, None] = {}  # metrics of evaluations, in their order
        self.text_metric = ""
        self.pace = Pace()
        self.alerts: deque[Alert] = deque(maxlen=_KEPT_ALERTS)
        self.alert_counts: Counter[str] = Counter()
        self.cards: dict[tuple[int, int], Mapping[str, Any]] = {}
        self.hosts: dict[int, Mapping[str, Any]] = {}
        self.timing: Mapping[str, Any] = {}
        self.events: dict[str, tuple[float, float | None]] = {}
        self.n_evaluations = 0
        self.ending = Ending("unknown")
        self._totals: dict[tuple[int, int], Mapping[str, Any]] = {}
        self._attempts: dict[int, dict[str, Curve]] = {}
        self._marks: list[dict[str, Any]] = []  # events of the run that tell how it stands
        self._own: list[dict[str, Any]] = []  # of the attempt: such events, and between them one row for all others

    def feed(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows of ``metrics.jsonl``, in the order written."""
        for row in rows:
            self._feed(row)

    def _feed(self, row: Mapping[str, Any]) -> None:
        kind, step, time = row.get("kind"), finite(row.get("step")) or 0.0, finite(row.get("time"))
        attempt = int(finite(row.get("attempt")) or 0)
        if self.first_time is None:
            self.first_time = time
        event = row.get("event") if kind == "event" else None
        if event == "train_begin" and attempt >= self.attempt:
            self._begin(attempt, step, time, row)
        elif event == "error" and attempt > self.attempt:  # it failed before its first step
            self._begin(attempt, step, time, {})
        elif not self._marks:  # it only evaluates, or its beginning is not written
            self.attempt = attempt
        self._remember(row, attempt, kind, event)
        if kind == "alert":
            self._alert(row, step, time)
        if row.get("standalone") or attempt != self.attempt:
            self._apart(row, kind, attempt, step)
            return
        if time is not None:
            self.last_time = max(self.last_time or time, time)
        if kind in ("train", "eval", "timing", "log", "event", "train_summary"):
            self.step = max(self.step or 0.0, step)
        self._take(row, kind, event, step, time)

    def _take(self, row: Mapping[str, Any], kind: Any, event: Any, step: float, time: float | None) -> None:
        if kind in ("train", "eval", "train_summary") and "epoch" in row:
            self.epoch = finite(row["epoch"])
        if kind in ("train", "log"):
            self._add(self.curves, row, step)
            if time is not None and kind == "train":
                self.pace.log(time, step)
        elif kind == "timing":
            self.timing = row
        elif kind == "eval":
            self.n_evaluations += 1
            self.evaluated.update(dict.fromkeys(self._add(self.curves, row, step)))
            self.events["evaluation"] = (step, time)
            self.pace.pause(time, step)
        elif kind == "text_scores":
            best = row.get("best")
            metric = best.get("metric") if isinstance(best, Mapping) else None
            if isinstance(metric, str) and isinstance(row.get("name"), str) and not self.text_metric:
                self.text_metric = f"{row['name']}_{metric}"
        elif isinstance(event, str):
            self.events[event] = (step, time)
            if event == "save":
                self.pace.pause(time, step)

    def _apart(self, row: Mapping[str, Any], kind: Any, attempt: int, step: float) -> None:
        """Take a row that is no part of the training shown; of another attempt it may be resumed from there."""
        if row.get("standalone"):
            if kind in ("eval", "predict"):
                self.evaluated.update(dict.fromkeys(self._add(self.alone, row, step)) if kind == "eval" else {})
                self.events["evaluation" if kind == "eval" else "prediction"] = (step, finite(row.get("time")))
        elif kind in ("train", "eval", "log") and attempt in self._attempts:
            self._add(self._attempts[attempt], row, step)

    def _begin(self, attempt: int, step: float, time: float | None, row: Mapping[str, Any]) -> None:
        resumed = row.get("resumed_attempt")
        others = [number for number in self._attempts if number != attempt]
        known = resumed if resumed in others else max((one for one in others if one < attempt), default=None)
        before = self._attempts.get(known, {}) if known is not None and step > 0 else {}
        self.curves = {name: curve.up_to(step) for name, curve in before.items()}
        self._attempts[attempt] = self.curves
        while len(self._attempts) > _KEPT_ATTEMPTS:
            del self._attempts[min(self._attempts)]
        if attempt != self.attempt:
            self._own = []
        self.attempt, self.first_step, self.begun, self.last_time = attempt, step, time, time
        self.step, self.epoch, self.timing, self.phase = step, None, {}, ""
        self.max_steps, self.epochs = finite(row.get("max_steps")), finite(row.get("epochs"))
        if self.epochs is not None and self.epochs > MOST_EPOCHS:
            self.epochs = None
        self.pace = Pace(step)
        self.cards, self.hosts = {}, {}
        self.n_evaluations = 0

    def _add(self, curves: dict[str, Curve], row: Mapping[str, Any], step: float) -> list[str]:
        added = []
        for name, value in row.items():
            if name in _HEAD or type(value) not in (float, int) or name.endswith(_ABOUT_COST):
                continue
            curve = curves.get(name)
            if curve is None:
                if len(curves) >= _CURVES:
                    continue
                curve = curves[name] = Curve()
            try:
                curve.add(step, float(value))
            except OverflowError:  # an integer beyond any float
                continue
            added.append(name)
        return added

    def _alert(self, row: Mapping[str, Any], step: float, time: float | None) -> None:
        severity = str(row.get("severity") or "info")
        self.alert_counts[severity] += 1
        said = row.get("suggestions")
        tries = tuple(map(str, said)) if isinstance(said, list) else ()
        rule, sentence = str(row.get("rule") or ""), str(row.get("sentence") or "")
        self.alerts.append(Alert(severity, rule, sentence, step, time, tries))

    def feed_samples(self, rows: Iterable[Mapping[str, Any]], rank: int = 0) -> None:
        """Take rows of ``system.jsonl``, or of ``system.rank<N>.jsonl`` with its rank."""
        for row in rows:
            kind, time = row.get("kind"), finite(row.get("time"))
            if kind == "event" and row.get("event") == "sampler_begin":
                gpus = row.get("gpus")
                for entry in gpus if isinstance(gpus, list) else ():
                    if isinstance(entry, Mapping) and (gpu := finite(entry.get("gpu"))) is not None:
                        self._totals[rank, int(gpu)] = entry
            if rank == 0 and finite(row.get("attempt")) != self.attempt:
                continue
            if rank and (time is None or time < (self.begun or 0.0)):  # it does not know the number of the attempt
                continue
            if kind == "gpu" and (gpu := finite(row.get("gpu"))) is not None:
                self.cards[rank, int(gpu)] = row
            elif kind == "host":
                self.hosts[rank] = row
            else:
                continue
            if rank == 0:
                self.phase = str(row.get("phase") or "")
                self.step = max(self.step or 0.0, finite(row.get("step")) or 0.0)
                if time is not None:
                    self.last_time = max(self.last_time or time, time)

    def card(self, rank: int, gpu: int) -> Mapping[str, Any]:
        """Give what is known of a card for good: ``name``, ``memory_total_mib`` ...; empty where nothing says it."""
        if (rank, gpu) in self._totals:
            return self._totals[rank, gpu]
        devices = self.facts.get("devices")
        gpus = devices.get("gpus") if isinstance(devices, Mapping) else None
        entry = gpus[gpu] if rank == 0 and isinstance(gpus, list) and 0 <= gpu < len(gpus) else None
        return entry if isinstance(entry, Mapping) else {}

    @property
    def shown_step(self) -> float | None:
        """How far it is; of a killed training what its ending says: a sample may know of a step of which no row is."""
        ending = self.ending
        return float(ending.step) if ending.status == "killed" and not ending.rank and ending.step else self.step

    @property
    def end_at(self) -> float | None:
        """When the last step will be done, in epoch seconds; None where it cannot be said."""
        return None if self.max_steps is None else self.pace.end_at(self.max_steps)

    def best(self, name: str) -> tuple[float, float] | None:
        """Give the best value of a metric and its step; greater is better as the Trainer takes it."""
        curve = self.curve(name)
        config = self.facts.get("arguments")
        known = config if isinstance(config, Mapping) else {}
        greater = known.get("greater_is_better") if known.get("metric_for_best_model") in _names(name) else None
        return None if curve is None else curve.best(greater_is_better(name) if greater is None else bool(greater))

    def curve(self, name: str) -> Curve | None:
        """Give the curve of a metric: of the training, else of evaluations outside of it."""
        return self.curves.get(name) or self.alone.get(name)

    def _remember(self, row: Mapping[str, Any], attempt: int, kind: Any, event: Any) -> None:
        """Keep of the rows what tells how the training stands: its events, and the last step and time of the others."""
        if event in ("train_begin", "error"):
            self._marks.append(dict(row))
        if attempt != self.attempt:
            return
        if event in ("train_begin", "train_end", "error"):
            self._own.append(dict(row))
            return
        here = {"kind": kind if kind in ("eval", "predict") else "", "step": row.get("step"), "time": row.get("time")}
        last = self._own[-1] if self._own else None
        if last is None or last["kind"] == "event":
            self._own.append({**here, "attempt": attempt})
        else:
            last.update(
                kind=here["kind"] or last["kind"],
                step=max(int(finite(last["step"]) or 0), int(finite(here["step"]) or 0)),
                time=here["time"] or last["time"],
            )

    def telling_rows(self) -> list[dict[str, Any]]:
        """Give the few rows that tell how the training stands, for :mod:`hf_monitor.run.ending`."""
        return [*(row for row in self._marks if row.get("attempt") != self.attempt), *self._own]


def finite(value: object) -> float | None:
    """Give a finite number as float; None for anything else, since rows may hold anything."""
    if type(value) not in (float, int):
        return None
    try:
        found = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def greater_is_better(name: str) -> bool:
    """Say which way a metric gets better, by the Trainer's rule: only what ends with ``loss`` should be small."""
    return not name.endswith("loss")


def _names(name: str) -> tuple[str, ...]:
    return name, name.removeprefix("eval_")
