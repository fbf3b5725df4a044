"""The upper rungs: torch, CUDA_VISIBLE_DEVICES, the start of CUDA, a first computation."""

from __future__ import annotations

import re

from hf_monitor.gpu.architecture import runs_finished_code, runs_ptx
from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import install_driver, install_fabric_manager, pip_command, set_variable
from hf_monitor.gpu.ladder_driver import mismatch
from hf_monitor.gpu.report import Problem
from hf_monitor.gpu.visible import read_visible
from hf_monitor.gpu.wheels import MINIMUM_DRIVER

__all__ = ["all_cards", "cuda_rung", "device_problem", "environment_rung", "kernel_rung", "torch_rung"]

_NAMES = {
    3: "the driver did not initialize",
    100: "no device",
    101: "invalid device",
    304: "operating system call failed",
}


def torch_rung(case: Case) -> Problem | str | None:
    """Say whether torch is there and built for a GPU; None where it was not come to."""
    torch = case.torch
    if crash := case.probe_problem("torch"):
        return crash
    if not torch:
        return None
    absent = case.evidence.nvidia_seen is False and not case.cards
    if torch.get("missing"):
        install = f"{pip_command()} torch" if absent else case.install_torch()
        return problem("torch_missing", "No module named 'torch'", python=case.python, install=install)
    if error := torch.get("error"):
        said = f"{error['type']}: {error['message'].splitlines()[-1] if error['message'] else ''}"
        command = case.install_torch(anew=True)
        if folder := torch.get("folder"):
            said, command = f"a folder named torch is found before it, {folder}.", f"mv {folder} {folder}_renamed"
        elif "undefined symbol" in said and "LD_LIBRARY_PATH" in case.environment:
            said += " (LD_LIBRARY_PATH puts the libraries of another CUDA before torch's own)"
            command = f"env -u LD_LIBRARY_PATH {case.python} -c 'import torch'"
        return problem("torch_broken", error.get("trace", ""), message=said, command=command)
    said = f"torch {torch['version']}"
    if case.working:
        return said
    if torch.get("hip"):
        return _rocm(case)
    if torch.get("cuda") is None and case.evidence.system != "Darwin":
        evidence = f"torch.version.cuda is None; {torch.get('file')}"
        names = ", ".join(str(card["name"]) for card in case.cards if card.get("name")) or "the GPU of this machine"
        card = "; a GPU would need another build" if absent else f" and cannot use {names}"
        install = case.install_torch() + ("   # where there is a GPU" if absent else "")
        return problem("torch_cpu_only", evidence, version=torch["version"], card=card, install=install)
    return said


def _rocm(case: Case) -> Problem:
    seen = case.evidence
    if seen.nvidia_cards or case.cards:
        why, command = "and the GPU here is one of NVIDIA", case.install_torch()
    elif seen.amd_cards:
        why = "and cannot use the AMD GPU that is here (often /dev/kfd may not be opened)"
        command = 'ls -l /dev/kfd /dev/dri; sudo usermod -aG render,video "$USER"   # then log in again'
    else:
        why, command = "and no AMD GPU is seen here", "rocminfo | head -n 40"
    return problem("torch_rocm", "; ".join(case.texts), version=case.torch["version"], why=why, command=command)


def all_cards(case: Case) -> str:
    """Name the cards of the machine: ``the 2 GPUs of this machine (0: RTX 4090, 1: RTX 3060)``."""
    names = [f"{index}: {card.get('name') or 'cannot be reached'}" for index, card in enumerate(case.cards)]
    if not names:
        return "every GPU"
    return f"the {len(names)} GPUs of this machine ({', '.join(names)})" if len(names) > 1 else f"the GPU ({names[0]})"


def environment_rung(case: Case) -> Problem | str:
    """Say what CUDA_VISIBLE_DEVICES leaves."""
    name = "CUDA_VISIBLE_DEVICES"
    value = case.environment.get(name)
    visible = read_visible(value, case.uuids or None)
    if case.torch.get("hip") or visible is None:
        return f"{name} is not set" if value is None else f"{name}={value}"
    if visible.entries or visible.trouble is None or case.working:
        return f"{name}={value}"
    everything = ",".join(str(index) for index in range(len(case.cards))) or None
    many = len(case.cards)
    return problem(
        f"visible_devices_{visible.trouble}",
        f"{name}={value}",
        value=value,
        entry=visible.stopped_by,
        all=all_cards(case),
        count="one GPU, number 0" if many == 1 else f"GPUs 0 to {many - 1}",
        set=set_variable(case.evidence, name, everything),
    )


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
