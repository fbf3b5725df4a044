"""What the two `evaluate` modules share. Imported by them alone: it needs evaluate and datasets at import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import evaluate

from hf_monitor.errors import InputError

__all__ = ["TextModule", "text_features"]


def text_features() -> list[datasets.Features]:
    """Give the two shapes of input: several references a sample, and one.

    Returns
    -------
    list of datasets.Features
        ``references`` as lists of strings first.
    """
    text = datasets.Value("string")
    return [
        datasets.Features({"predictions": text, "references": datasets.Sequence(text)}),
        datasets.Features({"predictions": text, "references": text}),
    ]


class TextModule(evaluate.Metric):  # type: ignore[misc]  # evaluate has no types
    """An `evaluate.Metric` on texts that looks at the whole batch before it decides on the shape of the references.

    `evaluate` looks at the first sample only: a list further down would be written as the text ``"['a', 'b']"``
    and scored.
    """

    def _infer_feature_from_batch(self, batch: Mapping[str, Sequence[Any]]) -> Any:
        predictions, references = batch["predictions"], batch["references"]
        for name, column in batch.items():
            if isinstance(column, str) or not hasattr(column, "__len__"):
                raise InputError(f"{name} must be a list with one entry per sample, not {type(column).__name__}.")
        if not len(predictions) or not len(references):
            raise InputError("There is nothing to score: predictions or references are empty.")
        if not all(isinstance(text, str | None) for text in predictions):
            raise InputError("Each prediction must be one text or None.")
        single = [isinstance(entry, str | None) for entry in references]
        if any(single) and not all(single):
            raise InputError(
                "Some references are texts and some are lists of texts; give a list of texts for every sample."
            )
        return self.features[1 if all(single) else 0]

    def _enforce_nested_string_type(self, schema: Any, obj: Any) -> None:
        """Leave the check to the one above, which knows that None is a missing text."""
