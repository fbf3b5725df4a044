"""disk_short and checkpoint_broken: what was just saved, and whether the disk has room for what will be."""

from __future__ import annotations

from typing import ClassVar

from hf_monitor.diagnosis.finding import Finding
from hf_monitor.diagnosis.known import Known
from hf_monitor.diagnosis.rows import number
from hf_monitor.diagnosis.rules.base import About, Row, Rule
from hf_monitor.diagnosis.wording import mib, rounded

__all__ = ["CheckpointBroken", "DiskShort", "checkpoints_to_come"]

_SHOWN = 300  # characters of a problem


def checkpoints_to_come(saves_left: int | None, kept: int | None, there: int | None) -> int:
    """Give by how many checkpoints the disk fills up at most, above what is there now.

    The Trainer writes a new one before it deletes an old one, so that one more than `kept` are there for a moment.

    Parameters
    ----------
    saves_left : int or None
        None where nobody knows: at least one more is taken.
    kept : int or None
        How many stay; None: all.
    there : int or None
        How many there are; None: not known, and taken for as many as stay.
    """
    left = 1 if saves_left is None else saves_left
    if kept is None:
        return left
    return min(left, max(1, kept + 1 - (kept if there is None else there)))


class DiskShort(Rule):
    """The checkpoints that are still to come need more than what is free.

    It looks at rows that are written after each save, and needs the latest only.
    """

    name: ClassVar[str] = "disk_short"
    kinds: ClassVar[frozenset[str]] = frozenset({"event"})
    of_attempt: ClassVar[bool] = True

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._last: Finding | None = None

    def see(self, row: Row) -> Finding | None:
        """Look at an event ``checkpoint``."""
        if row.get("event") != "checkpoint":
            return None
        size, free = number(row.get("size_mib")), number(row.get("disk_free_mib"))
        if size is None or free is None:
            return None
        left, kept, there = (_count(row.get(name)) for name in ("saves_left", "kept", "there"))
        n = checkpoints_to_come(left, kept, there)
        needed = n * size * self.limits.disk_short_margin
        sentence = (
            f"{_checkpoints(n)} of {mib(size)} {'is' if n == 1 else 'are'} still to come"
            f"{'' if n == left or left is None else f' at the same time (of {left} saves, with {kept} kept)'}; "
            f"{mib(free)} of the disk are free."
        )
        found = Finding(
            rule=self.name,
            verdict="found" if needed > free else "clear",
            severity="warning" if needed > free else "info",
            sentence=sentence,
            value=free,
            unit="MiB",
            threshold=needed,
            n_samples=1,
            steps=(step := int(number(row.get("step")) or 0), step),
            suggestions=self._advice(kept) if needed > free else (),
            evidence=rounded(checkpoint_mib=size, disk_free_mib=free, needed_mib=needed, checkpoints_to_come=float(n)),
        )
        self._last = found
        return found if found.verdict == "found" else None

    def _advice(self, kept: int | None) -> tuple[str, ...]:
        config = Known(self.about.facts).config
        limit = None if kept is not None and kept <= 2 else "save_total_limit=2 (older checkpoints are deleted)"
        only = config.get("save_only_model") is False
        light = "save_only_model=True (a third of the size with Adam; such a checkpoint cannot be resumed from)"
        room = "free some disk now, or resume with an output_dir on another one"
        return tuple(filter(None, (limit, room, light if only else None)))

    def verdict(self) -> Finding:
        """Say that there was room, or that nothing is known of it."""
        if self._last is not None:
            return self._last
        return self.nothing(
            "Whether the disk has room for all checkpoints is not known.",
            missing="no checkpoint was looked at (AlertCallback does after each save).",
            unit="MiB",
        )


class CheckpointBroken(Rule):
    """A checkpoint cannot be loaded back."""

    name: ClassVar[str] = "checkpoint_broken"
    kinds: ClassVar[frozenset[str]] = frozenset({"event"})

    def __init__(self, about: About) -> None:
        super().__init__(about)
        self._n = 0
        self._steps: tuple[int, int] | None = None

    def see(self, row: Row) -> Finding | None:
        """Look at an event ``checkpoint``."""
        if row.get("event") != "checkpoint" or "problem" not in row:
            return None
        problem, step = row["problem"], int(number(row.get("step")) or 0)
        self._n += 1
        self._steps = (step if self._steps is None else self._steps[0], step)
        if not isinstance(problem, str) or not problem:
            return None
        checkpoint = str(row.get("checkpoint") or f"of step {step}")
        return Finding(
            rule=self.name,
            verdict="found",
            severity="error",
            sentence=f"The checkpoint {checkpoint} cannot be loaded back: {problem[:_SHOWN].rstrip('.')}.",
            n_samples=self._n,
            steps=(step, step),
            suggestions=(
                "do not resume from it; look whether the disk is full or was (df), and keep an older checkpoint",
                "save again before the training ends (control.should_save = True in a callback)",
            ),
            evidence={"checkpoint": checkpoint, "checkpoints_looked_at": self._n},
        )

    def verdict(self) -> Finding:
        """Say that all could be loaded, or that none was tried."""
        if not self._n:
            missing = "no checkpoint was looked at (AlertCallback does after each save)."
            return self.nothing("Whether the checkpoints can be loaded back is not known.", missing=missing)
        what = "The checkpoint" if self._n == 1 else f"All {self._n} checkpoints"
        return self.nothing(f"{what} could be loaded back when saved.", n=self._n, steps=self._steps)


def _count(value: object) -> int | None:
    found = number(value, high=1e9)
    return None if found is None else int(found)


def _checkpoints(n: int) -> str:
    return "1 more checkpoint" if n == 1 else f"{n} more checkpoints"
