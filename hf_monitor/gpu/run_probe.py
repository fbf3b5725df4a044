"""Start the probe in a process of its own, with a time limit; read what it wrote until it ended, crashed or hung."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from typing import IO, Any, Literal

from hf_monitor.gpu.probe import MARK

__all__ = ["Answer", "run_probe"]

# -P and this line rather than -m: the interpreter starts, and the probe's own modules are found, before a folder of the
# user's is on the path; then it looks where this process looks, so that a random.py beside the training script hides
# from torch what it would hide in the training.
_START = (
    "import contextlib, ctypes, faulthandler, json, os, subprocess, sys, traceback, warnings; "
    "sys.path[:] = json.loads(sys.argv.pop(1)); from hf_monitor.gpu.probe import main; main()"
)
_PATIENCE_S = 2.0  # for a process that was killed; one that waits in the kernel for a lost card cannot be
_TAIL = 4000


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
        In words: a signal, an exit code, the limit that was passed.
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


def _kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill the probe and its children; False where it could not be waited for."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # the leader of its own group, not waited for yet: the id is its own
        else:
            process.kill()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        threading.Thread(target=process.wait, name="hf_monitor-probe-reaper", daemon=True).start()
        return False
    return True


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
    """Ask the libraries in a process of its own.

    It is in a session of its own, reads nothing, and gets the environment as ``os.environ`` is now. This process loads
    no library for it, so that nothing can poison a later fork.

    Parameters
    ----------
    timeout_s : float
        Then it is killed, with its children. A process that cannot be killed (it waits in the kernel) is left after
        two seconds more.

    Returns
    -------
    Answer
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return Answer(ended="not_started", reason="this Python is embedded in another program (sys.executable)")
    began = time.monotonic()
    try:
        # Files, not pipes: a child of the probe that keeps one open keeps nobody waiting.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            code, reason = _run(timeout_s, out, err)
            out.seek(0)
            stages, begun = _read(out.read())
            err.seek(max(0, err.seek(0, os.SEEK_END) - _TAIL))
            output = err.read().decode(errors="replace")
    except OSError as error:  # no such program, no process or memory left, no temporary folder, the working folder gone
        return Answer(ended="not_started", reason=f"{type(error).__name__}: {error}")
    ended: Literal["ok", "timeout", "crashed"] = "ok"
    if code is None:
        ended = "timeout"
    elif code != 0 or "end" not in stages:
        ended = "crashed"
        reason = f"ended by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    stages.pop("end", None)
    return Answer(stages, ended, begun, reason, output, time.monotonic() - began)


def _run(timeout_s: float, out: IO[bytes], err: IO[bytes]) -> tuple[int | None, str]:
    """Give the exit code; None, and why, where the time was over."""
    path = [os.path.abspath(one) for one in sys.path if isinstance(one, str)]  # noqa: PTH100 - "" is the working folder
    process = subprocess.Popen(
        [sys.executable, "-I" if sys.flags.isolated else "-P", "-c", _START, json.dumps(path)],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        env=dict(os.environ),
        start_new_session=True,
    )
    try:
        return process.wait(timeout_s), ""
    except subprocess.TimeoutExpired:
        killed = _kill(process)
        return None, f"no answer within {timeout_s:g} s" + ("" if killed else "; it cannot be killed (state D)")
    except BaseException:
        _kill(process)
        raise
