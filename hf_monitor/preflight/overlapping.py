"""The check that no evaluation sample stands in the training data."""

from __future__ import annotations

from typing import Any

from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.data import Part
from hf_monitor.preflight.thresholds import SHARED_FAILED

__all__ = ["check_overlap"]


def check_overlap(train: Part, evaluation: Part, name: str = "overlap") -> Check:
    """Look for evaluation samples that stand in the training data."""
    from hf_monitor.seq2seq.overlap import text_overlap

    if (train.tokenized is None) != (evaluation.tokenized is None):
        return skipped(name, "one of the two is tokenized, the other is not: they cannot be compared.")
    if train.tokenized is not None:
        found = text_overlap(train.tokenized, evaluation.tokenized)
    else:
        found = text_overlap(train.samples(), evaluation.samples(), text_column="text")
    if found is None:
        return skipped(name, "the data could not be compared.")
    total, inputs, pairs = max(1, found.n_evaluation_read), found.n_shared_inputs, found.n_shared_pairs
    evidence: dict[str, Any] = {
        "n_evaluation": found.n_evaluation,
        "n_shared_inputs": inputs,
        "n_shared_pairs": pairs,
        "examples": [list(rows) for rows in found.examples],
        "sampled": found.sampled,
    }
    part = " (of large sets a part was read)" if found.sampled else ""
    if not inputs:
        return ok(name, f"none of {total:,} evaluation samples was found in the training data{part}.", **evidence)
    with_summary = "" if pairs is None else f", {pairs:,} of them with its summary"
    sentence = (
        f"the text of {inputs:,} of {total:,} evaluation samples ({inputs / total:.1%}) stands in the training "
        f"data{with_summary}{part}."
    )
    advice = "Take them out of the training data: scores on what was trained on say nothing of new texts."
    if (pairs or 0) >= 2 and (pairs or 0) / total >= SHARED_FAILED:
        return failed(name, sentence, advice, **evidence)
    if inputs >= 2 and inputs / total >= SHARED_FAILED:
        return warning(name, sentence, advice, **evidence)
    return ok(name, sentence, **evidence)
