"""The report on machines whose GPU works: the facts of each device, matched by UUID or address and never by index."""

import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from fake_machine import Machine, files_of, write_files

from hf_monitor.gpu import compatibility
from hf_monitor.gpu.architecture import runs_finished_code, runs_ptx
from hf_monitor.gpu.evidence import Evidence, look_around
from hf_monitor.gpu.precision import amd_has_bf16, amd_has_flash_attention, precision_of
from hf_monitor.gpu.wheels import wheel_for


@pytest.fixture
def machine(tmp_path, monkeypatch, tmp_path_factory):
    return Machine(tmp_path, monkeypatch, tmp_path_factory)


@pytest.mark.gpu
@pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA driver on this machine")
def test_a_real_gpu_is_usable_and_described():
    import torch

    report = compatibility.check_gpu_compatibility()
    assert report.usable, report
    assert all(check.status == "ok" for check in report.checks)
    assert [device.index for device in report.devices] == list(range(torch.cuda.device_count()))
    for device in report.devices:
        facts = torch.cuda.get_device_properties(device.index)
        assert device.name == facts.name
        assert device.compute_capability == (facts.major, facts.minor)
        assert device.uuid.endswith(str(facts.uuid))
        assert device.memory_total_mib == pytest.approx(facts.total_memory / 2**20, rel=0.05)
        assert 0 < device.memory_free_mib <= device.memory_total_mib
    assert report.driver_version[0].isdigit()


def test_the_facts_of_a_device(machine):
    report = machine.report()
    (device,) = report.devices
    assert (device.index, device.name) == (0, "NVIDIA GeForce RTX 4090")
    assert device.uuid == "GPU-00000000-aaaa-bbbb-cccc-dddddddddddd"
    assert device.pci_address == "0000:01:00.0"
    assert (device.memory_total_mib, device.memory_free_mib) == (24564.0, 24000.0)  # NVML's, not torch's 24210
    assert device.compute_capability == (8, 9)
    assert (device.bf16, device.fp16, device.flash_attention, device.precision) == (True, True, True, "bf16")
    assert device.mig is None
    assert device.tier.tier.name == "High-End"
    assert (report.torch_version, report.torch_cuda) == ("2.13.0+cu126", "12.6")
    assert (report.driver_version, report.driver_cuda) == ("570.86.10", "12.8")
    assert report.facts["architectures"].startswith("sm_50")


def test_devices_are_matched_by_uuid_not_by_index(machine):
    devices = [{"uuid": f"0000000{1 - index}-aaaa-bbbb-cccc-dddddddddddd", "bus": 9} for index in (0, 1)]
    report = machine.report(torch={"devices": devices}, environment={"FAKE_CARDS": 2, "CUDA_VISIBLE_DEVICES": "1,0"})
    assert [device.pci_address for device in report.devices] == ["0000:02:00.0", "0000:01:00.0"]


def test_a_torch_that_says_no_uuid_is_matched_by_address(machine):
    report = machine.report(torch={"devices": [{"uuid": None, "bus": 2}]}, environment={"FAKE_CARDS": 2})
    assert report.devices[0].uuid == "GPU-00000001-aaaa-bbbb-cccc-dddddddddddd"


def test_a_mig_instance_is_not_given_the_memory_of_its_card(machine):
    name = "NVIDIA A100-SXM4-40GB MIG 1g.5gb"
    report = machine.report(
        torch={"devices": [{"name": name, "uuid": "5c6b1d1e-7d60-53ee-a9d4-30a26dbf9f6b", "capability": [8, 0]}]},
        environment={"FAKE_MIG": 1},
    )
    (device,) = report.devices
    assert device.mig == "1g.5gb"
    assert device.uuid == "MIG-5c6b1d1e-7d60-53ee-a9d4-30a26dbf9f6b"
    assert device.memory_total_mib == 25386352640 / 2**20  # torch's own


MIG = "NVIDIA A100-SXM4-40GB MIG 3g.20gb"


@pytest.mark.parametrize(
    ("uuid", "instances", "memory_mib"),
    [
        ("00000001-aaaa-bbbb-cccc-dddddddddddd", 3, 2 * 4864),
        ("5c6b1d1e-7d60-53ee-a9d4-30a26dbf9f6b", 1, 4864),  # the only one it can be
        ("5c6b1d1e-7d60-53ee-a9d4-30a26dbf9f6b", 3, 25386352640 / 2**20),  # which one is not known: torch's own figure
    ],
)
def test_a_mig_instance_has_its_own_memory_never_that_of_another(machine, uuid, instances, memory_mib):
    report = machine.report(
        torch={"devices": [{"name": MIG, "uuid": uuid, "capability": [8, 0]}]},
        environment={"FAKE_MIG": 1, "FAKE_INSTANCES": instances},
    )
    assert report.devices[0].memory_total_mib == memory_mib


def test_an_amd_gpu_that_works_is_usable(machine):
    rocm = {"version": "2.13.0+rocm6.4", "cuda": None, "hip": "6.4.4", "devices": [{"name": "AMD Instinct MI210"}]}
    files = files_of(cards=0, amd=1, module=None, devices=())
    report = machine.report(files=files, nvml=False, cuda=False, torch=rocm)
    assert report.usable
    assert (report.problems, report.notes) == ((), ())
    (device,) = report.devices
    assert (device.name, device.compute_capability, device.precision) == ("AMD Instinct MI210", None, "bf16")
    assert device.flash_attention is True
    assert report.facts["rocm"] == "6.4.4"


def test_an_apple_gpu_that_works_is_usable_and_said_to_be_one(machine):
    machine.prepare(nvml=False, cuda=False, torch={"version": "2.13.0", "cuda": None, "available": False, "mps": True})
    report = compatibility.report_of(Evidence(system="Darwin"), 30.0)
    assert report.usable
    assert [note.code for note in report.notes] == ["apple_gpu"]
    (device,) = report.devices
    assert device.name.startswith("Apple")
    assert (device.precision, device.bf16, device.flash_attention) == ("fp32", False, False)
    assert device.memory_total_mib == pytest.approx(psutil.virtual_memory().total / 2**20)
    assert "Apple" in device.tier.rule


def test_a_mac_without_mps_has_no_gpu(machine):
    machine.prepare(nvml=False, cuda=False, torch={"version": "2.13.0", "cuda": None, "available": False})
    report = compatibility.report_of(Evidence(system="Darwin"), 30.0)
    assert [problem.code for problem in report.problems] == ["no_gpu"]
    assert report.problems[0].cause.startswith("This Mac")


def test_cuda_that_this_process_began_with_other_gpus_is_noted(machine, monkeypatch):
    """The variable counts when CUDA is first used; a new process then sees something else."""
    machine.prepare()
    mine = SimpleNamespace(name="NVIDIA T4", uuid="00000007-aaaa-bbbb-cccc-dddddddddddd")
    cuda = SimpleNamespace(
        is_initialized=lambda: True, device_count=lambda: 1, get_device_properties=lambda index: mine
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    report = machine.report(environment={"CUDA_VISIBLE_DEVICES": "0"})
    assert [note.code for note in report.notes] == ["cuda_initialized_before"]
    assert "it sees NVIDIA T4, a new process sees NVIDIA GeForce RTX 4090" in report.notes[0].cause
    hidden = machine.report(torch={"available": False}, environment={"CUDA_VISIBLE_DEVICES": "-1", "FAKE_CUINIT": 100})
    assert (hidden.problems[0].code, hidden.notes[0].code) == ("visible_devices_minus_one", "cuda_initialized_before")
    monkeypatch.delenv("FAKE_CUINIT")
    monkeypatch.delenv("FAKE_TORCH")
    mine.uuid = "00000000-aaaa-bbbb-cccc-dddddddddddd"
    assert machine.report(environment={"CUDA_VISIBLE_DEVICES": "0"}).notes == ()


def test_a_torch_of_this_process_that_contradicts_itself_is_no_error(machine, monkeypatch):
    def properties(index):
        raise AssertionError("Invalid device id")

    half = [SimpleNamespace(), SimpleNamespace(is_initialized=lambda: True, device_count=lambda: 2)]
    half[1].get_device_properties = properties
    for cuda in half:
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
        assert machine.report().usable


@pytest.mark.parametrize(
    ("closed", "blocked"),
    [
        (["nvidia0"], ()),  # a cluster's job has the other card
        (["nvidia0", "nvidia1"], ("nvidia0", "nvidia1")),
        (["nvidiactl"], ("nvidiactl",)),
        (["nvidia-modeset"], ()),  # for a screen
    ],
)
def test_files_that_may_not_be_opened_are_seen(tmp_path, monkeypatch, closed, blocked):
    root = write_files(tmp_path, files_of(devices=("nvidiactl", "nvidia0", "nvidia1", "nvidia-modeset", "nvidia-uvm")))
    monkeypatch.setattr("os.access", lambda path, mode: path.name not in closed)  # root may open everything
    seen = look_around(root)
    assert (list(seen.closed_files), seen.blocked_files) == (closed, blocked)
    assert (seen.nvidia_cards, seen.module_version) == (("0000:01:00.0",), "570.86.10")


def test_a_closed_file_is_named_where_cuda_finds_nothing(machine, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: getattr(path, "name", "") != "nvidia0")
    report = machine.report(torch={"available": False}, environment={"FAKE_CUINIT": 100})
    assert report.problems[0].code == "no_permission"
    assert "/dev/nvidia0" in report.problems[0].cause


def test_a_machine_of_which_nothing_can_be_seen_is_no_error(tmp_path):
    seen = look_around(tmp_path / "nowhere")
    assert (seen.nvidia_cards, seen.device_files, seen.nvidia_seen) == ((), (), None)


@pytest.mark.parametrize(
    ("capability", "names", "finished", "ptx"),
    [
        ((8, 6), ["sm_80"], True, False),  # a higher minor version of the same major one
        ((8, 0), ["sm_86"], False, False),
        ((9, 0), ["sm_80", "sm_86"], False, False),
        ((9, 0), ["sm_80", "compute_80"], False, True),
        ((9, 0), ["sm_90a"], True, False),
        ((9, 2), ["sm_90a", "compute_90a"], False, False),  # `a`: that version only
        ((10, 3), ["sm_100f"], True, False),  # `f`: its family
        ((12, 0), ["sm_100", "sm_100f", "compute_100f"], False, False),
        ((7, 5), ["sm_50", "sm_60", "sm_70"], True, False),
        ((6, 1), ["gfx90a", "what"], False, False),
    ],
)
def test_code_is_matched_to_a_capability(capability, names, finished, ptx):
    assert (runs_finished_code(capability, names), runs_ptx(capability, names)) == (finished, ptx)


@pytest.mark.parametrize(
    ("torch", "driver", "capability", "expected"),
    [
        ("2.13.0+cpu", (13, 0), (8, 9), ("2.13.0", "cu130")),
        ("2.13.0+cpu", (13, 4), (8, 9), ("2.13.0", "cu132")),
        ("2.13.0+cpu", (12, 8), (8, 9), ("2.13.0", "cu126")),
        ("2.13.0+cpu", (12, 2), (8, 9), ("2.13.0", "cu126")),  # by minor version compatibility
        ("2.13.0+cpu", (13, 0), (7, 0), ("2.13.0", "cu126")),  # Volta is in no newer one
        ("2.12.0+cpu", (12, 9), (12, 0), ("2.13.0", "cu129")),  # no 2.12 for a Blackwell on this driver
        ("2.8.0", (12, 8), (12, 0), ("2.8.0", "cu128")),
        ("2.6.0+cpu", (12, 4), (8, 0), ("2.6.0", "cu124")),
        ("2.13.0+cpu", (11, 4), (8, 0), ("2.7.1", "cu118")),
        ("2.13.0+cpu", (10, 2), (7, 0), None),
        ("2.13.0+cpu", (13, 0), (3, 5), None),
        ("2.14.0.dev20260101+cpu", (13, 0), None, ("2.13.0", "cu130")),
        ("2.99.1", (13, 0), None, ("2.13.0", "cu130")),
        (None, None, None, ("2.13.0", "cu130")),
    ],
)
def test_the_wheel_fits_the_driver_and_the_card(torch, driver, capability, expected):
    assert wheel_for(torch, driver, capability) == expected


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((7, 0), "fp16"), ((6, 1), "fp32"), (None, "fp32")],
)
def test_the_precision_follows_the_capability(capability, expected):
    assert precision_of(capability) == expected


def test_flash_attention_of_amd():
    known = ("gfx90a:sramecc+", "gfx942", "gfx908", "gfx1100", "", None)
    assert [amd_has_flash_attention(one) for one in known] == [True, True, False, False, False, False]


def test_bf16_of_amd():
    known = ("gfx90a:sramecc+", "gfx942", "gfx1100", "gfx1201", "gfx906", "gfx1030", "", None)
    assert [amd_has_bf16(one) for one in known] == [True, True, True, True, False, False, False, False]
