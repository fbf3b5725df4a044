"""Curves of one training: data first, drawing second (in the manner of scikit-learn's Display classes)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hf_monitor.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "LossChart", "TrainingHistoryChart", "draw_history"]

Rows: TypeAlias = Iterable[Mapping[str, Any]]

# Okabe & Ito (2008), safe for colour-blind readers; a marker and a line style are the second channel.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P")
_STYLES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
_DPI = 120
_LONGEST_NAME = 40
_SCORE_PANEL = "Text scores (0-100)"
_SCORES = ("score", "rouge1", "rouge2", "rougeL", "rougeLsum", "bleu")


@dataclass
class Curve:
    """One metric over the steps.

    Attributes
    ----------
    name : str
    steps : list of int
        Optimizer steps, in the order recorded.
    values : list of float
        The metric; values that are not finite are drawn as crosses at the foot of the axes.
    """

    name: str
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.values)

    def draw(self, ax: Axes, index: int, label: str | None = None) -> None:
        """Draw into axes, as series number `index`."""
        points = [(s, v) for s, v in zip(self.steps, self.values, strict=True) if math.isfinite(v)]
        index %= len(_COLOURS)
        ax.plot(
            [step for step, _ in points],
            [value for _, value in points],
            label=label or self.name,
            color=_COLOURS[index],
            linestyle=_STYLES[index],
            marker=_MARKERS[index] if len(points) <= 60 else None,
            markersize=4,
            linewidth=1.5,
        )
        lost = [step for step, value in zip(self.steps, self.values, strict=True) if not math.isfinite(value)]
        if lost:  # at the foot of the axes, where they also keep the steps in view
            ax.plot(
                lost,
                [0.03] * len(lost),
                transform=ax.get_xaxis_transform(),
                color=_COLOURS[index],
                linestyle="none",
                marker="x",
                markersize=6,
                label=f"{(label or self.name).partition(chr(10))[0]}: NaN or infinite",
            )


def _curves(rows: Rows, wanted: Iterable[str] | None = None) -> dict[str, Curve]:
    """Collect a curve for each number in the rows. A step that comes again counts as it was last."""
    values: dict[str, dict[int, float]] = {}
    names = None if wanted is None else set(wanted)
    for row in rows:
        step = row.get("step")
        if row.get("standalone"):  # an evaluation outside of train(): not a point of the training's curve
            continue
        if not isinstance(step, int) or row.get("kind", "train") not in ("train", "eval", "log"):
            continue
        for name, value in row.items():
            if name in ("step", "time", "attempt", "kind", "epoch") or isinstance(value, bool | str):
                continue
            if isinstance(value, int | float) and (names is None or name in names):
                values.setdefault(name, {})[step] = float(value)
    return {
        name: Curve(name, list(by_step), list(by_step.values()))
        for name, by_step in ((name, dict(sorted(found.items()))) for name, found in values.items())
    }


def _labelled(curves: Sequence[Curve], prefix: str) -> list[tuple[Curve, str]]:
    """Curves with what to call them; those that are equal (rougeL and rougeLsum of one-line texts) become one."""
    found: list[tuple[Curve, list[str]]] = []
    for curve in curves:
        name = curve.name.removeprefix(prefix)
        name = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        same = next(
            (names for other, names in found if (curve.steps, curve.values) == (other.steps, other.values)), None
        )
        if same is None:
            found.append((curve, [name]))
        else:
            same.append(name)
    # Two names a line: a legend wider than its axes would squeeze them.
    return [
        (curve, "\n= ".join(" = ".join(names[i : i + 2]) for i in range(0, len(names), 2))) for curve, names in found
    ]


def _score_of(name: str) -> str:
    return next(score for score in _SCORES if name.endswith(f"_{score}"))


def _is_loss(name: str) -> bool:
    return name == "loss" or (name.startswith("eval_") and name.endswith("_loss"))


def _new_axes(width: float, height: float, n: int = 1) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    columns = 1 if n == 1 else 2
    lines = -(-n // columns)
    figure = Figure(figsize=(width, height * lines), dpi=_DPI, layout="constrained")
    axes = [figure.add_subplot(lines, columns, index + 1) for index in range(n)]
    return figure, axes


def _finish(ax: Axes, title: str, ylabel: str, *, legend: bool = False) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_title(title, loc="left", fontsize=11)
    ax.set_xlabel("step")
    ax.set_ylabel(ylabel)
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))
    ax.grid(alpha=0.25)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    _, labels = ax.get_legend_handles_labels()
    if len(labels) > 3:  # would lie on the curves; no wider than the axes, or the layout gives way to it
        widest = max(len(line) for label in labels for line in label.split("\n"))
        columns = 3 if widest <= 18 else 2 if widest <= 28 else 1
        ax.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=columns)
    elif len(labels) > 1 or legend:
        ax.legend(frameon=False, fontsize=9)


class _Chart:
    """What the charts share: saving, and the figure."""

    figure: Figure | None = None

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Save as a picture; the kind is told by the ending of `path` (``.png``, ``.svg``, ``.pdf``).

        Returns
        -------
        Path

        Raises
        ------
        OSError
            As the operating system says. There is no half picture then.
        """
        if self.figure is None:
            self.plot()
        assert self.figure is not None  # plot() makes it
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without the version of matplotlib in it, the same data gives the same bytes.
        try:
            self.figure.savefig(path, metadata={"Software": None} if path.suffix == ".png" else None)
        except OSError:
            with suppress(OSError):
                path.unlink(missing_ok=True)
            raise
        return path

    def plot(self) -> Any:
        """Draw the chart."""
        raise NotImplementedError


class LossChart(_Chart):
    """Training loss against validation loss.

    Parameters
    ----------
    train : Curve
    evaluations : list of Curve
        One for each evaluation set.
    """

    def __init__(self, train: Curve, evaluations: Sequence[Curve]) -> None:
        self.train = train
        self.evaluations = list(evaluations)

    @classmethod
    def from_rows(cls, rows: Rows) -> LossChart:
        """Take the data from rows: ``trainer.state.log_history`` or ``load_run(...).metrics``.

        Raises
        ------
        InputError
            If neither ``loss`` nor a validation loss is in them.
        """
        curves = _curves(rows)
        train = curves.get("loss", Curve("loss"))
        evaluations = [c for name, c in curves.items() if name != "loss" and _is_loss(name) and c]
        if not train and not evaluations:
            raise InputError(
                f"a loss chart needs rows with 'loss' or 'eval_loss', got the keys {sorted(curves) or 'none'}. "
                "Pass trainer.state.log_history or load_run(folder).metrics after some steps."
            )
        return cls(train, evaluations)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw into `ax`, or into a figure of its own.

        Returns
        -------
        matplotlib.axes.Axes
        """
        if ax is None:
            self.figure, (ax,) = _new_axes(8.0, 4.5)
        if self.train:
            self.train.draw(ax, 0, "training loss")
        for index, curve in enumerate(self.evaluations, start=1):
            name = curve.name.removeprefix("eval_").removesuffix("loss").rstrip("_")
            points = [(v, s) for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v)]
            lowest, step = min(points)
            # In the legend rather than beside the point, where it would lie on curves or run over the edge.
            label = "validation loss" + (f" ({name})" if name else "") + f", lowest {lowest:.3g} at step {step}"
            curve.draw(ax, index, label)
            ax.scatter([step], [lowest], s=120, facecolors="none", edgecolors=_COLOURS[index % len(_COLOURS)])
        _finish(ax, "Training and validation loss", "loss", legend=True)
        return ax


class TrainingHistoryChart(_Chart):
    """Loss, text scores, learning rate and gradient norm over the steps, each in a panel of its own.

    Parameters
    ----------
    panels : mapping of str to list of Curve
        Title -> curves; panels without data are left out.
    """

    def __init__(self, panels: Mapping[str, Sequence[Curve]]) -> None:
        self.panels = {title: [c for c in curves if c] for title, curves in panels.items() if any(curves)}

    @classmethod
    def from_rows(cls, rows: Rows) -> TrainingHistoryChart:
        """Take the data from rows: ``trainer.state.log_history`` or ``load_run(...).metrics``.

        Raises
        ------
        InputError
            If there is nothing to draw in them.
        """
        curves = _curves(rows)
        scores = [
            curve
            for name, curve in curves.items()
            if name.startswith("eval_") and any(name == f"eval_{s}" or name.endswith(f"_{s}") for s in _SCORES)
        ]
        # The training loss first, so that it has the same colour here as in LossChart.
        losses = [curve for name, curve in sorted(curves.items(), key=lambda item: item[0] != "loss") if _is_loss(name)]
        panels: dict[str, list[Curve]] = {"Loss": losses}
        for curve in scores:  # one panel for each evaluation set
            prefix = curve.name.removesuffix(f"_{_score_of(curve.name)}")
            panels.setdefault(_SCORE_PANEL + (f", {prefix[5:]}" if prefix != "eval" else ""), []).append(curve)
        panels["Learning rate"] = [curves[name] for name in ("learning_rate",) if name in curves]
        panels["Gradient norm"] = [curves[name] for name in ("grad_norm",) if name in curves]
        chart = cls(panels)
        if not chart.panels:
            raise InputError(
                f"a training history needs rows with a step and numbers, got the keys {sorted(curves) or 'none'}. "
                "Pass trainer.state.log_history or load_run(folder).metrics after some steps."
            )
        return chart

    def plot(self) -> list[Axes]:
        """Draw into a figure of its own.

        Returns
        -------
        list of matplotlib.axes.Axes
            One for each panel.
        """
        self.figure, axes = _new_axes(10.0, 3.4, len(self.panels))
        for ax, (title, curves) in zip(axes, self.panels.items(), strict=True):
            scores = title.startswith(_SCORE_PANEL)  # the title says of which set they are
            prefix = curves[0].name.removesuffix(_score_of(curves[0].name)) if scores else ""
            # The training loss has the first colour everywhere, also where it is missing.
            first = 1 if title == "Loss" and curves[0].name != "loss" else 0
            for index, (curve, label) in enumerate(_labelled(curves, prefix), start=first):
                curve.draw(ax, index, label)
            ylabel = curves[0].name if len(curves) == 1 else title.split(" (")[0].lower()
            _finish(ax, title, ylabel, legend=len(curves) > 1)  # several may be drawn as one
            if scores:
                ax.set_ylim(bottom=0)
        return axes


def draw_history(rows: Rows, folder: str | os.PathLike[str]) -> list[Path]:
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
    rows = list(rows)
    charts = (("06_training_history.png", TrainingHistoryChart), ("07_loss_comparison.png", LossChart))
    paths = []
    for name, chart in charts:
        try:
            made = chart.from_rows(rows)
        except InputError:
            continue
        paths.append(made.save(Path(folder) / name))
    return paths
