"""What fits alone must fit step after step: a stand-in for CUDA's allocator, which keeps the blocks of steps before."""

import contextlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import t5

from hf_monitor import BatchDoesNotFit, probe_batch_size
from hf_monitor.auto_batch import prober
from hf_monitor.auto_batch.meters import CpuMeter
from hf_monitor.auto_batch.steady import Shape, batch_of, largest_steady

MIB = 2**20
LIMIT = 6 * MIB


class Worn(CpuMeter):
    """Counts as the CPU's meter does; a step of more than `most` samples that is not the first since the cache was
    emptied runs out of memory, takes `more` bytes, or makes the allocator give back its cache."""

    wears, most, how_it_ends, more = True, 0, "out of memory", 0

    def __init__(self, tensors, memory_limit=None):
        super().__init__(tensors, memory_limit)
        self.steps, self.given_back, self.above = 0, 0, 0

    def settle(self):
        super().settle()
        self.steps = 0

    def flushes(self):
        return self.given_back

    def peak(self):
        return super().peak() + self.above

    @contextlib.contextmanager
    def watch(self, batch=()):
        batch = list(batch)
        with super().watch(batch):
            yield
        self.steps, self.above = self.steps + 1, 0
        if batch and self.steps > 1 and len(batch[0]) > self.most:
            if self.how_it_ends == "out of memory":
                raise torch.OutOfMemoryError("CUDA out of memory.")
            self.given_back += self.how_it_ends == "gives back"
            self.above = self.more


def probed(monkeypatch, most, how_it_ends="out of memory", **options):
    meter = type("Worn", (Worn,), {"most": most, "how_it_ends": how_it_ends, "more": MIB})
    monkeypatch.setattr(prober, "meter_for", lambda device, tensors, limit: meter(tensors, limit))
    lengths = {"source_length": 16, "target_length": 8}
    return probe_batch_size(t5(), "cpu", memory_limit=LIMIT, estimate=False, **lengths | options)


@pytest.fixture(scope="module")
def alone():
    """What fits where each step finds an empty cache."""
    lengths = {"source_length": 16, "target_length": 8}
    return probe_batch_size(t5(), "cpu", memory_limit=LIMIT, estimate=False, **lengths)


@pytest.mark.no_cover
@pytest.mark.parametrize("how_it_ends", ["out of memory", "gives back", "takes more"])
def test_a_size_that_fits_alone_but_not_in_the_step_after_is_not_the_answer(monkeypatch, alone, how_it_ends):
    most = int(0.9 * alone.batch_size)
    assert most < alone.batch_size - 1
    found = probed(monkeypatch, most, how_it_ends)
    assert 0.9 * most <= found.batch_size <= most
    assert found.at_most_wrong_by >= most - found.batch_size
    assert found.peak_bytes <= found.limit_bytes
    assert found.limited_by == "memory"
    assert f"{alone.batch_size} fit alone, but not step after step" in found.notes[0]
    steady = [trial for trial in found.trials if trial.phase == "steady"]
    failed = {trial.batch_size for trial in steady if not trial.fits}
    assert max(failed) == alone.batch_size
    assert min(failed) > most
    assert any(trial.out_of_memory for trial in steady) == (how_it_ends == "out of memory")
    again = [trial for trial in found.trials if trial.batch_size == found.batch_size and trial.phase == "train"]
    assert again[-1].peak_bytes == found.peak_bytes  # alone, too, as every answer is


@pytest.mark.no_cover
@pytest.mark.parametrize(("accumulation", "steps"), [(False, 9), (True, 10)])
def test_a_size_that_goes_through_costs_a_handful_of_steps_more(monkeypatch, alone, accumulation, steps):
    found = probed(monkeypatch, 1024, accumulation=accumulation, max_batch_size=6)
    steady = [trial for trial in found.trials if trial.phase == "steady"]
    assert len(steady) == steps
    assert sorted(trial.batch_size for trial in steady) == [3, *[6] * (steps - 1)]
    assert sum(trial.peak_bytes is None for trial in steady) == 4  # not the worst: another's blocks are around them
    assert all(trial.fits and not trial.out_of_memory for trial in steady)
    assert (found.batch_size, found.at_most_wrong_by, found.notes) == (6, 0, ())
    assert not any(trial.phase == "steady" for trial in alone.trials)  # on the CPU nothing wears


def test_updates_in_a_row_are_those_of_a_training(monkeypatch):
    """The state of the optimizer is made in the first of them, and gradients live as long as they accumulate."""
    seen = []

    def see(step, batch):
        gradients = any(p.grad is not None for p in step.model.parameters())
        shape = (*batch["input_ids"].shape, batch["labels"].shape[1])
        seen.append((shape, gradients, bool(step.optimizer.state)))
        real(step, batch)

    real = prober.TrainingStep.backward
    monkeypatch.setattr(prober.TrainingStep, "backward", see)
    found = probed(monkeypatch, 1024, max_batch_size=2)
    proof, worst = seen[-10:], (2, 16, 8)
    assert [shape for shape, _, _ in proof[1::2]] == [worst] * 5
    # Half of the samples, then other lengths, odd ones.
    assert [shape for shape, _, _ in proof[::2]] == [worst, (1, 16, 8), (2, 7, 3), (2, 13, 7), (2, 11, 8)]
    assert [gradients for _, gradients, _ in proof] == [False, True] * 5
    assert [state for _, _, state in proof] == [False] * 2 + [True] * 8
    assert len(found.trials) == len(seen)


def test_where_not_one_sample_goes_through_nothing_fits(monkeypatch):
    with pytest.raises(BatchDoesNotFit, match=r"not even one sample.*it takes more than there is"):
        probed(monkeypatch, 0, max_batch_size=2, suggest=False)


@pytest.mark.no_cover
def test_an_evaluation_afterwards_has_the_state_of_the_optimizer_beside_it(monkeypatch):
    evaluation = {"generation_max_length": 4, "num_beams": 1, "max_batch_size": 2}
    found = probed(monkeypatch, 1024, max_batch_size=2, evaluation=evaluation)
    weights = sum(p.nbytes for p in t5().parameters())
    assert found.evaluation.peak_bytes > 3 * weights


@given(st.integers(1, 2000), st.floats(0.0, 1.0))
def test_what_goes_through_is_found_in_few_proofs(found, share):
    most, asked = int(share * found), []

    def proves(size):
        asked.append(size)
        return size <= most

    size, failed = largest_steady(found, proves)
    assert size <= most
    assert (size == 0) == (most == 0)
    assert len(asked) == len(set(asked)) <= 13
    assert size in asked or size == 0
    assert failed == found + 1 if most >= found else failed > most and failed in asked
    if most >= 0.84 * found:
        assert len(asked) <= 7
        assert size >= most - 0.04 * found - 1


@pytest.mark.parametrize(("can_cut", "beside"), [(True, {"input_features": torch.ones(10, 4)}), (False, {})])
def test_a_batch_of_which_nobody_knows_what_may_be_cut_has_fewer_samples_instead(can_cut, beside):
    def make(size):
        return {name: torch.ones(size, 4) for name in ("labels", "input_ids")} | {
            n: v[:size] for n, v in beside.items()
        }

    batch = batch_of(Shape(source=0.4, target=0.3), make, 10, can_cut=can_cut)
    assert {tuple(value.shape) for value in batch.values()} == {(4, 4)}
