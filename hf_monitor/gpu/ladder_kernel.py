"""The uppermost rung: a first computation, card by card."""

from __future__ import annotations

from hf_monitor.gpu.architecture import runs_finished_code, runs_ptx
from hf_monitor.gpu.case import Case
from hf_monitor.gpu.causes import problem
from hf_monitor.gpu.commands import set_variable
from hf_monitor.gpu.ladder_driver import lost
from hf_monitor.gpu.report import Problem

__all__ = ["device_problem", "kernel_rung", "of_card"]


def of_card(case: Case, code: int, text: str, card: str, index: int) -> Problem | None:
    """Give the problem of one card, known by its number or its words."""
    if code == 46 or "busy or unavailable" in text:
        modes = [one.get("compute_mode") for one in case.cards]
        if case.in_use:
            why = "this very process uses CUDA already, and the check's own is not let in beside it"
            command = (
                f'{case.python} -c "import hf_monitor; print(hf_monitor.check_gpu_compatibility())"   # when it ended'
            )
        elif any(modes):  # 1 exclusive thread, 2 prohibited, 3 exclusive process
            number = next(index for index, mode in enumerate(modes) if mode)
            why = "it is in a compute mode that lets one process in at most"
            command = f"{_admin(case)}nvidia-smi -i {number} -c DEFAULT"
        else:
            why, command = "another process holds it", "nvidia-smi --query-compute-apps=pid,process_name --format=csv"
        return problem("devices_busy", text, card=card, why=why, command=command)
    if code == 214 or "uncorrectable ECC" in text:
        unit = case.stage(f"device:{index}").get("pci") or index  # nvidia-smi may number them otherwise
        return problem("ecc_error", text, card=card, unit=unit, sudo=_admin(case))
    if code == 2 or "out of memory" in text:
        free = case.stage(f"device:{index}").get("free")
        left = f" ({free / 2**20:.0f} MiB are free)" if free is not None else ""
        left += "; this very process uses CUDA already, and may hold it" if case.in_use else ""
        return problem("out_of_memory", text, card=card, free=left)
    if "GPU is lost" in text or "fallen off the bus" in text:
        return lost(case, text, card)
    return None


def device_problem(case: Case, index: int) -> Problem | None:
    """Give what keeps one of torch's devices from being used; None where nothing does."""
    if index in case.working:
        return None
    if crash := case.probe_problem(f"device:{index}", f"kernel:{index}"):
        return crash
    device, kernel = case.stage(f"device:{index}"), case.stage(f"kernel:{index}")
    error = device.get("error") or kernel.get("error") or {}
    text = error.get("message", "")
    card, architectures = case.card_name(index), case.cuda.get("architectures") or []
    capability = device.get("capability")
    if capability and architectures:
        pair = (int(capability[0]), int(capability[1]))
        built = runs_finished_code(pair, architectures) or runs_ptx(pair, architectures)
        if kernel and (not built or "no kernel image" in text):
            return problem(
                "architecture_not_in_wheel",
                text.split("\n")[0],
                version=case.torch.get("version"),
                card=card,
                capability="{}.{}".format(*pair),
                architectures=" ".join(architectures),
                command=case.install_torch(pair) if pair >= (5, 0) else f"{case.python} -m torch.utils.collect_env",
            )
    if named := of_card(case, 0, text, card, index):
        return named
    if not error and kernel.get("right") is not False:
        return None  # never come to: the device before it stopped the probe
    message = (
        text.split("\n")[0] or error.get("type") or "the result is not the CPU's; the card or its memory is broken."
    )
    blocking = set_variable(case.evidence, "CUDA_LAUNCH_BLOCKING", "1")
    return problem("kernel_failed", text, card=card, message=message, index=index, python=case.python, set=blocking)


def _admin(case: Case) -> str:
    return "" if case.evidence.system == "Windows" else "sudo "


def kernel_rung(case: Case) -> Problem | str | None:
    """Say whether a first computation is right on any device; None where none was tried."""
    if case.working:
        return "right on " + ", ".join(case.card_name(index) for index in case.working)
    found = (device_problem(case, index) for index in range(case.count))
    return next((one for one in found if one), None)
