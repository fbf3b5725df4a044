"""torch's devices and NVML's are brought together by what they are, never by where they stand in a list."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from fake_nvml import GPU_IS_LOST, MIB, NOT_SUPPORTED, FakeGpu, Scenario, mig, one_4090, three_unlike

from hf_monitor.gpu.devices import torch_devices
from hf_monitor.gpu.nvml import Unsaid
from hf_monitor.gpu.readings import open_devices

# Each card of the scenario says its own power: the reading shows which card was really read.
POWERS = {
    "20702070": 101.0,
    "40904090-aaaa-bbbb-cccc-000000000001": 201.0,
    "40904090-aaaa-bbbb-cccc-000000000002": 301.0,
}


@pytest.mark.parametrize(
    ("visible", "order", "powers"),
    [
        (None, "FASTEST_FIRST", [201.0, 301.0, 101.0]),
        (None, "PCI_BUS_ID", [101.0, 201.0, 301.0]),
        ("2,1,0", "PCI_BUS_ID", [301.0, 201.0, 101.0]),
        ("2,1,0", "FASTEST_FIRST", [101.0, 301.0, 201.0]),
        ("1", "FASTEST_FIRST", [301.0]),
        ("GPU-2070,GPU-40904090-aaaa-bbbb-cccc-000000000002", "FASTEST_FIRST", [101.0, 301.0]),
    ],
)
@pytest.mark.parametrize("identity", ["uuid", "pci", "both"])
def test_each_device_is_its_own_card_whatever_the_order(fake_nvml, visible, order, powers, identity):
    scenario = three_unlike()
    fake_nvml(scenario)
    devices = scenario.visible(visible, order, with_uuid=identity != "pci", with_pci=identity != "uuid")
    with open_devices(devices) as opened:
        assert [reader.read()["power_w"] for reader in opened.readers] == powers
        assert {reader.matched_by for reader in opened.readers} == {"pci" if identity == "pci" else "uuid"}
        assert [reader.index for reader in opened.readers] == list(range(len(powers)))
        for device, reader in zip(devices, opened.readers, strict=True):
            assert reader.uuid.startswith("GPU-")
            assert device.uuid is None or device.uuid == reader.uuid.removeprefix("GPU-")


def test_uuids_with_their_prefix_are_taken_too(fake_nvml):
    fake_nvml(one_4090())
    device = replace(FakeGpu().torch_device(), uuid=FakeGpu().uuid)
    (reader,) = open_devices([device]).readers
    assert (reader.matched_by, reader.uuid) == ("uuid", FakeGpu().uuid)


def test_a_device_that_nvml_does_not_have_is_read_through_torch_only(fake_nvml):
    fake_nvml(one_4090())
    other = FakeGpu(uuid="GPU-99999999-0000-0000-0000-000000000000", pci=(0, 0x99, 0))
    (reader,) = open_devices([other.torch_device()]).readers
    assert (reader.matched_by, reader.pci_address) == (None, "0000:99:00.0")
    sample = reader.read()
    assert sample.pop("memory_used_mib") == other.torch_used_mib
    assert set(sample.values()) == {None}
    assert reader.facts()["memory_source"] == "torch"
    (news,) = reader.news()
    assert (news["metric"], news["code"], news["lasting"]) == ("device", "NVML_ERROR_NOT_FOUND", True)
    assert "00000000:99:00.0" in news["reason"]


def test_a_device_without_any_identity_is_not_guessed_even_if_there_is_one_card_only(fake_nvml):
    fake_nvml(one_4090())
    (reader,) = open_devices([FakeGpu().torch_device(with_uuid=False, with_pci=False)]).readers
    assert reader.matched_by is None
    assert reader.read()["power_w"] is None
    assert [one["code"] for one in reader.news()] == ["NO_IDENTITY"]


def test_another_card_at_the_same_address_is_not_taken(fake_nvml):
    fake_nvml(one_4090())
    moved = FakeGpu(uuid="GPU-99999999-0000-0000-0000-000000000000")
    (reader,) = open_devices([moved.torch_device()]).readers
    assert reader.matched_by is None
    (news,) = reader.news()
    assert news["code"] == "UUID_CONTRADICTS"
    assert FakeGpu().uuid in news["reason"]


def test_a_failing_search_by_uuid_ends_at_the_pci_address(fake_nvml):
    scenario = one_4090()
    scenario.gpus[0].errors["nvmlDeviceGetHandleByUUID"] = GPU_IS_LOST
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible()).readers
    assert reader.matched_by == "pci"
    assert reader.read()["power_w"] == 350.25


@pytest.mark.parametrize(("visible", "used"), [("MIG-abcdef01", 100), ("MIG-abcdef02", 200), ("MIG-abcdef03", 8000)])
def test_a_mig_instance_has_its_own_memory_and_the_rest_of_its_card(fake_nvml, visible, used):
    scenario = mig()
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible(visible)).readers
    assert reader.is_mig
    assert (reader.matched_by, reader.uuid[:12]) == ("uuid", visible)
    sample, facts = reader.read(), reader.facts()
    assert sample["memory_used_mib"] == used
    assert sample["power_w"] == 180.0
    assert sample["utilization_percent"] is None
    assert facts["mig"] == ("3g.20gb" if used == 8000 else "1g.5gb")
    assert facts["memory_total_mib"] in (4864, 19968)
    assert facts["power_limit_w"] == 450.0
    card = ("power_w", "temperature_c", "sm_clock_mhz", "throttle", "energy_j")
    assert facts["scope"] == dict.fromkeys(card, "card")


def test_the_memory_of_the_card_never_stands_for_that_of_an_instance(fake_nvml):
    scenario = mig()
    for instance in scenario.gpus[0].mig:
        instance.errors["memory_used_mib"] = NOT_SUPPORTED
    fake_nvml(scenario)
    (reader,) = open_devices(scenario.visible("MIG-abcdef02")).readers
    assert reader.read()["memory_used_mib"] == 195
    assert reader.facts()["memory_source"] == "torch"


@pytest.mark.parametrize(
    ("visible", "which", "used"),
    [("MIG-abcdef02", 1, 200), ("MIG-abc", 2, 8000), ("0", 2, 8000), ("0", 0, 95)],
    ids=["by the environment", "by the profile", "by the profile alone", "not known: two of one profile"],
)
def test_an_instance_with_the_uuid_of_its_card(fake_nvml, monkeypatch, visible, which, used):
    """CUDA before 12 and the PCI address name the card only."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    scenario = mig()
    fake_nvml(scenario)
    card = scenario.gpus[0]
    bare = card.uuid.removeprefix("GPU-")
    for device in (
        replace(card.mig[which].torch_device(), uuid=bare),
        card.mig[which].torch_device(with_uuid=False),
    ):
        (reader,) = open_devices([device]).readers
        assert reader.is_mig
        assert reader.read()["memory_used_mib"] == used  # of torch (95) where NVML's instance is not known
        assert reader.read()["power_w"] == 180.0
        assert reader.uuid == (card.uuid if used == 95 else card.mig[which].uuid)


def test_cuda_that_is_not_initialised_is_left_alone():
    import torch

    assert torch_devices() == []
    assert not torch.cuda.is_initialized()


def test_torch_that_is_not_imported_is_left_alone(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert torch_devices() == []
    assert "torch" not in sys.modules


def stand_in(properties, *, contexts=(0,)):
    """As much of torch as is asked; the CPU build has no CUDA that could be initialised."""
    return SimpleNamespace(
        cuda=SimpleNamespace(
            is_initialized=lambda: True,
            device_count=lambda: len(properties),
            get_device_properties=properties.__getitem__,
            mem_get_info=lambda index: (3 * MIB, 4 * MIB),
            current_device=lambda: 0,
        ),
        _C=SimpleNamespace(_cuda_hasPrimaryContext=lambda index: index in contexts),
    )


class Uuid:
    """torch's own class of it prints itself so."""

    def __init__(self, text):
        self.text = text

    def __str__(self):
        return self.text


def test_what_torch_says_of_its_devices(monkeypatch):
    old = SimpleNamespace(name="old", uuid=Uuid("4eb27fce-5e1e-4a70-98a8-a2e6e4a2c2d5"), total_memory=8 * MIB)
    new = SimpleNamespace(
        name="new",
        uuid=Uuid("00000000-0000-0000-0000-000000000000"),
        total_memory=4 * MIB,
        pci_domain_id=1,
        pci_bus_id=0x8A,
        pci_device_id=0,
    )
    integrated = SimpleNamespace(name="i", total_memory=4 * MIB, pci_domain_id=0, pci_bus_id=0, pci_device_id=0)
    monkeypatch.setitem(sys.modules, "torch", stand_in([old, new, integrated]))
    first, second, third = torch_devices()
    assert (first.index, first.name, first.uuid, first.pci) == (0, "old", "4eb27fce-5e1e-4a70-98a8-a2e6e4a2c2d5", None)
    assert first.memory_total_mib == 8.0
    assert first.memory_info() == (3 * MIB, 4 * MIB)
    assert first.in_use()
    assert (second.index, second.uuid, second.pci) == (1, None, (1, 0x8A, 0))
    assert (third.uuid, third.pci) == (None, None)


def test_torch_is_not_asked_for_the_memory_of_a_device_that_this_process_does_not_use(monkeypatch):
    """The question would make a context there, some hundred MiB for nothing."""
    cards = [SimpleNamespace(name=str(i), total_memory=MIB) for i in range(2)]
    monkeypatch.setitem(sys.modules, "torch", stand_in(cards, contexts=(1,)))
    first, second = torch_devices()
    assert second.memory_info() == (3 * MIB, 4 * MIB)
    with pytest.raises(Unsaid, match="cuda:0"):
        first.memory_info()
    (reader, _) = open_devices([first, second]).readers
    assert reader.read()["memory_used_mib"] is None
    assert "cuda:0" in reader.reasons["memory_used_mib"]


def test_two_cards_of_one_name_and_one_uuid_each(fake_nvml):
    twins = Scenario([FakeGpu(uuid=f"GPU-{i}1111111-2222-3333-4444-555555555555", pci=(0, i, 0)) for i in (1, 2)])
    twins.gpus[1].power_mw = 99_000
    fake_nvml(twins)
    first, second = open_devices(twins.visible("1,0")).readers
    assert (first.read()["power_w"], second.read()["power_w"]) == (99.0, 350.25)
