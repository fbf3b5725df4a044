"""The rung above the driver and torch: the start of CUDA."""

from __future__ import annotations

import re

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import install_driver, install_fabric_manager, kernel_log, without_library
from hf_monitor.gpu.ladder_driver import mismatch
from hf_monitor.gpu.ladder_kernel import of_card
from hf_monitor.gpu.report import Problem
from hf_monitor.gpu.wheels import MINIMUM_DRIVER

__all__ = ["cuda_rung"]

_NAMES = {
    3: "the driver did not initialize",
    100: "no device",
    101: "invalid device",
    304: "operating system call failed",
}


def _code(case: Case) -> tuple[int, str]:
    """Give the number of CUDA's error, of cuInit or of torch's own text (c10/cuda/CUDAFunctions.cpp); 0 where none."""
    code, text = int(case.libcuda.get("code") or 0), " ".join(case.texts)
    if code:
        return code, f"cuInit: {code} {case.libcuda.get('message', '')}".strip()
    if found := re.search(r"Error (\d+): ", text):
        return int(found[1]), text
    for words, number in (
        ("driver on your system is too old", 35),
        ("CUDA unknown error", 999),
        ("driver initialization failed", 3),
        ("No CUDA GPUs are available", 100),
    ):
        if words in text:
            return number, text
    return 0, text


def cuda_rung(case: Case) -> Problem | str | None:
    """Say whether CUDA starts; None where that was not come to."""
    if crash := case.probe_problem("libcuda", "cuda"):
        return crash
    if not case.cuda:
        return None
    if case.cuda.get("available") or case.working:
        return f"{case.count} for torch" + (" (MPS)" if case.cuda.get("mps") else "")
    if case.evidence.system == "Darwin":
        if case.evidence.machine != "arm64":
            return None
        return problem("mps_unavailable", version=case.torch.get("version"), python=case.python)
    code, said = _code(case)
    empty = [index for index, card in enumerate(case.cards) if card.get("mig") and not card.get("instances")]
    if empty and len(empty) == len(case.cards):
        name = case.cards[empty[0]].get("name")
        return problem("mig_without_instances", said or "MIG mode without instances", index=empty[0], name=name)
    path = str(case.libcuda.get("library") or "")
    if code == 34:
        command = _without(case, "stubs")
        return problem("stub_library", said, path=f" ({path})" if path else "", command=command)
    needs, can = case.torch_cuda, case.driver_cuda
    if code in (35, 36) or (needs and can and needs[0] > can[0] and code in (0, 3, 100, 222)):
        return _too_old(case, said)
    if code == 802:
        names = " ".join(str(card.get("name")) for card in case.cards)
        command, where = install_fabric_manager(case.evidence, case.driver_version, names)
        driver = f" ({case.driver_version})" if case.driver_version else ""
        return problem("fabric_manager", said, driver=driver, where=where, command=command)
    if code == 803:
        return _other_libcuda(case, said) if case.nvml.get("code") == 0 else mismatch(case, said)
    if code == 804:
        command = _without(case, "compat")
        return problem("forward_compatibility", said, path=f" ({path})" if path else "", command=command)
    if code == 999:
        return _unknown(case, said)
    if (named := of_card(case, code, said, "the GPU", 0)) is not None:
        return named
    theirs = re.search(r"Error \d+: ([^(\n]+)", said)
    name = case.libcuda.get("message") or (theirs[1] if theirs else _NAMES.get(code)) or said or "torch finds no GPU"
    name = name.rstrip(". ")
    command = f"nvidia-smi; {kernel_log(case.evidence)}"
    return problem("cuda_error", said, message=f"error {code}, {name}" if code else name, command=command)


def _too_old(case: Case, said: str) -> Problem:
    found = re.search(r"found version (\d+)", said)
    can = case.driver_cuda or (int(found[1]) // 1000, int(found[1]) % 1000 // 10) if found else case.driver_cuda
    major = (case.torch_cuda or (0, 0))[0]
    return problem(
        "driver_too_old",
        said or f"cuDriverGetVersion: {case.libcuda.get('version')}",
        version=case.torch.get("version"),
        torch_cuda=case.torch.get("cuda"),
        driver=f" {case.driver_version}" if case.driver_version else "",
        driver_cuda="CUDA {}.{}".format(*can) if can else "no CUDA",
        major=major,
        needed="driver " + MINIMUM_DRIVER.get(major, "?"),
        command=case.install_torch() if can else install_driver(case.evidence),
    )


def _unknown(case: Case, said: str) -> Problem:
    """Give the problem of error 999: mostly of nvidia-uvm, which only the driver for plain Linux has."""
    seen = case.evidence
    if seen.system == "Windows" or seen.wsl or (seen.tegra and not seen.nvidia_cards):
        command = f"nvidia-smi; {kernel_log(seen)}"
        if seen.wsl:
            command += "   # if that shows nothing: update the driver of Windows, then restart Windows"
        elif seen.system != "Windows":
            command = f'{kernel_log(seen)}; ls -l /dev/nvhost-* /dev/nvmap; sudo usermod -aG video "$USER"'
            command += "   # then log in again"
        return problem("cuda_error", said, message="error 999, unknown error", command=command)
    if "nvidia-uvm" not in seen.device_files:
        why, command = "/dev/nvidia-uvm is missing", "sudo nvidia-modprobe -u -c 0"
        if seen.container:
            why += " in this container"
            command += "   # on the host; then start the container again"
    else:
        why = "the module nvidia_uvm does not answer, as after a suspend"
        command = "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm"
    return problem("uvm", said, why=why, command=command)


def _other_libcuda(case: Case, said: str) -> Problem:
    """Give the problem of a libcuda that is not the driver's (error 803), where NVML's library is."""
    path, version = str(case.libcuda.get("library") or ""), case.driver_version
    return problem(
        "libcuda_mismatch",
        said,
        path=f" ({path})" if path else "",
        driver=f" ({version})" if version else "",
        command=_without(case, "compat"),
    )


def _without(case: Case, word: str) -> str:
    path, search_path = str(case.libcuda.get("library") or ""), case.environment.get("LD_LIBRARY_PATH", "")
    return without_library(case.evidence, path, word, search_path)
