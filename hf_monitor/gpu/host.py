"""What the machine beside the GPU is doing: processor, memory, disk, and this process's part of it.

On Linux three small files of ``/proc`` are read by descriptors that stay open: a quarter of what psutil's calls cost,
which it has on all other systems.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["HostReader", "cpu_count", "memory_limit"]

_MIB = 2**20
_NO_LIMIT = 2**60  # what cgroup v1 writes for "none" is a little below 2**63


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _cgroups(root: Path, controller: str) -> list[Path]:
    """Give the folders of this process's cgroup and those above it, the nearest first; of version 2, else of 1."""
    for line in (_text(root / "proc/self/cgroup") or "").splitlines():
        _, names, path = ([*line.split(":", 2), "", ""])[:3]
        top = root / "sys/fs/cgroup"
        if names == "" and (top / "cgroup.controllers").is_file():
            found = top
        elif controller in names.split(","):
            found = top / controller
        else:
            continue
        inner = found / path.strip("/")
        folders = [inner, *inner.parents]
        return [folder for folder in folders[: folders.index(found) + 1] if folder.is_dir()]
    return []


def memory_limit(root: Path = Path("/")) -> tuple[int, Path] | None:
    """Give the memory that this process's container allows it: bytes, and the folder of the cgroup that says so.

    None where there is no limit, or no Linux. `root` is for tests.
    """
    found: tuple[int, Path] | None = None
    for folder in _cgroups(root, "memory"):
        text = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes") or ""
        if text.isdigit() and int(text) < _NO_LIMIT and (found is None or int(text) < found[0]):
            found = int(text), folder
    return found


def cpu_count(root: Path = Path("/")) -> int:
    """Give how many cores this process may use: by its affinity and its container's quota (rounded up)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _cgroups(root, "cpu"):
        quota, period = ([*(_text(folder / "cpu.max") or "").split(), "", ""])[:2]
        if not quota:
            quota = _text(folder / "cpu.cfs_quota_us") or ""
            period = _text(folder / "cpu.cfs_period_us") or ""
        if quota.isdigit() and period.isdigit() and int(period):
            count = min(count, max(1, math.ceil(int(quota) / int(period))))
    return count


class _Proc:
    """A file of ``/proc``, read again and again."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int = 512) -> bytes:
        return os.pread(self._fd, size, 0)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if (fd := getattr(self, "_fd", -1)) >= 0:
            self._fd = -1
            with suppress(OSError):
                close(fd)


class HostReader:
    """Reads the host, and this process.

    Parameters
    ----------
    folder : Path
        Whose disk is looked at: the run folder.
    root : Path
        Where ``proc`` and ``sys`` lie; for tests.
    """

    def __init__(self, folder: Path, root: Path = Path("/")) -> None:
        self._folder = str(folder)
        self._limit = memory_limit(root)
        self._busy: tuple[float, float] | None = None
        self._process: tuple[float, float] | None = None
        self._stat: _Proc | None = None
        self._meminfo: _Proc | None = None
        self._statm: _Proc | None = None
        self._usage: _Proc | None = None
        self._cgroup_stat: _Proc | None = None
        try:
            self._stat, self._meminfo = _Proc(root / "proc/stat"), _Proc(root / "proc/meminfo")
            self._statm = _Proc(root / "proc/self/statm")
        except OSError:
            self._stat = self._meminfo = self._statm = None  # psutil's turn
        with suppress(OSError, ValueError, IndexError):
            if self._limit is not None and self._meminfo is not None and self._limit[0] > self._machine_ram()[1] * _MIB:
                self._limit = None  # more than there is: no limit
        if self._limit is not None:
            for name in ("memory.current", "memory.usage_in_bytes"):
                with suppress(OSError):
                    self._usage = _Proc(self._limit[1] / name)
            with suppress(OSError):
                self._cgroup_stat = _Proc(self._limit[1] / "memory.stat")
        self._page = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
        self.cpu_count = cpu_count(root)

    def facts(self) -> dict[str, Any]:
        """Give what does not change: ``cpu_count`` and ``ram_limit`` (``"container"`` or ``"machine"``)."""
        return {"cpu_count": self.cpu_count, "ram_limit": "machine" if self._limit is None else "container"}

    def read(self, *, disk: bool = True) -> dict[str, float | None]:
        """Give what is so now; None where it cannot be read.

        Parameters
        ----------
        disk : bool
            Whether the disk is asked, too; a network disk may take its time.

        Returns
        -------
        dict
            ``cpu_percent`` (of all cores of the machine, since the last call; None at the first), ``ram_used_mib`` and
            ``ram_total_mib`` (of the container where it has a limit; file cache that can be given back is not counted),
            ``disk_free_mib``.
        """
        found: dict[str, float | None] = {"cpu_percent": None, "ram_used_mib": None, "ram_total_mib": None}
        try:
            found["cpu_percent"] = self._cpu_percent()
            found["ram_used_mib"], found["ram_total_mib"] = self._ram()
        except (OSError, ValueError, IndexError):
            pass
        if disk:
            found["disk_free_mib"] = self._disk_free()
        return found

    def read_process(self) -> dict[str, float | None]:
        """Give ``process_cpu_percent`` (100 = one core, since the last call) and ``process_rss_mib``."""
        before = self._process
        now = self._process = time.process_time(), time.monotonic()
        percent = None
        if before is not None and now[1] > before[1]:
            percent = round(100.0 * (now[0] - before[0]) / (now[1] - before[1]), 1)
        try:
            rss = self._rss()
        except (OSError, ValueError, IndexError):
            rss = None
        return {"process_cpu_percent": percent, "process_rss_mib": rss}

    def _cpu_percent(self) -> float | None:
        if self._stat is None:
            import psutil

            times = psutil.cpu_times()
            idle, total = times.idle + getattr(times, "iowait", 0.0), float(sum(times[:8]))
        else:
            # user nice system idle iowait irq softirq steal; guest time is within user's (proc(5))
            numbers = [int(number) for number in self._stat.read(192).split(None, 9)[1:9]]
            idle, total = numbers[3] + numbers[4], sum(numbers)
        before, self._busy = self._busy, (idle, total)
        if before is None or total <= before[1]:
            return None
        return round(100.0 * (1.0 - (idle - before[0]) / (total - before[1])), 1)

    def _ram(self) -> tuple[float, float]:
        if self._limit is not None and self._usage is not None:
            used = int(self._usage.read()) - self._inactive()
            return round(used / _MIB, 1), round(self._limit[0] / _MIB, 1)
        if self._meminfo is None:
            import psutil

            memory = psutil.virtual_memory()
            return round((memory.total - memory.available) / _MIB, 1), round(memory.total / _MIB, 1)
        return self._machine_ram()

    def _machine_ram(self) -> tuple[float, float]:
        assert self._meminfo is not None
        words = self._meminfo.read(128).split(None, 8)  # MemTotal: n kB MemFree: n kB MemAvailable: n kB
        total, available = int(words[1]), int(words[7])
        return round((total - available) / 1024, 1), round(total / 1024, 1)

    def _inactive(self) -> int:
        """Give the bytes of file cache that the kernel would give back, as ``docker stats`` leaves them out."""
        lines = [] if self._cgroup_stat is None else self._cgroup_stat.read(8192).split(b"\n")
        # Version 1 has both, the second of which counts the groups below, as the usage does.
        found = [line for line in lines if line.startswith((b"inactive_file ", b"total_inactive_file "))]
        return int(found[-1].split()[1]) if found else 0

    def _rss(self) -> float:
        if self._statm is None:
            import psutil

            return round(psutil.Process().memory_info().rss / _MIB, 1)
        return round(int(self._statm.read(64).split()[1]) * self._page / _MIB, 1)

    def _disk_free(self) -> float | None:
        try:
            if hasattr(os, "statvfs"):
                found = os.statvfs(self._folder)
                return round(found.f_bavail * found.f_frsize / _MIB, 1)
            return round(shutil.disk_usage(self._folder).free / _MIB, 1)
        except OSError:
            return None
