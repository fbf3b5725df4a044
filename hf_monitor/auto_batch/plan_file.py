"""What a plan leaves in the run folder: ``plan.json``, with what it holds for, and its trials in ``trials.jsonl``.

A training that goes on in the same folder takes the plan over without measuring, where nothing has changed that it
depends on. ``plan.json`` is derived: deleting it costs a new probe.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from hf_monitor.auto_batch.plan_device import DeviceFacts
from hf_monitor.auto_batch.plan_result import TrainingPlan
from hf_monitor.auto_batch.ranks import world
from hf_monitor.errors import RunFolderError
from hf_monitor.run.files import replace_file
from hf_monitor.run.rows import encode_row
from hf_monitor.run.run_json import number_of
from hf_monitor.run.writer import RunWriter

__all__ = ["PLAN_FILE", "TrialsFile", "fingerprint", "read_plan", "what_changed", "write_plan"]

log = logging.getLogger("hf_monitor")

PLAN_FILE = "plan.json"
_FORMAT = 1
_MOST_NAMED = 6


def fingerprint(model: Any, facts: DeviceFacts, **settings: Any) -> dict[str, Any]:
    """Collect what a plan depends on; of other values it would be another plan.

    Free memory is not in it, which is another each time: a plan holds for the card.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    facts : DeviceFacts
    **settings
        What was asked for: plain values.

    Returns
    -------
    dict
        Name -> plain value, the same after a round through JSON.
    """
    import torch
    import transformers

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    config = base.config.to_dict() if hasattr(base.config, "to_dict") else {}
    # Where it was loaded from and by which transformers say nothing of its size.
    config = {k: v for k, v in config.items() if k not in {"_name_or_path", "transformers_version", "use_cache"}}
    text = json.dumps(config, sort_keys=True, default=str)
    trainable = [p for p in model.parameters() if p.requires_grad]
    found = {
        "model": type(model).__name__ if base is model else f"{type(model).__name__}({type(base).__name__})",
        "config": hashlib.sha256(text.encode()).hexdigest()[:16],
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable_parameters": sum(p.numel() for p in trainable),
        "dtype": ", ".join(sorted({str(p.dtype).removeprefix("torch.") for p in model.parameters()})),
        "attention": getattr(base.config, "_attn_implementation", None),
        "device": facts.name,
        "device_type": facts.device.split(":")[0],
        "device_memory_mib": None if facts.memory_mib is None else round(facts.memory_mib),
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        **settings,
    }
    plain: dict[str, Any] = orjson.loads(orjson.dumps(found, default=str))
    return plain


def what_changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the items in which two fingerprints differ, with both values; empty where they are the same."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    said = [f"{name} ({_short(before.get(name))} -> {_short(now.get(name))})" for name in names[:_MOST_NAMED]]
    more = len(names) - _MOST_NAMED
    return ", ".join(said) + (f" and {more} more" if more > 0 else "")


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def read_plan(run_dir: str | os.PathLike[str], now: Mapping[str, Any]) -> tuple[TrainingPlan | None, str | None]:
    """Read the plan of an earlier session, if it still holds.

    Parameters
    ----------
    run_dir : path-like
    now : mapping
        As :func:`fingerprint` gives it.

    Returns
    -------
    plan : TrainingPlan or None
    why_not : str or None
        Where there is a plan that cannot be used: what has changed, or that it is broken.
    """
    path = Path(run_dir) / PLAN_FILE
    try:
        values = orjson.loads(path.read_bytes())
        written = values["format"]
        if written != _FORMAT:
            return None, f"{PLAN_FILE} has format {written!r}, not {_FORMAT}: measured anew"
        plan = TrainingPlan.from_dict(values["plan"])
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, f"{PLAN_FILE} cannot be read ({error.strerror or error}): measured anew"
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return None, f"{PLAN_FILE} is broken ({type(error).__name__}): measured anew"
    changed = what_changed(plan.fingerprint, now)
    return (None, f"measured anew, since the earlier plan was for another {changed}") if changed else (plan, None)


def write_plan(run_dir: str | os.PathLike[str], plan: TrainingPlan) -> None:
    """Write ``plan.json``, whole or not at all; only rank 0 does. A disk that fails is logged: the plan is there.

    Parameters
    ----------
    run_dir : path-like
        Made where it is missing.
    plan : TrainingPlan
    """
    if world().rank:
        return
    try:
        Path(run_dir).mkdir(parents=True, exist_ok=True)
        data = orjson.dumps({"format": _FORMAT, "plan": plan.to_dict()}, option=orjson.OPT_INDENT_2)
        replace_file(Path(run_dir) / PLAN_FILE, data)
    except OSError as error:
        log.warning("hf_monitor: %s is not saved in %s: %s", PLAN_FILE, run_dir, error.strerror or error)


class TrialsFile:
    """Appends trials to ``trials.jsonl``, as they come; only rank 0 does, and only where there is a run folder.

    They bear the number of the attempt that is about to begin: planning is no attempt of its own.

    Parameters
    ----------
    run_dir : path-like, optional
    """

    def __init__(self, run_dir: str | os.PathLike[str] | None) -> None:
        self._writer = RunWriter(run_dir) if run_dir is not None and not world().rank else None

    def write(self, rows: Iterable[Mapping[str, Any]], **more: Any) -> None:
        """Append rows.

        Parameters
        ----------
        rows : iterable of mapping
            Numbers and our own words.
        **more
            Goes into each row.

        Raises
        ------
        RunFolderError
            If the folder cannot be written: better now than after the training has begun.
        """
        rows = list(rows)
        if self._writer is None or not rows:
            return
        self._writer.open()
        attempts = self._writer.facts.get("attempts") or []
        head = {"time": time.time(), "attempt": max(map(number_of, attempts), default=0) + 1}
        lines = b"".join(encode_row({**head, **row, **more}) for row in rows)
        self._writer.encoded("trials.jsonl", lines)

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            with contextlib.suppress(RunFolderError):
                self._writer.close()
