"""Which process wrote this, and does it still live? A pid alone does not tell: it is given anew to others."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["IDENTITY", "boot_id", "is_alive", "launch_id", "process_identity"]

IDENTITY = ("host", "pid", "pid_started", "pid_ticks", "boot_id", "pid_namespace", "launch", "world_size")
"""Facts that name a process; they belong to an attempt, not to the run."""

_LAUNCHER = ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT", "SLURM_JOB_ID")


def boot_id() -> str | None:
    """Give the identity of this boot of the machine (Linux), or None where the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _pid_namespace() -> str | None:
    """Give the process table in which our pid counts (Linux): every container has one of its own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return None


def _start_ticks(pid: int) -> int | None:
    """Give when a process started, in clock ticks since the boot: unlike epoch seconds, no clock change moves it.

    None where the system does not tell (no Linux) or the process is gone or dead and only not yet collected (zombie).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = stat.rpartition(b")")[2].split()  # the name before it may hold anything
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def launch_id() -> str | None:
    """Give what the processes of one launch (``accelerate launch``, ``torchrun``) share; None without a launcher."""
    found = [os.environ.get(name, "") for name in _LAUNCHER]
    return "/".join(found) if os.environ.get("WORLD_SIZE", "1") != "1" else None


def process_identity() -> dict[str, Any]:
    """Name this process so that another one can tell later whether it still lives.

    Returns
    -------
    dict
        ``host``, ``pid``, ``pid_started`` (epoch seconds), ``pid_ticks`` (clock ticks from boot to start; Linux),
        ``boot_id``, ``pid_namespace`` (Linux), ``launch`` and ``world_size`` (under a launcher).
    """
    import psutil

    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "pid_ticks": _start_ticks(os.getpid()),
        "boot_id": boot_id(),
        "pid_namespace": _pid_namespace(),
        "launch": launch_id(),
        "world_size": int(os.environ.get("WORLD_SIZE") or 1),
    }


def is_alive(identity: Mapping[str, Any], last_write: float = 0.0) -> bool | None:
    """Say whether the process of :func:`process_identity` still lives.

    Parameters
    ----------
    identity : mapping
    last_write : float
        When it last wrote, in epoch seconds by the clock of the file system.

    Returns
    -------
    bool or None
        None where it cannot be known from here: another host, another container.
    """
    import psutil

    if identity.get("boot_id") != boot_id():
        if identity.get("host") != socket.gethostname():
            return None
        # The same name, another boot: this machine before it was started anew; or another machine of that name
        # (containers, clones), if what it wrote is younger than our boot.
        return None if last_write > psutil.boot_time() else False
    if identity.get("boot_id") is None and identity.get("host") != socket.gethostname():
        return None
    if identity.get("pid_namespace", _pid_namespace()) != _pid_namespace():
        return None
    try:
        pid = int(identity["pid"])
        if identity.get("pid_ticks") is not None:
            return _start_ticks(pid) == int(identity["pid_ticks"])
        process = psutil.Process(pid)
        same = abs(process.create_time() - float(identity["pid_started"])) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, ValueError, TypeError):
        return False
    except psutil.AccessDenied:
        return None
