"""Metrics that the user adds with ``extra=``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["ExtraMetric", "ExtraMetrics", "check_extra", "run_extra"]

ExtraMetric = Callable[[list[str], list[list[str]]], Any]
ExtraMetrics = Mapping[str, ExtraMetric] | ExtraMetric


def check_extra(extra: ExtraMetrics | None) -> None:
    """Refuse what cannot be called, before any training begins.

    Parameters
    ----------
    extra
        As for `run_extra`; None is fine.

    Raises
    ------
    InputError
        If it is neither callable nor a mapping of names to callables.
    """
    if extra is None or callable(extra):
        return
    if not isinstance(extra, Mapping) or not all(callable(metric) for metric in extra.values()):
        raise InputError(
            "extra must be a function of (predictions, references) that returns a dict, or a mapping of names to such "
            f"functions; received {extra!r}."
        )


def run_extra(
    extra: ExtraMetrics,
    predictions: list[str],
    references: list[list[str]],
    values: MutableMapping[str, float],
    on_problem: Callable[[str, str], None] | None = None,
) -> None:
    """Call the user's metrics and merge what they return into the values.

    A named metric yields a number under its name, or a dict whose keys get ``name_`` in front. A single function
    yields a dict whose keys are taken as they are.

    Parameters
    ----------
    extra
        Name -> function, or one function; called with predictions and references (one list per sample).
    predictions, references
        Cleaned texts; the metrics get copies.
    values
        Changed in place.
    on_problem
        Told about a metric that fails (its name, a message), which is then left out. None: its error is raised.

    Raises
    ------
    InputError
        Without ``on_problem``: if a metric returns no numbers, or a name that is already taken.
    """
    check_extra(extra)
    named = extra.items() if isinstance(extra, Mapping) else [("", extra)]
    for name, metric in named:
        label = name or getattr(metric, "__name__", type(metric).__name__)
        try:
            result = metric(list(predictions), [list(texts) for texts in references])
            values.update(_numbers(name, label, result, values))
        except Exception as error:  # the user's own code; it must not stop a training
            if on_problem is None:
                raise
            on_problem(label, f"extra metric {label!r} failed and is left out: {type(error).__name__}: {error}")


def _numbers(name: str, label: str, result: Any, taken: Mapping[str, float]) -> dict[str, float]:
    if isinstance(result, Mapping):
        pairs = {f"{name}_{key}" if name else str(key): value for key, value in result.items()}
    elif name:
        pairs = {name: result}
    else:
        raise InputError(
            f"extra metric {label!r} returned {type(result).__name__}; a single function must return a dict."
        )
    numbers: dict[str, float] = {}
    for key, value in pairs.items():
        if key in taken:
            raise InputError(f"extra metric {label!r} returned {key!r}, which is already taken; give it another name.")
        try:
            numbers[key] = float(value)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"extra metric {label!r} returned {value!r} for {key!r}, which is not a number."
            ) from error
    return numbers
