"""Does the evaluation set stand in the training set? Told once, when a training begins."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from hf_monitor.callbacks._report import described
from hf_monitor.seq2seq.overlap import text_overlaps

__all__ = ["overlap_events"]

log = logging.getLogger("hf_monitor")


def overlap_events(train: Any, evaluation: Any, *, pad_id: int | None = None) -> list[dict[str, Any]]:
    """Compare a training's data sets; some seconds at most, whatever their size.

    Parameters
    ----------
    train : data set or None
    evaluation : data set, mapping of names to data sets, or None
    pad_id : int, optional
        The tokenizer's ``pad_token_id``.

    Returns
    -------
    list of dict
        The values of one event ``data_overlap`` an evaluation set that could be compared: ``event``, ``name`` (the
        prefix of its metrics) and the fields of :class:`~hf_monitor.seq2seq.overlap.Overlap`.
    """
    if train is None or evaluation is None:
        return []
    sets = (
        {f"eval_{name}": dataset for name, dataset in evaluation.items()}
        if isinstance(evaluation, Mapping)
        else {"eval": evaluation}
    )
    try:
        found = text_overlaps(train, sets, pad_id=pad_id)
    except Exception as error:  # noqa: BLE001 - reading a data set runs the user's code; a training begins here
        log.info("hf_monitor: the data sets could not be compared: %s", described(error))
        return []
    return [
        {
            "event": "data_overlap",
            "name": name,
            **overlap._asdict(),
            "examples": [list(pair) for pair in overlap.examples],
            "sampled": overlap.sampled,
        }
        for name, overlap in found.items()
        if overlap is not None
    ]
