"""The step on fake tensors against the same step with memory, counted by the same meter."""

from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    MBartConfig,
    T5Config,
    T5ForConditionalGeneration,
)

from hf_monitor.auto_batch.estimate import Estimator, EstimateUnavailable, estimate_peak
from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*is deprecated:FutureWarning")

BART = {
    "vocab_size": 300,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 48,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "t5": T5Config(
        vocab_size=300, d_model=16, d_ff=48, d_kv=8, num_layers=1, num_heads=2, decoder_start_token_id=0, pad_token_id=0
    ),
    "t5-gated": T5Config(
        vocab_size=300,
        d_model=16,
        d_ff=48,
        d_kv=8,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        pad_token_id=0,
    ),
    "bart": BartConfig(**BART),
    "mbart": MBartConfig(**BART, scale_embedding=True),
}
LENGTHS = Lengths(32, 16)


def real_peak(model, size, settings, lengths=LENGTHS):
    """Measure the second step, with the state of the first."""
    live = LiveStorages()
    live.count([*model.parameters(), *model.buffers()])
    with live:
        step = TrainingStep(model, settings)
        step.open()
        step.run(dummy_batch(model, 1, lengths))
        batch = dummy_batch(model, size, lengths)
        live.reset_peak()
        step.run(batch)
    return live.peak


OPTIMIZERS = ("sgd", "adamw_torch_fused", "adamw_torch", "adafactor")
CASES = [
    *(StepSettings(optimizer=name) for name in OPTIMIZERS),
    *(StepSettings(optimizer=name, accumulation=False, precision="bf16") for name in OPTIMIZERS),
    StepSettings(gradient_checkpointing=True),
    StepSettings(gradient_checkpointing=True, precision="bf16", label_smoothing=0.1),
    StepSettings(label_smoothing=0.1, accumulation=False),
    StepSettings(ddp_bucket_bytes=50_000, max_grad_norm=0.0),
]


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("family", CONFIGS)
def test_the_estimate_is_what_the_real_step_takes(family, settings):
    torch.manual_seed(0)
    estimator = Estimator(CONFIGS[family], settings, LENGTHS)
    for size in (1, 8):
        model = AutoModelForSeq2SeqLM.from_config(CONFIGS[family])
        assert estimator.peak_bytes(size) == pytest.approx(real_peak(model, size, settings), rel=0.007)
