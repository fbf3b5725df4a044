"""Curves of one training: loss against validation loss, and all that was logged over the steps."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hf_monitor.charts.chart import Chart, Rows
from hf_monitor.charts.curves import Curve, Curves, curves_of
from hf_monitor.charts.fonts import text_style
from hf_monitor.charts.metric_names import is_bookkeeping, is_loss, is_share, is_text_score, score_of, set_of
from hf_monitor.charts.style import finish, series_style
from hf_monitor.diagnosis.overfitting import OverfittingOnset, overfitting_onset
from hf_monitor.errors import NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hf_monitor.charts.curves import HistoryData
    from hf_monitor.run.reader import Run

__all__ = ["Curve", "LossChart", "TrainingHistoryChart", "draw_history"]

_LONGEST_NAME = 40
_SCORE_PANEL = "Text scores"
_OTHER_PANEL = "Other evaluation metrics (0-1)"
_SPIKE = 100.0  # times the median: then a linear axis shows nothing but the spike


def _scaled(ax: Axes, ylabel: str, curves: Sequence[Curve]) -> str:
    """Take a logarithmic axis where a spike would flatten all the rest; give the label that says so."""
    values = np.concatenate([curve.finite[1] for curve in curves]) if curves else np.array([])
    if len(values) and values.min() > 0 and values.max() > _SPIKE * np.median(values):
        ax.set_yscale("log")
        return f"{ylabel} (logarithmic)"
    return ylabel


class LossChart(Chart):
    """Training loss against validation loss, with the point where overfitting begins.

    Parameters
    ----------
    train : Curve
    evaluations : sequence of Curve
        One for each evaluation set.
    model_name : object, optional
        Stands in the title.

    Attributes
    ----------
    train : Curve
    evaluations : list of Curve
    onsets : list of OverfittingOnset or None
        For each evaluation set, where overfitting begins (see `hf_monitor.diagnosis.overfitting`).
    """

    title = "Training and validation loss"

    def __init__(self, train: Curve, evaluations: Sequence[Curve], *, model_name: object = None) -> None:
        super().__init__()
        self.model_name = model_name
        self.train = train
        self.evaluations = list(evaluations)
        self.onsets: list[OverfittingOnset | None] = [
            overfitting_onset(*train.finite, *curve.finite) for curve in self.evaluations
        ]
        if not train:
            self.notes.append("no training loss was logged")
        if not self.evaluations:
            self.notes.append("no validation loss was logged")

    @classmethod
    def from_rows(cls, rows: HistoryData, *, model_name: object = None) -> LossChart:
        """Take the data from rows: ``trainer.state.log_history``, a DataFrame, or ``load_run(...).metrics``.

        Raises
        ------
        NothingToDraw
            If neither ``loss`` nor a validation loss is in them.
        """
        curves = curves_of(rows)
        evaluations = [curve for name, curve in curves.items() if name != "loss" and is_loss(name) and curve]
        train = curves.get("loss", Curve("loss"))
        if not train and not evaluations:
            raise NothingToDraw(_without("a loss chart needs rows with 'loss' or 'eval_loss'", curves))
        return cls(train, evaluations, model_name=model_name)

    @classmethod
    def from_run(cls, run: Run | str | os.PathLike[str], *, model_name: object = None) -> LossChart:
        """Take the data from a run, or a run folder."""
        return cls.from_rows(run, model_name=model_name)

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each point: series, step, value; and one where overfitting begins."""
        rows = [row for curve in (self.train, *self.evaluations) for row in curve.table()]
        for curve, onset in zip(self.evaluations, self.onsets, strict=True):
            if onset is not None:
                rows.append({"series": f"{curve.name}: overfitting begins", "step": onset.step, "value": onset.lowest})
        return rows

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a figure of its own.

        Returns
        -------
        matplotlib.axes.Axes
        """
        (ax,) = self._axes(ax, 8.0, 4.5)
        if self.train:
            self.train.draw(ax, 0, "training loss")
        for index, (curve, onset) in enumerate(zip(self.evaluations, self.onsets, strict=True), start=1):
            self._draw_evaluation(ax, index, curve, onset)
        title = self.title if self.model_name is None else f"{self.shown(self.model_name, 60)}: {self.title.lower()}"
        finish(ax, title, "step", _scaled(ax, "loss", [self.train, *self.evaluations]), legend=True, integer_x=True)
        self._dress([ax])
        return ax

    def _draw_evaluation(self, ax: Axes, index: int, curve: Curve, onset: OverfittingOnset | None) -> None:
        name = self.shown(set_of(curve.name), _LONGEST_NAME)
        label = "validation loss" + (f" ({name})" if name else "")
        look = series_style(index)
        steps, values = curve.finite
        if len(values):  # in the legend rather than beside the point, where it would lie on curves or run over the edge
            lowest = int(values.argmin())
            label += f", lowest {values[lowest]:.3g} at step {steps[lowest]}"
            if onset is not None:
                label += "\noverfitting begins there" + (" or before" if onset.is_first else "")
            curve.draw(ax, index, label)
            ax.scatter([steps[lowest]], [values[lowest]], s=120, facecolors="none", edgecolors=look.colour)
        else:
            curve.draw(ax, index, f"{label}, never a finite number")
        if onset is not None:
            ax.axvline(onset.step, color=look.colour, linestyle=look.line, linewidth=1.0, alpha=0.7)


class TrainingHistoryChart(Chart):
    """Loss, text scores, learning rate and gradient norm over the steps, each in a panel of its own.

    Parameters
    ----------
    panels : mapping of str to sequence of Curve
        Title -> curves; panels without data are left out.
    model_name : object, optional
        Stands in the title of a figure of its own.
    """

    title = "Training history"

    def __init__(self, panels: Mapping[str, Sequence[Curve]], *, model_name: object = None) -> None:
        super().__init__()
        self.model_name = model_name
        self.panels = {title: [c for c in curves if c] for title, curves in panels.items() if any(curves)}
        missing = [title.lower() for title in ("Loss", "Learning rate", "Gradient norm") if title not in self.panels]
        if not any(title.startswith(_SCORE_PANEL) for title in self.panels):
            missing.append("text scores")
        if missing:
            self.notes.append(f"not logged: {', '.join(missing)}")

    @classmethod
    def from_rows(cls, rows: HistoryData, *, model_name: object = None) -> TrainingHistoryChart:
        """Take the data from rows: ``trainer.state.log_history``, a DataFrame, or ``load_run(...).metrics``.

        Raises
        ------
        NothingToDraw
            If there is nothing to draw in them.
        """
        curves = curves_of(rows)
        scores = [curve for name, curve in curves.items() if is_text_score(name, curves)]
        # Of one scale all: 0.31 alone may be 31 of 100, or a third of one.
        hundred = any(np.any(curve.finite[1] > 1) for curve in scores)
        score_panel = f"{_SCORE_PANEL} (0-100)" if hundred else _SCORE_PANEL
        # The training loss first, so that it has the same colour here as in LossChart.
        losses = [curve for name, curve in sorted(curves.items(), key=lambda item: item[0] != "loss") if is_loss(name)]
        panels: dict[str, list[Curve]] = {"Loss": losses}
        for curve in scores:  # one panel for each evaluation set
            prefix = curve.name.removesuffix(f"_{score_of(curve.name)}")
            panels.setdefault(score_panel + (f", {prefix[5:]}" if prefix != "eval" else ""), []).append(curve)
        drawn = {curve.name for curve in (*losses, *scores)} | {"learning_rate", "grad_norm"}
        others = [curve for name, curve in curves.items() if name not in drawn and not is_bookkeeping(name)]
        panels[_OTHER_PANEL] = [curve for curve in others if curve.name.startswith("eval_") and is_share(curve)]
        panels["Learning rate"] = [curves[name] for name in ("learning_rate",) if name in curves]
        panels["Gradient norm"] = [curves[name] for name in ("grad_norm",) if name in curves]
        chart = cls(panels, model_name=model_name)
        if not chart.panels:
            raise NothingToDraw(_without("a training history needs rows with a step and a loss or scores", curves))
        left = [curve.name for curve in others if curve not in panels[_OTHER_PANEL]]
        if left:
            chart.notes.append(f"logged, not drawn: {', '.join(left[:8])}" + (" ..." if len(left) > 8 else ""))
        return chart

    @classmethod
    def from_run(cls, run: Run | str | os.PathLike[str], *, model_name: object = None) -> TrainingHistoryChart:
        """Take the data from a run, or a run folder."""
        return cls.from_rows(run, model_name=model_name)

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each point: panel, series, step, value."""
        return [
            {"panel": title, **row}
            for title, curves in self.panels.items()
            for curve in curves
            for row in curve.table()
        ]

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own.

        Returns
        -------
        list of matplotlib.axes.Axes
            One for each panel.
        """
        axes = self._axes(ax, 10.0, 3.4, len(self.panels))
        if ax is None and self.model_name is not None and self.figure is not None:
            name = self.shown(self.model_name, 60)
            self.figure.suptitle(name, x=0.01, ha="left", color="black", **text_style())
        for panel, (title, curves) in zip(axes, self.panels.items(), strict=True):
            scores = title.startswith(_SCORE_PANEL)  # the title says of which set they are
            prefix = curves[0].name.removesuffix(score_of(curves[0].name)) if scores else ""
            # The training loss has the first colour everywhere, also where it is missing.
            first = 1 if title == "Loss" and curves[0].name != "loss" else 0
            for index, (curve, label) in enumerate(self._labelled(curves, prefix), start=first):
                curve.draw(panel, index, label)
            ylabel = self.shown(curves[0].name) if len(curves) == 1 else title.split(" (")[0].split(",")[0].lower()
            if not scores:
                ylabel = _scaled(panel, ylabel, curves)
            # Several may be drawn as one; means are no values, and are said to be means.
            legend = len(curves) > 1 or curves[0].is_thinned
            finish(panel, self.shown(title, 60), "step", ylabel, legend=legend, integer_x=True)
            if scores and all(np.all(curve.finite[1] >= 0) for curve in curves):
                panel.set_ylim(bottom=0)
        self._dress(axes)
        return axes

    def _labelled(self, curves: Sequence[Curve], prefix: str) -> list[tuple[Curve, str]]:
        """Curves with what to call them; those that are equal (rougeL and rougeLsum of one-line texts) become one."""
        found: list[tuple[Curve, list[str]]] = []
        for curve in curves:
            name = self.shown(curve.name.removeprefix(prefix), _LONGEST_NAME)
            same = next((names for other, names in found if curve.same_points(other)), None)
            if same is None:
                found.append((curve, [name]))
            else:
                same.append(name)
        # Two names a line: a legend wider than its axes would squeeze them.
        return [
            (curve, "\n= ".join(" = ".join(names[i : i + 2]) for i in range(0, len(names), 2)))
            for curve, names in found
        ]


def _without(need: str, curves: Curves) -> str:
    there = ", ".join(map(repr, sorted(curves)[:8])) + (" ..." if len(curves) > 8 else "")
    got = "; ".join([*([f"numbers of {there}"] if there else []), *curves.unusable]) or "none"
    return f"{need}, got {got}. Pass trainer.state.log_history or a run folder."


def draw_history(rows: Rows | Curves, folder: str | os.PathLike[str]) -> list[Path]:
    """Draw ``06_training_history.png`` and ``07_loss_comparison.png``.

    Parameters
    ----------
    rows : iterable of mappings
        ``trainer.state.log_history`` or ``load_run(...).metrics``.
    folder : path-like
        Made when missing; pictures of these names are replaced.

    Returns
    -------
    list of Path
        The pictures drawn; a chart without data is left out.
    """
    curves = curves_of(rows)
    charts = (("06_training_history.png", TrainingHistoryChart), ("07_loss_comparison.png", LossChart))
    paths = []
    for name, chart in charts:
        try:
            made = chart.from_rows(curves)
        except NothingToDraw:
            continue
        paths.append(made.save(Path(folder) / name))
    return paths
