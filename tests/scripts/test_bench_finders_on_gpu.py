"""The truth that finders on a GPU are held against, over a card made of numbers."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_finders_on_gpu.py"
MOST = 21


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_finders_on_gpu", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


class Card:
    """Memory of 2100 bytes, of which a sample takes 100."""

    limit_bytes = 100 * MOST
    size = 0

    def clean(self):
        return 0

    def peak(self):
        return 100 * self.size


class Training:
    def __init__(self, args, card):
        self.card, self.optimizer = card, self

    def zero_grad(self):
        pass

    def update(self, size):
        self.card.size = size
        if size > MOST:
            raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.parametrize("near", [1, 8, 20, 21, 22, 40, 200])
def test_the_truth_is_the_same_wherever_the_search_begins(bench, monkeypatch, near):
    monkeypatch.setattr(bench, "Training", Training)
    most, within, peaks = bench.truth(argparse.Namespace(maximum=1024), Card(), near)
    assert most == MOST
    assert within == int(0.95 * MOST)
    assert peaks[MOST] == 100 * MOST
    assert peaks[MOST + 1] is None


def test_the_largest_that_is_looked_at_is_the_truth_where_it_fits(bench, monkeypatch):
    monkeypatch.setattr(bench, "Training", Training)
    assert bench.truth(argparse.Namespace(maximum=15), Card(), 8)[:2] == (15, 15)
