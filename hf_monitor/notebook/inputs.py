"""What users hand over: numbers, steps, names and series, whatever package they are from."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

from hf_monitor.errors import InputError
from hf_monitor.report.picture import Series

__all__ = ["named", "number_of", "series_of", "step_of"]


def number_of(value: Any, what: str) -> float | int:
    """Give a number, or the one number in a tensor or an array; a bool is 0 or 1.

    Parameters
    ----------
    value : object
    what : str
        What it is, for the error.

    Raises
    ------
    InputError
        If it is no number.
    """
    if type(value) is float or type(value) is int:
        return value
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()
        except (RuntimeError, ValueError, TypeError):
            shape = tuple(getattr(value, "shape", (0,)))
            if math.prod(shape) == 1 and not getattr(value, "is_meta", False):
                raise  # not several values, nor none: an error of the GPU that surfaces here
            raise InputError(
                f"{what} must be one number, got a {type(value).__name__} of shape {shape}: take its mean(), say."
            ) from None
    if isinstance(value, int):
        return int(value)
    if isinstance(value, Real | Decimal):
        return float(value)
    raise InputError(f"{what} must be a number, got {type(value).__name__}: {value!r:.100}.")


def step_of(step: Any, what: str = "step") -> int | None:
    """Give a step as int, None as None.

    Raises
    ------
    InputError
        If it is no whole number from 0 on.
    """
    if step is None or (type(step) is int and step >= 0):
        return step
    try:
        found = operator.index(step)
    except TypeError:
        found = -1
    if found < 0 or isinstance(step, bool):
        raise InputError(f"{what} must be a whole number from 0 on, got {step!r:.100}.")
    return found


def named(name: Any, what: str) -> str:
    """Give a name as it is.

    Raises
    ------
    InputError
        If it is no text, or an empty one.
    """
    if not isinstance(name, str) or not name.strip():
        raise InputError(f"{what} must be a text that is not empty, got {name!r:.100}.")
    return name


def series_of(values: Any, name: str) -> list[Series]:
    """Give what is to be plotted as lines; what is handed over may be changed later.

    Parameters
    ----------
    values : sequence, mapping or (steps, values)
        Numbers, at steps from 0 on; a *tuple* of steps and values, as ``run.curve(...)`` gives; or a mapping of names
        to one of both.
    name : str
        Of a single line.

    Raises
    ------
    InputError
        If there is something else in it.
    """
    if isinstance(values, Mapping):
        return [_series(one, str(key)) for key, one in values.items()]
    return [_series(values, name)]


def _series(values: Any, name: str) -> Series:
    if isinstance(values, tuple) and len(values) == 2 and all(_is_list(one) for one in values):
        steps, found = (_numbers(one, name) for one in values)
        if len(steps) != len(found):
            raise InputError(f"{name!r}: there are {len(steps):,} steps and {len(found):,} values.")
        if odd := [step for step in steps if not abs(step) <= _FARTHEST]:
            raise InputError(f"{name!r}: steps must be finite numbers, got {odd[0]}.")
        return Series(name, steps, found)
    found = _numbers(values, name)
    return Series(name, range(len(found)), found)


_FARTHEST = 1e300  # a difference of two is a number still


def _is_list(values: Any) -> bool:
    return isinstance(values, Iterable) and not isinstance(values, str | bytes | Mapping) and _rank(values) != 0


def _rank(values: Any) -> Any:
    return getattr(values, "ndim", None)


def _numbers(values: Any, name: str) -> list[float]:
    if not _is_list(values) or _rank(values) not in (None, 1):
        raise InputError(
            f"{name!r} must be numbers to plot: a list, a tuple (steps, values), or a mapping of names to lists; "
            f"got {type(values).__name__}{_hint(values)}."
        )
    tolist = getattr(values, "tolist", None)  # arrays, tensors, Series of pandas: all at once
    values = list(tolist() if tolist else values)
    if values and all(isinstance(one, tuple) and len(one) == 2 for one in values):
        raise InputError(f"{name!r}: of pairs of step and value give a tuple of two lists: tuple(zip(*pairs)).")
    return [_float(number_of(one, f"value {n} of {name!r}")) for n, one in enumerate(values)]


def _hint(values: Any) -> str:
    if hasattr(values, "to_dict") and hasattr(values, "columns"):
        return ': plot a column, or all with df.to_dict("list")'
    if hasattr(values, "savefig"):
        return ": a figure shows itself as the last line of a cell, or with display(figure)"
    if isinstance(values, Real):
        return f" {values!r:.100}: a single number goes to log_metric(name, value)"
    return f": {values!r:.100}"


def _float(value: float | int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
