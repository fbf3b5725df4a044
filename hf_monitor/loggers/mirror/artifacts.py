"""Checkpoints as artifacts of W&B, without a second copy of the weights on this disk."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_monitor.loggers.mirror.media import said

__all__ = ["Artifacts"]

_LONGEST_NAME = 128  # characters; wandb's own limit


class Artifacts:
    """Sends checkpoints, and deletes what was staged for it.

    Parameters
    ----------
    run : wandb.Run
    note : callable
        Is told a trouble and why.
    """

    def __init__(self, run: Any, note: Callable[[str, str], None]) -> None:
        self._run = run
        self._note = note
        self._sent: list[tuple[Any, Path | None]] = []

    def send(self, order: Mapping[str, Any], scores: Mapping[str, Any]) -> None:
        """Begin to send a checkpoint.

        Files that were staged are read where they are ("immutable", "skip_cache"): no copy is made, neither in wandb's
        staging folder nor in its cache. So they have to stay as they are until they are sent; offline, until ``wandb
        sync``. Others may be deleted any moment (``save_total_limit``): wandb copies them now ("mutable").
        """
        import wandb

        folder = Path(order["folder"])
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if not files:
            self._note("a checkpoint cannot be sent", f"there are no files in {str(folder)!r}")
            return
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", str(order["name"]))[:_LONGEST_NAME]
        aliases = [re.sub(r"[/:\s]", "-", str(alias)) for alias in order.get("aliases", ())]
        metadata = {**scores, "global_step": order.get("step")}
        artifact = wandb.Artifact(name, type="model", metadata=metadata)
        policy: Any = "immutable" if order.get("staged") else "mutable"
        for path in files:
            inside = path.relative_to(folder).as_posix()
            artifact.add_file(str(path), name=inside, policy=policy, skip_cache=True)
        self._run.log_artifact(artifact, aliases=aliases)
        if not self._run.offline:
            self._sent.append((artifact, folder if order.get("staged") else None))

    def pending(self) -> int:
        """Tell how many are still being sent."""
        return len(self._sent)

    def settle(self, seconds: float) -> bool:
        """Wait for them, one after the other; False where time ran out."""
        end = time.monotonic() + seconds
        while self._sent:
            artifact, staged = self._sent[0]
            try:
                artifact.wait(timeout=max(end - time.monotonic(), 0.05))
            except Exception as error:  # noqa: BLE001 - the policy: whatever wandb raises; the files stay
                if type(error).__name__ == "WaitTimeoutError" or isinstance(error, TimeoutError):
                    return False
                self._note("a checkpoint was not sent", said(error))
            else:
                if staged is not None:
                    shutil.rmtree(staged, ignore_errors=True)
            del self._sent[0]
        return True
