"""The mirror's process: ``main`` is started by ``loggers/apart.py``, with pipes to the training's process.

On stdin it hears first what it is to do, a :class:`~hf_monitor.loggers.mirror.spec.MirrorSpec` in one line; what a
process is started with everybody sees. Then ``{"finish": true, "exit_code": ...}`` (the training ends in order) and
``{"drain": 1}``; the end of stdin, or the death of the parent, without a word is the training's death. On stdout it
says what becomes of W&B, one JSON object a line. It ends by itself, in a bounded time after the training's end, and
never before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import psutil

from hf_monitor.loggers.mirror.guard import PATIENCE_S, Guard
from hf_monitor.loggers.mirror.host import HelperGone, Host
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.loggers.mirror.wandb_open import prepare
from hf_monitor.run.rows import decode_line
from hf_monitor.run.secrets import SecretMask

__all__ = ["main"]

_POLL_S = 0.25
_IDLE_S = 120.0  # after a training's end without news: then the run is shown as finished
_REOPENINGS = 3  # after wandb's helper died
_TEXTS = ("WANDB_NAME", "WANDB_NOTES", "WANDB_TAGS", "WANDB_RUN_GROUP", "WANDB_JOB_TYPE")


def main(options: Mapping[str, Any]) -> None:
    """Mirror a run folder until the training has ended; it does not come back.

    Parameters
    ----------
    options : mapping
        ``offline``, ``patience_s``, ``idle_s``.
    """
    given = sys.stdin.buffer.readline()
    if not given.endswith(b"\n"):  # the training has died at once
        os._exit(1)
    spec = MirrorSpec.from_dict(decode_line(given))
    wire = _Wire()
    mask = SecretMask.of_process()
    for name in _TEXTS:  # wandb reads them by itself
        if name in os.environ:
            os.environ[name] = mask.text(os.environ[name])
    life = _LifeLine(spec.parent_pid)
    prepare(spec)
    mirror = _Mirror(spec, wire, life, options)
    for name in ("SIGTERM", "SIGHUP"):  # of a whole job: the training has still something to say
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: mirror.asked_to_end())
    try:
        code = mirror.serve()
    except Exception as error:  # noqa: BLE001 - the policy: nobody waits for us; it is said, and noted
        mirror.give_up(f"{type(error).__name__}: {error}"[:300])
        code = 1
    os._exit(code)  # not through wandb's own hooks: they wait for a server without an end


class _Mirror:
    def __init__(self, spec: MirrorSpec, wire: _Wire, life: _LifeLine, options: Mapping[str, Any]) -> None:
        self._wire, self._life = wire, life
        self._host = Host(spec, wire.say, offline=bool(options.get("offline")))
        patience = float(options.get("patience_s") or PATIENCE_S)
        self._guard = Guard(self._host, wire.say, self.give_up, patience)
        self._idle_s = float(options.get("idle_s") or _IDLE_S)
        self._over = False
        self._quiet_since = time.monotonic()

    def serve(self) -> int:
        threading.Thread(target=self._watch, name="hf_monitor W&B end", daemon=True).start()
        for left in range(_REOPENINGS, -1, -1):
            try:
                return self._serve()
            except HelperGone:
                if not left:
                    raise RuntimeError("wandb's own process ends again and again") from None
                self._wire.say(wandb="note", text="wandb's own process has ended; it is started again")
                self._host.forget()
        return 1

    def _watch(self) -> None:
        """Begin to look at the clock when the training has ended, whatever the main thread is waiting for."""
        self._life.over.wait()
        self._over = True
        self._guard.begin()

    def _serve(self) -> int:
        host, life = self._host, self._life
        if host.open().run is None:
            self._wire.say(wandb="done", state="none")
            return 0
        while True:
            over, drains = life.look(), life.drains()  # before the poll: what was written before is told then
            if host.opened is None and host.has_news(last=over):
                host.open()
            if host.poll():
                self._quiet_since = time.monotonic()
            for number in drains:
                self._wire.say(wandb="drained", number=number)
            if over:
                break
            if host.opened and host.course.has_ended and time.monotonic() - self._quiet_since > self._idle_s:
                host.close(host.course.exit_code(orderly=True))
            life.wait(_POLL_S)
        code = life.exit_code
        why = host.close(host.course.exit_code(orderly=life.orderly) if code is None else code)
        state = "unsent" if why else "finished"
        self._wire.say(wandb="done", state=state, why=why, afterwards=host.advice(), rows=host.rows)
        return 1 if why else 0

    def asked_to_end(self) -> None:
        if self._over:
            self.give_up("the process was told to end")

    def give_up(self, why: str) -> None:
        """End at once; what is not sent is on the disk."""
        self._host.fail(why)
        self._wire.say(wandb="done", state="unsent", why=why, afterwards=self._host.advice())
        with suppress(psutil.Error):
            if self._host.core is not None:
                self._host.core.kill()
        os._exit(1)


class _Wire:
    """stdout, of which nobody but us knows: what wandb and its helper print goes nowhere."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        self._lock = threading.Lock()

    def say(self, **message: Any) -> None:
        line = json.dumps(message, default=str).encode() + b"\n"
        with self._lock, suppress(OSError):  # whoever listened may be gone
            os.write(self._fd, line)


class _LifeLine:
    """What stdin and the parent tell: whether the training's process lives, and what it wants."""

    def __init__(self, parent: int) -> None:
        self.orderly = False
        self.exit_code: int | None = None
        self.over = threading.Event()
        self._parent = parent or os.getppid()
        self._asked: list[int] = []
        self._awake = threading.Event()
        threading.Thread(target=self._listen, name="hf_monitor W&B life line", daemon=True).start()
        threading.Thread(target=self._look_at_parent, name="hf_monitor W&B parent", daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            with suppress(ValueError):
                told = json.loads(line)
                if told.get("finish"):
                    self.orderly, self.exit_code = True, told.get("exit_code")
                    break
                self._asked.append(told["drain"])
                self._awake.set()
        self._end()

    def _look_at_parent(self) -> None:
        # A forked child of the training holds the other end of the pipe, too: its death alone may not close it.
        while not self.over.is_set():
            if os.name == "posix" and os.getppid() != self._parent:
                self._end()
            time.sleep(_POLL_S)

    def _end(self) -> None:
        self.over.set()
        self._awake.set()

    def look(self) -> bool:
        """Say whether the training has ended."""
        return self.over.is_set()

    def drains(self) -> list[int]:
        """Take what is asked for: to say when all is told."""
        asked, self._asked = self._asked, []
        return asked

    def wait(self, seconds: float) -> None:
        """Wait, or until something is heard."""
        self._awake.wait(seconds)
        if not self.over.is_set():
            self._awake.clear()
