"""Commands for the system at hand: what installs, builds or loads a driver on it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.machinery import PathFinder

from hf_monitor.gpu.evidence import Evidence

__all__ = [
    "build_module",
    "disable_nouveau",
    "enroll_key",
    "install_driver",
    "install_fabric_manager",
    "kernel_log",
    "pip_command",
    "python_command",
    "quote",
    "rename",
    "restart_machine",
    "set_variable",
    "without_library",
]

_DRIVERS = {
    # https://documentation.ubuntu.com/server/how-to/graphics/install-nvidia-drivers/
    "ubuntu": "sudo apt update && sudo ubuntu-drivers install   # then: sudo reboot",
    # https://wiki.debian.org/NvidiaGraphicsDrivers (contrib, non-free and non-free-firmware must be in the sources)
    "debian": "sudo apt update && sudo apt install -y linux-headers-$(uname -r) nvidia-driver   # then: sudo reboot",
    # https://rpmfusion.org/Howto/NVIDIA (RPM Fusion must be enabled)
    "fedora": "sudo dnf install -y akmod-nvidia xorg-x11-drv-nvidia-cuda   # then: sudo reboot",
    "arch": "sudo pacman -S --needed nvidia nvidia-utils   # then: sudo reboot",
}


def _family(evidence: Evidence) -> str:
    return next((name for name in evidence.distribution.split() if name in _DRIVERS), "")


def quote(evidence: Evidence, text: str) -> str:
    """Give a path as one word of the system's shell (of cmd.exe on Windows, which knows double quotes only)."""
    return subprocess.list2cmdline([text]) if evidence.system == "Windows" else shlex.quote(text)


def python_command(evidence: Evidence) -> str:
    """Give this very interpreter."""
    return quote(evidence, sys.executable or "python")


def pip_command(evidence: Evidence) -> str:
    """Give what installs into this very environment: its own pip, or uv where it has none."""
    python = python_command(evidence)
    return f"{python} -m pip install" if PathFinder.find_spec("pip") else f"uv pip install --python {python}"


def kernel_log(evidence: Evidence) -> str:
    """Give what shows the driver's last messages."""
    if evidence.system == "Windows":
        return 'powershell -Command "Get-WinEvent -ProviderName nvlddmkm -MaxEvents 20"'
    if evidence.wsl:
        return "dmesg --ctime | grep -i dxg | tail -n 20"
    words = "nvgpu|nvmap|nvhost" if evidence.tegra and not evidence.nvidia_cards else "NVRM|Xid"
    return f"sudo dmesg --ctime | grep -E '{words}' | tail -n 20"


def restart_machine(evidence: Evidence) -> str:
    """Give what starts the machine anew."""
    return "shutdown /r" if evidence.system == "Windows" else "sudo reboot"


def rename(evidence: Evidence, path: str) -> str:
    """Give what takes the name from a file or folder of the user's, and nothing else."""
    stem, dot, suffix = path.rpartition(".py")
    new = f"{stem}_renamed.py" if dot and not suffix else f"{path}_renamed"
    return f"{'move' if evidence.system == 'Windows' else 'mv'} {quote(evidence, path)} {quote(evidence, new)}"


def install_driver(evidence: Evidence) -> str:
    """Give what installs or updates the NVIDIA driver."""
    if evidence.wsl:
        return "wsl.exe --update   # and the driver for Windows: https://www.nvidia.com/drivers"
    if evidence.system == "Windows":
        return (
            'powershell -Command "Get-CimInstance Win32_VideoController | Select-Object Name, DriverVersion"'
            "   # an NVIDIA card: https://www.nvidia.com/drivers"
        )
    if (family := _family(evidence)) in _DRIVERS:
        return _DRIVERS[family]
    return "lspci -nn -d 10de:   # then the driver for it: https://www.nvidia.com/drivers"


def build_module(evidence: Evidence) -> str:
    """Give what builds the kernel module for the running kernel, and loads it."""
    build = "sudo dkms autoinstall && sudo modprobe nvidia"
    family = _family(evidence)
    if family in ("ubuntu", "debian"):
        return f"sudo apt install -y linux-headers-$(uname -r) && {build}"
    return "sudo akmods --force && sudo modprobe nvidia" if family == "fedora" else build


def disable_nouveau(evidence: Evidence) -> str:
    """Give what keeps the free driver from taking the card (the CUDA Installation Guide for Linux says so)."""
    image = "sudo update-initramfs -u" if _family(evidence) in ("ubuntu", "debian") else "sudo dracut --force"
    return (
        r"printf 'blacklist nouveau\noptions nouveau modeset=0\n' | sudo tee /etc/modprobe.d/blacklist-nouveau.conf"
        f" && {image}   # then: sudo reboot"
    )


def enroll_key(evidence: Evidence) -> str:
    """Give what lets Secure Boot accept the module; the machine asks for the password at its next start."""
    key = {
        "ubuntu": "/var/lib/shim-signed/mok/MOK.der",
        "fedora": "/etc/pki/akmods/certs/public_key.der",
    }.get(_family(evidence), "/var/lib/dkms/mok.pub")
    return f"sudo mokutil --import {key}   # then: sudo reboot"


def install_fabric_manager(evidence: Evidence, driver_version: str | None, names: str) -> tuple[str, str]:
    """Give what starts the fabric, and what is to be known of it; the manager must be of the driver's own version.

    On HGX B200 and B300 it manages the switches over InfiniBand: with NVLSM, which opens ib_umad
    (github.com/NVIDIA/gpu-operator/issues/2781, github.com/siderolabs/extensions/pull/717).
    """
    blackwell = re.search(r"\bB[123]00\b", names) is not None
    where = " On this card its switches are managed over InfiniBand, by nvlsm through ib_umad." if blackwell else ""
    if evidence.container:
        where += " It runs on the host, not in this container."
        return "sudo systemctl restart nvidia-fabricmanager   # on the host", where
    if not evidence.nvswitch and not blackwell:
        return (
            "nvidia-smi -q | grep -i -A 4 fabric",
            " No NVSwitch is seen from here; in a virtual machine it is the host's fabric manager that counts.",
        )
    command = "sudo systemctl enable --now nvidia-fabricmanager"
    if driver_version and _family(evidence) in ("ubuntu", "debian"):
        more = "nvlsm " if blackwell else ""
        command = f"sudo apt install -y {more}nvidia-fabricmanager-{driver_version.split('.')[0]}; {command}"
    return f"sudo modprobe ib_umad; {command}" if blackwell else command, where


def without_library(evidence: Evidence, path: str, word: str, search_path: str) -> str:
    """Give what takes a libcuda that is not the driver's out of the loader's way; never more than that.

    Parameters
    ----------
    evidence : Evidence
    path : str
        Of the loaded libcuda; "" where it is not known.
    word : str
        ``"compat"`` or ``"stubs"``, the folders in which such libraries are.
    search_path : str
        LD_LIBRARY_PATH.
    """
    if word in re.split("[:/]", search_path) and (not path or word in path.split("/")):
        left = ":".join(one for one in search_path.split(":") if word not in one.split("/"))
        return set_variable(evidence, "LD_LIBRARY_PATH", quote(evidence, left) if left else None)
    if word == "stubs" and "stubs" in path.split("/"):
        return "grep -rn stubs /etc/ld.so.conf /etc/ld.so.conf.d   # take that line out, then: sudo ldconfig"
    if word == "compat" and evidence.container:  # NVIDIA's toolkit may mount it where the driver's own would be
        return (
            "dpkg -l 'cuda-compat-*'   # an image without it: RUN apt-get purge -y 'cuda-compat-*'; or on the host, in "
            '/etc/nvidia-container-runtime/config.toml: cuda-compat-mode = "disabled"'
        )
    if word == "compat" and "compat" in path.split("/"):
        remove = "apt" if _family(evidence) in ("ubuntu", "debian") else "dnf"
        return f"sudo {remove} remove 'cuda-compat-*' && sudo ldconfig"
    return "ldconfig -p | grep libcuda.so.1; ls -l $(ldconfig -p | grep -o '/.*libcuda.so.1')"


def set_variable(evidence: Evidence, name: str, value: str | None) -> str:
    """Give what sets (or with None removes) an environment variable."""
    if evidence.system == "Windows":
        return f'set "{name}={value or ""}"'  # without the quotes a space before && would belong to the value
    return f"unset {name}" if value is None else f"export {name}={value}"
