"""The confidence of what a Trainer generates: from its own ``generate``, for the rows of predictions.jsonl."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hf_monitor.callbacks.text_metrics import TextMetricsCallback
from hf_monitor.seq2seq.confidence import BatchConfidence, watched_generation
from hf_monitor.seq2seq.predict import confidence_values

__all__ = ["confidence_recorded"]


@contextmanager
def confidence_recorded(trainer: Any) -> Iterator[list[dict[str, Any]]]:
    """Record ``confidence``, ``n_tokens`` and ``ended`` with each text that ``trainer.predict()`` generates.

    The Trainer generates as ever, and once: what it asks of the model is listened to. On several processes the values
    are gathered batch by batch as the Trainer gathers its predictions, so each process has those of all, in the same
    order, with the samples at the end that fill the last batch.

    Parameters
    ----------
    trainer : transformers.Seq2SeqTrainer
        With ``predict_with_generate=True``. All processes must come here.

    Yields
    ------
    list of dict
        Grows with each batch; see :func:`~hf_monitor.predict_texts` for what the values are.
    """
    import torch

    values: list[dict[str, Any]] = []

    def add(batch: BatchConfidence) -> None:
        columns = (batch.confidence, batch.n_tokens.float(), batch.ended.float())
        found = trainer.accelerator.gather(torch.stack(columns, dim=1).float())
        values.extend(confidence_values(BatchConfidence(found[:, 0], found[:, 1].long(), found[:, 2].bool())))

    callbacks = [one for one in trainer.callback_handler.callbacks if isinstance(one, TextMetricsCallback)]
    for callback in callbacks:
        callback.sample_values = values
    try:
        with watched_generation(trainer.model, add):
            yield values
    finally:
        for callback in callbacks:
            callback.sample_values = None
