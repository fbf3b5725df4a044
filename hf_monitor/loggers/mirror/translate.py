"""A row of ``metrics.jsonl`` in W&B's words: names as transformers' ``WandbCallback`` has them, values as they are.

What wandb 0.31 would alter is given to it so that it comes back as it was, or as a text. NaN and infinities stay
numbers in the history (in config and summary wandb makes null of a NaN: there it is the text ``"NaN"``). An empty
mapping would be missing in the history, an integer outside of 64 bits would be rounded: both become texts. A row of
more than 10 MB is refused by the server: what is long in it is cut. Of a config's names wandb takes
dashes at both ends away.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from hf_monitor.loggers.mirror.spec import STEP_AXIS

__all__ = ["HIDDEN", "fit", "flat_value", "log_name", "plain_value", "single_values", "size", "translate"]

OWN = ("attempt", "kind", "time")
"""What a row says of itself; W&B's charts leave it out."""
HIDDEN = (*OWN, "train/standalone", "train/weights_step")

_HF_KINDS = frozenset(("train", "eval", "predict", "train_summary", "log"))
_TAKEN = frozenset((STEP_AXIS, *OWN, "", "_step", "_runtime", "_timestamp", "_wandb"))
_SINGLE = ("train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss", "total_flos")
_INT64 = range(-(2**63), 2**63)
_MOST_BYTES = 8_000_000  # of a row; the server takes lines of about 10 MB
_MOST_OF_A_LETTER = 6  # bytes, as JSON: \u001f
_NUMBER_BYTES = 30
_KEPT = (100_000, 10_000, 1_000, 0)  # characters of a text that is too long


def log_name(kind: str, name: str, *, rewrite: bool = True) -> str:
    """Name a value of a row as W&B is told.

    As ``rewrite_logs`` of ``transformers.integrations`` does for rows of the Trainer; others stand under their kind.

    Parameters
    ----------
    kind : str
        Of the row.
    name : str
        In the row.
    rewrite : bool
        False: names of kind ``"log"`` stay as they are.

    Examples
    --------
    >>> log_name("eval", "eval_rougeL"), log_name("train", "loss"), log_name("timing", "seconds")
    ('eval/rougeL', 'train/loss', 'timing/seconds')
    >>> log_name("log", "my_loss", rewrite=False)
    'my_loss'
    """
    if kind == "log" and not rewrite:
        found = name
    elif kind not in _HF_KINDS:
        found = f"{kind}/{name}"
    elif name.startswith(("eval_", "test_")):
        found = f"{name[:4]}/{name[5:]}"
    else:
        found = f"train/{name}"
    while found in _TAKEN:  # W&B's own, or ours
        found = f"{kind or 'log'}/{found}"
    return found


def translate(row: Mapping[str, Any], *, rewrite: bool = True) -> dict[str, Any]:
    """Give what ``run.log`` is told of a row.

    Parameters
    ----------
    row : mapping
        A row of ``metrics.jsonl``, as :func:`hf_monitor.run.rows.decode_line` gives it.
    rewrite : bool
        As in :func:`log_name`.

    Returns
    -------
    dict
        Each value of the row; ``train/global_step``, where the row has a step; ``attempt``, ``kind`` and ``time`` (in
        seconds since 1970, for W&B's own axes also as ``_timestamp``).

    Examples
    --------
    >>> translate({"time": 5.0, "attempt": 1, "step": 3, "kind": "eval", "eval_loss": 2.5})
    {'eval/loss': 2.5, 'train/global_step': 3, 'attempt': 1, 'kind': 'eval', 'time': 5.0, '_timestamp': 5.0}
    """
    kind = str(row.get("kind", "row"))
    found = {
        log_name(kind, str(name), rewrite=rewrite): flat_value(value)
        for name, value in row.items()
        if name not in OWN and name != "step"
    }
    if row.get("step") is not None:
        found[STEP_AXIS] = flat_value(row["step"])
    found |= {name: row[name] for name in OWN if name in row}
    time = row.get("time")
    if isinstance(time, int | float) and math.isfinite(time):
        found["_timestamp"] = time
    return fit(found)


def flat_value(value: Any) -> Any:
    """Give a value in a form that W&B's history gives back."""
    kind = type(value)
    if kind is float or kind is str or kind is bool or value is None:
        return value
    if kind is int:
        return value if value in _INT64 or value == _float(value) else str(value)
    if kind is dict:
        return {str(name): flat_value(one) for name, one in value.items()} if value else "{}"
    if kind is list:
        return [_in_list(one) for one in value]
    return str(value)


def _in_list(value: Any) -> Any:
    """Give what stands in a list: wandb keeps that as JSON, and what is empty in it stays."""
    if isinstance(value, dict):
        return {str(name): _in_list(one) for name, one in value.items()}
    return flat_value(value)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def plain_value(value: Any) -> Any:
    """Give a value in a form that W&B's config and summary give back: as :func:`flat_value`; NaN is ``"NaN"``."""
    if isinstance(value, Mapping):
        return {str(name): plain_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    return "NaN" if isinstance(value, float) and value != value else flat_value(value)


def single_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give what transformers' ``WandbCallback`` puts into the summary under its own name: ``train_runtime`` ..."""
    return {name: plain_value(row[name]) for name in _SINGLE if name in row}


def fit(values: dict[str, Any]) -> dict[str, Any]:
    """Cut texts, and leave out other values, where a row would be longer than the server takes."""
    if sum(_at_most(name) + _at_most(value) for name, value in values.items()) < _MOST_BYTES:
        return values
    whole = {name: size(value) for name, value in values.items()}
    sizes = {name: size(name) + bytes_ for name, bytes_ in whole.items()}
    found = dict(values)
    for most in _KEPT:
        for name in sorted(sizes, key=lambda name: sizes[name], reverse=True):
            if sum(sizes.values()) < _MOST_BYTES or not isinstance(found[name], str | dict | list):
                break
            kept = values[name][:most] if isinstance(values[name], str) else ""
            found[name] = f"{kept}... ({whole[name]:,} bytes: too long for W&B, metrics.jsonl has it whole)"
            sizes[name] = size(name) + size(found[name])
    return found


def size(value: Any) -> int:
    """Give the bytes of a value in JSON, as the server counts them."""
    if isinstance(value, str | dict | list):
        return len(orjson.dumps(value, default=str))
    return _NUMBER_BYTES


def _at_most(value: Any) -> int:
    return _MOST_OF_A_LETTER * len(value) if isinstance(value, str) else size(value)
