"""What the run was made with, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hf_monitor.diagnosis.rows import entries, number
from hf_monitor.report import words
from hf_monitor.report.commands import Commands, commands_of
from hf_monitor.report.material import Material
from hf_monitor.report.mirrored import Mirrored, mirrored
from hf_monitor.report.plots import Table
from hf_monitor.run.process import IDENTITY

__all__ = ["Environment", "Group", "environment"]

TELLING = (
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "warmup_ratio",
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "optim",
    "weight_decay",
    "max_grad_norm",
    "label_smoothing_factor",
    "bf16",
    "fp16",
    "activation_checkpointing",
    "gradient_checkpointing",
    "train_sampling_strategy",
    "group_by_length",
    "dataloader_num_workers",
    "eval_strategy",
    "eval_steps",
    "save_strategy",
    "save_steps",
    "load_best_model_at_end",
    "metric_for_best_model",
    "predict_with_generate",
    "generation_max_length",
    "generation_num_beams",
    "seed",
    "data_seed",
)
"""Arguments that runs differ by most often: they come first."""
_MOST_TEXT = 2000
_MOST_ROWS = 400
_ELSEWHERE = frozenset(
    {"arguments", "attempts", "command", "data", "devices", "format", "git", "model", "packages", "text_metrics"}
)
_IDENTITY = frozenset({"attempt", "time", *IDENTITY})


@dataclass(frozen=True)
class Group:
    """A table with its title, folded away."""

    title: str
    table: Table


@dataclass(frozen=True)
class Environment:
    """What the template shows."""

    commands: Commands
    mirrored: tuple[Mirrored, ...]
    telling: tuple[tuple[str, str], ...]
    groups: tuple[Group, ...]


def environment(material: Material) -> Environment | None:
    """Give what ``run.json`` holds; None where it cannot be read. Secrets were masked when it was written."""
    facts = material.facts
    if not facts:
        material.gaps.append("run.json is not there or cannot be read: command, arguments and machine are not known.")
        return None
    arguments = material.config
    first = [(name, _cut(words.shown(arguments[name]))) for name in TELLING if arguments.get(name) is not None]
    groups = [
        Group("All training arguments", _table(arguments.items())),
        Group("Packages", _table([("python", facts.get("python")), *material.fact("packages").items()])),
        Group("Machine", _table(_machine(material))),
        Group("Code", _table(material.fact("git").items())),
        Group("Model", _table(_flat(material.fact("model")))),
        Group("Data", _table(_flat(material.fact("data")))),
        Group("How texts were scored", _table(_flat(material.fact("text_metrics")))),
        Group("Attempts", _attempts(material.run.attempts)),
        Group("More", _table(_flat({name: value for name, value in facts.items() if name not in _ELSEWHERE}))),
    ]
    return Environment(
        commands=commands_of(material),
        mirrored=tuple(mirrored(material.run.path)),
        telling=tuple(first),
        groups=tuple(group for group in groups if group.table.rows),
    )


def _machine(material: Material) -> Iterator[tuple[str, object]]:
    facts = material.facts
    hosts = dict.fromkeys(str(entry["host"]) for entry in material.run.attempts if entry.get("host"))
    memory = number(facts.get("memory_total_mib"))
    yield "platform", facts.get("platform")
    yield "host", ", ".join(hosts) or None
    yield "processors", facts.get("cpu_count")
    yield "memory", None if memory is None else f"{memory / 1024:,.1f} GiB"
    devices = dict(material.fact("devices"))
    for index, gpu in enumerate(entries(devices.pop("gpus", None))):
        yield f"GPU {index}", gpu
    yield from _flat(devices)


def _flat(facts: dict[str, Any], before: str = "") -> Iterator[tuple[str, object]]:
    for name, value in facts.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{name} › ")
        else:
            yield f"{before}{name}", value


def _table(items: Iterable[tuple[object, object]]) -> Table:
    rows: list[tuple[object, ...]] = []
    for name, value in items:
        if value is None or value == {} or value == []:
            continue
        rows.append((_cut(str(name)), _cut(words.shown(value))))
    left = len(rows) - _MOST_ROWS
    note = f"{left:,} more stand in run.json." if left > 0 else ""
    return Table(["name", "value"], rows[:_MOST_ROWS], note)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}… ({len(text) - _MOST_TEXT:,} more characters)"


def _attempts(attempts: list[dict[str, Any]]) -> Table:
    rows = []
    for entry in attempts[:_MOST_ROWS]:
        time = number(entry.get("time"))
        other = {name: value for name, value in entry.items() if name not in _IDENTITY}
        rows.append(
            (
                entry.get("attempt"),
                words.moment(time),
                _cut(str(entry.get("host") or "")),
                _cut(words.shown(other)) if other else "",
            )
        )
    return Table(["attempt", "began", "host", "had otherwise"], rows)
