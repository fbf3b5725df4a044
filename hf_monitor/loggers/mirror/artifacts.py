"""Checkpoints as artifacts of W&B, without a second copy of the weights on this disk.

In a thread of their own: to read a large checkpoint for its checksums takes long, and where the server is gone wandb
0.31 looks for it for 19 s each time. Meanwhile rows go on. The thread waits without a limit: a wait of wandb's that
runs out of time cancels the upload.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hf_monitor.loggers.mirror.media import said

__all__ = ["Artifacts"]

_LONGEST_NAME = 128  # characters; wandb's own limit
_PAUSES_S = (30.0, 120.0)  # before the second and the third try


class Artifacts:
    """Sends checkpoints one after the other, and deletes what was staged for it.

    Parameters
    ----------
    run : wandb.Run
    note : callable
        Is told a trouble and why.

    Attributes
    ----------
    failed : str
        Which one could not be sent, and why: the first.
    """

    def __init__(self, run: Any, note: Callable[[str, str], None]) -> None:
        self.failed = ""
        self._run = run
        self._note = note
        self._given: object = None  # the order that wandb was given
        self._dropped = threading.Event()
        self._waiting: deque[tuple[Mapping[str, Any], dict[str, Any], Callable[[], None]]] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def send(self, order: Mapping[str, Any], scores: Mapping[str, Any], sent: Callable[[], None]) -> None:
        """Begin to send a checkpoint, with the scores that it has; `sent` is called when it is there.

        Files that were staged are read where they are ("immutable", "skip_cache"): no copy is made, neither in wandb's
        staging folder nor in its cache. So they have to stay as they are until they are sent; offline, until ``wandb
        sync``. Others may be deleted any moment (``save_total_limit``): wandb copies them now ("mutable").
        """
        with self._changed:
            self._waiting.append((order, {**scores, "global_step": order.get("step")}, sent))
            if self._thread is None:
                self._thread = threading.Thread(target=self._send_all, name="hf_monitor-artifacts", daemon=True)
                self._thread.start()

    def pending(self) -> int:
        """Tell how many are still being sent."""
        return len(self._waiting)

    def hand_over(self, seconds: float) -> bool:
        """Wait until wandb has been given all of them; False where time ran out.

        Where someone else finishes the run, what was not given to it before is lost there.
        """
        with self._changed:
            return self._changed.wait_for(lambda: all(one[0] is self._given for one in self._waiting), seconds)

    def drop(self) -> None:
        """Try nothing again: wandb's helper is gone, and another opening of the run sends what is left."""
        self._dropped.set()

    def settle(self, seconds: float) -> bool:
        """Wait until none is; False where time ran out."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def _send_all(self) -> None:
        while True:
            with self._changed:
                if not self._waiting or self._dropped.is_set():
                    self._thread = None
                    return
                order, metadata, sent = self._waiting[0]
            for pause in (*_PAUSES_S, None):
                try:
                    self._send(order, metadata, sent)
                    break
                except (FileNotFoundError, KeyError) as error:  # nothing is there, and will not be
                    self._note("a checkpoint was not sent", f"{order.get('folder')}: {said(error)}")
                    sent()
                    break
                except Exception as error:  # noqa: BLE001 - the policy: whatever wandb raises; the files stay
                    why = f"{order.get('folder')}: {said(error)}"
                    if pause is None or type(error).__name__ == "UsageError":  # the run is over
                        self.failed = self.failed or f"a checkpoint was not sent: {why}"
                        self._note("a checkpoint was not sent", why)
                        break
                if self._dropped.wait(pause):
                    break
            with self._changed:
                self._waiting.popleft()
                self._changed.notify_all()

    def _send(self, order: Mapping[str, Any], metadata: dict[str, Any], sent: Callable[[], None]) -> None:
        import wandb

        folder = Path(order["folder"])
        left_out = order.get("left_out", ())
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in left_out)
        if not files:
            raise FileNotFoundError("there are no files in it")
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", str(order["name"]))[:_LONGEST_NAME]
        aliases = [re.sub(r"[/:\s]", "-", str(alias)) for alias in order.get("aliases", ())]
        artifact = wandb.Artifact(name, type="model", metadata=metadata)
        policy: Any = "immutable" if order.get("staged") else "mutable"
        for path in files:
            inside = path.relative_to(folder).as_posix()
            artifact.add_file(str(path), name=inside, policy=policy, skip_cache=True)
        self._run.log_artifact(artifact, aliases=aliases)
        with self._changed:
            self._given = order
            self._changed.notify_all()
        if self._run.offline:
            sent()
            return
        artifact.wait()
        sent()
        if order.get("staged"):
            shutil.rmtree(folder, ignore_errors=True)
