"""The lower rungs: is there a GPU, and can its driver be reached."""

from __future__ import annotations

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import (
    build_module,
    disable_nouveau,
    enroll_key,
    install_driver,
    kernel_log,
    restart_machine,
)
from hf_monitor.gpu.containers import container_words, mend_libraries, restart_container, start_with_gpu
from hf_monitor.gpu.report import Problem

__all__ = ["driver_rung", "hardware_rung", "lost", "mismatch"]

# NVML's return codes (nvml.h)
_NO_PERMISSION, _NOT_LOADED, _NO_LIBRARY, _LOST, _MISMATCH, _UNKNOWN = 4, 9, 12, 15, 18, 999


def hardware_rung(case: Case) -> Problem | str:
    """Say which GPU there is."""
    seen = case.evidence
    if case.working:
        return f"{len(case.working)} can be used"
    names = [str(card.get("name") or "one that cannot be reached") for card in case.cards]
    if names or case.libcuda.get("count"):
        return ", ".join(names) or f"{case.libcuda['count']} through CUDA"
    if case.amd_only or (case.torch.get("hip") and seen.amd_cards):
        return "AMD at " + ", ".join(seen.amd_cards)
    if seen.system == "Darwin" and seen.machine == "arm64":
        return "Apple silicon"
    if seen.nvidia_seen is None:
        return "cannot be seen from here"
    if seen.nvidia_seen:
        return (
            "Jetson"
            if seen.tegra and not seen.nvidia_cards
            else "NVIDIA at " + (", ".join(seen.nvidia_cards) or "/dev")
        )
    if seen.system == "Darwin":
        what, look = "This Mac has no GPU that torch can use", "system_profiler SPDisplaysDataType"
        return problem("no_gpu", "macOS", what=what, look=look)
    what = "This machine has no NVIDIA GPU: for one use another machine, there is nothing to install"
    look = "lspci -nn | grep -E 'VGA|3D|Display'"
    if case.nvml.get("code") == _NOT_LOADED:  # somebody meant to use one
        what = "An NVIDIA driver is installed, but no NVIDIA GPU is seen: there is none, or it is switched off"
        look += "   # a laptop: prime-select query"
    return problem("no_gpu", "no device of vendor 10de in /sys/bus/pci/devices", what=what, look=look)


def driver_rung(case: Case) -> Problem | str | None:
    """Say whether the driver answers; None where it was not asked."""
    seen, nvml, libcuda = case.evidence, case.nvml, case.libcuda
    version = f"driver {case.driver_version or 'of unknown version'}"
    if case.working:
        return version if case.driver_version else "not needed"
    if case.amd_only or (case.torch.get("hip") and not seen.nvidia_cards and not case.cards):
        return "AMD"
    if seen.system == "Darwin":
        return "not needed"
    if libcuda.get("code") == 0 and libcuda.get("count"):
        return version
    if crash := case.probe_problem("nvml"):
        return crash
    code = nvml.get("code")
    said = f"NVML {code}: {nvml.get('message')}" if code else ""
    no_cuda = "missing" in libcuda
    # A libcuda without a driver (of a compatibility package) is in many images.
    if (no_cuda and code in (0, None, _NO_LIBRARY)) or (code == _NO_LIBRARY and seen.container and not seen.given):
        return _no_library(case, said or str(libcuda.get("missing")))
    if code in (None, _NO_LIBRARY):
        return f"{version}; NVML: {nvml.get('message') or nvml.get('missing') or 'no answer'}"
    if code == _NOT_LOADED:
        return _not_loaded(case, said)
    if code == _MISMATCH:
        return mismatch(case, said)
    gone = [index for index, card in enumerate(case.cards) if card.get("code") == _LOST]
    if code == _LOST or gone:
        said = said or f"NVML 15: {case.cards[gone[0]].get('message')}"
        return lost(case, said, f"GPU {gone[0]}" if gone else "the GPU")
    denied = bool(case.cards) and all(card.get("code") == _NO_PERMISSION for card in case.cards)
    if code == _NO_PERMISSION or denied or (seen.blocked_files and not seen.container):
        files = ", ".join(f"/dev/{name}" for name in seen.blocked_files) or "NVML says so"
        return problem("no_permission", said or f"{files} cannot be opened for reading and writing", files=files)
    if code == _UNKNOWN and seen.container not in (None, "apptainer"):
        return problem("container_lost_devices", said, restart=restart_container(case))
    if code != 0:
        return problem("nvml_error", said, message=str(nvml.get("message")), number=code, log=kernel_log(seen))
    if not case.cards:
        cards = f" at {', '.join(seen.nvidia_cards)}" if seen.nvidia_cards else ""
        return problem("driver_finds_no_gpu", "NVML finds 0 devices", cards=cards, log=kernel_log(seen))
    return version


def lost(case: Case, said: str, card: str) -> Problem:
    """Give the problem of a card that has fallen off the bus."""
    seen = case.evidence
    return problem("gpu_lost", said, card=card, log=kernel_log(seen), restart=restart_machine(seen))


def _no_gpu_given(case: Case, said: str, what: str) -> Problem:
    return problem(
        "container_without_gpu", said, container=container_words(case), what=what, start=start_with_gpu(case)
    )


def _no_library(case: Case, said: str) -> Problem:
    seen = case.evidence
    if seen.wsl:
        return _wsl(case, said)
    if seen.container:
        if case.nvml.get("code") == 0 and seen.container != "apptainer":
            capabilities = case.environment.get("NVIDIA_DRIVER_CAPABILITIES") or "not set"
            return problem("container_without_compute", said, capabilities=capabilities, start=start_with_gpu(case))
        return _no_gpu_given(case, said, "the libraries")
    if case.nvml.get("code") == 0:
        what = f"Of the NVIDIA driver {case.driver_version or ''} the part for CUDA (libcuda) is missing.".replace(
            "  ", " "
        )
    elif seen.module_version:
        what = (
            f"The NVIDIA kernel module {seen.module_version} is loaded, but the driver's libraries are not installed."
        )
    elif seen.system == "Windows":
        what = "This machine has no NVIDIA GPU, or its driver is not installed."
    elif "nouveau" in seen.modules:
        what = "The NVIDIA driver is not installed; the free driver (nouveau), which cannot do CUDA, has the card."
    else:
        what = "The NVIDIA driver is not installed."
    return problem("driver_not_installed", said, what=what, install=install_driver(seen))


def _wsl(case: Case, said: str) -> Problem:
    seen = case.evidence
    if not seen.dxg:
        why = "there is no /dev/dxg, so this is WSL 1, or Windows has no driver for WSL"
        command = "wsl.exe --list --verbose   # VERSION 1: wsl.exe --set-version $WSL_DISTRO_NAME 2, from Windows;"
    else:
        why = "there is no NVIDIA GPU, or Windows has no driver for it, or its libraries (/usr/lib/wsl/lib) do not load"
        command = 'ls /usr/lib/wsl/lib; powershell.exe -c "Get-CimInstance Win32_VideoController | Select Name"'
    if seen.container:
        why, command = "the container was started without it", start_with_gpu(case)
    return problem("wsl_driver_missing", said, why=why, command=f"{command}   # and https://www.nvidia.com/drivers")


def _not_loaded(case: Case, said: str) -> Problem:
    seen = case.evidence
    if seen.wsl:
        return _wsl(case, said)
    if seen.module_version and not seen.container:
        files = "/dev/nvidiactl" if "nvidiactl" not in seen.device_files else "some of /dev/nvidia*"
        return problem("device_files_missing", said, files=files)
    if seen.container:
        return _no_gpu_given(case, said, "the device files")
    if "nouveau" in seen.modules:
        why, command = "the free driver (nouveau) holds the card", disable_nouveau(seen)
    elif seen.kernel and seen.module_kernels and seen.kernel not in seen.module_kernels:
        why = f"it was built for kernel {seen.module_kernels[-1]}, and {seen.kernel} runs"
        command = build_module(seen)
    elif seen.kernel and not seen.module_kernels:
        why, command = f"none is built for the running kernel {seen.kernel}", build_module(seen)
    elif seen.secure_boot:
        why, command = "Secure Boot is on and refuses a module whose key is not enrolled", enroll_key(seen)
    else:
        why, command = "nothing has loaded it", "sudo modprobe nvidia || sudo dmesg | grep -i nvidia | tail -n 20"
    return problem("driver_not_loaded", said, why=why, command=command)


def mismatch(case: Case, said: str) -> Problem:
    """Give the problem of a kernel module and libraries that are not of one version (NVML 18, CUDA 803)."""
    seen = case.evidence
    library = str(case.nvml.get("library") or case.libcuda.get("library") or "").rpartition(".so.")[2]
    if command := mend_libraries(case):
        how = "this container has libraries of its own, which must be of the very version of the module"
    elif seen.container and seen.container != "apptainer":
        how = "mostly because the host's driver was updated; a restart of the container gives it the new libraries"
        command = restart_container(case)
    else:
        how = "mostly because the driver was updated while the old one runs; a restart of the machine loads the new one"
        command = (
            "sudo reboot   # or, with nothing on the GPU: sudo rmmod nvidia_drm nvidia_modeset nvidia_uvm nvidia && "
        )
        command += "sudo modprobe nvidia"
    return problem(
        "driver_library_mismatch",
        said,
        module=f" ({seen.module_version})" if seen.module_version else "",
        library=f" ({library})" if "." in library else "",
        how=how,
        command=command,
    )
