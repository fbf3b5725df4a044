"""What of the folder ``wandb`` of a run goes into its backup: what ``wandb sync`` needs and W&B may not have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from hf_monitor.loggers.mirror.identity import mirrored_runs

__all__ = ["parts_to_sync"]

_RUN = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)")


def parts_to_sync(run_dir: Path) -> Iterator[tuple[Path, str]]:
    """Go through ``<run_dir>/wandb``: files and folders, each with why it is left out, or ``""`` where it is packed.

    Packed are the ``.wandb`` file and ``files/`` of each offline run, and of an online one of which ``wandb.json`` does
    not say that all was sent: of a killed training, say. Checkpoints on their way are hard links to those beside the
    run folder (``--checkpoints`` packs them), and no run needs caches and wandb's own logs.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    sent = {one.id for one in mirrored_runs(run_dir) if one.mode == "online" and one.state == "finished"}
    for path in sorted((run_dir / "wandb").iterdir()):
        found = _RUN.fullmatch(path.name)
        if path.is_symlink():
            yield path, "a link of wandb's own"
        elif path.name == "told.jsonl" and path.is_file():  # what W&B has beside the rows: it is not sent twice
            yield path, ""
        elif path.name == "staging":
            yield path, "hard links to checkpoints on their way to W&B; --checkpoints packs checkpoints"
        elif found is None or not path.is_dir():
            yield path, "wandb's own: caches, logs"
        elif found[1] in sent and not path.name.startswith("offline-"):
            yield path, "all of it is at W&B"
        else:
            yield from _of_run(path)


def _of_run(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()):
        if path.name == "files" and path.is_dir() and not path.is_symlink():
            for inner in sorted(path.iterdir()):
                code = inner.name == "code" or inner.suffix == ".patch"
                yield inner, "code as it stood, in which no secret was masked" if code else ""
        elif path.suffix in (".wandb", ".synced"):
            yield path, ""
        else:
            yield path, "wandb's own: caches, logs"
