"""CUDA's meter over a stand-in for torch.cuda, since most machines have none."""

import torch

from hf_monitor.auto_batch.meters import CpuMeter, CudaMeter, meter_for

MIB = 2**20


class Card:
    """What torch.cuda says of a card with 8 GiB: 500 MiB are the driver's and others', blocks are of 2 MiB."""

    def __init__(self, fraction=1.0):
        self.reserved, self.peak, self.total, self.others, self.fraction = 0, 0, 8192 * MIB, 500 * MIB, fraction
        self.said = []

    def take(self, n):
        self.reserved += -(-n // (2 * MIB)) * 2 * MIB
        self.peak = max(self.peak, self.reserved)

    def install(self, monkeypatch):
        monkeypatch.setattr(
            torch.cuda, "mem_get_info", lambda d: (self.total - self.others - self.reserved, self.total)
        )
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda d: self.reserved)
        monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda d: self.peak)
        monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda d: self.fraction, raising=False)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda d: setattr(self, "peak", self.reserved))
        monkeypatch.setattr(torch.cuda, "synchronize", lambda d: self.said.append("synchronize"))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.said.append("empty_cache"))


def test_a_cards_budget_is_what_is_free_and_what_torch_holds_already(monkeypatch):
    card = Card()
    card.install(monkeypatch)
    meter = CudaMeter(torch.device("cuda", 0))
    before = meter.budget()
    card.take(1000 * MIB)
    assert meter.budget().bytes == before.bytes == 7692 * MIB
    assert "others, the driver included, hold 500" in before.why


def test_a_share_of_the_card_and_a_limit_are_heeded(monkeypatch):
    Card(fraction=0.5).install(monkeypatch)
    assert CudaMeter(torch.device("cuda", 0)).budget().bytes == 4096 * MIB
    found = CudaMeter(torch.device("cuda", 0), memory_limit=1000 * MIB).budget()
    assert (found.bytes, found.why) == (1000 * MIB, "memory_limit: 1000 MiB of 8192")


def test_the_peak_is_of_what_was_reserved_within_and_errors_of_kernels_belong_there(monkeypatch):
    card = Card()
    card.install(monkeypatch)
    meter = CudaMeter(torch.device("cuda", 0))
    card.take(700 * MIB)
    card.reserved = 100 * MIB
    with meter.watch():
        card.take(301 * MIB)
    assert meter.peak() == 402 * MIB
    assert card.said[-1] == "synchronize"


def test_how_often_a_card_was_full_is_the_allocators_own_count(monkeypatch):
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda d: {"num_alloc_retries": 3})
    meter = CudaMeter(torch.device("cuda", 0))
    assert (meter.flushes(), meter.wears) == (3, True)
    cpu = CpuMeter([], MIB)
    assert (cpu.flushes(), cpu.wears) == (0, False)


def test_of_a_container_the_limit_counts(monkeypatch):
    from hf_monitor.gpu import host

    read = {"ram_used_mib": 3000.0, "ram_total_mib": 4096.0}
    monkeypatch.setattr(host.HostReader, "read", lambda self, disk=True: read)
    monkeypatch.setattr(host.HostReader, "facts", lambda self: {"ram_limit": "container"})
    held = torch.ones(MIB)
    budget = CpuMeter([held]).budget()
    assert budget.bytes == 1096 * MIB + 4 * MIB
    assert "free in the container" in budget.why


def test_a_cpu_meter_counts_what_was_there_and_what_comes():
    held = torch.ones(1000)
    meter = meter_for(torch.device("cpu"), [held], 10**6)
    with meter.watch([torch.ones(10)]):
        held * 2
    assert meter.peak() == 4000 + 40 + 4000
