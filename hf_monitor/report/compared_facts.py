"""The facts of a run, flattened for a comparison, without what says nothing about the training."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from hf_monitor.report.command_words import command_facts
from hf_monitor.run.process import IDENTITY
from hf_monitor.run.reader import Run

__all__ = ["NOISE", "Absent", "absent_value", "area_of", "canonical", "flat_facts", "fold_of"]

#: What differs between any two runs, or says nothing about them, and why.
NOISE: dict[str, str] = {
    "run_id": "the name of this run, made anew for each",
    "created": "a time",
    "format": "of the run folder; newer ones are refused",
    "attempts": "times and processes; the number of attempts stands in the table of the runs",
    **dict.fromkeys(IDENTITY, "names a process and its machine"),
    "working_folder": "where the program was started; paths in the command show what follows from it",
    "git.branch": "a name; the commit says what the code was",
    "git.folder": "where the code lay",
    "arguments.output_dir": "the place of the results",
    "arguments.run_name": "a name",
    "arguments.logging_dir": "a place, by default with the time in it",
    "arguments.hub_token": "a secret, masked",
    "arguments.push_to_hub_token": "a secret, masked",
    "arguments.hub_model_id": "a name of the results",
    "arguments.push_to_hub_model_id": "a name of the results",
    "arguments.local_rank": "names a process",
    "arguments._n_gpu": "devices.gpus says it",
    "model.config.transformers_version": "packages.transformers says it",
    "model.config._name_or_path": "model.name_or_path says it",
    "model.config.architectures": "model.class says it; it is only there once the model was saved or loaded",
    "model.config.dtype": "model.dtype says it; it is only there once the model was saved or loaded",
    "model.config.torch_dtype": "as model.config.dtype",
    "loss_scaling.reason": "words; the verdict says it",
    "eval_loss_scaling.reason": "words; the verdict says it",
}
_IN_TEXT_METRICS = "hf_monitor"  # packages.hf-monitor says it
_FOLD = re.compile(r"fold[_\- ]?(\d+)$", re.IGNORECASE)
_AREAS = {
    "configuration": ("arguments", "model", "command", "optimizer", "loss_scaling", "train_batch_size_total"),
    "environment": ("git", "packages", "python", "platform", "cpu_count", "memory_total_mib"),
    "data": ("data", "fold"),
    "devices": ("devices", "precision", "mixed_precision"),
    "scores": ("text_metrics",),
}


class Absent(Enum):
    """What stands in the place of a value that is not there."""

    NOT_RECORDED = "not recorded"
    """The run does not say: another version wrote it, or another transformers."""
    NONE = "none"
    """The run says what there was, and this was not: a package, an option that was not given."""

    def __str__(self) -> str:
        return str(self.value)


def area_of(name: str) -> str:
    """Give the area of a fact: configuration, environment, data, devices, or scores (how they are computed)."""
    first = name.partition(".")[0]
    return next((area for area, names in _AREAS.items() if first in names), "configuration")


def absent_value(name: str, facts: Mapping[str, Any]) -> Absent:
    """Say what the absence of a name in flattened facts means."""
    first = name.partition(".")[0]
    if first in ("arguments", "data"):  # another version of transformers; a data set that no callback saw
        return Absent.NOT_RECORDED
    if first == "text_metrics":  # one evaluation of texts says nothing about another one
        first = name.rpartition(".")[0] if name.count(".") < 2 else ".".join(name.split(".")[:2])
    there = any(one == first or one.startswith(f"{first}.") for one in facts)
    return Absent.NONE if there and name != first else Absent.NOT_RECORDED


def canonical(value: Any) -> str:
    """Write a value so that equal ones are equal texts: 3 is 3.0, and True is neither 1 nor "True"."""
    if isinstance(value, bool) or value is None or isinstance(value, Absent):
        return repr(value)
    if isinstance(value, int | float):
        return repr(float(value)) if abs(value) < 2**53 else repr(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(canonical, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key!r}:{canonical(value[key])}' for key in sorted(value, key=str))}}}"
    return repr(value)


def fold_of(run: Run) -> int | None:
    """Give the number of a run's fold: by its row of kind ``fold``, else by its folder's name (``fold_3``)."""
    rows = run.rows.of("fold")
    if rows and isinstance(rows[-1].get("fold"), int):
        return int(rows[-1]["fold"])
    named = _FOLD.match((run.path.parent if run.path.name == "monitor" else run.path).name)
    return int(named[1]) if named else None


def flat_facts(run: Run) -> dict[str, Any]:
    """Give the facts of ``run.json`` as one level of dotted names, without `NOISE`.

    Paths in or under the run's own output folder begin with ``<output_dir>``, in the command, too. Of the command stay
    the script's name and options that the training arguments do not have.
    """
    facts = run.training_facts
    places = _places(run)
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        if key == "command":
            flat |= _command(str(value), facts.get("arguments"), places)
        elif key == "git" and value is None:
            flat["git.commit"] = Absent.NONE
        elif key == "data" and isinstance(value, Mapping):
            flat |= _data("data", value)
        elif key == "devices" and isinstance(value, Mapping):
            flat |= _devices(value)
        elif key == "text_metrics" and isinstance(value, Mapping):
            flat |= {name: found for name, found in _flat(key, value) if not name.endswith(f".{_IN_TEXT_METRICS}")}
        elif key not in NOISE:
            flat |= {name: _placed(found, places) for name, found in _flat(key, value) if name not in NOISE}
    if "arguments.seed" in flat:
        flat.pop("seed", None)
    resumed = flat.get("arguments.resume_from_checkpoint")
    if resumed is True or str(resumed).startswith("<output_dir>"):  # the same training, gone on with
        flat["arguments.resume_from_checkpoint"] = None
    if (fold := fold_of(run)) is not None:
        flat["fold"] = fold
    return flat


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value


def _places(run: Run) -> list[str]:
    """Give the paths that stand for the run's own place, the longest first."""
    folder = run.path.parent if run.path.name == "monitor" else run.path
    found = {str(folder.absolute()), str(run.path.absolute())}  # how the reader wrote it is no part of the command
    if output := str(run.config.get("output_dir") or ""):
        found |= {output, str(Path(str(run.training_facts.get("working_folder") or "")) / output)}
    return sorted({os.path.normpath(one) for one in found if one.strip("./\\ ")}, key=lambda one: (-len(one), one))


def _placed(value: Any, places: list[str]) -> Any:
    """Put ``<output_dir>`` in the place of a path's beginning."""
    if not isinstance(value, str):
        return value
    path = os.path.normpath(value) if value else value
    for place in places:
        if path == place or path.startswith(place + os.sep):
            return "<output_dir>" + path[len(place) :]
    return value


def _data(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Give data sets as values of their own: each is compared as one thing."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and "class" not in inner and inner:
            found |= _data(f"{name}.{key}", inner)
        else:
            found[f"{name}.{key}"] = inner
    return found


def _devices(value: Mapping[str, Any]) -> dict[str, Any]:
    gpus = value.get("gpus")
    found = {f"devices.{key}": inner for key, inner in value.items() if key != "gpus"}
    if isinstance(gpus, list):
        found["devices.gpus"] = [
            f"{one.get('name')}, {one.get('memory_total_mib')} MiB" for one in gpus if isinstance(one, Mapping)
        ]
    return found


def _command(command: str, arguments: Any, places: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in command_facts(command, arguments if isinstance(arguments, Mapping) else {}):
        if isinstance(value, list) and name.count(".") == 1:  # an option's words, or those that are no options
            words = [_placed(word, places) for word in value]
            found[name] = words[0] if len(words) == 1 else words or True
        else:
            found |= {key: _placed(inner, places) for key, inner in _flat(name, value)}
    return found
