"""What the user of a working GPU should know; few things, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hf_monitor.gpu.architecture import runs_finished_code
from hf_monitor.gpu.case import Case, same_address
from hf_monitor.gpu.causes import note
from hf_monitor.gpu.commands import install_driver, set_variable
from hf_monitor.gpu.devices import mig_profile
from hf_monitor.gpu.ladder_kernel import device_problem
from hf_monitor.gpu.precision import precision_of
from hf_monitor.gpu.report import Problem

__all__ = ["notes_of", "nvml_unit"]

_MIB = 2**20


def nvml_unit(case: Case, index: int) -> dict[str, Any] | None:
    """Give what NVML says of one of torch's devices, matched by UUID, then by PCI address, never by index."""
    device = case.stage(f"device:{index}")
    cards = case.cards
    if part := mig_profile(str(device.get("name"))):  # the whole card's memory is not its
        cards = [instance for card in cards for instance in card.get("instances", ())]
    if uuid := _bare(device.get("uuid")):
        for card in cards:
            if _bare(card.get("uuid")) == uuid:
                return card
    there = [card for card in cards if same_address(card.get("pci"), device.get("pci"))]
    return there[0] if there and (len(there) == 1 or not part) else None  # instances share their card's address


def _bare(uuid: object) -> str:
    return str(uuid or "").removeprefix("GPU-").removeprefix("MIG-").lower()


def notes_of(case: Case) -> tuple[Problem, ...]:
    """Give the notes on a case whose GPU works."""
    found = [*_devices(case), *_environment(case)]
    if case.torch_cuda and case.driver_cuda and case.torch_cuda > case.driver_cuda:
        install = case.install_torch()
        if str(case.torch["version"]) in install:  # there is no older one
            install = install_driver(case.evidence)
        can = "{}.{}".format(*case.driver_cuda)
        found.append(
            note("minor_version_compatibility", torch_cuda=case.torch["cuda"], driver_cuda=can, install=install)
        )
    if case.cuda.get("mps"):
        found.append(note("apple_gpu"))
    elif not case.torch.get("hip") and case.nvml.get("code") != 0:
        ended = {"crashed": "it crashed, ", "timeout": "it hung, "}.get(str(case.nvml.get("ended")), "")
        reason = case.nvml.get("message") or case.nvml.get("missing") or case.nvml.get("reason") or "it was not asked"
        message = f"{ended}{reason}"
        found.append(note("nvml_unavailable", message=message.rstrip(".")))
    return tuple(found)


def _environment(case: Case) -> Iterator[Problem]:
    name, value = case.variable
    visible = case.visible
    if visible and visible.trouble and visible.entries and not case.torch.get("hip"):
        left = ",".join(visible.entries)
        yield note(
            "visible_devices_partly",
            name=name,
            value=value,
            entry=visible.stopped_by,
            count="1 GPU is" if case.count == 1 else f"{case.count} GPUs are",
            set=set_variable(case.evidence, name, left),
        )
    if len(case.working) < case.count:
        entries = visible.entries if visible and len(visible.entries) == case.count else range(case.count)
        yield note(
            "broken_gpu_visible",
            count=case.count,
            working=", ".join(f"cuda:{index}" for index in case.working),
            set=set_variable(case.evidence, name, ",".join(str(entries[index]) for index in case.working)),
        )
    if value is None and "CUDA_DEVICE_ORDER" not in case.environment:
        for index in case.working:
            unit = nvml_unit(case, index)
            if unit in case.cards and (other := case.cards.index(unit)) != index:
                command = set_variable(case.evidence, "CUDA_DEVICE_ORDER", "PCI_BUS_ID")
                yield note("device_order", index=index, other=other, set=command)
                return


def _devices(case: Case) -> Iterator[Problem]:
    for index in range(case.count):
        if trouble := device_problem(case, index):
            yield trouble  # this one cannot be used, another one can
    architectures = case.cuda.get("architectures") or []
    in_fp16: list[str] = []
    for index in case.working:
        device, card = case.stage(f"device:{index}"), case.card_name(index)
        unit = nvml_unit(case, index) or device
        total, free = unit.get("total"), unit.get("free")
        if total and free is not None and free < total / 2:
            who = "This process, which uses CUDA already, and others" if case.in_use else "Other processes"
            yield note("little_free_memory", who=who, card=card, used=(total - free) / _MIB, total=total / _MIB)
        pair = tuple(device["capability"]) if device.get("capability") else None
        if pair and architectures and not runs_finished_code(pair, architectures):
            yield note(
                "ptx_only",
                version=case.torch.get("version"),
                card=card,
                capability="{}.{}".format(*pair),
                install=case.install_torch(pair),
            )
        if pair and precision_of(pair) == "fp16":
            in_fp16.append(card)
    if in_fp16:
        yield note("t5_fp16", card=", ".join(in_fp16))
