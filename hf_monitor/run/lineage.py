"""From the raw rows of all attempts to each (kind, step) once, and to what was lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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


def merge(rows: Iterable[Mapping[str, Any]]) -> tuple[list[_Row], list[tuple[_Row, int]], list[Lost]]:
    """Merge the rows of several attempts.

    An attempt that resumes at step S goes on from what its checkpoint's attempt had up to S (``resumed_attempt`` in its
    ``train_begin``; without that, from what was there before it); one that begins at 0 goes on from nothing. What the
    latest attempt has is the result. An attempt that only evaluates adds to it and takes nothing away.

    Parameters
    ----------
    rows : iterable of mapping
        In the order written; processes may have written alternately.

    Returns
    -------
    metrics : list of dict
        Without events, in the order of steps.
    lost : list of (dict, int)
        Rows that a resumed attempt went back over, each with that attempt's number.
    steps : list of Lost
        The steps that these attempts went back over, logged or not, as far as any row or event tells of them.
    """
    views: dict[int, _View] = {}
    latest = 0
    lost: list[tuple[_Row, int]] = []
    written: dict[int, list[_Row]] = {}  # what is not lost yet
    reached: dict[int, tuple[int, int]] = {}  # by attempt: after which step its own begin, and the last not lost yet
    steps: list[Lost] = []
    for raw in rows:
        row = dict(raw)
        attempt = row.get("attempt") or 0
        begins = row.get("kind") == "event" and row.get("event") == "train_begin"
        if begins:
            before = _before(views, attempt, row.get("resumed_attempt"))
            step = row.get("step") or 0
            own = {key: kept for key, kept in views.get(attempt, {}).items() if kept.get("attempt") == attempt}
            views[attempt] = {k: v for k, v in before.items() if 0 < (v.get("step") or 0) <= step} | own
            if step:
                first = row.get("resumed_attempt") or max((number for number in written if number < attempt), default=0)
                lost += _lost(written, first, attempt, step)
                steps += _lost_steps(reached, first, attempt, step)
            reached[attempt] = (step, step)
            latest = attempt
        elif attempt not in views:  # evaluates only, so far: it adds to what there is
            views[attempt] = dict(views.get(latest, {}))
            latest = attempt
        if attempt in reached and not row.get("standalone"):
            begun, last = reached[attempt]
            reached[attempt] = begun, max(last, row.get("step") or 0)
        if row.get("kind") == "event":
            continue
        written.setdefault(attempt, []).append(row)
        view = views[attempt]
        alone = row.get("time") if row.get("standalone") else None
        key = (row.get("kind", ""), row.get("step", 0), row.get("name", row.get("rule")), alone)
        earlier = view.get(key)
        # Several evaluation sets share a step within an attempt: their keys differ, so they are joined.
        view[key] = {**earlier, **row} if earlier and earlier.get("attempt") == attempt else row
    metrics = sorted(views.get(latest, {}).values(), key=lambda row: (row.get("step", 0), row.get("time", 0.0)))
    return metrics, lost, steps


def _before(views: dict[int, _View], attempt: int, resumed: int | None) -> _View:
    """Give the view of the attempt whose checkpoint is gone on from, else of the one before."""
    if resumed in views and resumed != attempt:
        return views[resumed]
    earlier = [number for number in views if number < attempt]
    return views[max(earlier)] if earlier else {}


def _lost_steps(reached: dict[int, tuple[int, int]], first: int, attempt: int, step: int) -> list[Lost]:
    """Take out of `reached` what an attempt goes back over."""
    found = []
    for number in sorted(number for number in reached if first <= number < attempt):
        begun, last = reached[number]
        if last > max(step, begun):
            found.append(Lost(number, max(step, begun) + 1, last, attempt))
            reached[number] = begun, max(step, begun)
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
