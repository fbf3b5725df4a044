"""The ladder of remedies: estimated gains, in order, and the message."""

from __future__ import annotations

import functools

import pytest
from transformers import T5Config

from hf_monitor.auto_batch.estimate import Estimator
from hf_monitor.auto_batch.remedies import does_not_fit, remedies
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import BatchDoesNotFit
from hf_monitor.seq2seq.batches import Lengths

pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*is deprecated:FutureWarning")

LENGTHS = Lengths(128, 64)
CONFIG = T5Config(
    vocab_size=400, d_model=64, d_ff=128, d_kv=16, num_layers=1, num_heads=4, decoder_start_token_id=0, pad_token_id=0
)


@functools.cache
def ladder(limit=10**7):
    return remedies(CONFIG, StepSettings(), LENGTHS, limit)


@pytest.mark.no_cover
def test_the_ladder_is_in_order_and_each_gain_is_positive():
    found = ladder()
    names = [remedy.name for remedy in found]
    order = "bf16 gradient_checkpointing bf16+gradient_checkpointing shorter adafactor adamw_8bit lora smaller_model"
    assert [name for name in order.split() if name in names] == names
    assert {"gradient_checkpointing", "shorter", "adamw_8bit", "lora", "smaller_model"} <= set(names)
    now = Estimator(CONFIG, StepSettings(), LENGTHS).peak_bytes(1)
    for remedy in found[:-1]:
        assert remedy.saves_bytes == now - remedy.peak_bytes > 0
        assert remedy.enough


@pytest.mark.no_cover
def test_a_gain_is_what_the_step_with_it_takes():
    by_name = {remedy.name: remedy for remedy in ladder()}
    expected = Estimator(CONFIG, StepSettings(gradient_checkpointing=True), LENGTHS).peak_bytes(1)
    assert by_name["gradient_checkpointing"].peak_bytes == expected


def test_what_is_on_already_or_cannot_be_is_left_out():
    settings = StepSettings(optimizer="adafactor", gradient_checkpointing=True)
    names = {remedy.name for remedy in remedies(CONFIG, settings, LENGTHS, 10**6, bf16=False)}
    assert names <= {"shorter", "lora", "smaller_model"}


@pytest.mark.no_cover
def test_what_brings_next_to_nothing_is_left_out():
    few = Lengths(2, 2)
    many = StepSettings(optimizer="adafactor", gradient_checkpointing=True, precision="bf16")
    found = remedies(CONFIG, many, few, 10**6)
    now = Estimator(CONFIG, many, few).peak_bytes(1)
    assert 0 < now - Estimator(CONFIG, many, Lengths(1, 1)).peak_bytes(1) < now / 100
    assert "shorter" not in {remedy.name for remedy in found}


def test_the_error_says_what_was_needed_what_there_is_and_what_would_help():
    error = does_not_fit(3 * 2**20, 2 * 2**20, ladder(), LENGTHS)
    assert isinstance(error, BatchDoesNotFit)
    assert (error.needed_bytes, error.limit_bytes, error.remedies) == (3 * 2**20, 2 * 2**20, ladder())
    text = str(error)
    assert "128 source and 64 target tokens fits: it takes 3 MiB, and 2 MiB may be taken." in text
    assert "\n  --gradient_checkpointing: about " in text
    assert "\n  a smaller model: at 16 bytes a parameter" in text
    # The weights fit: then it is not said that there is room for fewer than there are.
    assert ladder()[-1].what_to_do.endswith("would fit; what one sample takes beside them does not")
    said = remedies(CONFIG, StepSettings(), LENGTHS, 10**6)[-1].what_to_do
    assert "there is room for less than 0.0625 million of them; this one has 0." in said
