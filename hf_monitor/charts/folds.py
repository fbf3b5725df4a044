"""Results of the folds of a cross-validation: from rows, a data frame or run folders, checked, in order."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.charts.fold_names import FoldName, brief, few, fold_text
from hf_monitor.charts.fold_rows import (
    ABOVE_1,
    check_scale,
    folds_of,
    is_frame,
    main_columns,
    missing_folds,
    number_of,
    records_of,
    values_of,
)
from hf_monitor.charts.fold_runs import RUN_LABELS, fold_table_of, read_folds
from hf_monitor.charts.fold_statistics import Summary, summarize
from hf_monitor.charts.scales import is_drawable
from hf_monitor.errors import InputError
from hf_monitor.run.reader import Run

__all__ = ["FoldResults", "FoldSeries"]

_SCORE = re.compile(r"f1|acc|rouge|bleu|precision|recall|exact_match|score|chrf|meteor|bertscore")
_NOT_SCORES = re.compile(
    r"^(n_\w+|seed|kind|attempt|step|epoch|total_flos|run|run_dir)$|(^|_)(time|runtime|seconds|per_second|loss_raw|loss_scale)$"
)
_PANEL_LABELS = {"0-1": "score (0-1)", "0-100": "score (0-100)", "loss": "loss"}


@dataclass(frozen=True)
class FoldSeries:
    """One metric over the folds.

    Attributes
    ----------
    metric : str
        ``"f1"``, ``"accuracy"``, or the name as given.
    name : str
        What to call it: the name as given.
    meaning : str
        What it is, where that is known; else empty.
    scale : str
        ``"0-1"``, ``"0-100"``, ``"loss"``, or the metric itself where nothing else is known to share its unit.
    points : list of (int, float)
        Position of the fold in :attr:`FoldResults.folds`, and value. Only finite values.
    summary : Summary
    """

    metric: str
    name: str
    meaning: str
    scale: str
    points: list[tuple[int, float]]
    summary: Summary

    @property
    def label(self) -> str:
        """What it is, for an axis."""
        return self.meaning or self.name + (" (as given, 0-100)" if self.scale == "0-100" else "")

    @property
    def panel(self) -> str:
        """Label of an axis that all metrics of this scale share."""
        return _PANEL_LABELS.get(self.scale, self.label)

    @property
    def values(self) -> list[float]:
        """The values, in the order of the folds."""
        return [value for _, value in self.points]


class FoldResults:
    """The results of folds, checked.

    Parameters
    ----------
    folds : sequence of int or str
        Their names, in order.
    values : mapping of str to sequence of float or None
        Metric -> a value for each fold; None where there is none.
    names : mapping of str to str
        Metric -> name as given.
    labels : mapping of str to str
        Metric -> what it is, where that is known (from runs).
    notes : sequence of str
        About folds: left out, crashed, taken from which evaluation.
    missing : mapping of str to sequence of str
        Metric -> what is missing of it.
    ignored : sequence of str
        Columns that are no metric.
    """

    def __init__(
        self,
        folds: Sequence[FoldName],
        values: Mapping[str, Sequence[float | None]],
        *,
        names: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        notes: Sequence[str] = (),
        missing: Mapping[str, Sequence[str]] | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self.folds, self.values, self.notes, self.ignored = list(folds), dict(values), list(notes), list(ignored)
        self.names, self.labels, self.missing = dict(names or {}), dict(labels or {}), dict(missing or {})

    @classmethod
    def read(cls, fold_results: Any) -> FoldResults:
        """Take results in any of the forms that ``create_training_visualizations`` takes.

        Parameters
        ----------
        fold_results : list of mappings, DataFrame, path, Run, list of paths or Runs, or FoldResults
            A path is that of run folders, or of a ``fold_results.json``.

        Raises
        ------
        InputError
            If it is none of these, or a value in it cannot be right.
        RunFolderError
            If a folder is not there or holds no run.
        """
        if isinstance(fold_results, FoldResults):
            return fold_results
        if isinstance(fold_results, str | os.PathLike | Run):
            return cls.from_runs(fold_results)
        if is_frame(fold_results):
            return cls.from_rows(fold_results)
        if isinstance(fold_results, Mapping | bytes) or not isinstance(fold_results, Iterable):
            raise InputError(
                f"fold_results is a {type(fold_results).__name__}; it must be a list with a mapping for each fold "
                "([{'fold': 1, 'f1': 0.81, 'accuracy': 0.84}, ...]), a DataFrame, or run folders."
            )
        given = list(fold_results)
        if given and all(isinstance(item, str | os.PathLike | Run) for item in given):
            return cls.from_runs(given)
        return cls.from_rows(given)

    @classmethod
    def from_runs(cls, runs: Any) -> FoldResults:
        """Take the results from run folders.

        Parameters
        ----------
        runs : path, Run, or list of them
            A list, or one parent folder with a run folder for each fold (``fold_1/monitor`` ...); or the
            ``fold_results.json`` in it, which has their results.

        Raises
        ------
        InputError
            If it is another file.
        RunFolderError
            If a folder is not there or holds no run.
        """
        table = fold_table_of(runs)
        if table is not None:
            return cls.from_rows(table)
        rows, notes, labels = read_folds(runs)
        results = cls.from_rows(rows)
        results.notes[:0] = notes
        results.labels = {name: label for name, label in labels.items() if name in results.values}
        return results

    @classmethod
    def from_rows(cls, rows: Any) -> FoldResults:
        """Take the results from a list of mappings or a DataFrame, one row for each fold.

        ``fold`` is a number from 0 on or a text; where no row has one, they are numbered from 1. ``f1`` and
        ``accuracy`` may also be called ``eval_f1``, ``F1`` or the like where only one column is. Other numbers are
        further metrics.

        Raises
        ------
        InputError
            If a fold's name is missing or there twice, or if a value is a text, or below 0 or above 100 for f1 or
            accuracy, or if these mix values of 0-1 and of 0-100, or it is not clear which of the two they are (the
            highest lies between 1 and 1.5).
        """
        records, notes = records_of(rows)
        columns = list(dict.fromkeys(name for record in records for name in record))
        folds, said, fold_column = folds_of(records, columns)
        notes += said + missing_folds(records, folds)
        order = list(range(len(folds)))
        if all(isinstance(fold, int) for fold in folds):
            order.sort(key=lambda position: int(folds[position]))
        results = cls([folds[position] for position in order], {}, notes=notes)
        chosen = {name: metric for metric, name in main_columns(columns, notes)}
        results.notes = notes
        for column in sorted((c for c in columns if c != fold_column), key=lambda c: c not in chosen):
            given = [records[position].get(column) for position in order]
            results._add(chosen.get(column, column), column, given, main=column in chosen)
        if records and all(r.get("kind") == "fold" and {"rouge1", "rouge2", "rougeL"} <= r.keys() for r in records):
            results.labels = {name: label for name, label in RUN_LABELS.items() if name in results.values}
        return results

    def series(self, metric: str) -> FoldSeries | None:
        """Give one metric over the folds; None where no fold has it."""
        points = [(i, value) for i, value in enumerate(self.values.get(metric, ())) if value is not None]
        if not points:
            return None
        values = [value for _, value in points]
        name, scale = self.names.get(metric, metric), self._scale(metric, values)
        return FoldSeries(metric, name, self.labels.get(metric, ""), scale, points, summarize(values))

    def all_series(self) -> Iterator[FoldSeries]:
        """Give all metrics that any fold has, f1 and accuracy first."""
        found = (self.series(metric) for metric in self.values)
        return (series for series in found if series is not None)

    def panels(self) -> dict[str, list[FoldSeries]]:
        """Give the metrics by the scale they share."""
        found: dict[str, list[FoldSeries]] = {}
        for series in self.all_series():
            found.setdefault(series.scale, []).append(series)
        return found

    def notes_on(self, *metrics: str) -> list[str]:
        """Give what to say below a chart of these metrics."""
        return [*self.notes, *(note for metric in metrics for note in self.missing.get(metric, ()))]

    def _scale(self, metric: str, values: Sequence[float]) -> str:
        name = metric.casefold()
        if name.endswith("loss"):
            return "loss"
        if self.labels and name.startswith(("rouge", "bleu")):  # from our runs, where they go to 100
            return "0-100"
        if min(values) >= 0 and max(values) <= ABOVE_1:
            return "0-1"
        # f1 and accuracy are checked; of others values up to 1 beside higher ones may be of any scale.
        clear = metric in ("f1", "accuracy") or not any(0 < value <= 1.5 for value in values)
        return "0-100" if _SCORE.search(name) and clear and min(values) >= 0 and max(values) <= 100 else metric

    def _add(self, metric: str, column: str, given: Sequence[Any], *, main: bool) -> None:
        if _NOT_SCORES.search(column) and not main:
            self.ignored.append(brief(column))
            return
        found = [number_of(value) for value in given]
        if not main and any(isinstance(v, str) for v in found) and not any(isinstance(v, float) for v in found):
            self.ignored.append(brief(column))  # a text for every fold: the name of a model, a path
            return
        numbers_only = values_of(column, self.folds, given)
        if all(value is None for value in numbers_only):
            self.ignored.append(brief(column))
            return
        kept = [value if value is not None and is_drawable(value) else None for value in numbers_only]
        if main:
            finite = [value if value is not None and math.isfinite(value) else None for value in numbers_only]
            check_scale(column, self.folds, finite)
        said = []
        for what, lacking in (
            ("has no value", [f for f, value in zip(self.folds, numbers_only, strict=True) if value is None]),
            ("is not finite (NaN or infinite)", [
                f for f, v in zip(self.folds, numbers_only, strict=True) if v is not None and not math.isfinite(v)
            ]),
            ("is too large to be drawn (beyond 1e150)", [
                f for f, v in zip(self.folds, numbers_only, strict=True)
                if v is not None and math.isfinite(v) and not is_drawable(v)
            ]),
        ):  # fmt: skip
            if lacking:
                which = few(map(fold_text, lacking), 5)
                said.append(f"{brief(column)} {what} in {len(lacking)} of {len(found)} folds: {which}")
        self.values[metric], self.names[metric], self.missing[metric] = kept, column, said
