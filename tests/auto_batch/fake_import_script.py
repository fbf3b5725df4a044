"""Launched by test_estimate_imports.py: which tensors are fake after an estimate in a fresh process."""

import gc

from tiny_models import t5
from torch._subclasses.fake_tensor import FakeTensor

from hf_monitor.auto_batch import estimate_peak

estimate_peak(t5(), 2, source_length=8, target_length=4)
gc.collect()
print("fake tensors:", sum(type(found) is FakeTensor for found in gc.get_objects()))
