"""What may come as predictions and references, in one shape; everything odd is counted, no sample is dropped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from hf_monitor.errors import InputError

__all__ = ["clean_predictions", "clean_references"]

#: What a decoder leaves where a multi-byte character was cut in two.
_REPLACEMENT = "\ufffd"


def clean_predictions(predictions: Sequence[str | None], counts: Counter[str]) -> list[str]:
    """Check predictions; None becomes an empty text.

    Parameters
    ----------
    predictions
        One text per sample.
    counts
        Counts to add to: ``predictions_none``, ``predictions_empty``, ``predictions_with_cut_characters``.

    Returns
    -------
    list of str
        As many as given.

    Raises
    ------
    InputError
        If it is not a sequence of texts.
    """
    texts: list[str] = []
    for position, prediction in enumerate(_sequence(predictions, "predictions")):
        if _is_missing(prediction):
            counts["predictions_none"] += 1
            prediction = ""
        elif not isinstance(prediction, str):
            raise InputError(
                f"predictions[{position}] is of type {type(prediction).__name__}; give one text or None per sample."
            )
        elif not prediction.strip():
            counts["predictions_empty"] += 1
        if _REPLACEMENT in prediction:
            counts["predictions_with_cut_characters"] += 1
        texts.append(prediction)
    return texts


def clean_references(
    references: Sequence[str | None] | Sequence[Sequence[str | None]], counts: Counter[str]
) -> list[list[str]]:
    """Bring references into one list of texts per sample.

    None (and NaN, as data frames have it) and empty texts are left out if the sample has another reference; a sample
    that has none keeps one empty text, against which everything scores 0.

    Parameters
    ----------
    references
        Per sample one text or a sequence of texts.
    counts
        Counts to add to: ``samples_without_reference``, ``references_empty`` (left out beside others),
        ``references_with_cut_characters``.

    Returns
    -------
    list of list of str
        At least one text per sample.

    Raises
    ------
    InputError
        If a sample's references are neither a text nor a sequence of texts.
    """
    cleaned: list[list[str]] = []
    for position, entry in enumerate(_sequence(references, "references")):
        if entry is None or isinstance(entry, (str, float)):
            entry = [entry]
        elif not isinstance(entry, Sequence):
            raise InputError(
                f"references[{position}] is of type {type(entry).__name__}; give a text or a list of texts."
            )
        texts = [text for text in entry if not _is_missing(text)]
        for text in texts:
            if not isinstance(text, str):
                raise InputError(
                    f"references[{position}] holds a {type(text).__name__}; give a text or a list of texts."
                )
        usable = [text for text in texts if text.strip()]
        if usable:
            counts["references_empty"] += len(texts) - len(usable)
        else:
            counts["samples_without_reference"] += 1
            usable = [""]
        counts["references_with_cut_characters"] += sum(_REPLACEMENT in text for text in usable)
        cleaned.append(usable)
    return cleaned


def _is_missing(text: object) -> bool:
    return text is None or (isinstance(text, float) and math.isnan(text))


def _sequence(texts: Any, what: str) -> Sequence[Any]:
    if isinstance(texts, str) or not hasattr(texts, "__len__") or not hasattr(texts, "__getitem__"):
        raise InputError(f"{what} must be a sequence with one entry per sample, not {type(texts).__name__}.")
    checked: Sequence[Any] = texts
    return checked
