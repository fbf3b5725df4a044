"""Configs of a few models, so that a plan needs no network: what decides memory, no more.

From the papers' tables and the models' own config.json; a test holds each against its published number of parameters.
T5: arxiv.org/abs/1910.10683 (section 3.7); mT5: arxiv.org/abs/2010.11934 and its config (vocabulary 250112);
BART: arxiv.org/abs/1910.13461 and huggingface.co/facebook/bart-base; KoBART: the README of
huggingface.co/gogamza/kobart-base-v2.
"""

from __future__ import annotations

from typing import Any

__all__ = ["known_config", "known_names"]

_T5 = {"vocab_size": 32128, "d_kv": 64, "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
_MT5 = {**_T5, "vocab_size": 250112, "feed_forward_proj": "gated-gelu"}


def _t5(d_model: int, d_ff: int, layers: int, heads: int) -> dict[str, Any]:
    return {"d_model": d_model, "d_ff": d_ff, "num_layers": layers, "num_heads": heads}


def _bart(vocab_size: int, d_model: int, layers: int, heads: int, positions: int = 1024) -> dict[str, Any]:
    both = {"layers": layers, "attention_heads": heads, "ffn_dim": 4 * d_model}
    sides = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in both.items()}
    return {"vocab_size": vocab_size, "d_model": d_model, "max_position_embeddings": positions, **sides}


_KNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "google-t5/t5-small": ("t5", _T5 | _t5(512, 2048, 6, 8)),
    "google-t5/t5-base": ("t5", _T5 | _t5(768, 3072, 12, 12)),
    "google-t5/t5-large": ("t5", _T5 | _t5(1024, 4096, 24, 16)),
    "google/mt5-small": ("mt5", _MT5 | _t5(512, 1024, 8, 6)),
    "google/mt5-base": ("mt5", _MT5 | _t5(768, 2048, 12, 12)),
    "facebook/bart-base": ("bart", _bart(50265, 768, 6, 12)),
    "facebook/bart-large": ("bart", _bart(50265, 1024, 12, 16)),
    "gogamza/kobart-base-v2": ("bart", _bart(30000, 768, 6, 16, 1026) | {"pad_token_id": 3}),
}


def known_names() -> tuple[str, ...]:
    """Give the names of the models that are known here."""
    return tuple(_KNOWN)


def known_config(name: str) -> Any:
    """Make the config of a known model, named with or without its owner; None for any other."""
    for known, (kind, values) in _KNOWN.items():
        if name in (known, known.partition("/")[2]):
            from transformers import AutoConfig

            make: Any = AutoConfig.for_model
            return make(kind, **values)
    return None
