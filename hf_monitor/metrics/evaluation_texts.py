"""One evaluation's texts with their scores, as they go to predictions.jsonl."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hf_monitor.metrics.scoring import means_by_language
from hf_monitor.metrics.signature import Signature

__all__ = ["EvaluationTexts", "sample_indices"]


def sample_indices(n_samples: int, max_predictions: int | None, seed: int) -> list[int]:
    """Choose the samples to write down: all, or a seeded sample that is the same at each evaluation of the set.

    Parameters
    ----------
    n_samples
        Samples in the evaluation.
    max_predictions
        At most so many; None for all.
    seed
        For the choice.

    Returns
    -------
    list of int
        Indices in ascending order.
    """
    if max_predictions is None or max_predictions >= n_samples:
        return list(range(n_samples))
    return sorted(random.Random(seed).sample(range(n_samples), max_predictions))


@dataclass(frozen=True)
class EvaluationTexts:
    """Texts and scores of one complete evaluation.

    Parameters
    ----------
    name
        The evaluation's name as given to ``begin_evaluation`` (``""`` if it was not linked).
    n_samples
        Samples scored.
    inputs
        Per sample the input text, or None where it is not known or not among the sampled ones.
    predictions
        Per sample the prediction.
    references
        Per sample its references.
    per_sample
        Per sample ROUGE and ``score``, 0 to 100.
    languages
        Per sample ``"en"`` or ``"ko"``: the tokenizer that was used.
    scores
        The values of the whole evaluation, as returned to the Trainer.
    signature
        How they were computed.
    counts
        What was odd, see `TextScores`; also ``duplicates_cut`` and ``ids_beyond_vocabulary``.
    intervals
        Name -> (low, high), if asked for.
    indices
        The samples that `rows` gives.
    seed
        With which they were chosen.
    texts
        What the texts are like as a whole, see `text_statistics`.
    """

    name: str
    n_samples: int
    inputs: list[str | None]
    predictions: list[str]
    references: list[list[str]]
    per_sample: list[dict[str, float]]
    languages: list[str]
    scores: dict[str, float]
    signature: Signature
    counts: dict[str, int]
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    indices: list[int] = field(default_factory=list)
    seed: int = 0
    texts: dict[str, Any] = field(default_factory=dict)

    @property
    def sampled(self) -> bool:
        """True if `rows` gives only some of the samples."""
        return len(self.indices) < self.n_samples

    @property
    def by_language(self) -> dict[str, dict[str, float]]:
        """ROUGE and ``score`` of the samples of each language; empty unless there are several languages."""
        return means_by_language(self.per_sample, self.languages)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give one row per sample, all of them or the seeded sample.

        Yields
        ------
        dict
            ``index``, ``input``, ``prediction``, ``references``, ``language``, ``rouge1``, ``rouge2``, ``rougeL``,
            ``rougeLsum``, ``score``. Where only a sample is given, the first row also has
            ``"sampled": {"rows": ..., "of": ..., "seed": ...}``.
        """
        for position, index in enumerate(self.indices):
            row: dict[str, Any] = {
                "index": index,
                "input": self.inputs[index],
                "prediction": self.predictions[index],
                "references": list(self.references[index]),
                "language": self.languages[index],
                **self.per_sample[index],
            }
            if self.sampled and position == 0:
                row["sampled"] = {"rows": len(self.indices), "of": self.n_samples, "seed": self.seed}
            yield row
