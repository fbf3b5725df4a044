"""The middle rungs: torch, and CUDA_VISIBLE_DEVICES."""

from __future__ import annotations

from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import pip_command, rename, set_variable
from hf_monitor.gpu.report import Problem

__all__ = ["environment_rung", "torch_rung"]

_NO_PLUGINS = "TORCH_DEVICE_BACKEND_AUTOLOAD"  # torch names it where a plugin for another device fails


def torch_rung(case: Case) -> Problem | str | None:
    """Say whether torch is there and built for a GPU; None where it was not come to."""
    torch = case.torch
    if crash := case.probe_problem("torch"):
        return crash
    if not torch:
        return None
    absent = case.evidence.nvidia_seen is False and not case.cards
    if torch.get("missing"):
        install = f"{pip_command(case.evidence)} torch" if absent and not case.amd_only else case.install_torch()
        return problem("torch_missing", "No module named 'torch'", python=case.python, install=install)
    if error := torch.get("error"):
        said = f"{error['type']}: {error['message'].splitlines()[-1] if error['message'] else ''}"
        command = case.install_torch(anew=True)
        if hidden_by := torch.get("hidden_by"):
            said = f"{hidden_by} is found before the module of that name ({said})."
            command = rename(case.evidence, str(hidden_by))
        elif _NO_PLUGINS in said:
            command = set_variable(case.evidence, _NO_PLUGINS, "0")
        elif "undefined symbol" in said and "LD_LIBRARY_PATH" in case.environment:
            said += " (LD_LIBRARY_PATH puts the libraries of another CUDA before torch's own)"
            command = f'env -u LD_LIBRARY_PATH {case.python} -c "import torch"'
        return problem("torch_broken", error.get("trace", ""), message=said, command=command)
    said = f"torch {torch['version']}"
    if case.working:
        return said
    if torch.get("hip"):
        return said if _hides_all(case) else _rocm(case)
    if case.amd_only and torch.get("cuda"):
        return problem("torch_not_rocm", said, version=torch["version"], install=case.install_torch())
    if torch.get("cuda") is None and case.evidence.system != "Darwin":
        evidence = f"torch.version.cuda is None; {torch.get('file')}"
        names = ", ".join(str(card["name"]) for card in case.cards if card.get("name")) or "the GPU of this machine"
        card = "; a GPU would need another build" if absent else f" and cannot use {names}"
        install = case.install_torch() + ("   # where there is a GPU" if absent else "")
        if case.amd_only:
            card = "; the AMD GPU here needs a build for ROCm, where ROCm supports it"
            install = f"{case.install_torch()}   # other versions: https://pytorch.org/get-started/locally/"
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


def _all_cards(case: Case) -> str:
    """Name the cards of the machine: ``the 2 GPUs of this machine (0: RTX 4090, 1: RTX 3060)``."""
    names = [f"{index}: {card.get('name') or 'cannot be reached'}" for index, card in enumerate(case.cards)]
    if not names:
        return "every GPU of this machine"
    return f"the {len(names)} GPUs of this machine ({', '.join(names)})" if len(names) > 1 else f"the GPU ({names[0]})"


def _hides_all(case: Case) -> bool:
    return case.visible is not None and not case.visible.entries


def environment_rung(case: Case) -> Problem | str:
    """Say what CUDA_VISIBLE_DEVICES (or ROCm's own variables) leaves."""
    name, value = case.variable
    visible = case.visible
    if visible is None:
        return f"{name} is not set"
    if visible.entries or visible.trouble is None or case.working:
        return f"{name}={value}"
    everything = ",".join(str(index) for index in range(len(case.cards))) or None
    many = len(case.cards)
    return problem(
        f"visible_devices_{visible.trouble}",
        f"{name}={value}",
        name=name,
        value=value,
        entry=visible.stopped_by,
        all=_all_cards(case),
        count="one GPU, number 0" if many == 1 else f"GPUs 0 to {many - 1}",
        set=set_variable(case.evidence, name, everything),
    )
