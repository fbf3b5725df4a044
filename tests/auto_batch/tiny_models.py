"""Seq2seq models so small that a step takes milliseconds."""

from __future__ import annotations

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    MBartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)


def t5(**changes):
    torch.manual_seed(0)
    settings = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 1, "num_heads": 4} | changes
    return T5ForConditionalGeneration(T5Config(vocab_size=600, decoder_start_token_id=0, **settings))


def _bart_settings(changes):
    layers = {f"{side}_{what}": n for side in ("encoder", "decoder") for what, n in _PARTS.items()}
    return {"vocab_size": 600, "d_model": 32, "max_position_embeddings": 256} | layers | changes


_PARTS = {"layers": 1, "ffn_dim": 64, "attention_heads": 4}


def bart(**changes):
    torch.manual_seed(0)
    return BartForConditionalGeneration(BartConfig(**_bart_settings(changes)))


def mbart(**changes):
    torch.manual_seed(0)
    return MBartForConditionalGeneration(MBartConfig(**_bart_settings(changes)))
