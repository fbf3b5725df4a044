"""The commands that run a training again, and that go on from its last checkpoint, as far as they are known."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import PurePosixPath

from hf_monitor.diagnosis.rows import number
from hf_monitor.report.material import Material

__all__ = ["Commands", "commands_of"]

_MASK = "***"
_RESUME = "--resume_from_checkpoint"


@dataclass(frozen=True)
class Commands:
    """Texts for a shell; empty where nothing is known."""

    again: str
    notes: tuple[str, ...]
    """What they do not bring back: code that was not committed, a launcher, masked values."""
    resume: str
    resume_note: str


def commands_of(material: Material) -> Commands:
    """Put the commands together.

    ``command`` in ``run.json`` is quoted for a shell already; folder, commit and checkpoint are quoted here.
    """
    facts, git = material.facts, material.fact("git")
    command, folder = _line(facts.get("command")), _line(facts.get("working_folder"))
    commit = _line(git.get("commit"))
    lines, notes = [], []
    if folder:
        lines.append(f"cd {shlex.quote(folder)}")
    if commit:
        inside = _line(git.get("folder"))
        of = f" -C {shlex.quote(inside)}" if inside and inside != folder else ""
        lines.append(f"git{of} checkout {shlex.quote(commit)}")
        if git.get("dirty") is True:
            notes.append(
                "The code was not committed as it ran: tracked files differed from this commit, and what differed is "
                "not recorded."
            )
        elif git.get("dirty") is None:
            notes.append("Whether the code differed from this commit is not known: git took too long.")
    else:
        notes.append("Of which git commit the code was is not known: it was in no repository, or git is not there.")
    if not command:
        return Commands("", ("Its command is not recorded.",), "", "")
    lines.append(command)
    notes += _notes(material, command)
    resume, resume_note = _resume(material, command, folder)
    return Commands("\n".join(lines), tuple(notes), resume, resume_note)


def _line(value: object) -> str:
    """Take a text of ``run.json`` into a command: nothing else, and not over several lines unless quoted so."""
    return value if isinstance(value, str) else ""


def _notes(material: Material, command: str) -> list[str]:
    notes = []
    if _MASK in command:
        notes.append(f"Secrets are not recorded: put your own in the place of {_MASK}.")
    if "ipykernel" in command or "colab_kernel" in command:
        notes.append("It ran in a notebook: this command starts the notebook's kernel, and not the cells.")
    if "multiprocessing" in command and "spawn_main" in command:
        notes.append("It ran in a process that another Python program had started: run that program.")
    devices = material.fact("devices")
    processes = number(devices.get("world_size"))
    launched = any(entry.get("launch") for entry in material.run.attempts)
    if processes is not None and processes > 1:
        by = "by a launcher (torchrun, accelerate launch)" if launched else "by a launcher that is not known"
        notes.append(
            f"It ran in {processes:.0f} processes, started {by}: this is the command of the first process. Start it "
            f"as torchrun --nproc_per_node N (or accelerate launch) does; how it was spread over machines is not known."
        )
    if len(material.run.attempts) > 1:
        notes.append("Of several attempts this is the command of the latest one that trained.")
        if material.facts != material.run.facts:
            notes.append("A later one did not train, and had other arguments or another command: run.json has them.")
    return notes


def _resume(material: Material, command: str, folder: str) -> tuple[str, str]:
    """Give the command that goes on from the last sound checkpoint, and what is to be said of it."""
    last, sound = material.checkpoint, material.sound_checkpoint
    if last is None or sound is None or material.ending.status == "finished":
        return "", ""
    step, path = sound
    note = f"It was saved at step {step:,}; whether it is still there is not looked up."
    if sound != last:
        note = (
            f"Of step {step:,}, since the last one, of step {last[0]:,}, came after the fault; whether it is still "
            "there is not looked up. A resume restores the learning rate and its schedule, too."
        )
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    parsed = any(word == "--output_dir" or word.startswith("--output_dir=") for word in words)
    if parsed and not any(word.startswith(_RESUME) for word in words):
        start = f"cd {shlex.quote(folder)}\n" if folder and not PurePosixPath(path).is_absolute() else ""
        return f"{start}{command} {_RESUME} {shlex.quote(path)}", note
    return f"trainer.train(resume_from_checkpoint={path!r})", f"{note} In Python, in the place of trainer.train():"
