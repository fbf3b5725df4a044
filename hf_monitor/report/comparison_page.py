"""A comparison as one page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from hf_monitor.report.cautions import names_of
from hf_monitor.report.comparison import MARK
from hf_monitor.report.pages import page
from hf_monitor.report.plots import Picture, Series, Table, bar_plot, line_plot, sparkline
from hf_monitor.report.verdict_words import METHODS
from hf_monitor.report.words import duration, number

if TYPE_CHECKING:
    from hf_monitor.charts.curves import Curve
    from hf_monitor.report.comparison import Comparison
    from hf_monitor.report.verdict import Verdict

__all__ = ["comparison_html", "comparison_tables"]

_IN_COLUMNS = 6  # runs up to which each has a column in the table of differences
_DRAWN = 12  # runs up to which each has a curve
_BEST_DRAWN = 8  # curves otherwise: one for each colour
_POINTS = 200  # of a curve
_LOST = 20  # of its values that are not finite
_VALUES = 12  # of a setting, and groups in a picture
_SPARK = 60
_METRICS = 20  # in the tables


def comparison_html(comparison: Comparison) -> bytes:
    """Make the page; the same runs give the same bytes."""
    return page(
        "comparison.html",
        title=f"Comparison of {len(comparison.runs)} runs",
        mark=Markup(MARK),
        comparison=comparison,
        differences=[(area, _differences(comparison, area)) for area in _areas(comparison)],
        not_recorded=_not_recorded(comparison),
        metrics=_metrics(comparison),
        costs=_costs(comparison),
        pictures=_pictures(comparison),
        groups=_groups(comparison.verdict),
        pairs=_pairs(comparison.verdict),
    )


def comparison_tables(comparison: Comparison) -> str:
    """Give the verdict, what differs, and the numbers as HTML, for a notebook."""
    parts = [Markup("<p><strong>{}</strong></p>").format(comparison.verdict)]
    parts += [Markup("<p>⚠ {}</p>").format(caution.text) for caution in comparison.warnings]
    tables = [(f"what differs: {area}", _differences(comparison, area)) for area in _areas(comparison)]
    tables += [(_of_what(table), table) for table in _metrics(comparison)]
    for caption, table in [*tables, ("time and memory", _costs(comparison))]:
        head = Markup("").join(Markup("<th>{}</th>").format(cell) for cell in table.head)
        rows = Markup("").join(
            Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(_cell(one)) for one in row))
            for row in table.rows
        )
        whole = Markup("<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>")
        parts.append(whole.format(caption, head, rows))
    return str(Markup("\n").join(parts))


def _of_what(table: Table) -> str:
    """Say of which metrics a table has the best values."""
    own = [re.sub("<wbr>", "", str(one)) for one in table.head[1:] if str(one) not in ("at step", "last", "curve")]
    return f"best values: {', '.join(own)}"


def _cell(value: object) -> object:
    return value if isinstance(value, Markup) else number(value)


def _breakable(name: str, after: str = "") -> Markup:
    """Let a long name break after dots and underscores, not within words."""
    parts = re.findall(r"[^._/]*[._/]+|[^._/]+", name)
    return Markup("<wbr>").join(parts) + after


def _areas(comparison: Comparison) -> list[str]:
    return list(dict.fromkeys(row.area for row in comparison.differences))


def _differences(comparison: Comparison, area: str) -> Table:
    runs = comparison.runs
    rows: list[list[object]] = []
    wide = len(runs) <= _IN_COLUMNS
    for row in comparison.differences:
        if row.area != area:
            continue
        name = _breakable(row.name, f" ({row.beside})" if row.beside else "")
        by_value = row.by_value
        if wide:
            of_run = {place: text for text, places in by_value for place in places}
            rows.append([name, *(of_run[place] for place in range(len(runs)))])
            continue
        for text, places in by_value[:_VALUES]:
            rows.append([name, text, len(places), names_of(runs, places)])
        if len(by_value) > _VALUES:
            rows.append([name, f"{len(by_value) - _VALUES} more values", None, None])
    own = [f"{row.name}: {row.followers}" for row in comparison.differences if row.follows and row.area == area]
    note = f"Differs, too, and follows from it: {'; '.join(own)}." if own else ""
    return Table(["", *(run.name for run in runs)] if wide else ["", "value", "runs", "which"], rows, note)


def _not_recorded(comparison: Comparison) -> Table | None:
    if not comparison.not_recorded:
        return None
    by_runs: dict[tuple[int, ...], list[str]] = {}
    for name, places in comparison.not_recorded.items():
        by_runs.setdefault(tuple(places), []).append(name)
    rows = [
        [
            names_of(comparison.runs, places),
            ", ".join(names[:30]) + (f" and {len(names) - 30} more" * (len(names) > 30)),
        ]
        for places, names in by_runs.items()
    ]
    return Table(
        ["run", "not recorded"],
        rows,
        "Another version wrote these runs, or no callback saw it; it does not mean that they differ.",
    )


def _metrics(comparison: Comparison) -> list[Table]:
    """Give tables of a few metrics each, as wide as a sheet of paper."""
    names = list(comparison.metrics)
    shown = names[:_METRICS]
    tables = [_metrics_table(comparison, shown[:2])]
    tables += [_metrics_table(comparison, shown[k : k + 3]) for k in range(2, len(shown), 3)]
    note = "The best of each column is bold. 'last' is the value of the last evaluation."
    if len(names) > len(shown):
        note += f" {len(names) - len(shown)} more metrics are not shown here; to_pandas() has them."
    return [*tables[:-1], Table(tables[-1].head, tables[-1].rows, note)]


def _metrics_table(comparison: Comparison, metrics: Sequence[str]) -> Table:
    head: list[str] = ["run"]
    main = comparison.verdict.metric
    for metric in metrics:
        named = _breakable(metric)
        head += [named, "at step", "last", "curve"] if metric == main else [named, "at step"]
    best = {metric: comparison.best_run(metric) for metric in metrics}
    rows: list[list[object]] = []
    for place in comparison.order:
        run = comparison.runs[place]
        cells: list[object] = [run.name]
        for metric in metrics:
            one = comparison.metrics[metric][place]
            shown: list[object] = [None, None] if one is None else [one.best, one.step]
            if one is not None and place == best[metric]:
                shown[0] = Markup('<strong class="best">{}</strong>').format(number(one.best))
            if metric == main:
                shown += [None if one is None else one.last, _spark(run.curves.get(metric), metric)]
            cells += shown
        rows.append(cells)
    return Table(head, rows)


def _spark(curve: Curve | None, metric: str) -> Markup:
    values = [] if curve is None else curve.values.tolist()
    if len(values) < 2:
        return Markup("")
    if len(values) > _SPARK:
        values = [values[round(k * (len(values) - 1) / (_SPARK - 1))] for k in range(_SPARK)]
    return sparkline(values, label=metric)


def _costs(comparison: Comparison) -> Table:
    has_peak = any(run.gpu_memory_peak_mib is not None for run in comparison.runs)
    has_energy = any(run.energy_wh is not None for run in comparison.runs)
    rows: list[list[object]] = [
        [
            run.name,
            run.status,
            run.attempts,
            run.step,
            run.loss,
            duration(run.seconds),
            run.samples_per_second,
            *([run.gpu_memory_peak_mib] if has_peak else []),
            *([run.energy_wh] if has_energy else []),
        ]
        for run in (comparison.runs[place] for place in comparison.order)
    ]
    of = {run.gpu_memory_of for run in comparison.runs} - {""}
    peak = "peak of GPU memory (MiB)"
    note = "Time: from the first to the last row, all attempts. Samples/s: the median over the logged windows. "
    if "torch" in of:
        note += "Peak: what torch held at most. "
    if "card" in of:
        note += "Peak, where torch's is not recorded: what was used on the card. "
    if has_energy:
        note += "Energy: of the cards, from the first to the last sample. "
    note += "Empty: it was not measured." if has_peak and has_energy else "What no run has measured has no column."
    head = ["run", "status", "attempts", "steps", "last loss", "time", "samples/s"]
    head += [peak] * has_peak + ["energy (Wh)"] * has_energy
    return Table(head, rows, note)


def _pictures(comparison: Comparison) -> list[Picture]:
    names = [name for name in (comparison.verdict.metric, "eval_loss", "loss") if name is not None]
    places, note = _drawn(comparison)
    found = []
    for metric in dict.fromkeys(names):
        series = [
            _series(comparison.runs[k].name, comparison.runs[k].curves[metric])
            for k in places
            if metric in comparison.runs[k].curves
        ]
        if series:
            picture = line_plot(metric, series, y_label=metric)
            picture.notes.extend([note] if note else [])
            found.append(picture)
    return found


def _drawn(comparison: Comparison) -> tuple[list[int], str]:
    """Choose the runs whose curves are drawn: all of few, of many the best one of each of the best groups."""
    runs, verdict = comparison.runs, comparison.verdict
    if len(runs) <= _DRAWN:
        return list(range(len(runs))), ""
    rank = comparison.order.index
    if len(verdict.groups) > 1:
        best_first = sorted((min(group.runs, key=rank) for group in verdict.groups), key=rank)
        kept = best_first[:_BEST_DRAWN]
        return kept, f"The best run of each of the {len(kept)} best groups of {len(verdict.groups)} ({len(runs)} runs)."
    kept = comparison.order[:_BEST_DRAWN]
    return kept, f"The {len(kept)} best of {len(runs)} runs."


def _series(name: str, curve: Curve) -> Series:
    import numpy as np

    from hf_monitor.charts.thin import thin

    steps, values = curve.finite
    kept = thin(steps, values, _POINTS)
    is_lost = ~np.isfinite(curve.values)
    lost = np.flatnonzero(is_lost)[:_LOST]
    x = np.concatenate([steps[kept], curve.steps[lost]])
    y = np.concatenate([values[kept], curve.values[lost]])
    order = np.argsort(x, kind="stable")
    return Series(name, x[order].tolist(), y[order].tolist())


def _groups(verdict: Verdict) -> tuple[Picture | None, Table] | None:
    there = [group for group in verdict.groups if group.values]
    if len(there) < 2 or verdict.metric is None:
        return None
    there.sort(key=lambda group: -group.mean if verdict.greater_is_better else group.mean)
    rows: list[Sequence[object]] = [
        [group.label, len(group.values), group.mean, group.sd, min(group.values.values()), max(group.values.values())]
        for group in there
    ]
    table = Table(["group", "n", "mean", "standard deviation", "lowest", "highest"], rows)
    if all(len(group.values) < 2 for group in there):
        return None, table
    drawn = there[:_VALUES]
    picture = bar_plot(
        f"{verdict.metric}: mean of each group, and its range",
        [f"{group.label} (n = {len(group.values)})" for group in drawn],
        [group.mean for group in drawn],
        value_label=verdict.metric,
        intervals=[(min(group.values.values()), max(group.values.values())) for group in drawn],
        name_label="group",
    )
    if len(there) > len(drawn):
        picture.notes.append(f"The {len(drawn)} best of {len(there)} groups.")
    return picture, table


def _pairs(verdict: Verdict) -> Table | None:
    if not verdict.pairs:
        return None
    said: dict[Any, str] = {True: "yes", False: "no", None: "cannot be told"}
    corrected = f", corrected for {verdict.n_comparisons:,} comparisons (Holm)" if verdict.n_comparisons > 1 else ""
    rows: list[Sequence[object]] = [
        [
            verdict.groups[pair.other].label,
            said[pair.clear],
            _breakable(pair.metric),
            pair.difference,
            pair.low,
            pair.high,
            pair.p,
            pair.n or None,
            METHODS[pair.method] or pair.why_not,
        ]
        for pair in verdict.pairs
    ]
    best = verdict.groups[verdict.pairs[0].best].label
    note = (
        f"Best minus other, with the 95 % interval of this comparison alone; p is two-sided{corrected}. "
        "A difference is clear where p is at most 0.05."
    )
    head = [f"{best} against", "clear", "metric", "difference", "95 % from", "to", "p", "n", "by"]
    return Table(head, rows, note)
