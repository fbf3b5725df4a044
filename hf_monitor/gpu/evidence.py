"""What the machine shows of its GPU and its driver without any library: files of /proc, /sys, /dev and /etc."""

from __future__ import annotations

import os
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Evidence", "look_around"]

_NVIDIA, _AMD = "0x10de", "0x1002"
_VERSION = re.compile(r"\b(\d{3,}\.\d+(?:\.\d+)?)\b")
_APPTAINER = ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is seen of a machine; every field can be handed in, so that a test can describe a machine.

    Attributes
    ----------
    system : str
        As :func:`platform.system` says it: ``"Linux"``, ``"Darwin"``, ``"Windows"``.
    machine : str
        As :func:`platform.machine` says it: ``"x86_64"``, ``"aarch64"``, ``"arm64"``.
    distribution : str
        ``ID`` and ``ID_LIKE`` of /etc/os-release: ``"ubuntu debian"``; empty where it is not known.
    hostname : str
        In a container its id, or the name of its pod.
    kernel : str
        Release of the running Linux kernel.
    pci_readable : bool
        Whether the PCI bus can be looked at; where not, no card seen does not mean that there is none.
    nvidia_cards, amd_cards : tuple of str
        PCI addresses of display and compute devices.
    nvswitch : bool
        Whether there is an NVSwitch, which needs the fabric manager.
    tegra : bool
        A Jetson: its GPU is not on the PCI bus.
    tegra_release : int or None
        Of its Linux: 35 of JetPack 5, 36 of JetPack 6, 38 of JetPack 7.
    container : str or None
        ``"docker"``, ``"podman"``, ``"kubernetes"``, ``"apptainer"`` (also Singularity), ``"container"`` (LXC, nspawn).
    wsl, dxg : bool
        Windows' Subsystem for Linux, and its door to the GPU (/dev/dxg), which WSL 1 has not.
    modules : frozenset of str
        Of the kernel modules ``nvidia``, ``nvidia_uvm``, ``nouveau`` those that are loaded.
    module_version : str or None
        Version of the loaded nvidia module.
    module_kernels : tuple of str
        Kernels for which an nvidia module is installed.
    device_files : tuple of str
        Names in /dev that start with ``nvidia``.
    closed_files : tuple of str
        Those of them that this process may not open.
    secure_boot : bool or None
    """

    system: str = "Linux"
    machine: str = ""
    distribution: str = ""
    hostname: str = ""
    kernel: str = ""
    pci_readable: bool = False
    nvidia_cards: tuple[str, ...] = ()
    amd_cards: tuple[str, ...] = ()
    nvswitch: bool = False
    tegra: bool = False
    tegra_release: int | None = None
    container: str | None = None
    wsl: bool = False
    dxg: bool = False
    modules: frozenset[str] = frozenset()
    module_version: str | None = None
    module_kernels: tuple[str, ...] = ()
    device_files: tuple[str, ...] = ()
    closed_files: tuple[str, ...] = ()
    secure_boot: bool | None = None

    @property
    def given(self) -> bool:
        """Whether a container was given a GPU: the driver's control file is in it."""
        return "nvidiactl" in self.device_files or self.dxg

    @property
    def blocked_files(self) -> tuple[str, ...]:
        """The closed files without which no GPU can be used; a cluster may close single cards."""
        cards = {name for name in self.device_files if re.fullmatch(r"nvidia\d+", name)}
        needed = {"nvidiactl", "nvidia-uvm"} | (cards if cards <= set(self.closed_files) else set())
        return tuple(name for name in self.closed_files if name in needed)

    @property
    def nvidia_seen(self) -> bool | None:
        """Whether there is an NVIDIA GPU as far as files tell; None where they do not."""
        if self.nvidia_cards or self.tegra or any(re.fullmatch(r"nvidia\d+", name) for name in self.device_files):
            return True
        if self.wsl:
            return None  # Windows has it
        return False if self.pci_readable or self.system == "Darwin" else None


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _names(path: Path) -> list[str]:
    try:
        return sorted(os.listdir(path))  # noqa: PTH208 - /dev and /proc: names only, no stat of each
    except OSError:
        return []


def _cards(root: Path) -> tuple[list[str], list[str], bool, bool]:
    folder = root / "sys/bus/pci/devices"
    found: dict[str, list[str]] = {_NVIDIA: [], _AMD: []}
    nvswitch = False
    addresses = _names(folder)
    for address in addresses:
        vendor, kind = _read(folder / address / "vendor"), _read(folder / address / "class")
        if vendor in found and kind.startswith(("0x03", "0x12")):  # display controllers; processing accelerators
            found[vendor].append(address)
        nvswitch |= vendor == _NVIDIA and kind.startswith("0x0680")
    return found[_NVIDIA], found[_AMD], nvswitch, bool(addresses)


def _container(root: Path) -> str | None:
    # Apptainer first: it hands on the environment of whatever started it
    if (root / ".singularity.d").exists() or any(os.environ.get(name) for name in _APPTAINER):
        return "apptainer"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run/.containerenv").exists():
        return "podman"
    groups = _read(root / "proc/1/cgroup") + _read(root / "proc/self/cgroup")
    for word, name in (("kubepods", "kubernetes"), ("docker", "docker"), ("libpod", "podman"), ("lxc", "container")):
        if re.search(rf"[/:-]{word}", groups):
            return name
    manager = _read(root / "run/systemd/container")  # also for users who may not read the environment of process 1
    if manager in ("docker", "podman"):
        return manager
    return "container" if manager not in ("", "wsl") or "container=" in _read(root / "proc/1/environ") else None


def _distribution(root: Path) -> str:
    text = _read(root / "etc/os-release")
    found = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', text, re.MULTILINE))
    return " ".join(found[key] for key in ("ID", "ID_LIKE") if found.get(key))


def _secure_boot(root: Path) -> bool | None:
    try:
        return (root / _SECURE_BOOT).read_bytes()[-1:] == b"\1"  # four bytes of attributes come before the value
    except OSError:
        return None


def _module_kernels(root: Path) -> tuple[str, ...]:
    # DKMS; akmods of RPM Fusion (extra/nvidia/); Arch; NVIDIA's installer; Ubuntu's finished ones; Red Hat
    places = [
        "updates/**",
        "extra/**",
        "extramodules",
        "kernel/drivers/video",
        "kernel/nvidia*",
        "misc",
        "weak-updates/**",
    ]
    kernels = [
        release
        for release in _names(root / "lib/modules")
        if any(next((root / "lib/modules" / release).glob(f"{place}/nvidia.ko*"), None) for place in places)
    ]
    return tuple(kernels)


def look_around(root: str | os.PathLike[str] = "/") -> Evidence:
    """Look at the machine's files. Costs a few milliseconds, loads nothing, starts nothing, needs no right.

    Parameters
    ----------
    root : path-like
        Where the file system begins: a test hands in a folder with ``proc``, ``sys``, ``dev`` and ``etc``.

    Returns
    -------
    Evidence
    """
    if sys.platform != "linux":
        return Evidence(system=platform.system(), machine=platform.machine())
    top = Path(root)
    nvidia, amd, nvswitch, readable = _cards(top)
    loaded = {line.split(" ", 1)[0] for line in _read(top / "proc/modules").splitlines()}
    version = _VERSION.search(_read(top / "proc/driver/nvidia/version")) or _VERSION.search(
        _read(top / "sys/module/nvidia/version")
    )
    kernel = _read(top / "proc/sys/kernel/osrelease")
    files = [name for name in _names(top / "dev") if name.startswith("nvidia") and not (top / "dev" / name).is_dir()]
    tegra = _read(top / "etc/nv_tegra_release")
    tegra_release = re.match(r"# R(\d+) ", tegra)
    modules = {name for name in ("nvidia", "nvidia_uvm", "nouveau") if name in loaded}
    return Evidence(
        system="Linux",
        machine=platform.machine(),
        distribution=_distribution(top),
        hostname=_read(top / "proc/sys/kernel/hostname"),
        kernel=kernel,
        pci_readable=readable,
        nvidia_cards=tuple(nvidia),
        amd_cards=tuple(amd),
        nvswitch=nvswitch,
        tegra=bool(tegra) or "tegra" in _read(top / "proc/device-tree/compatible"),
        tegra_release=int(tegra_release[1]) if tegra_release else None,
        container=_container(top),
        wsl="microsoft" in kernel.lower(),
        dxg=(top / "dev/dxg").exists(),
        modules=frozenset(modules | ({"nvidia"} if version else set())),
        module_version=version[1] if version else None,
        module_kernels=_module_kernels(top),
        device_files=tuple(files),
        closed_files=tuple(name for name in files if not os.access(top / "dev" / name, os.R_OK | os.W_OK)),
        secure_boot=_secure_boot(top),
    )
