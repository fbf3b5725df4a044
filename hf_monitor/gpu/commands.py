"""Commands for the system at hand: what installs, builds or loads a driver on it."""

from __future__ import annotations

import importlib.util
import shlex
import sys

from hf_monitor.gpu.evidence import Evidence

__all__ = [
    "build_module",
    "disable_nouveau",
    "enroll_key",
    "install_driver",
    "install_fabric_manager",
    "pip_command",
    "set_variable",
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


def pip_command() -> str:
    """Give what installs into this very environment: its own pip, or uv where it has none."""
    python = shlex.quote(sys.executable or "python")
    return f"{python} -m pip install" if importlib.util.find_spec("pip") else f"uv pip install --python {python}"


def install_driver(evidence: Evidence) -> str:
    """Give what installs or updates the NVIDIA driver."""
    if evidence.wsl:
        return "wsl.exe --update   # and the driver for Windows: https://www.nvidia.com/drivers"
    if evidence.system == "Windows":
        return "start https://www.nvidia.com/drivers"
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


def install_fabric_manager(evidence: Evidence, driver_version: str | None) -> str:
    """Give what installs and starts the fabric manager; it must be of the driver's own version."""
    start = "sudo systemctl enable --now nvidia-fabricmanager"
    if driver_version and _family(evidence) in ("ubuntu", "debian"):
        return f"sudo apt install -y nvidia-fabricmanager-{driver_version.split('.')[0]}; {start}"
    return start


def set_variable(evidence: Evidence, name: str, value: str | None) -> str:
    """Give what sets (or with None removes) an environment variable."""
    if evidence.system == "Windows":
        return f"set {name}={value or ''}"
    return f"unset {name}" if value is None else f"export {name}={value}"
