"""Orders: what W&B is to show beside the rows. One JSON object a line in ``wandb.jsonl`` of the run folder.

The training writes them (through its :class:`~hf_monitor.run.writer.RunWriter`, so that they are masked and a full disk
does not matter) and waits for nothing; paths are absolute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["alert", "checkpoint", "config", "html", "images", "summary", "table"]


def images(pictures: Mapping[str, Path], step: int) -> dict[str, Any]:
    """Show pictures, by name, together."""
    return {"do": "images", "pictures": {name: str(path) for name, path in pictures.items()}, "step": step}


def html(name: str, path: Path, step: int) -> dict[str, Any]:
    """Show a page as a panel."""
    return {"do": "html", "name": name, "path": str(path), "step": step}


def table(name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> dict[str, Any]:
    """Show a table."""
    return {"do": "table", "name": name, "columns": list(columns), "rows": [list(row) for row in rows], "step": step}


def checkpoint(
    folder: Path, name: str, aliases: Sequence[str], step: int, *, staged: bool, left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """Keep a checkpoint as an artifact; a `staged` folder is of hard links, and ours to delete when it is sent."""
    order = {"do": "checkpoint", "folder": str(folder), "name": name, "aliases": list(aliases)}
    return {**order, "step": step, "staged": staged, **({"left_out": list(left_out)} if left_out else {})}


def summary(values: Mapping[str, Any]) -> dict[str, Any]:
    """Set values of the run's summary."""
    return {"do": "summary", "values": dict(values)}


def config(values: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the run's config."""
    return {"do": "config", "values": dict(values)}


def alert(title: str, text: str, level: str) -> dict[str, Any]:
    """Send an alert; `level` is ``"INFO"``, ``"WARN"`` or ``"ERROR"``."""
    return {"do": "alert", "title": title, "text": text, "level": level}
