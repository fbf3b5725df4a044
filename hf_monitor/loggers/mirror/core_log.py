"""What wandb's helper writes into its own log, ``debug-internal.log``, and says nowhere else."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["skipped", "status_of"]

_SKIPPED = "line too long, skipping"
_STATUS = re.compile(r'"msg":"api: HTTP error","status":(\d{3})|returned error (\d{3})')


def skipped(folder: Path) -> list[str]:
    """Say what was not sent since it is too long for the server: history, summary.

    Parameters
    ----------
    folder : Path
        That of a run: ``wandb/run-<time>-<id>``.
    """
    lines = [line for line in _text(folder).splitlines() if _SKIPPED in line]
    rows = sum("history" in line for line in lines)
    found = [f"{rows:,} rows are too long for W&B, and missing there; metrics.jsonl has them"] if rows else []
    if any("summary" in line for line in lines):
        found.append("the summary is too long for W&B, and is missing there or is an older one")
    return found


def status_of(folder: Path) -> int:
    """Give the last HTTP status that is an error; 0 where there is none."""
    found = [int(one or other) for one, other in _STATUS.findall(_text(folder))]
    return found[-1] if found else 0


def _text(folder: Path) -> str:
    try:
        return (folder / "logs" / "debug-internal.log").read_text("utf-8", "replace")
    except OSError:
        return ""
