"""The small T5 of the demo and its tokenizer, both made on the spot: nothing is downloaded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, T5ForConditionalGeneration

__all__ = ["DEMO_TRAINING", "SPEAKER_MARKS", "build_demo_model", "build_demo_tokenizer"]

SPEAKER_MARKS = ("#Person1#", "#Person2#", "#Person3#", "#Person4#")
_PAD, _EOS, _UNK = "<pad>", "</s>", "<unk>"  # ids 0, 1 and 2, as T5 has them
# Pieces never reach beyond one match of this: a word with the space before it, then its Korean particle or English 's,
# so that a name is the same piece whatever follows it; line breaks and punctuation stand alone.
_PARTICLES = "은|는|이|가|을|를|과|와|의|도|에|에서|에게|으로|로|까지|부터|랑|이랑|한테|이한테|이나|씩|마다"
_WORD_OR_CHARACTER = (
    rf" ?[0-9가-힣]{{2,}}?(?=(?:{_PARTICLES})(?![가-힣]))|(?<=[0-9가-힣])(?:{_PARTICLES})(?![가-힣])"
    r"|'[a-z]+| ?[^\s\p{P}\p{S}]+|[\s\S]"
)
_N_BYTES = 256
_MIN_VOCAB_SIZE = 3 + len(SPEAKER_MARKS) + _N_BYTES + 2  # and the space and the line break

DEMO_TRAINING: dict[str, Any] = {
    "learning_rate": 3e-3,
    "num_train_epochs": 11,
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 100,
    "warmup_steps": 60,
    "lr_scheduler_type": "linear",
    "weight_decay": 0.01,
    "max_source_length": 128,
    "max_target_length": 40,
    "generation_num_beams": 1,
}


def build_demo_tokenizer(texts: Iterable[str], vocab_size: int = 2400) -> PreTrainedTokenizerFast:
    """Train a BPE tokenizer that loses nothing: what it has no piece for becomes UTF-8 bytes.

    Texts are brought into the Unicode form NFC and otherwise kept, line breaks and spaces included, so that
    ``decode(encode(text), skip_special_tokens=True)`` is the text again. BPE rather than T5's Unigram, because its
    training gives the same pieces in every process.

    Parameters
    ----------
    texts : iterable of str
        What it is trained on.
    vocab_size : int
        Number of ids wanted, at least 265 (special tokens, speaker marks, bytes, the space and the line break). There
        are fewer for few texts, more where the texts hold more distinct characters than fit.

    Returns
    -------
    PreTrainedTokenizerFast
        ``<pad>`` is 0, ``</s>`` is 1 (appended to each text, as T5 does), ``<unk>`` is 2. ``#Person1#`` to
        ``#Person4#`` are one token each and no special tokens: they survive ``skip_special_tokens``.

    Raises
    ------
    InputError
        If there are no texts, or `vocab_size` is too small.
    """
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
        trainers,
    )
    from transformers import PreTrainedTokenizerFast

    if vocab_size < _MIN_VOCAB_SIZE:
        raise InputError(f"vocab_size must be at least {_MIN_VOCAB_SIZE} to hold all bytes; got {vocab_size}.")
    corpus = [text for text in texts if text]
    if not corpus:
        raise InputError("build_demo_tokenizer got no text to train on: hand over the dialogues and summaries.")

    normalizer = normalizers.NFC()
    # The space is kept as it is: a stand-in such as "▁" could be in a text, too, and would come back as a space.
    pre_tokenizer = pre_tokenizers.Split(Regex(_WORD_OR_CHARACTER), "isolated")
    trained = Tokenizer(models.BPE())
    trained.normalizer = normalizer
    trained.pre_tokenizer = pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 3 - _N_BYTES,
        special_tokens=list(SPEAKER_MARKS),  # for the training alone: keeps the marks from being learnt piece by piece
        initial_alphabet=[" ", "\n"],
        show_progress=False,
    )
    trained.train_from_iterator(corpus, trainer)

    # The trainer could take the bytes in only as special tokens, which would vanish in decoding: build the model anew.
    pieces, merges = _pieces_and_merges(trained)
    fixed = [_PAD, _EOS, _UNK, *SPEAKER_MARKS, *(f"<0x{byte:02X}>" for byte in range(_N_BYTES))]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys([*fixed, *pieces]))}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token=_UNK, byte_fallback=True, fuse_unk=True))
    backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(
        single=f"$A {_EOS}", pair=f"$A {_EOS} $B {_EOS}", special_tokens=[(_EOS, 1)]
    )
    backend.add_special_tokens([_PAD, _EOS, _UNK])
    backend.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in SPEAKER_MARKS])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers annotates it only in part
        tokenizer_object=backend,
        pad_token=_PAD,
        eos_token=_EOS,
        unk_token=_UNK,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],  # T5 takes no token_type_ids
    )


def _pieces_and_merges(trained: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Take out of a trained BPE tokenizer its pieces in the order of their ids, and its merges."""
    import json

    model = json.loads(trained.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return pieces, [(left, right) for left, right in model["merges"]]


def build_demo_model(
    tokenizer: PreTrainedTokenizerFast,
    d_model: int = 128,
    num_layers: int = 2,
    num_heads: int = 8,
    d_ff: int = 256,
    dropout_rate: float = 0.0,
    max_target_length: int = DEMO_TRAINING["max_target_length"],
) -> T5ForConditionalGeneration:
    """Make a small T5 with random weights; seed it before (`transformers.set_seed`) for the same weights each time.

    Parameters
    ----------
    tokenizer : PreTrainedTokenizerFast
        Gives the size of the vocabulary and the ids of ``<pad>`` and ``</s>``.
    d_model : int
        Width; a multiple of `num_heads`.
    num_layers : int
        Layers of the encoder, and as many of the decoder.
    num_heads : int
        Attention heads a layer.
    d_ff : int
        Width of the feed-forward part.
    dropout_rate : float
        From 0 to 1.
    max_target_length : int
        Goes into the generation config: at most so many tokens are generated, start and end included.

    Returns
    -------
    T5ForConditionalGeneration
        On the CPU, in float32.

    Raises
    ------
    InputError
        If `d_model` is no multiple of `num_heads`.
    """
    from transformers import GenerationConfig, T5Config, T5ForConditionalGeneration

    if d_model % num_heads:
        raise InputError(f"d_model must be a multiple of num_heads; got {d_model} and {num_heads}.")
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=d_model,
        d_kv=d_model // num_heads,
        d_ff=d_ff,
        num_layers=num_layers,
        num_decoder_layers=num_layers,
        num_heads=num_heads,
        dropout_rate=dropout_rate,
        feed_forward_proj="relu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config.decoder_start_token_id = tokenizer.pad_token_id
    model = T5ForConditionalGeneration(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_length=max_target_length,
        num_beams=1,
        do_sample=False,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
    )
    return model
