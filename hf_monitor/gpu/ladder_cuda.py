"""The upper rungs: the start of CUDA, a first computation."""

from __future__ import annotations

import re

from hf_monitor.gpu.architecture import runs_finished_code, runs_ptx
from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import install_driver, install_fabric_manager
from hf_monitor.gpu.ladder_driver import mismatch
from hf_monitor.gpu.report import Problem
from hf_monitor.gpu.wheels import MINIMUM_DRIVER

__all__ = ["cuda_rung", "device_problem", "kernel_rung"]

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
        return None
    code, said = _code(case)
    empty = [index for index, card in enumerate(case.cards) if card.get("mig") and not card.get("instances")]
    if empty and len(empty) == len(case.cards):
        name = case.cards[empty[0]].get("name")
        return problem("mig_without_instances", said or "MIG mode without instances", index=empty[0], name=name)
    path = str(case.libcuda.get("library") or "")
    if code == 34:
        command = _without(case, path, "stubs")
        return problem("stub_library", said, path=f" ({path})" if path else "", command=command)
    needs, can = case.torch_cuda, case.driver_cuda
    if code in (35, 36) or (needs and can and needs[0] > can[0] and code in (0, 3, 100, 222)):
        return _too_old(case, said)
    if code == 802:
        return _fabric(case, said)
    if code == 803:
        return mismatch(case, said)
    if code == 804:
        command = _without(case, path, "compat")
        return problem("forward_compatibility", said, path=f" ({path})" if path else "", command=command)
    if code == 999:
        return _uvm(case, said)
    if (named := _of_card(case, code, said, "the GPU", 0)) is not None:
        return named
    theirs = re.search(r"Error \d+: ([^(\n]+)", said)
    name = case.libcuda.get("message") or (theirs[1] if theirs else _NAMES.get(code)) or said or "torch finds no GPU"
    name = name.rstrip(". ")
    return problem("cuda_error", said, message=f"error {code}, {name}" if code else name)


def _without(case: Case, path: str, word: str) -> str:
    """Give what takes a folder of libraries out of the loader's way."""
    if word in case.environment.get("LD_LIBRARY_PATH", ""):
        return f"export LD_LIBRARY_PATH=$(echo \"$LD_LIBRARY_PATH\" | tr ':' '\\n' | grep -v {word} | paste -sd:)"
    folder = path.rpartition("/")[0] or f"/usr/local/cuda/{word}"
    return f"grep -rl {folder} /etc/ld.so.conf.d | xargs -r sudo rm && sudo ldconfig"


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


def _fabric(case: Case, said: str) -> Problem:
    command, where = install_fabric_manager(case.evidence, case.driver_version), ""
    if case.evidence.container:
        where = " It runs on the host, not in this container."
        command = "sudo systemctl restart nvidia-fabricmanager   # on the host"
    elif not case.evidence.nvswitch:
        where = " No NVSwitch is seen from here; in a virtual machine it is the host's fabric manager that counts."
        command = "nvidia-smi -q | grep -i -A 4 fabric"
    driver = f" ({case.driver_version})" if case.driver_version else ""
    return problem("fabric_manager", said, driver=driver, where=where, command=command)


def _uvm(case: Case, said: str) -> Problem:
    seen = case.evidence
    if "nvidia-uvm" not in seen.device_files and not seen.wsl:
        why, command = "/dev/nvidia-uvm is missing", "sudo nvidia-modprobe -u -c 0"
        if seen.container:
            why += " in this container"
            command += "   # on the host; then start the container again"
    else:
        why = "the module nvidia_uvm does not answer, as after a suspend"
        command = "sudo modprobe -r nvidia_uvm && sudo modprobe nvidia_uvm"
    return problem("uvm", said, why=why, command=command)


def _of_card(case: Case, code: int, text: str, card: str, index: int) -> Problem | None:
    """Give the problem of one card, known by its number or its words."""
    if code == 46 or "busy or unavailable" in text:
        modes = [one.get("compute_mode") for one in case.cards]
        if any(modes):  # 1 exclusive thread, 2 prohibited, 3 exclusive process
            number = next(index for index, mode in enumerate(modes) if mode)
            why = "it is in a compute mode that lets one process in at most"
            command = f"sudo nvidia-smi -i {number} -c DEFAULT"
        else:
            why, command = "another process holds it", "nvidia-smi --query-compute-apps=pid,process_name --format=csv"
        return problem("devices_busy", text, card=card, why=why, command=command)
    if code == 214 or "uncorrectable ECC" in text:
        unit = case.stage(f"device:{index}").get("pci") or index  # nvidia-smi may number them otherwise
        return problem("ecc_error", text, card=card, unit=unit)
    if code == 2 or "out of memory" in text:
        free = case.stage(f"device:{index}").get("free")
        left = f" ({free / 2**20:.0f} MiB are free)" if free is not None else ""
        return problem("out_of_memory", text, card=card, free=left)
    if "GPU is lost" in text or "fallen off the bus" in text:
        return problem("gpu_lost", text, card=card)
    return None


def device_problem(case: Case, index: int) -> Problem | None:
    """Give what keeps one of torch's devices from being used; None where nothing does."""
    if index in case.working:
        return None
    if case.answer.stage in (f"device:{index}", f"kernel:{index}"):
        return case.probe_problem("device", "kernel")
    device, kernel = case.stage(f"device:{index}"), case.stage(f"kernel:{index}")
    text = (device.get("error") or kernel.get("error") or {}).get("message", "")
    card, architectures = case.card_name(index), case.cuda.get("architectures") or []
    capability = device.get("capability")
    if capability and architectures:
        pair = (int(capability[0]), int(capability[1]))
        built = runs_finished_code(pair, architectures) or runs_ptx(pair, architectures)
        if not built or "no kernel image" in text:
            return problem(
                "architecture_not_in_wheel",
                text.split("\n")[0],
                version=case.torch.get("version"),
                card=card,
                capability="{}.{}".format(*pair),
                architectures=" ".join(architectures),
                command=case.install_torch(pair) if pair >= (5, 0) else f"{case.python} -m torch.utils.collect_env",
            )
    if named := _of_card(case, 0, text, card, index):
        return named
    if not device and not kernel:
        return None  # never come to: the device before it stopped the probe
    message = text.split("\n")[0] or "the result is not the CPU's; the card or its memory is broken."
    return problem("kernel_failed", text, card=card, message=message, index=index, python=case.python)


def kernel_rung(case: Case) -> Problem | str | None:
    """Say whether a first computation is right on any device; None where none was tried."""
    if case.working:
        return "right on " + ", ".join(case.card_name(index) for index in case.working)
    found = (device_problem(case, index) for index in range(case.count))
    return next((one for one in found if one), None)
