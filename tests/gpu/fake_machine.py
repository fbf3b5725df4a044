"""Machines that are not here: files under a root, libraries for the loader, a torch for Python, an environment."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pynvml
import pytest

import hf_monitor
from hf_monitor.gpu import compatibility
from hf_monitor.gpu.evidence import look_around

FAKES = Path(__file__).parent / "fakes"
NAMES = ("libnvidia-ml.so.1", "libcuda.so.1")
UBUNTU = 'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\n'
VERSION = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Tue Feb 4 15:00:00 UTC 2025\n"


def build_libraries(folder: Path) -> tuple[Path, Path]:
    """Compile the two libraries, each into a folder of its own."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    folders = []
    for kind, name in zip(("NVML", "CUDA"), NAMES, strict=True):
        (folder / kind).mkdir()
        command = [compiler, "-shared", "-fPIC", "-O1", f"-D{kind}", "-o", folder / kind / name, FAKES / "nvidia.c"]
        subprocess.run(command, check=True, capture_output=True)
        folders.append(folder / kind)
    return folders[0], folders[1]


def write_files(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def files_of(
    *,
    cards: int = 1,
    amd: int = 0,
    module: str | None = "570.86.10",
    devices: tuple[str, ...] = ("nvidiactl", "nvidia0", "nvidia-uvm"),
    release: str = UBUNTU,
    kernel: str = "6.8.0-52-generic",
    modules: str = "",
    built_for: tuple[str, ...] = ("6.8.0-52-generic",),
    more: dict[str, str | bytes] | None = None,
) -> dict[str, str | bytes]:
    """The files of a machine with a card whose driver is loaded, and whatever is said to be otherwise."""
    files: dict[str, str | bytes] = {
        "sys/bus/pci/devices/0000:00:02.0/vendor": "0x8086\n",
        "sys/bus/pci/devices/0000:00:02.0/class": "0x030000\n",
        "etc/os-release": release,
        "proc/sys/kernel/osrelease": kernel + "\n",
        "proc/sys/kernel/hostname": "4f1c2a9b7d3e\n",
        "proc/modules": modules,
    }
    for vendor, number in (("0x10de", cards), ("0x1002", amd)):
        for index in range(number):
            address = f"0000:{index + 1:02x}:00.0"
            files[f"sys/bus/pci/devices/{address}/vendor"] = vendor + "\n"
            files[f"sys/bus/pci/devices/{address}/class"] = "0x030200\n"
            files[f"sys/bus/pci/devices/{address[:-1]}1/vendor"] = vendor + "\n"  # its sound
            files[f"sys/bus/pci/devices/{address[:-1]}1/class"] = "0x040300\n"
    if module:
        files["proc/driver/nvidia/version"] = VERSION.format(module)
        files["proc/modules"] = modules + "nvidia_uvm 1 0 - Live 0x0\nnvidia 1 1 nvidia_uvm, Live 0x0\n"
    files |= {f"dev/{name}": "" for name in devices}
    files |= {f"lib/modules/{one}/updates/dkms/nvidia.ko": "" for one in built_for}
    return files | (more or {})


@functools.cache
def _libraries(folder: Path) -> tuple[Path, Path] | None:
    return build_libraries(folder)


class Machine:
    """Describes a machine to the real ladder and the real probe, and gives the report."""

    def __init__(self, tmp_path, monkeypatch, tmp_path_factory):
        if shutil.which("cc") is None:
            pytest.skip("no C compiler: the stand-ins for libnvidia-ml and libcuda cannot be built")
        if sys.platform != "linux":
            pytest.skip("the loader's path and the files are Linux'")
        self.folder, self.monkeypatch = tmp_path, monkeypatch
        self.libraries = _libraries(tmp_path_factory.getbasetemp())
        for name in (
            "CUDA_VISIBLE_DEVICES",
            "CUDA_DEVICE_ORDER",
            "HIP_VISIBLE_DEVICES",
            "ROCR_VISIBLE_DEVICES",
            "APPTAINER_CONTAINER",
            "SINGULARITY_CONTAINER",
            "KUBERNETES_SERVICE_HOST",
            "NVIDIA_DRIVER_CAPABILITIES",
            # Tracing doubles what a probe takes, for the time that CI has, and next to nothing of it is kept.
            *(name for name in os.environ if name.startswith("COVERAGE_")),
        ):
            monkeypatch.delenv(name, raising=False)

    def report(self, *, files=None, nvml=True, cuda=True, torch=None, environment=(), timeout_s=30.0):
        """Let check_gpu_compatibility() look at a machine.

        `nvml` and `cuda` say whether the library is there (a text says: in a folder of that name), `torch` what
        FAKE_TORCH says (``"missing"``: none is installed; ``"real"``: the one that is).
        """
        self.prepare(nvml=nvml, cuda=cuda, torch=torch, environment=environment)
        root = write_files(self.folder / "root", files_of() if files is None else files)
        return compatibility.report_of(look_around(root), timeout_s)

    def prepare(self, *, nvml=True, cuda=True, torch=None, environment=()):
        path = []
        for wanted, built, name in zip((nvml, cuda), self.libraries, NAMES, strict=True):
            place = self.folder / "libraries" / (wanted if isinstance(wanted, str) else "lib")
            place.mkdir(parents=True, exist_ok=True)
            versioned = place / f"{name.removesuffix('.1')}.575.57.08"
            if wanted:
                shutil.copy(built / name, versioned)
            else:
                versioned.write_text("no library; it keeps a real one from being found")
            (place / name).unlink(missing_ok=True)
            (place / name).symlink_to(versioned.name)
            path.append(str(place))
        self.monkeypatch.setenv("LD_LIBRARY_PATH", ":".join(path))
        if torch == "missing":
            few = self.folder / "site"
            few.mkdir()
            (few / "pynvml.py").symlink_to(pynvml.__file__)
            package = str(Path(hf_monitor.__file__).parent.parent)
            self.monkeypatch.setattr(sys, "path", [package, str(few), *(one for one in sys.path if "python3" in one)])
            self.monkeypatch.setattr(sys, "path", [one for one in sys.path if "site-packages" not in one])
        elif torch == "real":
            if not metadata.version("torch").endswith("+cpu"):
                pytest.skip("the installed torch is not one for the CPU only")
        else:
            self.monkeypatch.setattr(sys, "path", [str(FAKES), *sys.path])
            self.monkeypatch.setenv("FAKE_TORCH", json.dumps(torch or {}))
        for name, value in dict(environment).items():
            self.monkeypatch.setenv(name, str(value))
