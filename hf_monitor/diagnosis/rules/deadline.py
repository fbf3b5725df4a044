"""time_short: the training will not be done when its job is ended."""

from __future__ import annotations

from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.intervals import Interval
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.rules.blocks import Blocks

__all__ = ["TimeShort"]


_RECENT = 0.25  # of the steps so far


class TimeShort(Rule):
    """At this pace the last step comes after the deadline, however the pace is read.

    The pace is the time from log to log by step, with all that lies between (evaluations, saves); the lower end of its
    95 % interval is what counts, or the pace of the last quarter of the steps so far, if that is less: the first steps
    may be slow (compilation, a cold cache). The deadline comes from an event after the training's begin.
    """

    name: ClassVar[str] = "time_short"
    kinds: ClassVar[frozenset[str]] = frozenset({"train", "event"})
    of_attempt: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._begin(None)

    def _begin(self, time: float | None) -> None:
        self._begun = time
        self._at: float | None = None
        self._source = ""
        self._pace = Blocks()
        self._last: tuple[float, float] | None = None  # time and step of the latest log
        self._first_step = 0.0
        self._recent: float | None = None  # seconds a step, of the last quarter of the steps so far

    def see(self, row: Row) -> Finding | None:
        """Look at a training log, or at the event that tells the deadline."""
        if row.get("kind") == "event":
            self._hear(row)
            return None
        if self._at is None:
            return None
        time, step = number(row.get("time")), number(row.get("step"))
        if time is None or step is None:
            return None
        before, self._last = self._last, (time, step)
        if before is None:  # the first log comes after the start-up, which is no part of the pace
            self._first_step = step
            return None
        spent, steps = time - before[0], step - before[1]
        if spent <= 0 or steps <= 0:
            return None
        recent, part = self._recent, min(1.0, steps / (_RECENT * (step - self._first_step)))
        self._recent = spent / steps if recent is None else recent + (spent / steps - recent) * part
        return self._judge() if self._pace.add(spent / steps, steps) and self._late_enough() else None

    def _hear(self, row: Row) -> None:
        if row.get("event") == "train_begin":
            self._begin(number(row.get("time")))
        elif row.get("event") == "deadline":
            self._at = number(row.get("at"), 1.0)
            source = row.get("source")
            self._source = source[:50] if isinstance(source, str) else ""

    def _late_enough(self) -> bool:
        """Whether enough is seen: two minutes, and a part of the steps or of the time that there is."""
        if self._begun is None or self._at is None or self._last is None:
            return False
        time, step = self._last
        passed, limits = time - self._begun, self.limits
        if passed < limits.time_short_seconds or self._pace.n < limits.time_short_logs:
            return False
        first, end = self.about.first_step, self.about.max_steps
        done, gone = (step - first) / max(1.0, end - first), passed / max(1.0, self._at - self._begun)
        if done >= limits.time_short_progress or gone >= limits.time_short_passed:
            return True
        found = self._needed() if max(done, gone) >= limits.time_short_early else None
        return found is not None and self._least(found) > limits.time_short_far * found[2]

    def _least(self, needed: tuple[Interval, float, float]) -> float:
        """Give the seconds that the rest takes, however the pace is read."""
        pace, rest, _ = needed
        return rest * (pace.low if self._recent is None else min(pace.low, self._recent))

    def _needed(self) -> tuple[Interval, float, float] | None:
        """Give the pace (seconds a step), how many steps are left, and how many seconds."""
        pace = self._pace.interval()
        if pace is None or self._last is None or self._at is None:
            return None
        time, step = self._last
        left, rest = self._at - time, self.about.max_steps - step
        return None if left <= 0 or rest <= 0 else (pace, rest, left)

    def _judge(self) -> Finding | None:
        found = self._needed()
        if found is None:
            return None
        pace, rest, left = found
        if self._least(found) <= self.limits.time_short_margin * left:
            return None
        assert self._last is not None
        end = self.about.max_steps
        done = int(self._last[1] + left / pace.value)
        sentence = (
            f"At {pace.value:.3g} s a step, evaluations and saves included, the {rest:.0f} steps that are left need "
            f"{_duration(pace.value * rest)}, and the job ends in {_duration(left)}"
            f"{f' ({self._source})' if self._source else ''}: at about step {done} of {end}."
        )
        return Finding(
            rule=self.name,
            verdict="found",
            severity="warning",
            sentence=sentence,
            value=pace.value * rest,
            unit="s",
            threshold=left,
            n_samples=pace.n,
            steps=(int(self._first_step), int(self._last[1])),
            suggestions=self._advice(done, done - self._last[1]),
            evidence={
                "seconds_needed_interval": [round(bound * rest, 1) for bound in (pace.low, pace.high)],
                "seconds_left": round(left, 1),
                "steps_done_by_then": done,
            },
        )

    def _advice(self, done: int, before: float) -> tuple[str, ...]:
        known = Known(self.about.facts)
        config = known.config
        save = number(config.get("save_steps"))
        found = []
        if config.get("save_strategy") == "no":
            found.append('save_strategy="steps": nothing is saved before the end')
        elif config.get("save_strategy") == "steps" and save is not None and save > before:
            found.append(f"a smaller save_steps (it is {save:g}): the next checkpoint comes too late")
        found.append("go on in another job with trainer.train(resume_from_checkpoint=True)")
        epochs, end = number(config.get("num_train_epochs")), self.about.max_steps
        if (number(config.get("max_steps"), 1.0) or epochs is None) or not end:
            found.append(f"or begin again with max_steps={done}, so that the learning rate's schedule ends with it")
        elif epochs * done / end >= 1:
            found.append(
                f"or begin again with num_train_epochs={int(epochs * done / end)} (it is {epochs:g}), so that the "
                "learning rate's schedule ends with it"
            )
        return tuple(found)

    def verdict(self) -> Finding:
        """Say that there was time enough, or why that is not known."""
        unknown = "Whether the time is enough is not known."
        if self._at is None:
            missing = "no deadline is known: SLURM_JOB_END_TIME is not set, nor AlertCallback(time_limit_s=...)."
            return self.nothing(unknown, missing=missing, unit="s")
        found = self._needed() if self._late_enough() else None
        if found is None:
            return self.nothing(unknown, missing="too little of the training was seen.", n=self._pace.n, unit="s")
        pace, rest, left = found
        return self.nothing(
            f"The {rest:.0f} steps that are left need {_duration(pace.value * rest)}; there are {_duration(left)}.",
            n=pace.n,
            value=pace.value * rest,
            unit="s",
            threshold=left,
        )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
