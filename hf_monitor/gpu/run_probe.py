"""Start the probe in a process of its own, with a time limit; read what it wrote until it ended, crashed or hung."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from typing import IO, Any, Literal

from hf_monitor.gpu.probe import MARK

__all__ = ["Answer", "run_probe"]

# -P and this line rather than -m: the interpreter starts, and the probe's own modules are found, before a folder of the
# user's is on the path; then it looks where this process looks, so that a random.py beside the training script hides
# from torch what it would hide in the training.
_START = (
    "import contextlib, ctypes, faulthandler, json, os, signal, subprocess, sys, traceback, warnings; "
    "sys.path[:] = json.loads(sys.argv[1]); from hf_monitor.gpu.probe import main; main(*sys.argv[2:])"
)
_PATIENCE_S = 2.0  # for a process that was killed; one that waits in the kernel for a lost card cannot be
_HEAD_START_S = 3.0  # for NVML, so that the free memory it reports is what there was before
_TAIL, _MOST = 4000, 1 << 20  # bytes kept of what libraries print, and of the answer
_LONGEST_VARIABLE = 131_071  # bytes; Linux starts no program with a longer one (MAX_ARG_STRLEN)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the probe found.

    Attributes
    ----------
    stages : dict
        What each stage found that ended: ``"nvml"``, ``"torch"``, ``"libcuda"``, ``"cuda"``, ``"device:0"`` ...,
        ``"kernel:0"`` ...
    ended : str
        ``"ok"``, ``"timeout"``, ``"crashed"`` or ``"not_started"``.
    stage : str or None
        The one in which it crashed or hung.
    reason : str
        In words: a signal, an exit code, the limit that was passed. These three are of torch's first process. The stage
        ``"nvml"``, and each ``"device:..."`` and ``"kernel:..."``, has an ``ended`` and a ``reason`` of its own where a
        process ended in it.
    output : str
        The end of what it and the libraries printed.
    seconds : float
    """

    stages: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: Literal["ok", "timeout", "crashed", "not_started"] = "ok"
    stage: str | None = None
    reason: str = ""
    output: str = ""
    seconds: float = 0.0


class _Part:
    """A process that asks for a part of it, and what it has written so far."""

    def __init__(self, part: str, limit_s: float, first: int = 0) -> None:
        flag = "-I" if sys.flags.isolated else "-P"
        own_limit_s = f"{limit_s + _PATIENCE_S:.3f}"  # where nobody is left to kill it
        self.process = subprocess.Popen(
            [sys.executable, flag, "-c", _START, json.dumps(_search_path()), part, own_limit_s, str(first)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        self.out, self.err = bytearray(), bytearray()
        # Pipes need no room on a disk; threads, since a child of the probe that keeps one open must keep nobody waiting
        self._readers = [
            threading.Thread(target=_collect, args=job, name="hf_monitor-probe-reader", daemon=True)
            for job in ((self.process.stdout, self.out, _MOST), (self.process.stderr, self.err, _TAIL))
        ]
        for reader in self._readers:
            reader.start()

    def wait(self, seconds: float) -> bool:
        """Say whether it has ended by then."""
        try:
            self.process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> bool:
        """Kill it and its children; False where it could not be waited for."""
        if self.wait(0):
            return True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)  # its own group's leader, not waited for: the id is its own
            else:
                self.process.kill()
        if self.wait(_PATIENCE_S):
            return True
        threading.Thread(target=self.process.wait, name="hf_monitor-probe-reaper", daemon=True).start()
        return False

    def answer(self, timeout_s: float, deadline: float) -> Answer:
        """Wait for its end, or end it, and give what it said."""
        ended: Literal["ok", "timeout", "crashed"] = "ok"
        reason = ""
        if not self.wait(deadline - time.monotonic()):
            ended, reason = "timeout", f"no answer within {timeout_s:g} s"
            reason += "" if self.kill() else "; it cannot be killed (state D)"
        for reader in self._readers:
            reader.join(_PATIENCE_S / 4)
        stages, begun = _read(bytes(self.out))
        code = self.process.returncode
        if ended == "ok" and (code != 0 or "end" not in stages):
            ended = "crashed"
            reason = f"ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
        stages.pop("end", None)
        if begun and ":" in begun:
            stages[begun] = {"ended": ended, "reason": reason}
        return Answer(stages, ended, begun, reason, bytes(self.err).decode(errors="replace"))


def _collect(pipe: IO[bytes], into: bytearray, most: int) -> None:
    """Read until nobody writes any more; keep the end."""
    with pipe:
        while part := os.read(pipe.fileno(), 65536):
            into += part
            del into[:-most]


def _search_path() -> list[str]:
    """Give where this process looks for modules; ``""`` is the working folder, which may be gone."""
    found = []
    for one in sys.path:
        with contextlib.suppress(OSError):
            if isinstance(one, str):
                found.append(os.path.abspath(one))  # noqa: PTH100 - Path.absolute keeps the dots
    return found


def _environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if len(os.fsencode(value)) + len(name) < _LONGEST_VARIABLE
    }


def _first_untried(answer: Answer) -> int | None:
    """Give the card after the one on which a process crashed: it may be a good one."""
    _, _, index = (answer.stage or "").partition(":")
    if answer.ended != "crashed" or not index:
        return None
    return int(index) + 1 if int(index) + 1 < int(answer.stages.get("cuda", {}).get("count", 0)) else None


def _read(text: bytes) -> tuple[dict[str, dict[str, Any]], str | None]:
    stages: dict[str, dict[str, Any]] = {}
    begun: str | None = None
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except ValueError:  # printed by somebody else, or torn by a kill
            continue
        if not isinstance(row, dict) or not isinstance(row.get(MARK), str):
            continue
        begun = row[MARK]
        if isinstance(row.get("found"), dict):
            stages[row[MARK]] = row["found"]
            begun = None
    return stages, begun


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def run_probe(timeout_s: float) -> Answer:
    """Ask the libraries in two processes of their own: NVML in one, torch and CUDA in the other.

    They are in sessions of their own, read nothing, write to no disk, and get the environment as ``os.environ`` is now.
    This process loads no library for it, so that nothing can poison a later fork. When this process dies, they do
    (Linux: at once; else when the time is over).

    Parameters
    ----------
    timeout_s : float
        Then they are killed, with their children. A process that cannot be killed (it waits in the kernel) is left
        after two seconds more.

    Returns
    -------
    Answer
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return Answer(ended="not_started", reason="this Python is embedded in another program (sys.executable)")
    began = time.monotonic()
    deadline = began + timeout_s
    parts: list[_Part] = []
    try:
        parts.append(_Part("nvml", timeout_s))
        parts[0].wait(min(_HEAD_START_S, timeout_s / 4))
        parts.append(_Part("torch", max(0.0, deadline - time.monotonic())))
        answer = parts[1].answer(timeout_s, deadline)
        more = answer
        while (first := _first_untried(more)) is not None and time.monotonic() < deadline:
            parts.append(_Part("torch", deadline - time.monotonic(), first))
            more = parts[-1].answer(timeout_s, deadline)
            answer.stages.update({name: found for name, found in more.stages.items() if ":" in name})
        # An NVML that is late by now hangs: it needs no more than the driver's start, and CUDA has waited for that too.
        limit_s = min(timeout_s, round(time.monotonic() - began + _HEAD_START_S, 1))
        nvml = parts[0].answer(limit_s, began + limit_s)
    except OSError as error:  # no such program, no process or memory left
        for part in parts:
            part.kill()
        return Answer(ended="not_started", reason=f"{type(error).__name__}: {error}")
    except BaseException:
        for part in parts:
            part.kill()
        raise
    found = nvml.stages.get("nvml") or {"ended": nvml.ended, "reason": nvml.reason}
    output = answer.output if answer.ended != "ok" else nvml.output + answer.output
    return replace(answer, stages={"nvml": found, **answer.stages}, output=output, seconds=time.monotonic() - began)
