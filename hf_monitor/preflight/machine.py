"""Is the machine ready: the GPU, the folder that is written to, what an earlier training left there."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hf_monitor.errors import InputError
from hf_monitor.preflight.checklist import Check, failed, ok, warning
from hf_monitor.run.trouble import reason_of

if TYPE_CHECKING:
    from hf_monitor.gpu.report import GpuReport

__all__ = ["check_folder", "check_gpu", "check_left_there", "existing_parent"]

_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_BLOCK = b"\0" * 4096


def check_gpu(report: GpuReport | None, args: Any = None) -> Check:
    """Judge whether a training can use a GPU.

    Parameters
    ----------
    report : GpuReport or None
        None: the CPU was asked for, nothing was looked at.
    args : TrainingArguments, optional
        ``fp16`` needs a GPU.
    """
    name = "GPU"
    fp16 = bool(getattr(args, "fp16", False))
    if report is None:
        if fp16:
            return failed(name, "fp16 is asked for, and the CPU.", "Leave one of --fp16 and --use_cpu out.")
        return ok(name, "the CPU was asked for.")
    if report.usable:
        said = []
        for device in report.devices:
            memory = f", {device.memory_free_mib / 1024:.1f} GiB free" if device.memory_free_mib is not None else ""
            said.append(f"cuda:{device.index} {device.name}{memory}, tier {device.tier.tier.name}")
        sentence = f"{'; '.join(said)}."
        without = [device.name for device in report.devices if not device.bf16]
        evidence: dict[str, Any] = {"devices": [device.name for device in report.devices]}
        if getattr(args, "bf16", False) and without:
            return warning(name, f"{sentence} bf16 is asked for; {', '.join(without)} cannot.", "--fp16", **evidence)
        busy = [
            f"cuda:{device.index}"
            for device in report.devices
            if device.memory_free_mib
            and device.memory_total_mib
            and device.memory_free_mib < device.memory_total_mib / 2
        ]
        if busy:
            advice = "Somebody else uses it: nvidia-smi says who."
            return warning(
                name, f"{sentence} Less than half of the memory of {', '.join(busy)} is free.", advice, **evidence
            )
        return ok(name, sentence, **evidence)
    first = report.problems[0] if report.problems else None
    sentence = first.cause if first is not None else "no GPU can be used; the cause was not found."
    evidence = {"problems": [problem.code for problem in report.problems]}
    if first is not None and first.code == "no_gpu":
        if fp16:
            return failed(
                name, f"{sentence} fp16 needs a GPU.", "Leave --fp16 out, or use another machine.", **evidence
            )
        return warning(name, sentence, "--use_cpu says that this is meant.", **evidence)
    command = first.command.partition("\n")[0] if first is not None and first.command else "hf-monitor gpu"
    return failed(name, sentence, command, **evidence)


def existing_parent(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that is there.

    Raises
    ------
    InputError
    """
    try:
        return next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise InputError(f"{str(folder)!r} cannot be used: {reason_of(error)}.") from error


def check_folder(folder: Path, name: str = "output folder") -> Check:
    """Write a little into a folder, or where it would be made, and take it away again."""
    from hf_monitor.seq2seq.checks import check_output_folder

    advice = "Name another folder, or mend its permissions."
    try:
        check_output_folder("the folder", folder)
        there = existing_parent(folder)
    except InputError as error:
        return failed(name, str(error), advice, folder=str(folder))
    try:
        handle, path = tempfile.mkstemp(prefix=".hf_monitor_check_", dir=there)
        try:
            os.write(handle, _BLOCK)
            os.fsync(handle)  # some file systems find out only here that they are full
        finally:
            os.close(handle)
            Path(path).unlink()
    except OSError as error:
        return failed(name, f"{str(there)!r} cannot be written: {reason_of(error)}.", advice, folder=str(folder))
    made = "" if there == folder else f" (will be made in {str(there)!r})"
    return ok(name, f"{str(folder)!r} can be written{made}.", folder=str(folder))


def check_left_there(folder: Path, args: Any = None) -> Check | None:
    """Say what a training would do to what an earlier one left in its folder; None where there is nothing."""
    name = "earlier training"
    numbers = sorted(
        int(found[1]) for path in folder.glob("checkpoint-*") if (found := _CHECKPOINT.fullmatch(path.name))
    )
    if (folder / "run.json").is_file() and (folder / "metrics.jsonl").is_file():
        sentence = f"{str(folder)!r} is the run folder of an earlier training, not an output folder."
        advice = f"Another --output_dir keeps it; the one of that training is {str(folder.absolute().parent)!r}."
        return warning(name, f"{sentence} Checkpoints would be saved among its rows.", advice, run=True)
    recorded = (folder / "monitor" / "run.json").is_file()
    trained = any((folder / file).is_file() for file in ("model.safetensors", "adapter_model.safetensors"))
    if not (numbers or recorded or trained):
        return None
    limit = getattr(args, "save_total_limit", None)
    evidence: dict[str, Any] = {"checkpoints": numbers, "run": recorded, "model": trained}
    there = []
    if numbers:
        there.append(f"checkpoint-{numbers[-1]}" + (f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""))
    there += ["a trained model"] if trained else []
    there += ["a recorded run"] if recorded else []
    sentence = f"{str(folder)!r} holds {', '.join(there)} of an earlier training."
    resumed = getattr(args, "resume_from_checkpoint", None)
    if resumed and str(resumed).lower() != "false":
        return ok(name, f"{sentence} The training goes on from {resumed!r}; the run gets another attempt.", **evidence)
    what = []
    if numbers:
        what.append("checkpoints of the same number are overwritten")
        if limit and limit > 0:
            what.append(f"--save_total_limit {limit} deletes the lowest numbers, be they earlier or new")
    what += ["the model at its end is overwritten"] if trained else []
    what += ["the run gets another attempt"] if recorded else []
    advice = "Another --output_dir keeps it" + ("; --resume_from_checkpoint last goes on with it." if numbers else ".")
    return warning(name, f"{sentence} A new one begins from the start: {'; '.join(what)}.", advice, **evidence)
