"""Every cause that check_gpu_compatibility() can name: its code, its sentence, its command.

The codes are stable. ``{words}`` in a sentence or a command are filled in from what was seen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from hf_monitor.gpu.report import Problem

__all__ = ["CAUSES", "NOTES", "Cause", "note", "problem"]

_WHO = "nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv"


class Cause(NamedTuple):
    """What is said of a cause."""

    sentence: str
    command: str


CAUSES: dict[str, Cause] = {
    # the machine
    "no_gpu": Cause(
        "{what}; training runs on the CPU here, which is slow.",
        "{look}",
    ),
    # the driver
    "container_without_gpu": Cause(
        "This {container} was started without a GPU: {what} of the NVIDIA driver are not in it.",
        "{start}",
    ),
    "container_without_compute": Cause(
        "This container was given the GPU for monitoring only: libnvidia-ml is there, libcuda is not "
        "(NVIDIA_DRIVER_CAPABILITIES is {capabilities} and must contain compute).",
        "{start}",
    ),
    "container_lost_devices": Cause(
        "This container has lost its GPU while it ran; systemd on the host reloaded its units "
        "(github.com/NVIDIA/nvidia-container-toolkit/issues/48). A restart of the container brings it back.",
        "{restart}",
    ),
    "wsl_driver_missing": Cause(
        "WSL cannot reach the GPU: {why}. The driver belongs into Windows; inside WSL none may be installed.",
        "{command}",
    ),
    "driver_not_installed": Cause("{what}", "{install}"),
    "driver_not_loaded": Cause(
        "The NVIDIA driver is installed, but its kernel module is not loaded: {why}.", "{command}"
    ),
    "device_files_missing": Cause(
        "The NVIDIA kernel module is loaded, but its device files are missing: {files}.",
        "sudo nvidia-modprobe -c 0 -u",
    ),
    "no_permission": Cause(
        "This user may not open the GPU ({files}); on a cluster it also means that the job was given no GPU.",
        'ls -l /dev/nvidia*; sudo usermod -aG video,render "$USER"   # then log in again',
    ),
    "driver_library_mismatch": Cause(
        "The loaded NVIDIA kernel module{module} and the driver's libraries{library} have different versions: {how}.",
        "{command}",
    ),
    "gpu_lost": Cause(
        "The driver has lost {card}: it does not answer any more (power, heat, or the slot). "
        "Only a restart of the machine brings it back.",
        "{log}   # then: {restart}",
    ),
    "driver_finds_no_gpu": Cause(
        "The NVIDIA driver runs, but it can use none of the cards{cards}: too new or too old for this driver, not "
        "started, or (on a cluster) not given to this job.",
        "{log}",
    ),
    "nvml_error": Cause("The NVIDIA driver answers with an error: {message} (NVML {number}).", "nvidia-smi; {log}"),
    # torch
    "torch_missing": Cause("torch is not installed in this Python ({python}).", "{install}"),
    "torch_broken": Cause("torch is installed, but it cannot be imported: {message}", "{command}"),
    "torch_cpu_only": Cause("The installed torch {version} is built for the CPU only{card}.", "{install}"),
    "torch_not_rocm": Cause(
        "The installed torch {version} is built for NVIDIA GPUs (CUDA), and the GPU here is one of AMD.", "{install}"
    ),
    "torch_rocm": Cause("The installed torch {version} is built for AMD GPUs (ROCm), {why}.", "{command}"),
    "mps_unavailable": Cause(
        "torch {version} cannot use the GPU of this Mac: it was built without MPS, or macOS is older than it wants.",
        '{python} -c "import platform, torch; print(platform.mac_ver()[0], torch.backends.mps.is_built())"',
    ),
    # the environment
    "visible_devices_empty": Cause(
        "{name} is set to nothing, which hides {all}. Slurm sets it so in a job without a GPU.", "{set}"
    ),
    "visible_devices_minus_one": Cause("{name}={value} hides {all}.", "{set}"),
    "visible_devices_out_of_range": Cause(
        "{name}={value} names GPU {entry}, but this machine has {count}; the list ends there, and no GPU is left.",
        "{set}",
    ),
    "visible_devices_doubled": Cause(
        "{name}={value} names the same GPU twice ({entry}); CUDA then shows none.", "{set}"
    ),
    "visible_devices_unknown_uuid": Cause(
        "{name}={value}: {entry} is the UUID of no GPU here, or the beginning of several.",
        "nvidia-smi -L; {set}",
    ),
    "visible_devices_not_a_number": Cause(
        "{name}={value}: CUDA cannot read {entry!r} (it wants numbers or UUIDs), and shows no GPU.",
        "{set}",
    ),
    # CUDA
    "mig_without_instances": Cause(
        "GPU {index} ({name}) is in MIG mode, but no instance was made in it; so there is nothing that CUDA can use.",
        "sudo nvidia-smi mig -i {index} -cgi 0 -C   # one instance of the whole card; or leave the mode: "
        "sudo nvidia-smi -i {index} -mig 0",
    ),
    "driver_too_old": Cause(
        "torch {version} is built for CUDA {torch_cuda}, but the driver{driver} can do {driver_cuda} at most "
        "(CUDA {major} needs {needed} or newer).",
        "{command}",
    ),
    "stub_library": Cause(
        "A stand-in for libcuda, made for compiling only, is loaded instead of the driver's{path}.", "{command}"
    ),
    "fabric_manager": Cause(
        "CUDA waits for the NVSwitch fabric (error 802): the fabric manager does not run, or is of another version "
        "than the driver{driver}.{where}",
        "{command}",
    ),
    "forward_compatibility": Cause(
        "A newer libcuda (of cuda-compat) is loaded over the driver's own{path}, which works on data center GPUs only "
        "(error 804).",
        "{command}",
    ),
    "libcuda_mismatch": Cause(
        "The libcuda that is loaded{path} is not that of the running driver{driver} (error 803): another one is found "
        "before it.",
        "{command}",
    ),
    "uvm": Cause(
        "CUDA cannot start (error 999, unknown): {why}.",
        "{command}",
    ),
    "devices_busy": Cause("{card} cannot be used now: {why} (CUDA error 46).", "{command}"),
    "ecc_error": Cause(
        "{card} has a memory error that it cannot correct (CUDA error 214). If a reset does not help, it is broken.",
        "nvidia-smi -q -d ECC,ROW_REMAPPER   # then, with nothing on it: {sudo}nvidia-smi --gpu-reset -i {unit}",
    ),
    "cuda_error": Cause("CUDA cannot start: {message}.", "{command}"),
    # the first kernel
    "architecture_not_in_wheel": Cause(
        "torch {version} has no code for {card}, compute capability {capability}; it is built for {architectures}.",
        "{command}",
    ),
    "out_of_memory": Cause("{card} has no memory left for even a small computation{free}.", _WHO),
    "kernel_failed": Cause(
        "{card} is found, but a first small computation on it fails: {message}",
        "{set} && {python} -c \"import torch; a = torch.ones(64, 64, device='cuda:{index}'); print(a @ a)\"",
    ),
    "nothing_works": Cause(
        "No GPU could be used, and no check says why: torch shows {count}.", "{python} -m torch.utils.collect_env"
    ),
    # the probe itself
    "probe_timeout": Cause("The check hung {stage} and was stopped: {reason}.", "{command}"),
    "probe_crashed": Cause("The check crashed {stage}: {reason}.", "{command}"),
    "probe_not_started": Cause("No process could be started to look at the GPU: {reason}.", "{command}"),
}
"""What keeps a GPU from being used."""

NOTES: dict[str, Cause] = {
    "visible_devices_partly": Cause(
        "{name}={value}: the list ends at {entry!r}, which is no GPU here; {count} left.", "{set}"
    ),
    "broken_gpu_visible": Cause(
        "Of the {count} visible GPUs only {working} was seen to work, but the Trainer takes all that it sees, cuda:0 "
        "first: show it those that work.",
        "{set}",
    ),
    "cuda_initialized_before": Cause(
        "This process began to use CUDA when other GPUs were visible: it sees {here}, a new process sees {there}. "
        "CUDA_VISIBLE_DEVICES counts only before the first use.",
        "{set}",
    ),
    "device_order": Cause(
        "torch counts the GPUs the fastest first, nvidia-smi by their slot: cuda:{index} is GPU {other} there.",
        "{set}",
    ),
    "little_free_memory": Cause(
        "{who} hold {used:.0f} of the {total:.0f} MiB of {card}.",
        _WHO,
    ),
    "minor_version_compatibility": Cause(
        "torch is built for CUDA {torch_cuda}, the driver can do {driver_cuda}: its kernels run, but code that is "
        "compiled while it runs (some extensions) may ask for a newer driver.",
        "{install}",
    ),
    "ptx_only": Cause(
        "torch {version} has no finished code for {card}, compute capability {capability}; the driver compiles it, "
        "so that the first minutes are slow and nothing is as fast as it could be.",
        "{install}",
    ),
    "t5_fp16": Cause(
        "{card} has no bf16. T5 and mT5, whose weights were trained in bf16, overflow in fp16 (the loss becomes NaN): "
        "train these in fp32.",
        "Seq2SeqTrainingArguments(..., fp16=False, bf16=False)",
    ),
    "nvml_unavailable": Cause(
        "The GPU works, but NVML does not ({message}): its load, temperature and power cannot be recorded.",
        "nvidia-smi",
    ),
    "apple_gpu": Cause(
        "An Apple GPU through MPS, not CUDA: it shares the machine's memory, and an operation that MPS lacks stops the "
        "training unless it may go to the CPU.",
        "export PYTORCH_ENABLE_MPS_FALLBACK=1",
    ),
}
"""What the user of a working GPU should know."""


def _fill(cause: Cause, code: str, evidence: str, words: dict[str, Any]) -> Problem:
    return Problem(code, cause.sentence.format(**words), cause.command.format(**words), evidence)


def problem(code: str, evidence: str = "", **words: Any) -> Problem:
    """Give the problem of that code, its words filled in."""
    return _fill(CAUSES[code], code, evidence, words)


def note(code: str, evidence: str = "", **words: Any) -> Problem:
    """Give the note of that code, its words filled in."""
    return _fill(NOTES[code], code, evidence, words)
