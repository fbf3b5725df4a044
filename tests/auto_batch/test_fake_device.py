"""The device of a fake tensor, which is answered without torch's way to it."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from hf_monitor.auto_batch.fake import FakeStorages, _device


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_it_is_torchs_within_a_kernel_too(device, monkeypatch):
    with FakeTensorMode() as fake:
        tensor = torch.empty(2, device=device)
        with FakeStorages():
            assert tensor.device == torch.device(device)
    assert isinstance(tensor, FakeTensor)
    monkeypatch.setattr(fake, "in_kernel_invocation", True)
    assert _device(tensor) == torch.ops.prim.device.default(tensor) == torch.device("meta")


def test_of_a_real_tensor_it_is_its_own():
    assert _device(torch.empty(2)) == torch.device("cpu")
