"""The check that no evaluation sample stands in the training data."""

from __future__ import annotations

from typing import Any

from hf_monitor.preflight.checklist import Check, failed, ok, skipped, warning
from hf_monitor.preflight.data import Part
from hf_monitor.preflight.thresholds import SHARED_FAILED

__all__ = ["check_overlap"]


def check_overlap(train: Part, evaluation: Part, name: str = "overlap", pad_id: int | None = None) -> Check:
    """Look for evaluation samples that stand in the training data.

    Parameters
    ----------
    train, evaluation : Part
    name : str
        Of the check.
    pad_id : int, optional
        The tokenizer's ``pad_token_id``, for what is tokenized and padded without an ``attention_mask``.
    """
    from hf_monitor.seq2seq.overlap import text_overlap

    if (train.tokenized is None) != (evaluation.tokenized is None):
        return skipped(name, "one of the two is tokenized, the other is not: they cannot be compared.")
    if train.tokenized is not None:
        found = text_overlap(train.tokenized, evaluation.tokenized, pad_id=pad_id)
    else:
        found = text_overlap(train.samples(), evaluation.samples(), text_column="text")
    if found is None:
        return skipped(name, "the data could not be compared.")
    total, inputs, pairs = found.n_judged, found.n_shared_inputs, found.n_shared_pairs
    evidence: dict[str, Any] = {
        "n_evaluation": found.n_evaluation,
        "n_shared_inputs": inputs,
        "n_shared_pairs": pairs,
        "examples": [list(rows) for rows in found.examples],
        "n_left_out": found.n_left_out,
        "sampled": found.sampled,
    }
    part = " (of large sets a part was read)" if found.sampled else ""
    if found.n_left_out:
        part += (
            f"; {found.n_left_out:,} more cannot be judged: inputs that are empty, very short without a summary, or "
            "shared by many samples"
        )
    if not inputs and found.n_left_out > total:
        return skipped(
            name,
            f"most of the evaluation samples cannot be compared: {found.n_left_out:,} of "
            f"{found.n_evaluation_read:,} have inputs that are empty, very short without a summary, or shared by many "
            "samples.",
            **evidence,
        )
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
