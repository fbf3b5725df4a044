"""The finder on a real card. `pytest -m gpu -s tests/auto_batch` prints the figures: they go into docs/auto_batch.md."""

import pytest

from hf_monitor import probe_batch_size
from hf_monitor.auto_batch.estimate import Estimator
from hf_monitor.auto_batch.known_configs import known_config
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

pytestmark = pytest.mark.gpu

GIB = 2**30
LENGTHS = Lengths(512, 128)


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
def test_the_card_is_filled_and_200_steps_do_not_run_out(torch, name, precision, fraction):
    from hf_monitor.auto_batch.step import TrainingStep

    model = load(name)
    torch.cuda.set_per_process_memory_fraction(fraction)
    try:
        settings = StepSettings(precision=precision)
        result = probe_batch_size(model, "cuda", source_length=512, target_length=128, precision=precision)
        share = result.peak_bytes / result.budget.bytes
        estimate = Estimator(model, settings, LENGTHS, device_type="cuda").peak_bytes(result.batch_size)
        print(
            f"\n{torch.cuda.get_device_name()} x {fraction}, {name}, {precision}: batch {result.batch_size}, "
            f"{result.peak_bytes / GIB:.2f} of {result.budget.bytes / GIB:.2f} GiB ({share:.1%}), estimate "
            f"{estimate / GIB:.2f}, {len(result.trials)} steps, {result.samples} samples, "
            f"{result.out_of_memory_errors} OOMs"
        )
        assert 0.93 <= share <= 0.97
        assert estimate == pytest.approx(result.peak_bytes, rel=0.10)
        step = TrainingStep(model, settings)
        step.open()
        batch = dummy_batch(model, result.batch_size, LENGTHS)
        for _ in range(200):
            step.run(batch)
        step.close()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        del model
        torch.cuda.empty_cache()
