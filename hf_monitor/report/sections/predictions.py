"""What the model wrote: the best and the worst texts of the latest evaluations beside their references."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from hf_monitor.charts.prediction_metrics import known_tops
from hf_monitor.report.first_evaluation import first_evaluation
from hf_monitor.report.material import Material
from hf_monitor.report.plots import Picture, Table, histogram
from hf_monitor.report.sections.prediction_groups import Group, Shown, examples, ranked_groups
from hf_monitor.report.sections.prediction_samples import Ranking, Sample, rank_samples, read_samples
from hf_monitor.report.text_cut import bytes_of, fair_limit, shorten, shown
from hf_monitor.report.words import number
from hf_monitor.run.reader import Run

__all__ = ["Evaluation", "Predictions", "predictions"]

MAX_EVALUATIONS = 3
#: Best and worst texts, each so many: of the first evaluation, and of the others.
MANY, FEW = 5, 3
#: Bytes of all texts of the section, and of one of them at most.
MAX_BYTES, MAX_TEXT = 20_000, 3000


@dataclass(frozen=True)
class Evaluation:
    """The latest evaluation of one data set."""

    title: str
    facts: list[str]
    """What stands out, in sentences."""
    groups: list[Group]
    picture: Picture | None = None
    """How often which score was reached."""
    scores: Table | None = None


@dataclass(frozen=True)
class Predictions:
    """What the template shows."""

    evaluations: list[Evaluation]
    notes: list[str]
    marked: bool
    """Whether some word is marked, so that the marks must be explained."""


def predictions(material: Material) -> Predictions | None:
    """Choose the texts to show; None where the run has none, which ``material.gaps`` then says.

    Parameters
    ----------
    material : Material

    Returns
    -------
    Predictions or None
        Its texts take at most about 40 KB in the page, whatever the run holds.
    """
    run = material.run
    every = dict.fromkeys(str(row.get("name", "eval")) for row in run.iter_rows("predictions.jsonl"))  # not kept
    names = _by_importance(list(every))
    if not names:
        due = first_evaluation(material)
        way = (
            f": the first evaluation was due {due}"
            if due
            else "; pass TextMetrics as compute_metrics to have them scored"
        )
        material.gaps.append(f"No predictions were recorded{way}.")
        return None
    found: list[Evaluation] = []
    for name in names[:MAX_EVALUATIONS]:
        one = _evaluation(run, name, FEW if found else MANY)
        if one is None:
            material.gaps.append(f"The predictions of {_short(name)} hold no text, and are not shown.")
        else:
            found.append(one)
    if not found:
        return None
    notes = []
    if others := names[MAX_EVALUATIONS:]:
        more = f" and {len(others) - 8} more" if len(others) > 8 else ""
        notes.append(f"Not shown: {', '.join(_short(name) for name in others[:8])}{more} (predictions.jsonl has them).")
    found, limit = _fit(found)
    if limit is not None:
        notes.append(f"Long texts are shortened to about {limit:,} bytes each; predictions.jsonl has them whole.")
    texts = [sample for one in found for group in one.groups for sample in group.samples]
    marked = any(piece.kind == "differs" for one in texts for piece in [*one.prediction, *(one.reference or [])])
    return Predictions(found, notes, marked)


def _by_importance(names: list[str]) -> list[str]:
    """Test sets first; of the others the one that was evaluated first in the run."""
    return sorted(names, key=lambda name: not name.lower().startswith(("test", "predict")))


def _short(name: str) -> str:
    return shown(name if len(name) <= 60 else f"{name[:59]}…")


def _evaluation(run: Run, name: str, many: int) -> Evaluation | None:
    rows = run.latest_predictions(name) or [row for row in run.predictions if str(row.get("name", "eval")) == name]
    samples, facts = read_samples(rows)
    if not samples:
        return None
    ranking, notes = rank_samples(samples, name, run.config)
    step = rows[-1].get("weights_step", rows[-1].get("step"))
    at = f", step {number(step)}" if isinstance(step, int) and step else ""
    title = f"{_short(name)}{at}: {number(len(samples))} text{'s' if len(samples) > 1 else ''}"
    same = Counter(sample.prediction for sample in samples)
    facts = [*_facts(samples, same), *facts, *notes]
    if isinstance(sampled := rows[0].get("sampled"), dict):
        facts.append(f"the run kept {number(sampled.get('rows'))} of {number(sampled.get('of'))} texts (seeded sample)")
    if ranking is None or not ranking.order:
        return Evaluation(title, _sentences(facts), [examples(samples, same, "no scores were recorded")])
    if ranking.left_out:
        facts.append(f"{ranking.left_out} of {len(samples)} texts have no {ranking.metric} and no rank")
    groups = ranked_groups(ranking, same, many)
    return Evaluation(title, _sentences(facts), groups, _picture(ranking, name), _table(ranking))


def _sentences(facts: Sequence[str]) -> list[str]:
    """End and bound them: names come from the run."""
    cut = [fact if len(fact) <= 200 else f"{fact[:199]}…" for fact in facts[:10]]
    more = [f"and {len(facts) - 10} more such"] if len(facts) > 10 else []
    return [f"{shown(fact)}." for fact in cut + more]


def _facts(samples: Sequence[Sample], same: Counter[str]) -> list[str]:
    n = len(samples)
    facts = []
    if exact := sum(sample.prediction in sample.references for sample in samples):
        facts.append(f"{exact} of {n} predictions are the reference, letter by letter")
    if empty := sum(not sample.prediction.strip() for sample in samples):
        facts.append(f"{empty} of {n} predictions are empty")
    most = max(
        ((count, text) for text, count in same.items() if text.strip()), key=lambda pair: pair[0], default=(0, "")
    )
    if most[0] > max(2, n // 20):
        begin = most[1][:80] + ("…" if len(most[1]) > 80 else "")
        facts.append(f"{most[0]} of {n} predictions are one and the same text: “{begin}”")
    if cut := sum(sample.row.get("ended") is False for sample in samples):
        facts.append(f"{cut} of {n} predictions were ended by the length limit")
    if bare := sum(not sample.references for sample in samples):
        facts.append(f"{bare} of {n} predictions have no reference to be compared with")
    return facts


def _picture(ranking: Ranking, name: str) -> Picture | None:
    """Draw the scores; a few of them say more as texts."""
    values = [value for value, _ in ranking.order]
    if len(values) < 10 or values[0] == values[-1]:
        return None
    top = known_tops({ranking.metric: values}, ours=True).get(ranking.metric)
    metric = shown(ranking.metric[:60])
    title = f"{metric} of the single texts of {_short(name)}"
    return histogram(title, values, x_label=metric, y_label="texts", x_range=None if top is None else (0.0, top))


def _table(ranking: Ranking) -> Table:
    """Give the quarters of each score."""
    rows: list[Sequence[object]] = []
    names = [ranking.metric, *(name for name in ranking.scores if name != ranking.metric)]
    if "rougeL" in names and ranking.scores.get("rougeLsum") == ranking.scores["rougeL"]:  # texts of one line
        names.remove("rougeL" if ranking.metric == "rougeLsum" else "rougeLsum")
    for name in names[:6]:
        values = sorted(value for value in ranking.scores[name] if value is not None)
        quarters = statistics.quantiles(values, method="inclusive") if len(values) > 1 else values * 3
        rows.append((shown(name[:60]), len(values), statistics.fmean(values), values[0], *quarters, values[-1]))
    head = ["score", "texts", "mean", "lowest", "25 %", "median", "75 %", "highest"]
    note = "" if len(names) <= 6 else f"{len(names) - 6} more scores are in predictions.jsonl."
    return Table(head, rows, note)


def _fit(found: list[Evaluation]) -> tuple[list[Evaluation], int | None]:
    """Shorten the texts so that all have room; the limit is None where nothing had to be."""
    every = [sample for one in found for group in one.groups for sample in group.samples]
    sizes = [bytes_of(text) for one in every for text in (one.prediction, one.reference, one.input) if text is not None]
    limit = min(fair_limit(sizes, MAX_BYTES), MAX_TEXT)
    if not sizes or max(sizes) <= limit:
        return found, None

    def fitted(sample: Shown) -> Shown:
        return replace(
            sample,
            prediction=shorten(sample.prediction, limit),
            reference=None if sample.reference is None else shorten(sample.reference, limit),
            input=None if sample.input is None else shorten(sample.input, limit),
        )

    return [
        replace(one, groups=[replace(group, samples=[fitted(s) for s in group.samples]) for group in one.groups])
        for one in found
    ], limit
