"""A driver's library that the real loader finds, called through the real ctypes: what no fake in Python shows."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

READ = """
import json, sys
from hf_monitor.gpu.devices import TorchDevice
from hf_monitor.gpu.readings import open_devices

devices = [
    TorchDevice(0, "Tesla V100", "c0c0c0c0-0000-1111-2222-333333333333", None, 16000.0),
    TorchDevice(1, "Tesla V100", None, (0, 0x3B, 0), 16000.0),
    TorchDevice(2, "Tesla V100", "d0d0d0d0-0000-1111-2222-333333333333", None, 16000.0),
]
with open_devices(devices) as opened:
    print(json.dumps({
        "problem": opened.problem,
        "driver": opened.driver_version,
        "facts": [reader.facts() for reader in opened.readers],
        "samples": [reader.read() for reader in opened.readers],
        "processes": opened.readers[0].read_processes(),
        "news": [one for reader in opened.readers for one in reader.news()],
    }))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """Compile the library; give its folder."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    if not sys.platform.startswith("linux"):
        pytest.skip("the loader's path is set as Linux does")
    folder = tmp_path_factory.mktemp("driver")
    source = Path(__file__).with_name("nvml_stub.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-w", "-o", folder / "libnvidia-ml.so.1", source], check=True)
    return folder


def test_a_library_of_an_old_driver_through_the_real_loader(library):
    env = os.environ | {"LD_LIBRARY_PATH": str(library)}
    done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["problem"], found["driver"]) == (None, "418.40.04")
    by_uuid, by_pci, unknown = found["samples"]
    assert by_uuid == {
        "memory_used_mib": 1234.0,
        "utilization_percent": 42,
        "power_w": 70.123,
        "temperature_c": 33,
        "sm_clock_mhz": 1312,
        "throttle": ["idle", "sw_thermal"],
        "energy_j": None,
    }
    assert by_pci == by_uuid
    assert set(unknown.values()) == {None}
    first, second, third = found["facts"]
    assert [facts["matched_by"] for facts in found["facts"]] == ["uuid", "pci", None]
    assert first["uuid"] == second["uuid"] == "GPU-c0c0c0c0-0000-1111-2222-333333333333"
    assert first["pci_address"] == "0000:3b:00.0"
    assert (first["memory_source"], first["memory_total_mib"]) == ("nvml_v1", 16160.0)
    assert (first["power_limit_w"], third["memory_source"]) == (None, None)
    assert found["processes"] == {"other_processes": 1, "other_memory_mib": 55.0}
    assert [(one["gpu"], one["metric"], one["code"]) for one in found["news"]] == [
        (0, "energy_j", "NVML_ERROR_NOT_SUPPORTED"),
        (1, "energy_j", "NVML_ERROR_NOT_SUPPORTED"),
        (2, "device", "NVML_ERROR_NOT_FOUND"),
    ]


def test_a_library_that_is_none_is_a_problem_and_no_crash(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")
    env = os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", READ], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "NVML_ERROR_LIBRARY_NOT_FOUND" in json.loads(done.stdout)["problem"]
