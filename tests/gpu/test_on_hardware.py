"""The contract of the readers on real cards."""

import time

import pytest
from reader_contract import assert_contract

from hf_monitor.gpu.devices import torch_devices
from hf_monitor.gpu.readings import open_devices

pytestmark = pytest.mark.gpu

GIB_2 = 2 * 2**30


@pytest.fixture(scope="module")
def torch():
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    torch.cuda.init()
    return torch


@pytest.fixture
def opened(torch):
    with open_devices(torch_devices()) as opened:
        yield opened


def test_every_device_keeps_the_contract(torch, opened):
    assert len(opened.readers) == torch.cuda.device_count()
    for reader in opened.readers:
        assert_contract(reader)


def test_every_device_is_found_by_its_identity(torch, opened):
    assert opened.problem is None
    assert opened.driver_version
    for reader in opened.readers:
        properties = torch.cuda.get_device_properties(reader.index)
        assert reader.matched_by == "uuid"
        assert reader.uuid.endswith(str(properties.uuid))
        bus = getattr(properties, "pci_bus_id", None)
        assert bus is None or int(reader.pci_address.split(":")[1], 16) == bus


def test_a_known_allocation_is_seen_within_one_percent(torch, opened):
    reader = opened.readers[0]
    torch.zeros(1, device="cuda:0")  # the context, which is memory of its own
    torch.cuda.empty_cache()
    before = reader.read()["memory_used_mib"]
    block = torch.empty(GIB_2, dtype=torch.uint8, device="cuda:0")
    during = reader.read()["memory_used_mib"]
    del block
    torch.cuda.empty_cache()
    after = reader.read()["memory_used_mib"]
    assert during - before == pytest.approx(2048, rel=0.01)
    assert after == pytest.approx(before, abs=21)


def test_work_is_seen(torch, opened):
    reader = opened.readers[0]
    factor = torch.randn(4096, 4096, device="cuda:0")
    begin = reader.read()
    until = time.monotonic() + 3
    while time.monotonic() < until:
        for _ in range(20):
            factor @ factor
        torch.cuda.synchronize()
    end = reader.read()
    if end["utilization_percent"] is not None:
        assert end["utilization_percent"] >= 90
    if end["energy_j"] is not None:
        assert end["energy_j"] > begin["energy_j"]


def test_this_process_is_not_another_one(torch, opened):
    torch.zeros(1, device="cuda:0")
    processes = opened.readers[0].read_processes()
    assert set(processes) == {"other_processes", "other_memory_mib"}
    assert processes["other_processes"] is None or processes["other_processes"] >= 0
