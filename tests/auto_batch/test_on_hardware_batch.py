"""The finder on a real card. `pytest -m gpu -s tests/auto_batch` prints figures for docs/auto_batch.md.

After the answer come updates as a training makes them, nothing freed between them, batches of other lengths among them.
Steps that fill a card take seconds in fp32: `HF_MONITOR_GPU_STEPS=20` makes fewer than the 200 after the answer.
"""

import os
import time

import pytest

from hf_monitor import probe_batch_size
from hf_monitor.auto_batch.known_configs import known_config
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

pytestmark = pytest.mark.gpu

GIB = 2**30
STEPS = int(os.environ.get("HF_MONITOR_GPU_STEPS", "200"))
LENGTHS = Lengths(512, 128)
SHORTER = (Lengths(200, 40), Lengths(450, 100), Lengths(320, 128))


@pytest.fixture(scope="module")
def torch():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch


def load(name):
    from transformers import AutoModelForSeq2SeqLM

    return AutoModelForSeq2SeqLM.from_config(known_config(name)).cuda()


@pytest.mark.parametrize("fraction", [1.0, 0.2], ids=["whole-card", "emulated-small-card"])
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
@pytest.mark.parametrize("name", ["t5-base", "facebook/bart-base"])
def test_the_card_is_filled_and_its_steps_do_not_run_out(torch, name, precision, fraction):
    from hf_monitor.auto_batch.step import TrainingStep

    torch.cuda.empty_cache()
    model = load(name)
    torch.cuda.set_per_process_memory_fraction(fraction)
    try:
        settings = StepSettings(precision=precision)
        begun = time.perf_counter()
        result = probe_batch_size(model, "cuda", source_length=512, target_length=128, precision=precision)
        seconds = time.perf_counter() - begun
        # Of the largest that fits alone: where that did not go through step after step, the answer is below it.
        alone = max((t for t in result.trials if t.phase == "train" and t.fits), key=lambda t: t.batch_size)
        share = alone.peak_bytes / result.budget.bytes
        estimate = result.predicted_bytes or 0
        print(
            f"\n{torch.cuda.get_device_name()} x {fraction}, {name}, {precision}: batch {result.batch_size} "
            f"({alone.batch_size} alone, {share:.1%}), {result.peak_bytes / GIB:.2f} of "
            f"{result.budget.bytes / GIB:.2f} GiB, estimate {estimate / GIB:.2f}, {len(result.trials)} steps, "
            f"{result.samples} samples, "
            f"{result.out_of_memory_errors} OOMs, {seconds:.1f} s; {result.budget.why}; {result.notes}"
        )
        for trial in result.trials:
            print("  ", trial)
        step = TrainingStep(model, settings)
        step.open()
        worst = dummy_batch(model, result.batch_size, LENGTHS)
        others = [dummy_batch(model, result.batch_size, lengths) for lengths in SHORTER]
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        ooms, begun = torch.cuda.memory_stats()["num_ooms"], time.perf_counter()
        for number in range(STEPS):
            step.backward(others[number // 2 % len(others)] if number % 2 else worst)
            step.update(worst)
        torch.cuda.synchronize()
        took = (time.perf_counter() - begun) / STEPS
        peak = torch.cuda.max_memory_reserved() / result.budget.bytes
        print(f"{STEPS} updates of two batches of it: {took:.3f} s each, no OOM, {peak:.1%} at most")
        step.close()
        assert torch.cuda.memory_stats()["num_ooms"] == ooms
        steady = [t for t in result.trials if t.phase == "steady" and t.batch_size == result.batch_size]
        assert steady
        assert all(t.fits for t in steady)
        assert 0.93 <= share <= 0.97
        assert estimate == pytest.approx(result.peak_bytes, rel=0.10)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        del model
        torch.cuda.empty_cache()
