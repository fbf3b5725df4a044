"""Batches to probe a seq2seq model with: dummy ones of given lengths, and the worst that a data set can make."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Lengths", "MakeBatch", "dummy_batch"]

MakeBatch = Callable[[int], Mapping[str, Any]]
"""From a number of samples to a batch: name -> tensor on the CPU."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of a sample at its worst, padding included, and where the two numbers come from.

    Attributes
    ----------
    source, target : int
        Encoder's and decoder's length, in tokens.
    why : str
        In words: ``"the longest of 460 samples"``, ``"given"`` ...
    """

    source: int
    target: int
    why: str = "given"


def dummy_batch(model: Any, size: int, lengths: Lengths) -> dict[str, Any]:
    """Give a batch of random tokens, as long as it may become.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    size : int
        Samples.
    lengths : Lengths

    Returns
    -------
    dict
        ``input_ids`` and ``attention_mask`` (size, source), ``labels`` (size, target) and, where the model can make
        them (as ``DataCollatorForSeq2Seq`` does then), ``decoder_input_ids`` (size, target); int64, on the CPU.
    """
    import torch

    vocabulary = model.config.get_text_config().vocab_size
    tokens = torch.arange(size * lengths.source).remainder(vocabulary - 4).add(3).view(size, lengths.source)
    labels = torch.arange(size * lengths.target).remainder(vocabulary - 4).add(3).view(size, lengths.target)
    # One place is padding: without any, transformers leaves the mask out, and with it memory that a real batch takes.
    mask = torch.ones_like(tokens)
    mask[0, -1] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    return batch
