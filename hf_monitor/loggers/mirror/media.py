"""What wandb shows beside numbers, made of an order: pictures, pages, tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_monitor.loggers.mirror.translate import log_name

__all__ = ["free_name", "ordered_page", "ordered_pictures", "said", "table"]

_Note = Callable[[str, str], None]


def ordered_pictures(order: Mapping[str, Any], note: _Note) -> dict[str, Any]:
    """Make the pictures of an order; one that is missing or broken is a note, and the others are shown."""
    import wandb

    shown = {}
    for name, path in order["pictures"].items():
        if not Path(path).is_file():
            note("a picture cannot be sent", f"there is no file {path!r}")
            continue
        try:
            shown[free_name(name)] = wandb.Image(path)
        except Exception as error:  # noqa: BLE001 - the policy: whatever wandb and Pillow raise
            note("a picture cannot be sent", f"{path}: {said(error)}")
    return shown


def ordered_page(order: Mapping[str, Any], note: _Note) -> dict[str, Any]:
    """Make a panel of an HTML page, as it is."""
    import wandb

    path = Path(order["path"])
    if not path.is_file():
        note("a page cannot be sent", f"there is no file {str(path)!r}")
        return {}
    # As a text: of paths wandb only knows those that end with .html.
    page = wandb.Html(path.read_text(encoding="utf-8"), inject=False, data_is_not_path=True)
    return {free_name(order["name"]): page}


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Make a table whose columns may hold anything."""
    import wandb

    return wandb.Table(columns=list(columns), data=[list(row) for row in rows], allow_mixed_types=True)


def said(error: BaseException) -> str:
    """Give type and message of an error, shortly."""
    return f"{type(error).__name__}: {error}".strip().rstrip(":")[:500]


def free_name(name: Any) -> str:
    """Give a name that is none of W&B's own."""
    return log_name("log", str(name), rewrite=False)
