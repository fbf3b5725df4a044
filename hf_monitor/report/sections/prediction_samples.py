"""The texts of one evaluation, whatever its rows hold, and the score that they are ranked by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hf_monitor.charts.prediction_fields import as_references, as_text
from hf_monitor.charts.prediction_metrics import lower_is_better, read_scores
from hf_monitor.charts.prediction_rows import is_missing, settle
from hf_monitor.errors import InputError
from hf_monitor.report.text_cut import shown

__all__ = ["Ranking", "Sample", "rank_samples", "read_samples"]


@dataclass(frozen=True)
class Sample:
    """One text of a model, as a page can show it."""

    label: str
    """Its ``index``, or its place in the evaluation, from 0."""
    prediction: str
    references: tuple[str, ...]
    input: str | None
    row: dict[str, Any]

    @property
    def texts(self) -> tuple[object, ...]:
        """What makes it the same as another one."""
        return self.prediction, self.references, self.input


@dataclass(frozen=True)
class Ranking:
    """Samples, the best first."""

    metric: str
    order: list[tuple[float, Sample]]
    """Of equals the first one first."""
    scores: dict[str, list[float | None]]
    """Every score of every sample, in the order of the rows."""
    left_out: int
    """Samples without a number."""

    def score_of(self, sample: Sample) -> float:
        """Give the score of a sample that has one."""
        return next(score for score, one in self.order if one is sample)

    def place(self, value: float) -> tuple[int, int]:
        """Give the rank of a score, from 1, and how many samples have it."""
        values = [score for score, _ in self.order]
        return values.index(value) + 1, values.count(value)


def read_samples(rows: Sequence[dict[str, Any]]) -> tuple[list[Sample], list[str]]:
    """Read what is readable in the rows of an evaluation; what is not is said.

    Returns
    -------
    samples : list of Sample
    notes : list of str
    """
    samples: list[Sample] = []
    odd = 0
    for position, row in enumerate(rows):
        row = dict(row)
        try:
            settle([row])
        except InputError:
            row["prediction"] = None
        prediction = row["prediction"]
        if is_missing(prediction) or not isinstance(prediction, str | bool | int | float):
            odd += 1
            continue
        index = row.get("index")
        label = str(index) if isinstance(index, int | str) and not isinstance(index, bool) else str(position)
        references, source = _texts(row, position)
        samples.append(Sample(shown(label[:40]), shown(str(prediction)), references, source, row))
    notes = [f"{odd} of {len(rows)} rows have no text under 'prediction' and are left out"] if odd else []
    return samples, notes


def _texts(row: dict[str, Any], position: int) -> tuple[tuple[str, ...], str | None]:
    try:
        references = tuple(shown(text) for text in as_references(row, position))
    except InputError:
        references = ()
    try:
        source = as_text(row.get("input"), "input", position)
    except InputError:
        source = None
    return references, None if source is None else shown(source)


def rank_samples(samples: Sequence[Sample], name: str, config: dict[str, Any]) -> tuple[Ranking | None, list[str]]:
    """Rank by the metric that the run chose its best model by, where samples have it, else by the usual one.

    Parameters
    ----------
    samples : sequence of Sample
    name : str
        Of the evaluation.
    config : dict
        The training arguments: ``metric_for_best_model``, ``greater_is_better``.

    Returns
    -------
    ranking : Ranking or None
        None where no sample has a score.
    notes : list of str
    """
    notes: list[str] = []
    scores = read_scores(list(enumerate(sample.row for sample in samples)), None, notes)
    if not scores:
        return None, notes
    metric = next(iter(scores))
    lower = lower_is_better(metric)
    chosen = config.get("metric_for_best_model")
    if isinstance(chosen, str):
        for head in (f"eval_{name}_", f"{name}_", "eval_", ""):
            if chosen.startswith(head) and (own := chosen.removeprefix(head)) in scores:
                metric = own
                greater = config.get("greater_is_better")
                lower = not greater if isinstance(greater, bool) else lower_is_better(metric)
                break
    known = [(value, sample) for value, sample in zip(scores[metric], samples, strict=True) if value is not None]
    order = sorted(known, key=lambda pair: pair[0] if lower else -pair[0])  # stable: of equals the first one first
    return Ranking(metric, order, scores, len(samples) - len(known)), notes
