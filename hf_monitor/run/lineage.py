"""From the raw rows of all attempts to each (kind, step) once, and to what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, NamedTuple

__all__ = ["Lost", "merge"]

_Row = dict[str, Any]
_View = dict[tuple[Any, ...], _Row]


class Lost(NamedTuple):
    """Steps that were taken and recorded, but after the checkpoint from which a later attempt went on."""

    attempt: int
    first: int
    last: int
    resumed_as: int
    """The attempt that went back over them."""


def merge(rows: Iterable[_Row]) -> tuple[list[_Row], list[tuple[_Row, int]], list[Lost]]:
    """Merge the rows of several attempts.

    An attempt that resumes at step S goes on from what its checkpoint's attempt had up to S (``resumed_attempt`` in its
    ``train_begin``; without that, from what was there before it); one that begins at 0 goes on from nothing. What the
    latest attempt has is the result. An attempt that only evaluates adds to it and takes nothing away.

    Parameters
    ----------
    rows : iterable of dict
        In the order written; processes may have written alternately. They are not changed.

    Returns
    -------
    metrics : list of dict
        Without events, in the order of steps. The rows themselves, no copies; a new one where two were joined.
    lost : list of (dict, int)
        Rows that a resumed attempt went back over, each with that attempt's number.
    steps : list of Lost
        The steps that these attempts went back over, logged or not, as far as any row or event tells of them.

    Raises
    ------
    TypeError
        If a step, a time, a kind or the number of an attempt is no such thing, and is in the way.
    """
    views: dict[int, _View] = {}
    latest = 0
    lost: list[tuple[_Row, int]] = []
    written: dict[int, list[_Row]] = {}  # what is not lost yet
    reached: dict[int, list[int]] = {}  # by attempt: after which step its own begin, and the last not lost yet
    steps: list[Lost] = []
    current: int | None = None  # whose `view`, `own` and `ends` are at hand: a million rows are looked at
    view: _View = {}
    own: list[_Row] | None = None
    ends: list[int] | None = None
    for row in rows:
        get = row.get
        kind, attempt, alone = get("kind", ""), get("attempt") or 0, get("standalone")
        if kind == "event" and get("event") == "train_begin":
            _begin(row, attempt, views, written, reached, lost, steps)
            latest, current = attempt, None
        elif attempt not in views:  # evaluates only, so far: it adds to what there is
            if not isinstance(attempt, int):
                raise TypeError(f"an attempt has a number, got {attempt!r}.")
            views[attempt] = dict(views.get(latest, {}))
            latest, current = attempt, None
        if attempt != current:
            current, view, ends = attempt, views[attempt], reached.get(attempt)
            own = written.get(attempt)
        if ends and not alone and (step := get("step") or 0) > ends[1]:
            ends[1] = step
        if kind == "event":
            continue
        if own is None:
            own = written[attempt] = []
        own.append(row)
        name = row["name"] if "name" in row else get("rule")
        time = get("time") if alone else None
        # Nearly all rows have neither: a pair is made and hashed sooner, and is never like the others' keys.
        key: tuple[Any, ...] = (kind, get("step", 0))
        if name is not None or time is not None:
            key = (*key, name, time)
        earlier = view.setdefault(key, row)
        if earlier is not row:
            # Several evaluation sets share a step within an attempt: their keys differ, so they are joined.
            view[key] = {**earlier, **row} if earlier.get("attempt") == attempt else row
    return _in_order(views.get(latest, {})), lost, steps


def _begin(
    row: _Row,
    attempt: int,
    views: dict[int, _View],
    written: dict[int, list[_Row]],
    reached: dict[int, list[int]],
    lost: list[tuple[_Row, int]],
    steps: list[Lost],
) -> None:
    """Let an attempt begin: give it its view, and take out what it goes back over."""
    resumed, step = row.get("resumed_attempt"), row.get("step") or 0
    before = _before(views, attempt, resumed)
    own = {key: kept for key, kept in views.get(attempt, {}).items() if kept.get("attempt") == attempt}
    views[attempt] = own
    if step:
        views[attempt] = {key: kept for key, kept in before.items() if _is_kept(kept, step)} | own
        first = resumed or max((number for number in written if number < attempt), default=0)
        lost += _lost(written, first, attempt, step)
        steps += _lost_steps(reached, first, attempt, step)
    reached[attempt] = [step, step]


def _is_kept(row: _Row, step: int) -> bool:
    """Whether a training that goes on from `step` keeps a row: at 0 its first evaluation, but no separate one."""
    at = row.get("step") or 0
    return at <= step and (at > 0 or not row.get("standalone"))


def _in_order(view: _View) -> list[_Row]:
    try:
        return sorted(view.values(), key=itemgetter("step", "time"))
    except KeyError:
        return sorted(view.values(), key=lambda row: (row.get("step", 0), row.get("time", 0.0)))


def _before(views: dict[int, _View], attempt: int, resumed: int | None) -> _View:
    """Give the view of the attempt whose checkpoint is gone on from, else of the one before."""
    if resumed in views and resumed != attempt:
        return views[resumed]
    earlier = [number for number in views if number < attempt]
    return views[max(earlier)] if earlier else {}


def _lost_steps(reached: dict[int, list[int]], first: int, attempt: int, step: int) -> list[Lost]:
    """Take out of `reached` what an attempt goes back over."""
    found = []
    for number in sorted(number for number in reached if first <= number < attempt):
        begun, last = reached[number]
        if last > max(step, begun):
            found.append(Lost(number, max(step, begun) + 1, last, attempt))
            reached[number][1] = max(step, begun)
    return found


def _lost(written: dict[int, list[_Row]], first: int, attempt: int, step: int) -> list[tuple[_Row, int]]:
    """Take out of `written` what an attempt goes back over."""
    found: list[tuple[_Row, int]] = []
    for number in sorted(number for number in written if first <= number < attempt):
        kept: list[_Row] = []
        for row in written[number]:
            if (row.get("step") or 0) > step and not row.get("standalone"):
                found.append((row, attempt))
            else:
                kept.append(row)
        written[number] = kept
    return found
