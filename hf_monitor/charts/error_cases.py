"""The worst predictions with their texts, and how often each kind of error occurs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from hf_monitor.charts.distribution import few_ticks, readable
from hf_monitor.charts.error_finding import ErrorCase, Errors, find_errors
from hf_monitor.charts.prediction_chart import PredictionChart
from hf_monitor.charts.predictions import Predictions
from hf_monitor.charts.style import finish, series_style, tick_labels
from hf_monitor.charts.text_layout import short_names, wrapped
from hf_monitor.errors import InputError, NothingToDraw

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ErrorCasesChart", "check_max_errors"]

_FONT_SIZE = 9.0
_LINE_INCHES = _FONT_SIZE * 1.4 / 72
_GAP = 0.6  # lines between two cases
_LINES = {"input": 2, "reference": 2, "prediction": 2}
_AROUND = 1.0  # inches: title, numbers and label of the bars, and the distances
_WIDTH, _MARGIN = 11.0, 2.0  # inches; the margin holds the names of the bars


def check_max_errors(max_errors: int) -> None:
    """Refuse a number of cases that cannot be drawn."""
    if isinstance(max_errors, bool) or not isinstance(max_errors, int) or not 1 <= max_errors <= 20:
        raise InputError(f"max_errors={max_errors!r} must be a whole number from 1 to 20.")


class ErrorCasesChart(PredictionChart):
    """The worst predictions with their texts, and the kinds of errors counted.

    Worst is the lowest score (of losses and error rates the highest); without scores, the most and the gravest kinds of
    errors. As far as there is room each kind that was counted has a case; ``table()`` lists all samples that have one.
    Of classes: the wrong ones, the surest first.

    Attributes
    ----------
    of : str
        Model, evaluation and step; may be empty.
    cases : list of ErrorCase
    kinds : dict of str to int
        Kind of error (of classes ``"true → predicted"``) -> samples that have it; a sample may have several.
    n_checked : int
        Samples in which `kinds` were counted.
    metric : str
        By which the cases were chosen; empty without scores.
    classes : bool
    confusions : dict of str to tuple of (str, str)
        Of classes: each of `kinds` -> true and predicted class.
    samples : list of (int, float or None, str)
        Every sample counted in `kinds`: its ``index`` or place, its score, its kinds.
    """

    title = "Error cases"

    def __init__(self, predictions: Predictions, errors: Errors) -> None:
        super().__init__()
        self.of, self.classes = predictions.of, predictions.classes
        self.cases, self.kinds, self.n_checked = errors.cases, errors.kinds, errors.n_checked
        self.metric, self.confusions, self.samples = errors.metric, errors.confusions, errors.samples
        self.notes = [*predictions.notes, *errors.notes]

    @classmethod
    def from_predictions(cls, predictions: Predictions, *, max_errors: int = 4) -> Self:
        """Find the cases and count the kinds; `max_errors` (1 to 20) cases are shown.

        Raises
        ------
        NothingToDraw
            If these are classes, and no true one is known.
        """
        check_max_errors(max_errors)
        errors = find_errors(predictions, max_errors)
        if predictions.classes and not errors.n_checked:
            raise NothingToDraw("no labels: which of the predicted classes are wrong is not known")
        return cls(predictions, errors)

    def plot(self, ax: Axes | None = None) -> list[Axes]:
        """Draw into the room of `ax`, or into a figure of its own."""
        width = (_WIDTH - _MARGIN) if ax is None else _inches(ax)[0]
        em = width * 72 / _FONT_SIZE
        # Texts are made twice: their number of lines tells the height, and _axes() begins to count characters anew.
        blocks = [self._block(number, case, em) for number, case in enumerate(self.cases, start=1)]
        bars = 0.2 + 0.25 * len(self.kinds)
        if ax is not None:  # the cases that fit into the room that there is
            there = _inches(ax)[1] - bars - _AROUND
            blocks = [block for end, block in enumerate(blocks, start=1) if end == 1 or _height(blocks[:end]) <= there]
        fit = len(blocks)
        room = max(0.6, _height(blocks) + 0.2)
        axes = self._axes(ax, _WIDTH, (bars + room + _AROUND) / 2, 2, 1)
        place = axes[0].get_subplotspec()
        assert place is not None  # _axes() made it of a grid
        place.get_gridspec().set_height_ratios([bars, room])
        self._plot_kinds(axes[0], told=ax is None)
        blocks = [self._block(number, case, em) for number, case in enumerate(self.cases[:fit], start=1)]
        self._write(axes[1], blocks)
        self._dress(axes)
        return axes

    def _plot_kinds(self, ax: Axes, told: bool) -> None:
        look = series_style(1)
        places = [-float(place) for place in range(len(self.kinds))]
        counts = list(self.kinds.values())
        ax.barh(
            places, [float(count) for count in counts], height=0.65, color=look.colour, hatch=look.hatch, edgecolor="w"
        )
        labels = [f"{kind}  {count}" for kind, count in zip(self._kind_names(), counts, strict=True)]
        tick_labels(ax.yaxis, places, labels)
        what = "Most frequent confusions (true → predicted)" if self.classes else "Kinds of errors"
        xlabel = f"samples, of n = {self.n_checked}"
        if told and self.metric and len(self.cases) > 1 and not self.classes:  # axes of the user's may be narrow
            xlabel += "; below: the worst one, one of each kind, and the next worst"
        finish(ax, self._title(what, self.of, 40), xlabel, "", integer_x=True)
        if not places:  # classes that are all right
            ax.set_axis_off()
            return
        few_ticks(ax, "x")
        ax.set_xlim(0, max([1, *counts]) * 1.05)
        ax.set_ylim(-len(places) + 0.4, 0.6)

    def _kind_names(self) -> list[str]:
        if not self.classes:
            return list(self.kinds)
        # Each side by itself, or a long true class would leave nothing of the predicted one.
        classes = list(dict.fromkeys(name for pair in self.confusions.values() for name in pair))
        short = dict(zip(classes, short_names(classes, 13), strict=True))
        return [" → ".join(self.shown(short[name], 16) for name in self.confusions[kind]) for kind in self.kinds]

    def _block(self, number: int, case: ErrorCase, em: float) -> list[str]:
        parts = [f"{number}.  sample {case.sample}"]
        if case.score is not None:
            parts.append(f"{self.shown(self.metric)}: {readable(case.score, 4)}")
        if case.confidence is not None:
            parts.append(f"confidence {case.confidence:.2f}")
        parts += case.kinds
        if case.alike:
            parts.append(f"and {case.alike} more like it")
        lines = [wrapped("  ·  ".join(parts), em, 1)[0]]
        texts = {
            "input": case.input,
            "reference": "  |  ".join(case.references) if case.references else None,
            "prediction": case.prediction,
        }
        for what, text in texts.items():
            if text is None:
                continue
            words = self.shown(text, 600) if text.strip() else "(empty)"
            head = f"{'true' if self.classes and what == 'reference' else what}: "
            lines += ["      " + line for line in wrapped(head + words, em - 3, _LINES[what])]
        return lines

    def _write(self, ax: Axes, blocks: list[list[str]]) -> None:
        from matplotlib.transforms import ScaledTranslation

        ax.set_axis_off()
        if not blocks:
            samples = "1 sample" if self.n_checked == 1 else f"{self.n_checked} samples"
            text = f"No error was found in {samples}."
            if any(self.kinds.values()):
                text = f"All samples have the best {self.shown(self.metric)}; the errors counted above do not lower it."
            ax.text(0, 0.9, text, transform=ax.transAxes, fontsize=_FONT_SIZE, va="top")
        figure = ax.get_figure(root=True)
        assert figure is not None  # axes have a figure
        down = 0.0
        for block in blocks:
            for lines, colour in ((block[:1], series_style(1).colour), (block[1:], self._ink(ax))):
                text_artist = ax.text(
                    0.0,
                    1.0,
                    "\n".join(lines),
                    # Inches below the top: lines keep their distance in axes of any height.
                    transform=ax.transAxes + ScaledTranslation(0, -down, figure.dpi_scale_trans),
                    fontsize=_FONT_SIZE,
                    va="top",
                    color=colour,
                    linespacing=1.15,
                    clip_on=True,
                )
                text_artist.set_in_layout(False)
                down += len(lines) * _LINE_INCHES
            down += _GAP * _LINE_INCHES

    def table(self) -> list[dict[str, Any]]:
        """Give a row for each kind, each case shown, and each sample with a kind of error (of classes a wrong one)."""
        kinds = [{"what": "kind", "kind": kind, "count": n, "of": self.n_checked} for kind, n in self.kinds.items()]
        cases = [
            {
                "what": "case",
                "sample": case.sample,
                "score": case.score,
                "confidence": case.confidence,
                "kind": ", ".join(case.kinds),
                "prediction": case.prediction,
                "references": " | ".join(case.references),
                "input": case.input,
                "alike": case.alike,
            }
            for case in self.cases
        ]
        samples = [{"what": "sample", "sample": key, "score": score, "kind": kind} for key, score, kind in self.samples]
        return [*kinds, *cases, *samples]


def _height(blocks: list[list[str]]) -> float:
    """Give the inches that the lines of some blocks take."""
    return (sum(map(len, blocks)) + _GAP * len(blocks)) * _LINE_INCHES


def _inches(ax: Axes) -> tuple[float, float]:
    """Give the width that texts may have in axes of the user's, and the height of the axes."""
    figure = ax.get_figure(root=True)
    assert figure is not None  # axes have a figure
    place, (width, height) = ax.get_position(), figure.get_size_inches()
    return max(1.0, float(width * place.width) - 1.2), float(height * place.height)
