"""Machines that cannot be built from files and libraries here: Windows, a Mac, WSL, Jetson, unlike cards.

What is seen and what the probe said are handed in; the ladder that judges is the real one.
"""

import re

import pytest
from fake_machine import files_of, write_files

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.evidence import Evidence, look_around
from hf_monitor.gpu.ladder import diagnose
from hf_monitor.gpu.run_probe import Answer

CARD = {
    "name": "NVIDIA GeForce RTX 4090",
    "uuid": "GPU-0",
    "pci": "00000000:01:00.0",
    "capability": [8, 9],
    "total": 24564 << 20,
    "free": 24000 << 20,
    "compute_mode": 0,
    "mig": False,
    "instances": [],
}
NO_NVML = {"code": 12, "message": "NVML Shared Library Not Found"}
NO_CUDA = {"missing": "libcuda.so.1: cannot open shared object file"}
NOTHING = {"available": False, "count": 0, "mps": False, "warnings": []}
CPU = {"version": "2.13.0+cpu", "cuda": None, "hip": None, "file": "x"}
CUDA = {"version": "2.13.0+cu126", "cuda": "12.6", "hip": None, "file": "x"}
MAC = {"version": "2.13.0", "cuda": None, "hip": None, "file": "x"}
UNKNOWN = {"version": 12080, "code": 999, "message": "unknown error"}
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
FULL = "CUDA error: out of memory"
LINUX = {"distribution": "ubuntu debian", "pci_readable": True, "kernel": "6.8"}
WITH_CARD = Evidence(**LINUX, nvidia_cards=("0000:01:00.0",), device_files=("nvidia0", "nvidiactl", "nvidia-uvm"))
WSL = Evidence(wsl=True, dxg=True, kernel="5.15-microsoft-standard-WSL2")
WINDOWS = Evidence(system="Windows", machine="AMD64")
APPLE = Evidence(system="Darwin", machine="arm64")


def nvml(*cards, cuda=12080):
    return {"code": 0, "driver": "570.86.10", "cuda": cuda, "devices": list(cards or [CARD])}


def card(**what):
    return CARD | what


def stages(nvml=NO_NVML, torch=CPU, libcuda=NO_CUDA, cuda=NOTHING, **more):
    found = {"nvml": nvml, "torch": torch, "libcuda": libcuda, "cuda": cuda}
    return found | {name.replace("_", ":"): value for name, value in more.items()}


def first(evidence, found, environment=(), **more):
    found = diagnose(Case(evidence, Answer(stages=found), dict(environment), **more))
    return (found.problems or found.notes)[0]


def driver(cuda):
    return {"version": cuda, "code": 0, "count": 1}


TWO = (card(name="NVIDIA GeForce RTX 4090"), card(name="NVIDIA GeForce GTX 1060 6GB", capability=[6, 1]))
K80 = card(name="Tesla K80", capability=[3, 7])
TRIED = {"device_0": {"name": "NVIDIA A100", "capability": [8, 0], "free": 0, "uuid": "0"}}
ONE = {"available": True, "count": 1, "mps": False, "warnings": [], "architectures": ["sm_80"]}

# the machine, what the probe said, code, words of the cause, words of the command
MACHINES = [
    # Apple silicon has a GPU, also while torch is missing
    (APPLE, stages(torch={"missing": True}), "torch_missing", "not installed", " torch"),
    (APPLE, stages(torch=MAC), "mps_unavailable", "cannot use the GPU of this Mac", "torch.backends.mps.is_built()"),
    (Evidence(system="Darwin", machine="x86_64"), stages(torch=MAC), "no_gpu", "This Mac", "system_profiler"),
    # Windows and WSL, with and without an NVIDIA card
    (WINDOWS, stages(), "driver_not_installed", "has no NVIDIA GPU, or its driver", "Win32_VideoController"),
    (WINDOWS, stages(nvml(), CUDA, UNKNOWN), "cuda_error", "999", "Get-WinEvent -ProviderName nvlddmkm"),
    (WSL, stages(), "wsl_driver_missing", "there is no NVIDIA GPU, or Windows has no driver", "Win32_VideoController"),
    (WSL, stages(nvml(), CUDA, UNKNOWN), "cuda_error", "999", "dmesg --ctime | grep -i dxg"),
    # a Jetson
    (Evidence(**LINUX, tegra=True), stages(torch=CUDA, libcuda=UNKNOWN), "cuda_error", "999", "nvgpu|nvmap"),
    *(
        (
            Evidence(**LINUX, tegra=True, tegra_release=release),
            stages(libcuda=driver(12060)),
            "torch_cpu_only",
            "for the CPU only",
            command,
        )
        for release, command in (
            (35, "for L4T R35 no torch from 2.6 on is known"),
            (36, "--index-url https://pypi.jetson-ai-lab.io/jp6/cu126"),
            (38, "--index-url https://pypi.jetson-ai-lab.io/sbsa/cu130"),
            (None, "cat /etc/nv_tegra_release"),
        )
    ),
    # unlike cards, old cards: the wheel that fits all of them, or none is said
    (WITH_CARD, stages(nvml(*TWO, cuda=13000), CPU, driver(13000)), "torch_cpu_only", "CPU only", "2.13.0+cu126"),
    (WITH_CARD, stages(nvml(K80), CPU, driver(11040)), "torch_cpu_only", "Tesla K80", "compute capability 3.7"),
    (
        WITH_CARD,
        stages(nvml(CARD, K80), CPU, driver(12080)),
        "torch_cpu_only",
        "CPU only",
        "cu126   # not for 3.7",
    ),
    (
        WITH_CARD,
        stages(nvml(card(capability=[12, 0]), card(capability=[6, 1])), CPU, driver(13000)),
        "torch_cpu_only",
        "CPU only",
        "cu130   # for the newest card; no torch has code for all cards here",
    ),
    # a laptop with a GPU of AMD, and one of NVIDIA that is switched off
    (
        Evidence(**LINUX, amd_cards=("0000:03:00.0",)),
        stages({"code": 9, "message": "Driver Not Loaded"}, CPU),
        "no_gpu",
        "switched off",
        "prime-select",
    ),
    (WITH_CARD, stages(nvml(CARD), CPU, driver(10020)), "torch_cpu_only", "CPU only", "ubuntu-drivers install"),
]


@pytest.mark.parametrize(
    ("evidence", "found", "code", "cause", "command"),
    MACHINES,
    ids=[f"{one[2]}-{index}" for index, one in enumerate(MACHINES)],
)
def test_a_cause_is_named_with_what_mends_it(evidence, found, code, cause, command):
    problem = first(evidence, found)
    assert (problem.code, cause in problem.cause, command in problem.command) == (code, True, True), problem
    if evidence.system == "Windows":
        assert not re.search("sudo|'|export |dmesg", problem.command)


@pytest.mark.parametrize(
    "found",
    [
        stages(torch={"missing": True}, libcuda=driver(12080), nvml=nvml()),
        stages(nvml=nvml(), torch=CUDA, libcuda=driver(12080), cuda=ONE, **TRIED, kernel_0={"right": False}),
        stages(
            nvml=nvml(), torch=CUDA, libcuda=driver(12080), cuda=ONE, **TRIED, kernel_0={"error": {"message": BUSY}}
        ),
        stages(
            nvml={"code": 15, "message": "GPU is lost", "library": "nvml.dll"}, torch=CUDA, libcuda={"version": 12080}
        ),
        stages(
            nvml=nvml(), torch={"error": {"type": "ImportError", "message": "", "trace": ""}, "hidden_by": "C:\\t.py"}
        ),
    ],
)
def test_a_command_for_windows_is_one_that_windows_knows(found, monkeypatch):
    monkeypatch.setattr("sys.executable", r"C:\Program Files\Python\python.exe")
    command = first(WINDOWS, found).command
    assert not re.search("sudo|(^| )'|export |dmesg|reboot|mv |^[A-Z_]+=", command)
    assert "C:\\Program" not in command or '"C:\\Program Files\\Python\\python.exe"' in command


@pytest.mark.parametrize(
    ("message", "code", "words"),
    [
        (BUSY, "devices_busy", "this very process uses CUDA already"),
        (FULL, "out_of_memory", "this very process uses CUDA already"),
    ],
)
def test_what_this_very_process_holds_is_not_laid_on_others(message, code, words):
    found = stages(
        nvml(card(compute_mode=3)), CUDA, driver(12080), ONE, **TRIED, kernel_0={"error": {"message": message}}
    )
    mine, others = first(WITH_CARD, found, in_use=True), first(WITH_CARD, found)
    assert (mine.code, words in mine.cause) == (code, True)
    assert (others.code, words in others.cause) == (code, False)
    assert "-c DEFAULT" not in mine.command
    assert mine.cause.endswith(".")


def test_memory_that_this_process_may_hold_is_not_said_to_be_others():
    found = stages(nvml(card(free=1000 << 20)), CUDA, driver(12080), ONE, **TRIED, kernel_0={"right": True})
    assert first(WITH_CARD, found).cause.startswith("Other processes hold 23564")
    assert first(WITH_CARD, found, in_use=True).cause.startswith("This process, which uses CUDA already, and others")


@pytest.mark.parametrize(
    ("path", "search_path", "evidence", "command"),
    [
        ("/usr/local/cuda-12.8/compat/libcuda.so.1", "/opt/compatible:/usr/local/cuda/compat", {}, "=/opt/compatible"),
        ("/usr/local/cuda-12.8/compat/libcuda.so.1", "/usr/local/cuda/compat", {}, "unset LD_LIBRARY_PATH"),
        ("/usr/local/cuda-12.8/compat/libcuda.so.1", "", {}, "sudo apt remove 'cuda-compat-*' && sudo ldconfig"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.10", "", {"container": "docker"}, "dpkg -l 'cuda-compat-*'"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.570.86.10", "/usr/local/cuda/compat", {}, "ldconfig -p"),
        ("", "", {}, "ldconfig -p"),
    ],
)
def test_a_library_of_cuda_compat_is_taken_away_by_its_own_name_only(path, search_path, evidence, command):
    found = stages(nvml(), CUDA, {"version": 12080, "code": 804, "message": "x", "library": path})
    environment = {"LD_LIBRARY_PATH": search_path} if search_path else {}
    problem = first(Evidence(**LINUX, nvidia_cards=("a",), **evidence), found, environment)
    assert problem.code == "forward_compatibility"
    assert command in problem.command
    assert not re.search(r"xargs|\brm\b|/etc/ld.so.conf", problem.command)


@pytest.mark.parametrize(
    ("files", "environment", "container"),
    [
        ({}, {}, None),
        ({".singularity.d/runscript": ""}, {}, "apptainer"),
        ({}, {"SINGULARITY_CONTAINER": "/x.sif"}, "apptainer"),
        ({"run/systemd/container": "systemd-nspawn\n"}, {}, "container"),
        ({"run/systemd/container": "podman\n"}, {}, "podman"),
        ({"run/systemd/container": "wsl\n"}, {}, None),
        ({"proc/1/environ": b"container=lxc\0"}, {}, "container"),
    ],
)
def test_the_kind_of_container_is_seen(tmp_path, monkeypatch, files, environment, container):
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert look_around(write_files(tmp_path, files_of(more=files))).container == container


def test_the_release_of_a_jetson_is_read(tmp_path):
    files = files_of(more={"etc/nv_tegra_release": "# R38 (release), REVISION: 2.0, GCID: 1\n"})
    seen = look_around(write_files(tmp_path, files))
    assert (seen.tegra, seen.tegra_release) == (True, 38)
