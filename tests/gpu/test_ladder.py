"""Each cause, brought about where it arises: the loader, the libraries of the driver, torch, files, variables.

The probe runs as it does for a user; what it meets is in ``fakes/``.
"""

import re
import sys

import pytest
from fake_machine import Machine, files_of, write_files

from hf_monitor.gpu import compatibility
from hf_monitor.gpu.causes import CAUSES, NOTES
from hf_monitor.gpu.evidence import look_around

OLD = (
    "The NVIDIA driver on your system is too old (found version 12080). Please update your GPU driver by downloading "
    "and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: "
    "https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
)
UNKNOWN = (
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env variable "
    "CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero."
)
UNEXPECTED = (
    "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that "
    "might have already set an error? Error {}"
)
NO_DRIVER = "No CUDA GPUs are available"
NOTHING = {"available": False, "warning": NO_DRIVER}
CPU_ONLY = {"version": "2.13.0+cpu", "cuda": None, "available": False}
BUSY = "CUDA error: CUDA-capable device(s) is/are busy or unavailable"
NO_IMAGE = (
    "CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call"
)
WSL = {"kernel": "5.15.167.4-microsoft-standard-WSL2", "module": None, "cards": 0, "devices": ()}
OUTSIDE = {"module": None, "devices": ()}
DOCKER = {".dockerenv": ""}
SECURE_BOOT = {"sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": b"\6\0\0\0\1"}
NVSWITCH = {
    "sys/bus/pci/devices/0000:85:00.0/vendor": "0x10de\n",
    "sys/bus/pci/devices/0000:85:00.0/class": "0x068000\n",
}
JETSON = {"etc/nv_tegra_release": "# R36 (release), REVISION: 4.3\n"}
FEDORA = "ID=fedora\n"
NO_DRIVER_CALLS = {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100}
LXC = {"run/systemd/container": "lxc\n"}
ROCM = {"version": "2.13.0+rocm7.2", "cuda": None, "hip": "7.2.0", "available": False}
AMD = {"files": files_of(cards=0, amd=1, **OUTSIDE), "nvml": False, "cuda": False}

# code, the machine, words of the cause, words of the command
PROBLEMS = [
    # -- the machine
    (
        "no_gpu",
        {"files": files_of(cards=0, **OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "no NVIDIA",
        "lspci",
    ),
    (
        "no_gpu",
        {"files": files_of(cards=0, **OUTSIDE), "nvml": False, "cuda": False, "torch": CPU_ONLY},
        "runs on the CPU",
        "lspci",
    ),
    (
        "no_gpu",  # a laptop whose card is switched off
        {"files": files_of(cards=0, **OUTSIDE), "torch": NOTHING, "environment": NO_DRIVER_CALLS},
        "driver is installed, but no NVIDIA GPU is seen: there is none, or it is switched off",
        "prime-select query",
    ),
    # -- the loader: libraries of the driver
    (
        "container_without_gpu",
        {"files": files_of(more=DOCKER, **OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "docker container was started without a GPU",
        "docker run --rm --gpus all ubuntu nvidia-smi",
    ),
    (
        "container_without_gpu",
        {"files": files_of(more={"run/.containerenv": ""}, **OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "podman",
        "podman run --rm --device nvidia.com/gpu=all ubuntu nvidia-smi",
    ),
    (
        "container_without_gpu",
        {
            "files": files_of(more={"proc/1/cgroup": "0::/kubepods/burstable/pod1\n"}, **OUTSIDE),
            "nvml": False,
            "cuda": False,
            "torch": NOTHING,
        },
        "kubernetes",
        "nvidia.com/gpu: 1",
    ),
    (
        "container_without_gpu",  # the image has the libraries of some driver
        {
            "files": files_of(more=DOCKER, devices=()),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100},
        },
        "the device files of the NVIDIA driver are not in it",
        "--gpus all",
    ),
    (
        "container_without_gpu",  # the image has a libcuda of a compatibility package
        {
            "files": files_of(more=DOCKER, **OUTSIDE),
            "nvml": False,
            "cuda": "compat",
            "torch": NOTHING,
            "environment": {"FAKE_CUINIT": 100},
        },
        "the libraries of the NVIDIA driver are not in it",
        "--gpus all",
    ),
    (
        "container_without_gpu",
        {"files": files_of(more=DOCKER | JETSON, cards=0, **OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "docker",
        "docker run --rm --runtime nvidia",
    ),
    (
        "container_without_gpu",
        {
            "files": files_of(more={".singularity.d/runscript": ""}),
            "nvml": False,
            "cuda": False,
            "torch": NOTHING,
            "environment": {"APPTAINER_CONTAINER": "/images/x.sif"},
        },
        "This apptainer container was started without a GPU: the libraries",
        "apptainer exec --nv /images/x.sif nvidia-smi",
    ),
    (
        "container_without_gpu",
        {"files": files_of(more=LXC, **OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "This container was started without a GPU",
        "lxc config device add 4f1c2a9b7d3e gpu gpu",
    ),
    (
        "container_without_compute",
        {"files": files_of(more=DOCKER), "cuda": False, "torch": NOTHING},
        "must contain compute",
        "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    ),
    (
        "container_lost_devices",
        {"files": files_of(more=DOCKER), "torch": NOTHING, "environment": {"FAKE_NVML_INIT": 999, "FAKE_CUINIT": 999}},
        "lost its GPU",
        "docker restart 4f1c2a9b7d3e",
    ),
    (
        "wsl_driver_missing",
        {"files": files_of(more={"dev/dxg": ""}, **WSL), "nvml": False, "cuda": False, "torch": NOTHING},
        "/usr/lib/wsl/lib",
        "https://www.nvidia.com/drivers",
    ),
    (
        "wsl_driver_missing",
        {"files": files_of(**WSL), "nvml": False, "cuda": False, "torch": NOTHING},
        "WSL 1",
        "wsl.exe",
    ),
    (
        "driver_not_installed",
        {"files": files_of(**OUTSIDE), "nvml": False, "cuda": False, "torch": NOTHING},
        "driver is not installed.",
        "sudo ubuntu-drivers install",
    ),
    (
        "driver_not_installed",
        {
            "files": files_of(modules="nouveau 2 1 - Live 0x0\n", release=FEDORA, **OUTSIDE),
            "nvml": False,
            "cuda": False,
            "torch": NOTHING,
        },
        "nouveau",
        "akmod-nvidia",
    ),
    (
        "driver_not_installed",
        {"files": files_of(release="ID=gentoo\n"), "nvml": False, "cuda": False, "torch": NOTHING},
        "module 570.86.10 is loaded",
        "lspci",
    ),
    ("driver_not_installed", {"cuda": False, "torch": NOTHING}, "libcuda", "ubuntu-drivers"),
    # -- the driver
    (
        "driver_not_loaded",
        {
            "files": files_of(modules="nouveau 2 1 - Live 0x0\n", **OUTSIDE),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100},
        },
        "nouveau",
        "blacklist nouveau",
    ),
    (
        "driver_not_loaded",
        {
            "files": files_of(built_for=("6.8.0-45-generic",), **OUTSIDE),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100},
        },
        "built for kernel 6.8.0-45-generic, and 6.8.0-52-generic runs",
        "sudo dkms autoinstall",
    ),
    (
        "driver_not_loaded",
        {
            "files": files_of(more=SECURE_BOOT, **OUTSIDE),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100},
        },
        "Secure Boot",
        "mokutil --import /var/lib/shim-signed/mok/MOK.der",
    ),
    (
        "driver_not_loaded",  # as RPM Fusion's akmods lay it down
        {
            "files": files_of(
                built_for=(),
                release=FEDORA,
                more=SECURE_BOOT | {"lib/modules/6.8.0-52-generic/extra/nvidia/nvidia.ko.xz": ""},
                **OUTSIDE,
            ),
            "torch": NOTHING,
            "environment": NO_DRIVER_CALLS,
        },
        "Secure Boot",
        "mokutil --import /etc/pki/akmods/certs/public_key.der",
    ),
    (
        "driver_not_loaded",
        {
            "files": files_of(built_for=(), more={"lib/modules/6.1-arch/extramodules/nvidia.ko.zst": ""}, **OUTSIDE),
            "torch": NOTHING,
            "environment": NO_DRIVER_CALLS,
        },
        "built for kernel 6.1-arch",
        "sudo dkms autoinstall",
    ),
    (
        "driver_not_loaded",
        {"files": files_of(**OUTSIDE), "torch": NOTHING, "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100}},
        "nothing has loaded it",
        "sudo modprobe nvidia",
    ),
    (
        "driver_not_loaded",
        {
            "files": files_of(built_for=(), **OUTSIDE),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100},
        },
        "none is built for the running kernel 6.8.0-52-generic",
        "sudo dkms autoinstall",
    ),
    (
        "device_files_missing",
        {"files": files_of(devices=()), "torch": NOTHING, "environment": {"FAKE_NVML_INIT": 9, "FAKE_CUINIT": 100}},
        "/dev/nvidiactl",
        "sudo nvidia-modprobe -c 0 -u",
    ),
    (
        "no_permission",
        {"torch": NOTHING, "environment": {"FAKE_NVML_INIT": 4, "FAKE_CUINIT": 100}},
        "may not open the GPU",
        "usermod -aG video,render",
    ),
    (
        "no_permission",  # a cluster's job, or a container, in which no card may be opened
        {"torch": NOTHING, "environment": {"FAKE_DENIED": 1, "FAKE_CUINIT": 100}},
        "the job was given no GPU",
        "ls -l /dev/nvidia*",
    ),
    (
        "driver_library_mismatch",
        {
            "files": files_of(module="570.86.10"),
            "torch": NOTHING,
            "environment": {"FAKE_NVML_INIT": 18, "FAKE_CUINIT": 803},
        },
        "module (570.86.10) and the driver's libraries (575.57.08)",
        "sudo reboot",
    ),
    (
        "driver_library_mismatch",  # NVML cannot be asked
        {"nvml": False, "torch": NOTHING, "environment": {"FAKE_CUINIT": 803}},
        "module (570.86.10) and the driver's libraries (575.57.08) have different versions: mostly because",
        "sudo reboot",
    ),
    (
        "driver_library_mismatch",
        {"files": files_of(more=DOCKER), "torch": NOTHING, "environment": {"FAKE_NVML_INIT": 18, "FAKE_CUINIT": 803}},
        "a restart of the container gives it the new libraries",
        "docker restart 4f1c2a9b7d3e",
    ),
    (
        "driver_library_mismatch",
        {"files": files_of(more=LXC), "torch": NOTHING, "environment": {"FAKE_NVML_INIT": 18, "FAKE_CUINIT": 803}},
        "this container has libraries of its own",
        "570.86.10.run --no-kernel-modules",
    ),
    ("gpu_lost", {"torch": NOTHING, "environment": {"FAKE_LOST": 0, "FAKE_CUINIT": 999}}, "lost GPU 0", "dmesg"),
    (
        "gpu_lost",
        {"torch": NOTHING, "environment": {"FAKE_NVML_INIT": 15, "FAKE_CUINIT": 999}},
        "lost the GPU",
        "reboot",
    ),
    (
        "driver_finds_no_gpu",
        {"torch": NOTHING, "environment": {"FAKE_CARDS": 0, "FAKE_CUINIT": 100}},
        "none of the cards at 0000:01:00.0",
        "NVRM",
    ),
    (
        "nvml_error",
        {"torch": NOTHING, "environment": {"FAKE_NVML_INIT": 999, "FAKE_CUINIT": 999}},
        "Unknown Error (NVML 999)",
        "nvidia-smi",
    ),
    # -- torch
    ("torch_missing", {"torch": "missing"}, "not installed", "install"),
    (
        "torch_broken",
        {"torch": {"import": "ImportError: libcudnn.so.9: cannot open shared object file"}},
        "libcudnn.so.9",
        "install",
    ),
    (
        "torch_broken",
        {"torch": {"import": "ImportError: torch_npu failed. Disable it with TORCH_DEVICE_BACKEND_AUTOLOAD=0."}},
        "torch_npu failed",
        "export TORCH_DEVICE_BACKEND_AUTOLOAD=0",
    ),
    (
        "torch_broken",
        {"torch": {"import": "ImportError: libcusparse.so.12: undefined symbol: __nvJitLinkComplete_12_4"}},
        "LD_LIBRARY_PATH puts the libraries of another CUDA",
        "env -u LD_LIBRARY_PATH",
    ),
    ("torch_cpu_only", {"torch": "real"}, "for the CPU only and cannot use NVIDIA GeForce RTX 4090", "+cu126"),
    ("torch_cpu_only", {"torch": CPU_ONLY, "environment": {"FAKE_DRIVER_CUDA": 13000}}, "2.13.0+cpu", "2.13.0+cu130"),
    ("torch_cpu_only", {"torch": CPU_ONLY, "environment": {"FAKE_DRIVER_CUDA": 11040}}, "2.13.0+cpu", "2.7.1+cu118"),
    (
        "torch_cpu_only",
        {"torch": CPU_ONLY, "environment": {"FAKE_DRIVER_CUDA": 13000, "FAKE_CAPABILITY": 61}},
        "2.13.0+cpu",
        "2.13.0+cu126",
    ),
    (
        "torch_cpu_only",
        {"torch": CPU_ONLY, "environment": {"FAKE_DRIVER_CUDA": 12080, "FAKE_CAPABILITY": 120}},
        "2.13.0+cpu",
        "2.13.0+cu129",
    ),
    (
        "torch_cpu_only",
        {"files": files_of(cards=0, more=JETSON, **OUTSIDE), "nvml": False, "torch": CPU_ONLY},
        "cannot use the GPU of this machine",
        "https://pypi.jetson-ai-lab.io/jp6/cu126",
    ),
    (
        "torch_rocm",
        {"torch": {"version": "2.13.0+rocm6.4", "cuda": None, "hip": "6.4.4", "available": False}},
        "the GPU here is one of NVIDIA",
        "2.13.0+cu126",
    ),
    (
        "torch_rocm",
        AMD | {"torch": ROCM},
        "/dev/kfd",
        "usermod -aG render,video",
    ),
    ("torch_missing", AMD | {"torch": "missing"}, "not installed", "--index-url https://download.pytorch.org/whl/rocm"),
    ("torch_cpu_only", AMD | {"torch": CPU_ONLY}, "the AMD GPU here needs a build for ROCm", "whl/rocm"),
    ("torch_not_rocm", AMD | {"torch": NOTHING}, "built for NVIDIA GPUs (CUDA)", "whl/rocm"),
    # -- the environment
    (
        "visible_devices_minus_one",
        AMD | {"torch": ROCM, "environment": {"HIP_VISIBLE_DEVICES": "-1"}},
        "HIP_VISIBLE_DEVICES=-1 hides every GPU of this machine",
        "unset HIP_VISIBLE_DEVICES",
    ),
    (
        "visible_devices_empty",
        AMD | {"torch": ROCM, "environment": {"CUDA_VISIBLE_DEVICES": ""}},
        "CUDA_VISIBLE_DEVICES is set to nothing",
        "unset CUDA_VISIBLE_DEVICES",
    ),
    (
        "visible_devices_empty",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "", "FAKE_CUINIT": 100}},
        "hides the GPU (0: NVIDIA GeForce RTX 4090)",
        "export CUDA_VISIBLE_DEVICES=0",
    ),
    (
        "visible_devices_minus_one",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "-1", "FAKE_CARDS": 2, "FAKE_CUINIT": 100}},
        "the 2 GPUs of this machine",
        "export CUDA_VISIBLE_DEVICES=0,1",
    ),
    (
        "visible_devices_out_of_range",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "2,0", "FAKE_CARDS": 2, "FAKE_CUINIT": 100}},
        "names GPU 2, but this machine has GPUs 0 to 1",
        "export CUDA_VISIBLE_DEVICES=0,1",
    ),
    (
        "visible_devices_doubled",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "0,0", "FAKE_CUINIT": 100}},
        "twice",
        "export CUDA_VISIBLE_DEVICES=0",
    ),
    (
        "visible_devices_unknown_uuid",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "GPU-dead", "FAKE_CUINIT": 100}},
        "GPU-dead is the UUID of no GPU here",
        "nvidia-smi -L",
    ),
    (
        "visible_devices_not_a_number",
        {"torch": NOTHING, "environment": {"CUDA_VISIBLE_DEVICES": "cuda:0", "FAKE_CUINIT": 100}},
        "'cuda:0'",
        "export CUDA_VISIBLE_DEVICES=0",
    ),
    # -- the start of CUDA
    (
        "mig_without_instances",
        {"torch": NOTHING, "environment": {"FAKE_MIG": 1, "FAKE_NAME": "NVIDIA A100-SXM4-40GB", "FAKE_CUINIT": 100}},
        "GPU 0 (NVIDIA A100-SXM4-40GB) is in MIG mode",
        "nvidia-smi mig -i 0 -cgi 0 -C",
    ),
    (
        "driver_too_old",
        {"torch": {"version": "2.13.0+cu130", "cuda": "13.0", "available": False, "warning": OLD}},
        "built for CUDA 13.0, but the driver 570.86.10 can do CUDA 12.8 at most (CUDA 13 needs driver 580 or newer)",
        "torch==2.13.0+cu126",
    ),
    (
        "driver_too_old",
        {
            "torch": {
                "version": "2.13.0+cu126",
                "available": False,
                "warning": OLD.replace("12080", "10020"),
            },
            "environment": {"FAKE_DRIVER_CUDA": 10020},
        },
        "CUDA 10.2 at most",
        "ubuntu-drivers",
    ),
    (
        "stub_library",
        {"cuda": "stubs", "torch": NOTHING, "environment": {"FAKE_CUINIT": 34}},
        "stubs/libcuda.so.575",
        "export LD_LIBRARY_PATH=/",
    ),
    (
        "fabric_manager",
        {
            "files": files_of(more=NVSWITCH),
            "torch": {"available": False, "warning": UNEXPECTED.format("802: system not yet initialized")},
            "environment": {"FAKE_CUINIT": 802},
        },
        "fabric manager",
        "sudo apt install -y nvidia-fabricmanager-570; sudo systemctl enable --now nvidia-fabricmanager",
    ),
    (
        "fabric_manager",  # torch alone says it, and no switch is seen
        {"torch": {"available": False, "warning": UNEXPECTED.format("802: system not yet initialized")}},
        "in a virtual machine",
        "nvidia-smi -q | grep -i -A 4 fabric",
    ),
    (
        "fabric_manager",  # its switches are not on the PCI bus
        {"torch": NOTHING, "environment": {"FAKE_CUINIT": 802, "FAKE_NAME": "NVIDIA B200"}},
        "managed over InfiniBand, by nvlsm through ib_umad",
        "sudo modprobe ib_umad; sudo apt install -y nvlsm nvidia-fabricmanager-570; sudo systemctl",
    ),
    (
        "fabric_manager",
        {"files": files_of(more=DOCKER | NVSWITCH), "torch": NOTHING, "environment": {"FAKE_CUINIT": 802}},
        "runs on the host, not in this container",
        "nvidia-fabricmanager   # on the host",
    ),
    (
        "forward_compatibility",
        {
            "cuda": "compat",
            "torch": {
                "available": False,
                "warning": UNEXPECTED.format("804: forward compatibility was attempted on non supported HW"),
            },
            "environment": {"FAKE_CUINIT": 804},
        },
        "compat/libcuda.so.575",
        "export LD_LIBRARY_PATH=/",
    ),
    (
        "forward_compatibility",  # NVIDIA's toolkit mounts it where the driver's own would be
        {"files": files_of(more=DOCKER), "torch": NOTHING, "environment": {"FAKE_CUINIT": 804}},
        "lib/libcuda.so.575",
        'cuda-compat-mode = "disabled"',
    ),
    (
        "libcuda_mismatch",
        {"cuda": "compat", "torch": NOTHING, "environment": {"FAKE_CUINIT": 803}},
        "compat/libcuda.so.575.57.08) is not that of the running driver (570.86.10)",
        "export LD_LIBRARY_PATH=/",
    ),
    (
        "libcuda_mismatch",
        {"torch": NOTHING, "environment": {"FAKE_CUINIT": 803}},
        "another one is found before it",
        "ldconfig -p | grep libcuda.so.1",
    ),
    (
        "uvm",
        {"torch": {"available": False, "warning": UNKNOWN}, "environment": {"FAKE_CUINIT": 999}},
        "nvidia_uvm does not answer",
        "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm",
    ),
    (
        "uvm",
        {"files": files_of(devices=("nvidiactl", "nvidia0")), "torch": {"available": False, "warning": UNKNOWN}},
        "/dev/nvidia-uvm is missing",
        "sudo nvidia-modprobe -u -c 0",
    ),
    (
        "cuda_error",  # NVML is not there, CUDA is: it is CUDA that is asked
        {"nvml": False, "torch": NOTHING, "environment": {"FAKE_CUINIT": 304}},
        "error 304",
        "nvidia-smi",
    ),
    (
        "cuda_error",
        {"torch": NOTHING, "environment": {"FAKE_CUINIT": 304}},
        "error 304, CUDA_ERROR_304",
        "nvidia-smi",
    ),
    (
        "cuda_error",
        {"torch": {"available": False, "warning": UNEXPECTED.format("101: invalid device ordinal")}},
        "error 101, invalid device ordinal",
        "nvidia-smi",
    ),
    # -- the first computation
    (
        "architecture_not_in_wheel",
        {
            "torch": {
                "version": "2.13.0+cu130",
                "cuda": "13.0",
                "architectures": ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"],
                "devices": [{"name": "NVIDIA GeForce GTX 1080 Ti", "capability": [6, 1], "kernel": NO_IMAGE}],
            },
            "environment": {"FAKE_DRIVER_CUDA": 13000, "FAKE_CAPABILITY": 61},
        },
        "no code for cuda:0 (NVIDIA GeForce GTX 1080 Ti), compute capability 6.1",
        "torch==2.13.0+cu126",
    ),
    (
        "architecture_not_in_wheel",
        {
            "torch": {"devices": [{"name": "NVIDIA GeForce RTX 5090", "capability": [12, 0], "kernel": NO_IMAGE}]},
            "environment": {"FAKE_DRIVER_CUDA": 12080, "FAKE_CAPABILITY": 120},
        },
        "compute capability 12.0",
        "torch==2.13.0+cu129",
    ),
    (
        "kernel_failed",
        {"torch": {"devices": [{"kernel": "CUDA error: an illegal memory access was encountered"}]}},
        "illegal memory access",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
    ("kernel_failed", {"torch": {"devices": [{"kernel": "wrong"}]}}, "result is not the CPU's", "cuda:0"),
    (
        "out_of_memory",
        {"torch": {"devices": [{"kernel": "CUDA error: out of memory"}]}},
        "no memory left",
        "--query-compute-apps",
    ),
    (
        "devices_busy",
        {
            "torch": {"devices": [{"memory_error": BUSY, "kernel": BUSY}]},
            "environment": {"FAKE_COMPUTE_MODE": 3},
        },
        "compute mode",
        "sudo nvidia-smi -i 0 -c DEFAULT",
    ),
    (
        "devices_busy",
        {"torch": {"devices": [{"kernel": BUSY}]}},
        "another process holds it",
        "nvidia-smi --query-compute-apps",
    ),
    (
        "ecc_error",
        {"torch": {"devices": [{"kernel": "CUDA error: uncorrectable ECC error encountered"}]}},
        "cannot correct",
        "--gpu-reset",
    ),
    ("nothing_works", {"torch": {"devices": []}}, "torch shows 0 devices", "torch.utils.collect_env"),
    # -- a library that crashes or hangs
    (
        "probe_crashed",
        {"torch": NOTHING, "environment": {"FAKE_CRASH": "nvmlInit", "FAKE_CUINIT": 100}},
        "(NVML): ended by SIGSEGV",
        "dmesg",
    ),
    ("probe_crashed", {"environment": {"FAKE_CRASH": "cuInit"}}, "(cuInit): ended by SIGSEGV", "dmesg"),
    ("probe_crashed", {"torch": {"import": "crash"}}, "in `import torch`: ended by SIGILL", "-X faulthandler"),
    ("probe_crashed", {"torch": {"import": "exit"}}, "in `import torch`: ended with exit code 3", "import torch"),
    ("probe_crashed", {"torch": {"devices": [{"kernel": "crash"}]}}, "computation on GPU 0: ended by SIGSEGV", "Xid"),
    ("probe_timeout", {"environment": {"FAKE_HANG": "cuInit"}, "timeout_s": 1.5}, "(cuInit) and was stopped", "dmesg"),
]


@pytest.fixture
def machine(tmp_path, monkeypatch, tmp_path_factory):
    return Machine(tmp_path, monkeypatch, tmp_path_factory)


def is_sentence(text):
    """Begins as one (or with the name of a package or a device), ends as one, has its words filled in."""
    begins = re.match(r"[A-Z]|torch |cuda:\d ", text)
    return bool(begins) and len(text.split()) > 5 and "{" not in text and "None" not in text


@pytest.mark.parametrize(
    ("code", "what", "cause", "command"), PROBLEMS, ids=[f"{one[0]}-{index}" for index, one in enumerate(PROBLEMS)]
)
def test_a_cause_is_named_with_what_mends_it(machine, code, what, cause, command):
    report = machine.report(**what)
    assert not report.usable
    assert report.devices == ()
    first = report.problems[0]
    assert (first.code, cause in first.cause, command in first.command) == (code, True, True), report
    assert is_sentence(first.cause)
    assert "{" not in first.command
    # nothing to copy deletes files, or ends what else runs on the machine
    assert not re.search(r"(^|sudo|[;&|]) *rm\b|xargs|purge.*&&|wsl.exe --shutdown", first.command)
    failed = [check for check in report.checks if check.status == "failed"]
    assert [check.detail for check in failed] == [problem.cause for problem in report.problems]


@pytest.mark.parametrize("python", ["", "/nowhere/python"])
def test_a_probe_that_cannot_be_started_is_a_cause_too(machine, monkeypatch, python):
    machine.prepare()
    monkeypatch.setattr("sys.executable", python)
    report = machine.report()
    assert [problem.code for problem in report.problems] == ["probe_not_started"]
    assert is_sentence(report.problems[0].cause)
    assert "hf_monitor.gpu.probe" in report.problems[0].command


# code, the machine, words of the note, words of the command; on each the GPU can be used
REMARKS = [
    (
        "visible_devices_partly",
        {"environment": {"CUDA_VISIBLE_DEVICES": "0,7"}},
        "the list ends at '7', which is no GPU here; 1 GPU is left",
        "export CUDA_VISIBLE_DEVICES=0",
    ),
    (
        "device_order",
        {
            "environment": {"FAKE_CARDS": 2},
            "torch": {"devices": [{"uuid": f"0000000{1 - index}-aaaa-bbbb-cccc-dddddddddddd"} for index in (0, 1)]},
        },
        "cuda:0 is GPU 1 there",
        "export CUDA_DEVICE_ORDER=PCI_BUS_ID",
    ),
    (
        "little_free_memory",
        {"environment": {"FAKE_FREE_MIB": 4000}},
        "hold 20564 of the 24564 MiB of cuda:0 (NVIDIA GeForce RTX 4090)",
        "nvidia-smi --query-compute-apps",
    ),
    (
        "minor_version_compatibility",
        {"torch": {"version": "2.13.0+cu129", "cuda": "12.9"}},
        "built for CUDA 12.9, the driver can do 12.8",
        "torch==2.13.0+cu126",
    ),
    (
        "ptx_only",
        {
            "torch": {
                "architectures": ["sm_80", "sm_90", "compute_90"],
                "devices": [{"name": "NVIDIA GeForce RTX 5090", "capability": [12, 0]}],
            }
        },
        "the driver compiles it",
        "torch==2.13.0+cu129",
    ),
    (
        "t5_fp16",
        {"torch": {"devices": [{"name": "Tesla T4", "capability": [7, 5]}]}},
        "cuda:0 (Tesla T4) has no bf16",
        "fp16=False",
    ),
    ("nvml_unavailable", {"nvml": False}, "NVML does not (NVML Shared Library Not Found)", "nvidia-smi"),
    (
        "nvml_unavailable",
        {"environment": {"FAKE_CRASH": "nvmlInit"}},
        "NVML does not (it crashed, ended by SIGSEGV)",
        "nvidia-smi",
    ),
    (
        "nvml_unavailable",
        {"environment": {"FAKE_HANG": "nvmlInit"}},
        "NVML does not (it hung, no answer within ",
        "nvidia-smi",
    ),
    # one of two cards cannot be used: a note, with the code that it has as a problem
    (
        "architecture_not_in_wheel",
        {
            "environment": {"FAKE_CARDS": 2},
            "torch": {"devices": [{}, {"name": "Quadro K620", "capability": [3, 5], "kernel": NO_IMAGE}]},
        },
        "no code for cuda:1 (Quadro K620), compute capability 3.5",
        "collect_env",
    ),
    (
        "probe_crashed",
        {"environment": {"FAKE_CARDS": 2}, "torch": {"devices": [{}, {"kernel": "crash"}]}},
        "computation on GPU 1",
        "dmesg",
    ),
    (
        "probe_crashed",
        {"environment": {"FAKE_CARDS": 3}, "torch": {"devices": [{}, {"kernel": "crash"}, {}]}},
        "computation on GPU 1",
        "dmesg",
    ),
    (
        "probe_crashed",
        {"environment": {"FAKE_CARDS": 3}, "torch": {"devices": [{}, {}, {"memory": "crash"}]}},
        "while it asked GPU 2 for its name and memory: ended by SIGSEGV",
        "dmesg",
    ),
    (
        "probe_timeout",
        # of the third card, which was not come to, nothing is said
        {"environment": {"FAKE_CARDS": 3}, "torch": {"devices": [{}, {"memory": "hang"}, {}]}, "timeout_s": 2.5},
        "while it asked GPU 1 for its name and memory",
        "dmesg",
    ),
    (
        "kernel_failed",
        {"environment": {"FAKE_CARDS": 2}, "torch": {"devices": [{"kernel": "wrong"}, {}]}},
        "the result is not the CPU's",
        "CUDA_LAUNCH_BLOCKING=1",
    ),
]


@pytest.mark.parametrize(
    ("code", "what", "cause", "command"), REMARKS, ids=[f"{one[0]}-{index}" for index, one in enumerate(REMARKS)]
)
def test_what_does_not_keep_the_gpu_from_being_used_is_a_note(machine, code, what, cause, command):
    report = machine.report(**what)
    assert report.usable
    assert report.problems == ()
    first, *more = report.notes
    assert (first.code, cause in first.cause, command in first.command) == (code, True, True)
    assert is_sentence(first.cause)
    assert [note.code for note in more] == (["broken_gpu_visible"] if code in CAUSES else [])


@pytest.mark.parametrize(
    ("value", "kernels", "command"),
    [
        (None, ["wrong", None], "export CUDA_VISIBLE_DEVICES=1"),
        (None, ["crash", None], "export CUDA_VISIBLE_DEVICES=1"),
        ("2,0,1", [None, "wrong", None], "export CUDA_VISIBLE_DEVICES=2,1"),
    ],
)
def test_the_gpus_that_work_are_to_be_shown_alone(machine, value, kernels, command):
    """The Trainer takes cuda:0, or all of them."""
    report = machine.report(
        torch={"devices": [{"kernel": one} for one in kernels]},
        environment={"FAKE_CARDS": len(kernels)} | ({"CUDA_VISIBLE_DEVICES": value} if value else {}),
    )
    (note,) = [note for note in report.notes if note.code == "broken_gpu_visible"]
    assert note.command == command


def test_a_name_that_cuda_reads_and_we_do_not_is_no_reason_to_hide_the_gpu(machine):
    """MIG-GPU-<card>/1/0 is how older drivers name an instance."""
    report = machine.report(environment={"CUDA_VISIBLE_DEVICES": "MIG-GPU-00000000/1/0"})
    assert (report.usable, report.notes) == (True, ())


@pytest.mark.parametrize("name", ["torch.py", "random.py"])
@pytest.mark.parametrize("text", ["x = 1\n", "raise ValueError('my script')\n"])
def test_a_file_of_the_users_that_hides_a_module_is_named_and_only_renamed(machine, monkeypatch, name, text):
    folder = machine.folder / "my project"
    folder.mkdir()
    (folder / name).write_text(text)
    machine.prepare(torch="real")
    monkeypatch.setattr("sys.path", [str(folder), *sys.path])
    for name_of in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):  # by which coverage begins first, with random
        monkeypatch.delenv(name_of, raising=False)
    report = compatibility.report_of(look_around(write_files(machine.folder / "root", files_of())), 60.0)
    (problem,) = report.problems
    assert problem.code == "torch_broken"
    assert f"{folder / name} is found before" in problem.cause
    assert problem.command == f"mv '{folder / name}' '{folder / name.replace('.py', '_renamed.py')}'"


def test_a_machine_in_order_has_neither_problems_nor_notes(machine):
    report = machine.report()
    assert report
    assert (report.problems, report.notes) == ((), ())
    assert [(check.name, check.status) for check in report.checks] == [
        (name, "ok") for name in ("probe", "gpu", "driver", "torch", "environment", "cuda", "kernel")
    ]


def test_the_root_cause_comes_first_and_independent_causes_are_all_named(machine):
    nothing = {"nvml": False, "cuda": False, "torch": CPU_ONLY}
    report = machine.report(files=files_of(cards=0, **OUTSIDE), **nothing)
    assert [problem.code for problem in report.problems] == ["no_gpu", "torch_cpu_only"]
    assert {check.name: check.status for check in report.checks}["driver"] == "skipped"


def test_a_variable_that_hides_all_is_named_beside_another_cause(machine):
    hidden = {"CUDA_VISIBLE_DEVICES": "-1", "FAKE_CUINIT": 100}
    report = machine.report(torch=CPU_ONLY, environment=hidden)
    assert [problem.code for problem in report.problems] == ["torch_cpu_only", "visible_devices_minus_one"]


def test_a_driver_for_which_there_is_no_older_wheel_is_to_be_updated(machine):
    """cu126 is the oldest of torch 2.13; on a driver for 12.2 it runs by minor version compatibility."""
    report = machine.report(environment={"FAKE_DRIVER_CUDA": 12020})
    assert [note.code for note in report.notes] == ["minor_version_compatibility"]
    assert "ubuntu-drivers install" in report.notes[0].command


def test_without_a_gpu_a_missing_torch_is_installed_without_cuda(machine):
    report = machine.report(files=files_of(cards=0, **OUTSIDE), nvml=False, cuda=False, torch="missing")
    assert [problem.code for problem in report.problems] == ["no_gpu", "torch_missing"]
    assert report.problems[1].command.endswith(" torch")


def test_every_cause_and_note_is_brought_about_by_a_test():
    brought_about = {code for code, *_ in PROBLEMS} | {"probe_not_started", "mps_unavailable"}
    assert brought_about == set(CAUSES)
    # apple_gpu and cuda_initialized_before: in test_compatibility.py; mps_unavailable: in test_ladder_elsewhere.py
    noted = {code for code, *_ in REMARKS} | {"apple_gpu", "cuda_initialized_before", "broken_gpu_visible"}
    assert noted - set(CAUSES) == set(NOTES)
