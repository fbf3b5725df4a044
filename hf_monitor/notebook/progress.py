"""A progress bar over anything: in the area of the experiment, or in one of its own."""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, cast

from hf_monitor.errors import InputError
from hf_monitor.notebook.area import Drawing
from hf_monitor.notebook.draw import draw
from hf_monitor.notebook.inputs import number_of
from hf_monitor.notebook.plain import make_area
from hf_monitor.notebook.scene import Bar, Scene
from hf_monitor.notebook.shell import at_cell_end, in_notebook, this_cell
from hf_monitor.report.watch.state import State
from hf_monitor.report.words import duration, number
from hf_monitor.run.secrets import SecretMask

__all__ = ["Progress", "bar_line"]

Item = TypeVar("Item")


class Progress(Generic[Item]):
    """Iterating over it gives the items and moves the bar; or :meth:`update` does. Made by ``NotebookLogger.progress``.

    A loop that is left early leaves the bar where it was.

    Parameters
    ----------
    source : iterable or int
        Of a number n the items are ``range(n)``.
    description : str
    changed : callable
        Called when an item is done; cheap.
    total : int, optional
        How many there are, where `source` does not know it.

    Attributes
    ----------
    done : float
    total : int or None
        None where nobody knows it.
    left : bool
        Whether the loop was left before its end.
    """

    def __init__(
        self, source: Iterable[Item] | int, description: str, changed: Callable[[], None], total: int | None = None
    ) -> None:
        self._items, known = _items_of(source)
        self.total = known if total is None else total
        if not isinstance(description, str):
            raise InputError(
                f"progress(items or number, description): description must be a text, got {description!r:.100}."
            )
        self.description = description
        self.done: float = 0
        self.closed = self.left = False
        self._changed = changed
        self._began = self._ended = time.monotonic()

    def __repr__(self) -> str:
        return f"<Progress {bar_line(self.bar())}>"

    def __len__(self) -> int:
        if self.total is None:
            raise TypeError(f"the length of {type(self._items).__name__} is not known")
        return self.total

    def __iter__(self) -> Iterator[Item]:
        if self.closed:  # gone through once more
            self.closed, self.done, self._began = False, 0, time.monotonic()
            self._reopen()
        changed = self._changed
        self.left = True
        try:
            for item in self._items:
                yield item
                self.done += 1
                changed()
            self.left = False
        finally:  # also where the loop is left by break, return or an error
            self.close()

    def _reopen(self) -> None:
        """Where the area has been closed, it takes another one."""

    def update(self, n: float = 1) -> None:
        """Say that `n` more are done.

        Raises
        ------
        InputError
            If it is no finite number.
        """
        n = number_of(n, "n")
        if not math.isfinite(n):
            raise InputError(f"n must be a finite number, got {n}.")
        self.done += n
        self._changed()

    def close(self) -> None:
        """Say that it is over; the bar stays as it is."""
        if not self.closed:
            self.closed = True
            self._ended = time.monotonic()
            self._changed()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.left = self.left or error is not None
        self.close()

    @property
    def left_early(self) -> bool:
        """Whether it is over and not all was done."""
        return self.closed and (self.left or (self.total is not None and self.done < self.total))

    def bar(self) -> Bar:
        """Give it as it is now."""
        seconds = (self._ended if self.closed else time.monotonic()) - self._began
        words = []
        if self.closed:
            words.append(duration(seconds))
        elif self.done and seconds > 0:
            rate = self.done / seconds
            words.append(f"{number(rate, 3)} a second" if rate >= 1 else f"{duration(1 / rate)} each")
            if self.total is not None and self.total > self.done:
                words.append(f"{duration(seconds * (self.total - self.done) / self.done)} left")
        if self.left_early:
            words.append("left early")
        return Bar(self.description, self.done, self.total, ", ".join(words))


class LoneProgress(Progress[Item]):
    """One without an experiment, with an area of its own in the running cell; the ninth and later ones share one."""

    def __init__(
        self, source: Iterable[Item] | int, description: str, total: int | None = None, mask: SecretMask | None = None
    ) -> None:
        super().__init__(source, description, lambda: None, total)
        self.description = description if mask is None else mask.text(description)
        self._reopen()

    def _reopen(self) -> None:
        self._place = _place()
        self._changed = self._place.area.changed
        self._place.take(self)

    def close(self) -> None:
        """Say that it is over; the bar stays as it is."""
        super().close()
        self._place.over()


class _Place:
    """The area of a bar, or of bars one after the other."""

    def __init__(self, shared: bool) -> None:
        self._shared = shared
        self._bars: list[LoneProgress[Any]] = []
        self._n = 0
        self._began = time.time()
        self.area = make_area(self._draw, self._line)
        at_cell_end(self._cell_ended)

    def take(self, bar: LoneProgress[Any]) -> None:
        """Show a bar; of those that are over the last one stays."""
        self._bars = [*(one for one in self._bars if not one.closed), bar]
        self._n += 1
        self.area.open()
        self.area.changed()

    def over(self) -> None:
        """Say that a bar is over."""
        if self._shared:
            self.area.changed()
        else:
            self.area.close()

    def _cell_ended(self, error: BaseException | None) -> None:
        _places.clear()  # who goes on with a bar holds it
        self.area.flush()
        if all(bar.closed for bar in self._bars):
            self.area.close()

    def _draw(self) -> Drawing:
        bars = list(self._bars)
        over = "interrupted" if any(bar.left_early for bar in bars) else "finished"
        status = over if all(bar.closed for bar in bars) else "running"
        title = bars[-1].description or "progress"
        shown = [bar.bar() if len(bars) > 1 else bar.bar()._replace(label="") for bar in bars]
        more = self._n - len(bars)
        notes = [f"and {more:,} more before"] if more else []
        return draw(Scene(title, status, self._began, time.time(), State(), bars=shown, notes=notes))

    def _line(self) -> str:
        return ", ".join(bar_line(bar.bar()) for bar in self._bars)


_OWN = 8
_cell = 0
_places: list[_Place] = []


def _place() -> _Place:
    """Give an area in this cell; a loop in a loop must not fill the notebook with one for each time."""
    global _cell, _places
    if not in_notebook():
        return _Place(shared=False)
    if this_cell() != _cell:
        _cell, _places = this_cell(), []
    if len(_places) <= _OWN:
        _places.append(_Place(shared=len(_places) == _OWN))
    return _places[-1]


def bar_line(bar: Bar) -> str:
    """Write a bar as words: ``"epoch 3/10 (30 %), 5 s left"``."""
    done = number(bar.done)
    known = bar.total is not None and bar.total > 0
    amount = f"{done}/{number(bar.total)} ({bar.done / cast(float, bar.total):.0%})" if known else done
    return " ".join(part for part in (bar.label, amount) if part) + (f", {bar.note}" if bar.note else "")


def _items_of(source: Any) -> tuple[Iterable[Any], int | None]:
    if hasattr(source, "__index__") and not getattr(source, "ndim", 0) and not isinstance(source, bool):
        try:
            n = operator.index(source)  # also of NumPy and of tensors
        except TypeError:
            n = -1
        if n < 0:
            raise InputError(f"progress() takes a number from 0 on, or something to go through; got {source!r:.100}.")
        return range(n), n
    if not isinstance(source, Iterable) and not hasattr(type(source), "__getitem__"):
        raise InputError(
            f"progress() takes something to go through, or how many there are; got {type(source).__name__}: "
            f"{source!r:.100}."
        )
    try:
        return source, len(source)
    except (TypeError, NotImplementedError, AttributeError):  # a generator, an IterableDataset
        return source, None
    except (OverflowError, ValueError):
        return source, None
