"""Batches to probe a seq2seq model with: how long they may become, and dummy ones of given lengths.

Those that a data set and a collator really make are in ``worst_batches.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.errors import InputError

__all__ = [
    "OF_SOURCE",
    "OF_TARGET",
    "Lengths",
    "MakeBatch",
    "check_lengths",
    "default_lengths",
    "dummy_batch",
    "positions",
    "shorter",
]

MakeBatch = Callable[[int], Mapping[str, Any]]
"""From a number of samples to a batch: name -> tensor on the CPU."""

OF_SOURCE = frozenset({"input_ids", "attention_mask", "token_type_ids", "global_attention_mask"})
OF_TARGET = frozenset({"labels", "label", "label_ids", "decoder_input_ids", "decoder_attention_mask"})
"""Usual columns of a batch, each as long as the source, or as the target."""

_USUAL_SOURCE, _USUAL_TARGET = 512, 128
_LEGACY_MAX_LENGTH = 20  # transformers' old default of generation: nobody chose it
_NO_LIMIT = 10**9  # a tokenizer that knows no limit says 1e30


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


def positions(model: Any, *, decoder: bool = False) -> int | None:
    """Give the most tokens that a model's encoder, or decoder, has positions for.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    decoder : bool

    Returns
    -------
    int or None
        None where positions are relative (T5, mT5, LongT5) or rotary (T5Gemma): then only memory limits the length.
    """
    config = model.config
    if getattr(config, "relative_attention_num_buckets", None):
        return None
    side = "decoder" if decoder else "encoder"
    for name in (f"max_{side}_position_embeddings", "max_position_embeddings", "n_positions"):
        found = getattr(config, name, None)
        if isinstance(found, int) and found > 0:
            return found
    part = getattr(config, side, None)  # EncoderDecoderModel's config is made of two
    found = getattr(part, "max_position_embeddings", None)
    return found if isinstance(found, int) and getattr(part, "rope_parameters", None) is None else None


def check_lengths(model: Any, lengths: Lengths) -> None:
    """Refuse lengths that a model has no positions for; on CUDA the index error would take the whole process along.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    lengths : Lengths

    Raises
    ------
    InputError
        Also for lengths below 1.
    """
    for name, length, decoder in (("source", lengths.source, False), ("target", lengths.target, True)):
        if length < 1:
            raise InputError(f"{name}_length must be at least 1, got {length} ({lengths.why})")
        most = positions(model, decoder=decoder)
        if most is not None and length > most:
            raise InputError(
                f"{name}_length {length} ({lengths.why}) is more than the {most} positions of {_name(model)}: "
                f"cut the {name} texts to at most {most} tokens"
            )


def default_lengths(model: Any, tokenizer: Any = None) -> Lengths:
    """Give the lengths that a model and its tokenizer allow, where neither a user nor a data set says any.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    tokenizer : PreTrainedTokenizerBase, optional

    Returns
    -------
    Lengths
        Source: the smaller of ``tokenizer.model_max_length`` and the encoder's positions; 512 where neither is bounded.
        Target: ``max_new_tokens`` or ``max_length`` of the generation config, 128 where neither is set, and never more
        than the decoder's positions and the tokenizer allow.
    """
    stated = getattr(tokenizer, "model_max_length", None)
    cut = int(stated) if stated is not None and 0 < stated < _NO_LIMIT else None
    source, source_why = _smallest((cut, "model_max_length of the tokenizer"), _bound(model, decoder=False))
    if source is None:
        source, source_why = _USUAL_SOURCE, f"usual, {_name(model)} and tokenizer have no limit"
    wished, target_why = _generated(model)
    target, bound_why = _smallest((wished, target_why), (cut, "model_max_length of the tokenizer"), _bound(model, True))
    assert target is not None  # since `wished` is not
    return Lengths(source, target, f"source {source}: {source_why}; target {target}: {bound_why}")


def _name(model: Any) -> str:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(base).__name__


def _bound(model: Any, decoder: bool) -> tuple[int | None, str]:
    return positions(model, decoder=decoder), f"positions of {_name(model)}"


def _smallest(*bounds: tuple[int | None, str]) -> tuple[int | None, str]:
    known = [bound for bound in bounds if bound[0] is not None]
    return min(known, key=lambda bound: bound[0] or 0) if known else (None, "")


def _generated(model: Any) -> tuple[int, str]:
    """Give the target length that the generation config holds."""
    config = getattr(model, "generation_config", None)
    for name in ("max_new_tokens", "max_length"):
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0 and (name, value) != ("max_length", _LEGACY_MAX_LENGTH):
            return value, f"{name} of the generation config"
    return _USUAL_TARGET, "usual, the generation config says none"


def dummy_batch(model: Any, size: int, lengths: Lengths) -> dict[str, Any]:
    """Give a batch of made-up tokens, as long as it may become.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    size : int
        Samples.
    lengths : Lengths
        See :func:`check_lengths`.

    Returns
    -------
    dict
        ``input_ids`` and ``attention_mask`` (size, source), ``labels`` (size, target) and, where the model can make
        them (as ``DataCollatorForSeq2Seq`` does then), ``decoder_input_ids`` (size, target); int64, on the CPU.
    """
    import torch

    tokens = _tokens(size, lengths.source, _vocabulary(model, decoder=False))
    labels = _tokens(size, lengths.target, _vocabulary(model, decoder=True))
    # One place is padding: without any, transformers leaves the mask out, and with it memory that a real batch takes.
    # Not the only place of a text: a row that sees nothing gives NaN.
    mask = torch.ones_like(tokens)
    if lengths.source > 1:
        mask[0, -1] = 0
    batch = {"input_ids": tokens, "attention_mask": mask, "labels": labels}
    if hasattr(model, "prepare_decoder_input_ids_from_labels"):
        batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=labels)
    return batch


def _vocabulary(model: Any, *, decoder: bool) -> int:
    """Give the vocabulary's size: of one side where the two differ (EncoderDecoderModel, Marian), else of both."""
    config = model.config
    names = ("tgt_vocab_size", "decoder_vocab_size") if decoder else ("src_vocab_size",)
    part = getattr(config, "decoder" if decoder else "encoder", None)
    found = [getattr(config, name, None) for name in names] + [getattr(part, "vocab_size", None)]
    return next((int(size) for size in found if size), int(config.get_text_config().vocab_size))


def _tokens(size: int, length: int, vocabulary: int) -> Any:
    """Give ids of the vocabulary; not the first three, where it has more: those mean padding and ends."""
    import torch

    first = min(3, vocabulary - 1)
    return torch.arange(size * length).remainder(vocabulary - first).add(first).view(size, length)


def shorter(batch: Mapping[str, Any], source: float, target: float) -> dict[str, Any] | None:
    """Give a batch of as many samples, its sources and targets cut to a share of their length.

    Parameters
    ----------
    batch : mapping
        Name -> tensor, of an encoder-decoder model.
    source, target : float
        In (0, 1]. What they lead to is made odd: real lengths are seldom multiples of 8, for which kernels are made.

    Returns
    -------
    dict or None
        None where the batch has other things than tokens in the usual columns, of which nobody knows what may be cut.
    """
    found = {}
    for name, value in batch.items():
        if name not in OF_SOURCE | OF_TARGET or getattr(value, "ndim", 0) != 2:
            return None
        share = target if name in OF_TARGET else source
        found[name] = value if share == 1 else value[:, : int(share * value.shape[1]) | 1].contiguous()
    return found
