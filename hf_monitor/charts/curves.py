"""Rows of a training -> one curve a metric; drawing a curve."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hf_monitor.charts.chart import Rows
from hf_monitor.charts.scales import LARGEST
from hf_monitor.charts.style import series_style
from hf_monitor.charts.thin import thin
from hf_monitor.errors import InputError
from hf_monitor.run.reader import Run, load_run

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    HistoryData: TypeAlias = Any  # rows, Curves, a DataFrame, a Run, a path

__all__ = ["Curve", "Curves", "curves_of", "history_rows"]

_NO_METRICS = frozenset({"step", "time", "attempt", "kind", "epoch", "weights_step", "rank"})
_WANTED = frozenset({"loss", "eval_loss"})
_KINDS = frozenset({None, "train", "eval", "log"})
_MARKED = 60  # points up to which each gets its marker
_SHOWN = 4000  # points up to which all are drawn: four for each of the thousand pixel columns
_MEANS = 300


class Curve:
    """One metric over the steps.

    Parameters
    ----------
    name : str
    steps : sequence of int, shape (n,)
        Optimizer steps, ascending.
    values : sequence of float, shape (n,)
        The metric; values that are not finite are drawn as crosses at the foot of the axes.

    Attributes
    ----------
    name : str
    steps : ndarray of int64, shape (n,)
    values : ndarray of float64, shape (n,)
    """

    def __init__(self, name: str, steps: Sequence[int] = (), values: Sequence[float] = ()) -> None:
        self.name = name
        self.steps: npt.NDArray[np.int64] = np.asarray(steps, dtype=np.int64)
        self.values: npt.NDArray[np.float64] = np.asarray(values, dtype=np.float64)

    def __bool__(self) -> bool:
        return bool(len(self.values))

    def __repr__(self) -> str:
        return f"<Curve {self.name!r}: {len(self.values)} points>"

    def same_points(self, other: Curve) -> bool:
        """Tell whether both have the same values at the same steps."""
        return np.array_equal(self.steps, other.steps) and np.array_equal(self.values, other.values, equal_nan=True)

    @property
    def finite(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Steps and values without NaN, infinities, and what is too large to be drawn."""
        kept = np.abs(self.values) <= LARGEST
        return self.steps[kept], self.values[kept]

    @property
    def is_thinned(self) -> bool:
        """Whether there are more points than a picture shows: then means are drawn over them."""
        return len(self.finite[0]) > _SHOWN

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each point."""
        return [
            {"series": self.name, "step": step, "value": value}
            for step, value in zip(self.steps.tolist(), self.values.tolist(), strict=True)
        ]

    def draw(self, ax: Axes, index: int, label: str) -> None:
        """Draw into axes, as series number `index`; of very many points those that a picture can show."""
        finite, values = self.finite
        steps: npt.NDArray[Any] = finite
        look = series_style(index)
        line = {"color": look.colour, "linestyle": look.line, "linewidth": 1.5, "label": label}
        if self.is_thinned:
            kept = thin(steps, values, _SHOWN)
            ax.plot(steps[kept], values[kept], color=look.colour, linewidth=0.6, alpha=0.3)
            steps, values, size = _means(steps, values)
            line["label"] = f"{label}\n(means of {size:,}; pale: all values)"
        ax.plot(steps, values, marker=look.marker if len(steps) <= _MARKED else None, markersize=4, **line)
        lost = self.steps[~(np.abs(self.values) <= LARGEST)]
        if len(lost):  # at the foot of the axes, where they also keep the steps in view
            kept = thin(lost, np.zeros(len(lost)), 1000)
            ax.plot(
                lost[kept],
                [0.03] * len(kept),
                transform=ax.get_xaxis_transform(),
                color=look.colour,
                linestyle="none",
                marker="x",
                markersize=6,
                label=f"{label.partition(chr(10))[0]}: {self._why_lost()}"
                + (f" ({len(lost)})" if len(lost) > 1 else ""),
            )

    def _why_lost(self) -> str:
        too_large = np.isfinite(self.values) & (np.abs(self.values) > LARGEST)
        return "NaN, infinite or beyond 1e150" if too_large.any() else "NaN or infinite"


def _means(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], int]:
    """Give means of neighbouring points, and of how many (the last may be of fewer)."""
    size = -(-len(steps) // _MEANS)
    starts = np.arange(0, len(steps), size)
    counts = np.diff(np.append(starts, len(steps)))
    return np.add.reduceat(steps.astype(float), starts) / counts, np.add.reduceat(values, starts) / counts, size


class Curves(dict[str, Curve]):
    """A curve for each metric of a training, by name; charts take it where they take rows.

    Attributes
    ----------
    unusable : list of str
        What was in the rows and is in no curve, in words.
    """

    def __init__(self, curves: Mapping[str, Curve] = MappingProxyType({})) -> None:
        super().__init__(curves)
        self.unusable: list[str] = []


def history_rows(history: HistoryData) -> Rows:
    """Give the rows of whatever holds a history.

    Parameters
    ----------
    history : rows, DataFrame, Run or path-like
        ``trainer.state.log_history``, ``load_run(...).metrics``, a table with a column a key (an empty cell is a value
        that is not there), a run, a run folder, or the Trainer's ``trainer_state.json``.

    Returns
    -------
    iterable of mappings

    Raises
    ------
    InputError
        If it is none of these.
    RunFolderError
        If a path is no run folder.
    """
    if isinstance(history, Curves):
        raise InputError("these are curves already: pass them to from_rows().")
    if isinstance(history, str | os.PathLike):
        path = Path(history).expanduser()
        if path.suffix == ".json" and path.is_file():
            return _trainer_state(path)
        history = load_run(path)
    if isinstance(history, Run):
        return history.metrics
    if hasattr(history, "to_dict") and hasattr(history, "columns"):  # a DataFrame, without importing pandas
        rows = history.to_dict("records")
        return [
            {str(name): value for name, value in row.items() if value == value and value is not None} for row in rows
        ]
    if isinstance(history, Mapping) and isinstance(history.get("log_history"), list):  # trainer_state.json, read
        return list(history["log_history"])
    if isinstance(history, Mapping) or not isinstance(history, Iterable):
        raise InputError(
            f"a history is a list of rows, got {type(history).__name__}. Pass trainer.state.log_history, "
            "a DataFrame, load_run(folder), or the folder itself."
        )
    rows_as_they_are: Rows = history
    return rows_as_they_are


def _trainer_state(path: Path) -> Rows:
    try:
        state = json.loads(path.read_bytes())
        rows = state["log_history"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{str(path)!r} holds no log_history. Pass trainer_state.json of a checkpoint, or a run folder."
        ) from error
    return list(rows)


def curves_of(history: HistoryData) -> Curves:
    """Collect a curve for each number in the rows.

    A step that comes again counts as it was last. Evaluations outside of ``train()`` (``standalone``) are no points.

    Parameters
    ----------
    history
        See :func:`history_rows`; curves are given back as they are.

    Returns
    -------
    Curves

    Raises
    ------
    InputError
        If it is no history, or a row is no mapping.
    """
    if isinstance(history, Curves):
        return history
    found: dict[str, tuple[list[int], list[float]]] = {}
    without_step: dict[str, int] = {}
    not_numbers: dict[str, str] = {}
    for number, row in enumerate(history_rows(history)):
        try:
            step = row.get("step")
            outside = row.get("kind") not in _KINDS or row.get("standalone")
        except AttributeError:
            raise InputError(
                f"row {number} of the history is {type(row).__name__}, not a mapping. Pass trainer.state.log_history, "
                "a DataFrame, load_run(folder), or the folder itself."
            ) from None
        if outside:
            continue
        if step.__class__ is not int:
            step = _whole(step)
            if step is None:
                for name in row.keys() & _WANTED:
                    without_step[name] = without_step.get(name, 0) + 1
                continue
        for name, value in row.items():
            kind = value.__class__
            if kind is not float and kind is not int:  # the quick way for nearly all; numpy's scalars the other
                number_or_none = _number(value)
                if number_or_none is None:
                    if name in _WANTED and value is not None:
                        not_numbers[name] = type(value).__name__
                    continue
                value = number_or_none
            if name in found:
                steps, values = found[name]
            elif name in _NO_METRICS or not isinstance(name, str):
                continue
            else:
                steps, values = found[name] = [], []
            steps.append(step)
            values.append(value)
    curves = Curves({name: _last_of_each_step(name, *points) for name, points in found.items()})
    curves.unusable += [f"{name!r} in {n} rows without a whole 'step'" for name, n in without_step.items()]
    curves.unusable += [f"{name!r} that is no number but {kind}" for name, kind in not_numbers.items()]
    return curves


def _number(value: Any) -> float | None:
    """Read a number of another kind: numpy's scalars, tensors of one element."""
    if isinstance(value, bool | str | bytes):
        return None
    if isinstance(value, int | float | np.floating | np.integer):
        return float(value)
    try:
        item = value.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):  # what has no item, or several
        return None
    return float(item) if isinstance(item, int | float) and not isinstance(item, bool) else None


def _whole(step: Any) -> int | None:
    """Read a step that is no plain int: a DataFrame with empty cells makes floats of them."""
    if isinstance(step, bool) or not isinstance(step, int | float | np.integer | np.floating):
        return None
    number = float(step)
    return int(number) if abs(number) < 2**53 and number.is_integer() else None


def _last_of_each_step(name: str, steps: list[int], values: list[float]) -> Curve:
    try:
        curve = Curve(name, steps, values)
    except OverflowError:  # whole numbers beyond 64 bits, or beyond a float
        kept = [(s, float(v)) for s, v in zip(steps, values, strict=True) if abs(s) < 2**63 and abs(v) < 2**1023]
        curve = Curve(name, [s for s, _ in kept], [v for _, v in kept])
    if np.any(np.diff(curve.steps) <= 0):
        order = np.argsort(curve.steps, kind="stable")
        steps_sorted = curve.steps[order]
        last = order[np.append(steps_sorted[1:] != steps_sorted[:-1], True)]
        curve.steps, curve.values = curve.steps[last], curve.values[last]
    return curve
