"""The texts of a scene: prediction beside reference, with the words that differ marked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from markupsafe import Markup
from rich.cells import set_cell_size

from hf_monitor.notebook.dress import BETTER, CELL, LEFT, QUIET, WORSE, line, name, table
from hf_monitor.notebook.scene import Sample
from hf_monitor.report.text_cut import shorten, shown
from hf_monitor.report.word_diff import Piece, diff_texts
from hf_monitor.report.words import clean

__all__ = ["sample_texts"]

_MOST = 8
_MOST_REFERENCES = 4
_LONGEST = 900
"""Bytes of a prediction, and of a reference."""
_INPUT, _WHOLE_INPUT = 84, 8000
"""Columns of an input that are shown, in one line, and bytes of it that can be unfolded."""
_SHORT, _FEW_LINES = 200, 4
# Underlined where the style is taken out, too; <del> would be struck through.
_MARKS = {
    "prediction": Markup("<ins {}>{{}}</ins>").format(WORSE),
    "reference": Markup("<u {}>{{}}</u>").format(BETTER),
}


def sample_texts(samples: Sequence[Sample]) -> Markup:
    """Give a small table for each text."""
    parts = [
        _sample(str(one.label), str(one.score), one.prediction, tuple(one.references)[:_MOST_REFERENCES], one.input)
        for one in samples[:_MOST]
    ]
    if len(samples) > _MOST:
        parts.append(line(f"and {len(samples) - _MOST} more texts", style=QUIET))
    return Markup("").join(parts)


@lru_cache(maxsize=32)  # drawn twice a second, new once an evaluation
def _sample(label: str, score: str, prediction: str, references: tuple[str, ...], source: str) -> Markup:
    ours, theirs = [Piece(_said(prediction))], None
    if references:
        diffs = [diff_texts(_said(prediction), _said(text)) for text in references]
        best = max(diffs, key=lambda diff: diff.shared)
        ours, theirs = best.left, best.right
    if not prediction.strip():
        ours = []
    head = f" · {name(score, 80)}" if score else ""
    rows = [_row("prediction", ours)]
    if theirs is not None:
        rows.append(_row("reference", theirs))
    if source:
        rows.append(_cells("input", _input(_said(source))))
    return line(Markup("<b>text {}</b>").format(name(label, 40)), head, style="margin-top:8px") + table(
        Markup("").join(rows)
    )


def _said(text: str) -> str:
    return clean(shown(str(text)))


def _row(which: str, pieces: Sequence[Piece]) -> Markup:
    if not pieces:
        return _cells(which, Markup("<i>(empty)</i>"))
    return _cells(which, _marked(shorten(pieces, _LONGEST), _MARKS[which]))


def _marked(pieces: Sequence[Piece], mark: Markup) -> Markup:
    parts = []
    for piece in pieces:
        if piece.kind == "gap":
            parts.append(Markup("<i>[… {:,} characters …]</i>").format(piece.left_out))
        else:
            parts.append(mark.format(piece.text) if piece.kind == "differs" else Markup("{}").format(piece.text))
    return Markup("").join(parts)


def _input(text: str) -> Markup:
    # Each drawing folds it again: what is short needs no unfolding.
    if len(text) <= _SHORT and text.count("\n") < _FEW_LINES:
        return Markup("{}").format(text)
    whole = _marked(shorten([Piece(text)], _WHOLE_INPUT), Markup("{}"))
    return Markup("<details><summary>{}… ({:,} characters)</summary>{}</details>").format(
        set_cell_size(" ".join(text[: 2 * _INPUT].split()), _INPUT).rstrip(), len(text), whole
    )


def _cells(head: str, content: Markup) -> Markup:
    return Markup('<tr><th style="{}">{}</th><td dir="auto" style="{}">{}</td></tr>').format(LEFT, head, CELL, content)
