"""torch's devices and NVML's are one another's by UUID, then by PCI address, never by index.

The index is no identity: ``CUDA_VISIBLE_DEVICES`` selects and reorders torch's, ``CUDA_DEVICE_ORDER`` decides whether
CUDA counts the fastest card first, and a MIG instance has no index of its own in NVML.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from hf_monitor.gpu.nvml import Failure, Unsaid, answer_of, failure_of

__all__ = ["Match", "TorchDevice", "find", "torch_devices", "unmatched"]

MIB = 2**20


@dataclass(frozen=True, slots=True)
class TorchDevice:
    """A device as torch sees it.

    Attributes
    ----------
    index : int
        torch's: ``cuda:<index>``.
    name : str
    uuid : str or None
        torch gives it without the prefix ``GPU-`` or ``MIG-``; with one it is taken, too.
    pci : tuple of int or None
        Domain, bus, device.
    memory_total_mib : float
        MiB of 2**20 bytes.
    memory_info : callable or None
        torch's ``mem_get_info`` for this device: free and total bytes.
    in_use : callable or None
        Whether this process has a context on it.
    """

    index: int
    name: str
    uuid: str | None
    pci: tuple[int, int, int] | None
    memory_total_mib: float
    memory_info: Callable[[], tuple[int, int]] | None = None
    in_use: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class Match:
    """NVML's handles of a device of torch.

    Attributes
    ----------
    card : handle or None
        The whole card; of a MIG instance the one that it is a part of.
    instance : handle or None
        The MIG instance; None where the device is a whole card, or where it is not known which instance it is.
    is_mig : bool
    matched_by : str or None
        ``"uuid"`` or ``"pci"``.
    uuid, pci_address : str or None
        As NVML writes them; as torch does where nothing was found.
    mig : str or None
        The profile of an instance.
    failure : Failure or None
        Why nothing was found.
    """

    card: Any = None
    instance: Any = None
    is_mig: bool = False
    matched_by: Literal["uuid", "pci"] | None = None
    uuid: str | None = None
    pci_address: str | None = None
    mig: str | None = None
    failure: Failure | None = None

    def handles(self) -> dict[str, Any]:
        """Give those that can be asked, the nearest first."""
        return {name: h for name, h in (("instance", self.instance), ("card", self.card)) if h is not None}


def torch_devices() -> list[TorchDevice]:
    """Give the devices of a torch whose CUDA is initialised in this process.

    Returns
    -------
    list of TorchDevice
        Empty where torch is not imported or has not touched CUDA yet: asking would initialise it, which costs memory on
        the card and makes a later fork unusable.
    """
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return []
    return [_torch_device(torch, index) for index in range(torch.cuda.device_count())]


def _torch_device(torch: Any, index: int) -> TorchDevice:
    properties = torch.cuda.get_device_properties(index)
    uuid = str(getattr(properties, "uuid", "") or "")
    # torch 2.8 and newer say where the card is; some integrated GPUs have an address of zeros only, which is none.
    pci = tuple(getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device"))
    address = tuple(part for part in pci if isinstance(part, int))
    return TorchDevice(
        index=index,
        name=properties.name,
        uuid=uuid if uuid.strip("0-") else None,
        pci=(address[0], address[1], address[2]) if len(address) == 3 and any(address) else None,
        memory_total_mib=properties.total_memory / MIB,
        memory_info=functools.partial(_memory_info, torch, index),
        in_use=functools.partial(_in_use, torch, index),
    )


def _in_use(torch: Any, index: int) -> bool:
    """Say whether this process has a context on a device; one on each is not a matter of course with several ranks."""
    has_context = getattr(torch._C, "_cuda_hasPrimaryContext", None)
    return bool(has_context(index)) if has_context is not None else index == torch.cuda.current_device()


def _memory_info(torch: Any, index: int) -> tuple[int, int]:
    """Ask torch, but only where this process uses the device: the question would take 300 MiB and more on it."""
    if not _in_use(torch, index):
        raise Unsaid("NO_CONTEXT", f"this process does not use cuda:{index}, and asking would take memory on it")
    free, total = torch.cuda.mem_get_info(index)
    return free, total


def find(nvml: Any, device: TorchDevice) -> Match:
    """Find a device of torch among NVML's.

    Parameters
    ----------
    nvml : module
        ``pynvml``, initialised.
    device : TorchDevice

    Returns
    -------
    Match
        Without handles, and with the reason, where neither UUID nor PCI address lead to one; never raises for what
        NVML says.
    """
    failure = Failure("NO_IDENTITY", "torch gives neither UUID nor PCI address of this device", lasting=True)
    for uuid in _spellings(device.uuid):
        try:
            handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        except Exception as error:  # noqa: BLE001 - the next spelling, then the PCI address; the reason is kept
            failure = _not_found(f"UUID {device.uuid}", error)
        else:
            return _whole(nvml, device, handle, "uuid", uuid)
    if device.pci is not None:
        domain, bus, slot = device.pci
        address = f"{domain:08x}:{bus:02x}:{slot:02x}.0"
        try:
            handle = nvml.nvmlDeviceGetHandleByPciBusId(address)
        except Exception as error:  # noqa: BLE001 - as above
            return unmatched(device, _not_found(f"PCI address {address}", error))
        match = _whole(nvml, device, handle, "pci", None)
        if match.is_mig or None in (device.uuid, match.uuid) or match.uuid in _spellings(device.uuid):
            return match
        text = f"NVML has the UUID {match.uuid} at PCI address {address}, torch says {device.uuid}"
        failure = Failure("UUID_CONTRADICTS", text, lasting=True)
    return unmatched(device, failure)


def unmatched(device: TorchDevice, failure: Failure | None) -> Match:
    """Give the match of a device that NVML does not have, or that there is no NVML for."""
    return Match(
        uuid=device.uuid,
        pci_address=_written(device.pci),
        is_mig=mig_profile(device.name) is not None,
        mig=mig_profile(device.name),
        failure=failure,
    )


def _written(pci: tuple[int, int, int] | None) -> str | None:
    return None if pci is None else "{:04x}:{:02x}:{:02x}.0".format(*pci)


def _not_found(what: str, error: Exception) -> Failure:
    failure = failure_of(error)
    return Failure(failure.code, f"NVML has no device of {what}: {failure.reason}", lasting=True)


def _spellings(uuid: str | None) -> list[str]:
    if uuid is None:
        return []
    return [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]


def _whole(nvml: Any, device: TorchDevice, handle: Any, matched_by: Literal["uuid", "pci"], uuid: str | None) -> Match:
    """Give card and MIG instance of a handle, whichever of the two it is."""
    card, instance = handle, None
    is_instance = answer_of(nvml.nvmlDeviceIsMigDeviceHandle, handle)
    is_mig = is_instance is not None and bool(is_instance.value)
    if is_mig:
        card, instance = answer_of(nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle), handle
    elif (answer_of(nvml.nvmlDeviceGetMigMode, handle) or [0])[0] == 1:
        # CUDA before 12 gives an instance the UUID of its card, and every one gives it the card's PCI address.
        is_mig, instance = True, _instance(nvml, device, handle)
        uuid = None
    nearest = instance if instance is not None else card
    pci = answer_of(nvml.nvmlDeviceGetPciInfo_v3, card) if card is not None else None
    name = answer_of(nvml.nvmlDeviceGetName, instance) if instance is not None else None
    return Match(
        card,
        instance,
        is_mig,
        matched_by,
        uuid=uuid or answer_of(nvml.nvmlDeviceGetUUID, nearest),
        pci_address=_written(device.pci if pci is None else (pci.domain, pci.bus, pci.device)),
        mig=(mig_profile(device.name) or mig_profile(name or "")) if is_mig else None,
    )


def _instance(nvml: Any, device: TorchDevice, card: Any) -> Any:
    """Give the one MIG instance of a card that torch's device can be; None where several could be."""
    found = []
    for number in range(answer_of(nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
        handle = answer_of(nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, number)
        if handle is not None:
            uuid, name = answer_of(nvml.nvmlDeviceGetUUID, handle), answer_of(nvml.nvmlDeviceGetName, handle)
            found.append((handle, uuid or "", name or ""))
    wanted = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    profile = mig_profile(device.name)
    found = [one for one in found if profile is None or mig_profile(one[2]) in (None, profile)]
    found = [one for one in found if one[1] in _spellings(device.uuid)] or found
    found = [
        one for one in found if any(part.startswith("MIG-") and one[1].startswith(part) for part in wanted)
    ] or found
    return found[0][0] if len(found) == 1 else None


def mig_profile(name: str) -> str | None:
    """Give ``"1g.5gb"`` of ``"NVIDIA A100-SXM4-40GB MIG 1g.5gb"``."""
    match = re.search(r"\bMIG (\S+)\s*$", name)
    return match[1] if match else None
