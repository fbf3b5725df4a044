"""The texts of an evaluation as columns and rows of a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["evenly", "table_of"]

_FIRST = ("index", "input", "references", "prediction")
_OWN = frozenset(("time", "attempt", "step", "kind", "name"))
_LONGEST = 20_000  # characters of a cell; a longer text does no good in a table of a web page


def evenly(n: int, most: int) -> list[int]:
    """Choose at most `most` of the indices below `n`, evenly spread; the same for the same numbers.

    Examples
    --------
    >>> evenly(10, 3)
    [0, 3, 6]
    """
    return list(range(n)) if n <= most else [i * n // most for i in range(most)]


def table_of(rows: Sequence[Mapping[str, Any]], most: int) -> tuple[list[str], list[list[Any]]]:
    """Make columns and rows of a table.

    Parameters
    ----------
    rows : sequence of mapping
        Of one evaluation, from ``predictions.jsonl``.
    most : int
        Rows of the table.

    Returns
    -------
    columns : list of str
        ``index``, ``input``, ``references``, ``prediction``, then whatever else the rows have, scores first to last.
    data : list of list
        Texts up to 20,000 characters whole; a single reference as a text, several as a list.
    """
    shown = [rows[i] for i in evenly(len(rows), most)]
    there = dict.fromkeys(name for row in shown for name in row if name not in _OWN)
    columns = [*(name for name in _FIRST if name in there), *(name for name in there if name not in _FIRST)]
    return columns, [[_cell(name, row.get(name)) for name in columns] for row in shown]


def _cell(name: str, value: Any) -> Any:
    if name == "references" and isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}... ({len(value) - _LONGEST:,} more characters)"
    if isinstance(value, list):
        return [_cell("", one) for one in value]
    return value
