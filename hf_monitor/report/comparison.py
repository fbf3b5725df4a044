"""Several runs side by side: what differs, whether it matters."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.charts.prediction_metrics import known_first
from hf_monitor.charts.sweep_runs import named, read_runs
from hf_monitor.errors import InputError, RunFolderError
from hf_monitor.report.cautions import Caution, cautions
from hf_monitor.report.compared_runs import ComparedRun, Scored, greater_is_better, read_side
from hf_monitor.report.differences import Difference, find_differences, shown
from hf_monitor.report.verdict import Verdict, judge
from hf_monitor.run.files import replace_file
from hf_monitor.run.reader import Run
from hf_monitor.run.rows import plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Comparison", "compare_runs"]

#: By this a page of ours is known, which may be written anew.
MARK = "<!-- hf-monitor: a comparison of runs -->"
#: Runs up to which they stay in the order given.
AS_GIVEN = 12
_MARKED_WITHIN = 1 << 17  # bytes


class Comparison:
    """What :func:`compare_runs` finds.

    Attributes
    ----------
    runs : list of ComparedRun
        Status, steps, best values, time and memory of each.
    differences : list of Difference
        What is not the same in all runs, each cause once.
    warnings : list of Caution
        Why the numbers may not be comparable.
    metrics : dict of str to list of (Scored or None)
        Of each metric that two or more runs have the best value of each run, the metric of the verdict first.
    verdict : Verdict
        Which is better, and whether that is more than chance.
    not_recorded : dict of str to list of int
        Names in ``run.json`` that some runs do not have since another version wrote them, and the places of these runs.
    """

    def __init__(self, runs: list[ComparedRun], metric: str | None = None, notes: Iterable[str] = ()) -> None:
        self.runs = runs
        self.differences: list[Difference]
        self.differences, self.not_recorded = find_differences([run.facts for run in runs])
        self.verdict: Verdict = judge(runs, self.differences, metric)
        self.metrics = _metrics(runs, self.verdict.metric)
        left_out = [Caution("left out", note) for note in notes]
        self.warnings: list[Caution] = left_out + cautions(runs, self.differences, self.verdict.metric)

    @property
    def order(self) -> list[int]:
        """Places of the runs as tables show them: few as they were given, many the best one first."""
        places = range(len(self.runs))
        if len(self.runs) <= AS_GIVEN or self.verdict.metric is None:
            return list(places)
        values = self.metrics[self.verdict.metric]
        sign = -1 if self.verdict.greater_is_better else 1

        def rank(place: int) -> tuple[bool, float]:
            one = values[place]
            return (True, 0.0) if one is None else (False, sign * one.best)

        return sorted(places, key=rank)

    def greater_is_better(self, metric: str) -> bool:
        """Tell which end of a metric is good."""
        return greater_is_better(metric, self.runs)

    def best_run(self, metric: str) -> int | None:
        """Give the place of the run with the best value of a metric; None where no run has one, or several have it."""
        scored = [(one.best, place) for place, one in enumerate(self.metrics.get(metric, [])) if one is not None]
        if not scored:
            return None
        pick = max if self.greater_is_better(metric) else min
        best, place = pick(scored, key=lambda pair: pair[0])
        return place if [value for value, _ in scored].count(best) == 1 else None

    def to_pandas(self) -> pd.DataFrame:
        """Give a :class:`pandas.DataFrame` with a line for each run.

        Returns
        -------
        pandas.DataFrame
            ``name``, ``status``; a column for each difference (``"arguments.learning_rate"``); the best value of each
            metric under its name, and where the first one was reached (``best_step``); ``loss`` (the last),
            ``steps``, ``seconds``, ``samples_per_second``, ``gpu_memory_peak_mib``, ``energy_wh``, ``path``.
        """
        import pandas as pd

        lines = []
        for place, run in enumerate(self.runs):
            line: dict[str, Any] = {"name": run.name, "status": run.status}
            for row in self.differences:
                value = row.values[place]
                line[row.name] = value if isinstance(value, str | int | float | None) else shown(value)
            for metric, values in self.metrics.items():
                scored = values[place]
                line[metric] = None if scored is None else scored.best
            main = run.metrics.get(self.verdict.metric or "")
            line["best_step"] = None if main is None else main.step
            line |= {"loss": run.loss, "steps": run.step, "seconds": run.seconds}
            line |= {"samples_per_second": run.samples_per_second, "gpu_memory_peak_mib": run.gpu_memory_peak_mib}
            lines.append({**line, "energy_wh": run.energy_wh, "path": str(run.path)})
        return pd.DataFrame(lines)

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data, as strict JSON can hold it."""
        keys: tuple[str, ...] = (
            "name",
            "status",
            "step",
            "max_steps",
            "attempts",
            "loss",
            "seconds",
            "samples_per_second",
        )
        keys += ("gpu_memory_peak_mib", "gpu_memory_of", "energy_wh")
        runs = [
            {
                **{key: getattr(run, key) for key in keys},
                "path": str(run.path),
                "metrics": {name: scored._asdict() for name, scored in run.metrics.items()},
            }
            for run in self.runs
        ]
        found = {
            "runs": runs,
            "differences": [row.to_dict() for row in self.differences],
            "warnings": [caution._asdict() for caution in self.warnings],
            "metrics": {
                name: [None if one is None else one._asdict() for one in values]
                for name, values in self.metrics.items()
            },
            "verdict": self.verdict.to_dict(),
            "not_recorded": self.not_recorded,
        }
        made: dict[str, Any] = plain(found)
        return made

    def to_html(self, path: str | os.PathLike[str] = "comparison.html") -> Path:
        """Write the page: one file without a request to anywhere; the same runs give the same bytes.

        Parameters
        ----------
        path : path-like
            An earlier comparison there is written over, and nothing else is.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            If something else is there.
        RunFolderError
            If it cannot be written.
        """
        from hf_monitor.report.comparison_page import comparison_html

        place = Path(path).expanduser()
        _check_ours(place)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, comparison_html(self), sync=False)
        except OSError as error:
            raise RunFolderError(f"the page {str(place)!r} cannot be written: {error}. Pass another path.") from error
        return place

    def __str__(self) -> str:
        from hf_monitor.report.comparison_text import as_text

        return as_text(self)

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.runs)} runs: {self.verdict.outcome}, {len(self.differences)} differences>"

    def _repr_html_(self) -> str:
        from hf_monitor.report.comparison_page import comparison_tables

        return comparison_tables(self)


def compare_runs(paths: Any, *, metric: str | None = None) -> Comparison:
    """Compare runs: what differs in settings, code, data and machine, and whether that matters.

    Parameters
    ----------
    paths : path-like, Run, or sequence of these
        Run folders, the ``output_dir`` they lie in, or a folder with several runs (a sweep, the folds of
        ``--num_folds``). Two runs at least.
    metric : str, optional
        By which they are judged, with or without ``eval_``; by default their ``metric_for_best_model``, else the usual
        one that most of them have.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If there are less than two runs, one comes twice, or none has the metric.
    RunFolderError
        If a folder is not there, has no run in it, or has one that a newer hf_monitor wrote.

    Examples
    --------
    >>> compare_runs(["outputs/lr_1e-4", "outputs/lr_3e-4"]).to_html()  # doctest: +SKIP
    """
    found, notes = read_runs(paths)
    if isinstance(paths, str | os.PathLike):
        found.sort(
            key=lambda run: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(run.path))]
        )
    seen: dict[Path, Run] = {}
    for run in found:
        place = run.path.resolve()
        if place in seen:
            raise InputError(
                f"{os.path.normpath(run.path)!r} is given twice: a run cannot be compared with itself. "
                "Give each run once."
            )
        seen[place] = run
    if len(found) < 2:
        which = f"only one, {os.path.normpath(found[0].path)!r}" if found else "none"
        raise InputError(f"a comparison needs two runs or more, got {which}. For one run: hf-monitor report RUN.")
    names = named(found)
    return Comparison([read_side(run, name) for run, name in zip(found, names, strict=True)], metric, notes)


def _metrics(runs: list[ComparedRun], main: str | None) -> dict[str, list[Scored | None]]:
    counts: dict[str, int] = {}
    for run in runs:
        for name in run.metrics:
            counts[name] = counts.get(name, 0) + 1
    plain_names = {name: name.removeprefix("eval_") for name in counts}
    usual = known_first(plain_names.values())
    order = sorted(
        counts,
        key=lambda name: (
            name != main,
            name != "eval_loss",
            not name.startswith("eval_"),
            -counts[name],
            usual.index(plain_names[name]),
        ),
    )
    return {name: [run.metrics.get(name) for run in runs] for name in order if counts[name] > 1 or name == main}


def _check_ours(place: Path) -> None:
    try:
        with place.open("rb") as file:
            ours = MARK.encode() in file.read(_MARKED_WITHIN)
    except FileNotFoundError:
        return
    except IsADirectoryError as error:
        raise InputError(f"{str(place)!r} is a folder; give the name of a file for the page.") from error
    except OSError as error:
        raise RunFolderError(f"the page {str(place)!r} cannot be written: {error}. Pass another path.") from error
    if not ours:
        raise InputError(
            f"{str(place)!r} is there and is no comparison of ours; it was left as it is. Give another name."
        )
