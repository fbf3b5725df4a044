"""Mirror: the training's end of the mirror."""

from __future__ import annotations

import json
import os
import select
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

from hf_monitor.loggers.apart import how_it_ended, start_apart
from hf_monitor.loggers.mirror.identity import mirrored_runs, put
from hf_monitor.loggers.mirror.spec import MirrorSpec
from hf_monitor.run.forks import renew_in_children
from hf_monitor.run.rows import encode_row

__all__ = ["LAST_S", "UPLOAD_WAIT_S", "WAIT_S", "Mirror", "ProcessMirror", "ThreadMirror"]

WAIT_S = 6.0
"""How long the end of a training waits for what is still being sent."""
UPLOAD_WAIT_S = 60.0
"""How long in all, where a checkpoint is on its way and moves."""
LAST_S = 2.0
"""How long the end waits for a user's run, after a drain."""
_CHECKSUMS_S = 30.0  # how long the end waits for those of checkpoints that a user's run is given
_RESTARTS = 2
_POLL_S = 0.5
_HAND_OVER_S = 10.0  # for a spec that is longer than what a pipe takes
_PROCESS = "hf_monitor.loggers.mirror.process"


class Mirror(Protocol):
    """What a callback or logger holds. No method raises, and none waits longer than it is told."""

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""

    def start(self) -> None:
        """Begin; what becomes known (url, offline and why) is announced later."""

    def drain(self, seconds: float) -> bool:
        """Wait until all that was written into the folder so far has been told to wandb; False where time ran out."""

    def finish(self, exit_code: int | None = None, seconds: float = WAIT_S) -> None:
        """End it; `exit_code` None means "as the rows say". What cannot be sent in time goes on without us."""


class ProcessMirror:
    """A process of its own has the W&B run.

    Parameters
    ----------
    spec : MirrorSpec
    announce : callable
        Told, as a text, what the user is to know; from another thread.
    **options
        For the process: ``offline``, ``patience_s``, ``idle_s``.

    Attributes
    ----------
    state : str
        ``"finished"`` (all was sent, or is in the offline file), ``"unsent"``, ``"none"`` (there is no W&B run), and
        ``""`` as long as it is not known.
    said : dict
        What the process said when the run was opened: ``mode``, ``url``, ``folder``, ``why``.
    rows : int
        That the process has told, in the end.
    """

    def __init__(self, spec: MirrorSpec, announce: Callable[[str], None], **options: Any) -> None:
        self.spec, self.announce = spec, announce
        self.state = ""
        self.said: dict[str, Any] = {}
        self.rows = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = os.getpid()
        self._starts = 0
        self._finishing = False
        self._left = False
        self._shown: set[str] = set()
        self._asked = self._drained = 0
        self._exit_code: int | None = None
        self._uploaded = 0.0
        self._news = threading.Condition()
        renew_in_children(self, ProcessMirror._in_child)

    def _in_child(self) -> None:
        """In a forked child: it is not its, and the parent's death must not be hidden by a pipe that stays open."""
        process, self._process = self._process, None
        self._news = threading.Condition()
        if process is not None:
            process.returncode = 0  # not its child
            nowhere = os.open(os.devnull, os.O_RDWR)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError, ValueError, AttributeError):  # not close(): a thread may hold its lock
                    os.dup2(nowhere, pipe.fileno(), inheritable=False)  # type: ignore[union-attr]
            os.close(nowhere)

    @property
    def url(self) -> str | None:
        """Of the W&B run; None before it is known, and offline."""
        return self.said.get("url")

    @property
    def pid(self) -> int:
        """Of the process; 0 before it was started."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the process; it takes as long as that, some milliseconds. A second call does nothing."""
        if self._pid != os.getpid() or self._starts:
            return
        self._start()

    def _start(self) -> None:
        self._starts += 1
        try:
            line = encode_row(self.spec.to_dict())
            self._process = process = start_apart(_PROCESS, self._options)
            with suppress(BrokenPipeError):  # ended already: heard below
                _hand_over(process, line)
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # also a spec that is no JSON
            self._end("none")
            self._tell(f"hf_monitor: W&B: its process cannot be started: {error}; the run folder has everything.")
            return
        threading.Thread(target=self._listen, args=(process,), name="hf_monitor W&B", daemon=True).start()

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # a text of Python's own
                    self._hear(json.loads(line))
        if self.state:
            process.wait()
            return
        ended = how_it_ended(process.wait())
        if self._left:
            return
        if self._starts <= _RESTARTS:
            self._tell(f"hf_monitor: W&B: its process ({process.pid}) {_was(ended)}; it is started again.")
            with suppress(OSError, AttributeError):
                process.stdin.close()  # type: ignore[union-attr]
            self._start()
            if self._finishing:
                self._send({"finish": True, "exit_code": self._exit_code})
            return
        self._end("unsent")
        self._tell(f"hf_monitor: W&B: its process {_was(ended)}. {self._afterwards()}")

    def _hear(self, message: Any) -> None:
        if not isinstance(message, dict):
            return
        what = message.get("wandb")
        if what == "opened":
            again = [self.said.get(name) == message.get(name) for name in ("mode", "url", "why")]
            first, self.said = not self.said, message
            if first or not all(again):
                self._tell(_opened(message))
        elif what == "note":
            self._tell(f"hf_monitor: W&B: {message.get('text')}")
        elif what == "done":
            self.rows = int(message.get("rows") or 0)
            if message.get("state") == "unsent":
                self._tell(f"hf_monitor: W&B: not all was sent ({message.get('why')}). {self._afterwards(message)}")
            elif message.get("afterwards"):
                self._tell(f"hf_monitor: W&B: recorded offline; this sends it: {message['afterwards']}")
            elif message.get("state") == "finished" and self.said.get("mode") == "online":
                self._tell(f"hf_monitor: W&B: all was sent: {self.url}")
            self._end(str(message.get("state")))
        with self._news:
            if what == "drained":
                self._drained = max(self._drained, int(message.get("number", 0)))
            if what == "upload":
                self._uploaded = time.monotonic()
            self._news.notify_all()

    def _end(self, state: str) -> None:
        with self._news:
            self.state = state
            self._news.notify_all()

    def _tell(self, text: str) -> None:
        if text and text not in self._shown:
            self._shown.add(text)
            with suppress(Exception):  # a closed console: nobody is there to be told
                self.announce(text)

    def _send(self, message: Mapping[str, Any]) -> None:
        process = self._process
        with suppress(OSError, ValueError, AttributeError):  # it may have just ended
            os.write(process.stdin.fileno(), json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]

    def drain(self, seconds: float) -> bool:
        """Wait until all that was written so far has been told to wandb.

        Returns
        -------
        bool
            False where time ran out, or there is no W&B run.
        """
        if self._pid != os.getpid() or self._process is None:
            return False
        with self._news:
            self._asked += 1
            number = self._asked
        self._send({"drain": number})
        with self._news:
            self._news.wait_for(lambda: self._drained >= number or bool(self.state), seconds)
            return self._drained >= number

    def finish(self, exit_code: int | None = None, seconds: float = WAIT_S) -> None:
        """End the W&B run, and wait for what is still being sent; the rest goes on alone.

        Parameters
        ----------
        exit_code : int, optional
            What W&B is told; by default as the rows say.
        seconds : float
            In all; where a checkpoint is on its way and moves, up to ``UPLOAD_WAIT_S``.
        """
        if self._pid != os.getpid() or self._process is None or self._left:
            return
        if not self._finishing:
            self._finishing, self._exit_code = True, exit_code
            self._send({"finish": True, "exit_code": exit_code})
        with self._news:
            begun = time.monotonic()
            while not self.state:
                until = max(begun + seconds, min(self._uploaded + seconds, begun + UPLOAD_WAIT_S))
                if (left := until - time.monotonic()) <= 0:
                    break
                self._news.wait(left)
        process = self._process
        if self.state:
            with suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
        if process.poll() is None:
            self._left = not self.state
            process.returncode = 0  # it goes on without us: no warning of a process that still runs
        with suppress(OSError, AttributeError):
            process.stdin.close()  # type: ignore[union-attr]
        if self._left:
            self._tell(
                f"hf_monitor: W&B: still being sent by process {process.pid}, which goes on by itself. "
                f"If it cannot: hf-monitor wandb {self.spec.run_dir}"
            )

    def _afterwards(self, message: Mapping[str, Any] | None = None) -> str:
        told = (message or self.said).get("afterwards")
        return f"What is in the run folder is not lost; afterwards: {told or f'hf-monitor wandb {self.spec.run_dir}'}"


def _hand_over(process: subprocess.Popen[bytes], line: bytes) -> None:
    """Write what a pipe takes at once; a longer line as it is read, in a bounded time.

    Raises
    ------
    OSError
        If it is not read.
    """
    assert process.stdin is not None
    fd, until = process.stdin.fileno(), time.monotonic() + _HAND_OVER_S
    if os.name != "posix":
        process.stdin.write(line)
        process.stdin.flush()
        return
    os.set_blocking(fd, False)
    rest = memoryview(line)
    while rest:
        if not select.select([], [fd], [], max(until - time.monotonic(), 0.0))[1]:
            process.kill()
            raise TimeoutError(f"it does not hear, after {_HAND_OVER_S:.0f} s")
        with suppress(BlockingIOError):
            rest = rest[os.write(fd, rest) :]
    os.set_blocking(fd, True)


def _was(ended: str) -> str:
    return f"was {ended}" if ended.startswith("ended") else f"ended with {ended}"


def _opened(said: Mapping[str, Any]) -> str:
    """Say in one line what becomes of W&B."""
    mode, why, mend = said.get("mode"), str(said.get("why") or ""), str(said.get("mend") or "")
    if mode == "online":
        return f"hf_monitor: W&B: {said.get('url')}"
    brackets = f" ({why}{': ' + mend if mend else ''})" if why else ""
    if mode == "offline":
        return f"hf_monitor: W&B: offline{brackets}; the command that sends it is said at the end"
    if mode == "disabled":
        return f"hf_monitor: W&B: off{brackets}"
    later = f"; afterwards: {said['afterwards']}" if said.get("afterwards") else ""
    return f"hf_monitor: W&B: nothing is sent{brackets}; the run folder has everything{later}."


class ThreadMirror:
    """A thread of this process tells a run that the user has opened; the run is never finished here.

    Parameters
    ----------
    spec : MirrorSpec
    run : wandb.Run
    announce : callable
        Told, as a text, what could not be told.
    """

    def __init__(self, spec: MirrorSpec, run: Any, announce: Callable[[str], None]) -> None:
        self.spec, self.run, self.announce = spec, run, announce
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._news = threading.Condition()
        self._asked = self._drained = 0
        self._stop = False
        self._applier: Any = None
        self._shown = 0

    @property
    def url(self) -> str | None:
        """Of the user's run."""
        found = getattr(self.run, "url", None)
        return str(found) if found else None

    def start(self) -> None:
        """Start the thread. A second call does nothing."""
        if self._pid == os.getpid() and self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hf_monitor W&B", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        try:
            self._follow()
        except Exception as error:  # noqa: BLE001 - the policy: the training goes on, and the folder has everything
            self._say(f"it is told no more: {type(error).__name__}: {error}")
        with self._news:
            self._thread = None
            self._news.notify_all()

    def _follow(self) -> None:
        from hf_monitor.loggers.mirror.apply import Applier
        from hf_monitor.loggers.mirror.follow import Follower
        from hf_monitor.loggers.mirror.told import Told

        applier = self._applier = Applier(self.run, self.spec, numbered=False)
        applier.define()
        # The user's run has a log of its own; what is written down of it is of no use later: it has other steps.
        follower = Follower(self.spec, Told(None, self.spec.wandb_id, -1), logs=False)
        while True:
            stop, asked = self._stop, self._asked  # before the poll: what was written before is told then
            with suppress(OSError):
                follower.poll(applier, last=stop)
            self._say_notes()
            if applier.missed:
                self._note_end(applier)
                return
            # Whoever waits may finish it next.
            if (stop or asked > self._drained) and not applier.is_over:
                applier.close()
            with self._news:
                self._drained = asked
                self._news.notify_all()
                if stop:
                    return
                self._news.wait_for(lambda: self._stop or self._asked > self._drained, _POLL_S)

    def _note_end(self, applier: Any) -> None:
        """Note that the user has finished his run before the training was over."""
        where = "before its first row" if applier.global_step is None else f"at step {applier.global_step}"
        self._say(f"your run was finished {where}: it is told no more, and the rest is in the run folder")
        why = f"the run was finished by the program that opened it, {where}; the rest is in the run folder"
        known = next((one for one in mirrored_runs(self.spec.folder) if one.id == self.spec.wandb_id), None)
        with suppress(OSError):
            if known is not None:
                more = {**known.more, "last_line": applier.line}
                put(self.spec.folder, replace(known, state="unsent", why=why, more=more))

    def _say_notes(self) -> None:
        notes = self._applier.notes if self._applier is not None else []
        new, self._shown = notes[self._shown :], len(notes)
        for note in new:
            self._say(note)

    def _say(self, text: str) -> None:
        with suppress(Exception):
            self.announce(f"hf_monitor: W&B: {text}")

    def _hand_over(self) -> None:
        """Let wandb be given the checkpoints: where the run is finished before, they are lost there."""
        if self._applier is not None and not self._applier.hand_over(_CHECKSUMS_S):
            self._say(
                "a checkpoint is still being read for its checksums. Where wandb.finish() comes before that, W&B does "
                "not get it"
            )
        self._say_notes()

    def drain(self, seconds: float) -> bool:
        """Wait until all that was written so far has been told to wandb; False where time ran out."""
        if self._pid != os.getpid() or self._thread is None:
            return False
        with self._news:
            self._asked += 1
            number = self._asked
            self._news.notify_all()
            self._news.wait_for(lambda: self._drained >= number or self._thread is None, seconds)
        if told := self._drained >= number:
            self._hand_over()
        return told

    def finish(self, exit_code: int | None = None, seconds: float = WAIT_S) -> None:
        """Tell the rest, in `seconds` at most; the run stays open, and `exit_code` is its owner's business."""
        if self._pid != os.getpid() or self._thread is None:
            return
        with self._news:
            self._stop = True
            self._news.notify_all()
            ended = self._news.wait_for(lambda: self._thread is None, seconds)
        if ended:
            self._hand_over()
