"""SystemSampler: once a second, what GPU, host and process are doing, into ``system.jsonl``."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import orjson

from hf_monitor.errors import InputError
from hf_monitor.gpu.allocator import Allocator, torch_memory
from hf_monitor.gpu.devices import TorchDevice, torch_devices
from hf_monitor.gpu.host import HostReader
from hf_monitor.gpu.readings import DeviceReader, Readers, open_devices
from hf_monitor.gpu.tiers import tier_of
from hf_monitor.gpu.window import Window
from hf_monitor.run.process import launch_id
from hf_monitor.run.ranks import RankSamples
from hf_monitor.run.writer import RunWriter

__all__ = ["SystemSampler", "check_interval"]

log = logging.getLogger("hf_monitor")

MOST_OF_A_CORE = 0.005
"""Share of a core that sampling may take; above it the interval grows."""
LONGEST_INTERVAL_S = 60.0
STOP_S = 1.5
"""How long :meth:`SystemSampler.stop` waits for a driver that does not answer."""
QUIET_S = 3600.0
"""So long without a word from the training, it is looked at once a minute: it hangs, or has ended unheard."""
SILENT_S, SILENT_TIMES = 10.0, 20.0
"""So long without a word, and so many times longer than ever before, a sample is no longer called one of training."""
_LOOK_AROUND_EVERY_S = 10.0  # other processes on the card, its energy, the disk: what costs more

_LINE = orjson.OPT_APPEND_NEWLINE


_running: weakref.WeakValueDictionary[tuple[str, tuple[str, ...]], SystemSampler] = weakref.WeakValueDictionary()


class Sink(Protocol):
    """Where samples go: a :class:`RunWriter`, or in processes above rank 0 a file of their own."""

    run_dir: Path

    @property
    def attempt(self) -> int:
        """The running attempt."""

    def rows(self, name: str, rows: Sequence[Mapping[str, Any]]) -> int:
        """Append rows that may hold any text."""

    def encoded(self, name: str, lines: bytes) -> None:
        """Append lines that hold numbers and our own words only."""

    def flush(self) -> object:
        """Try now what could not be written before."""


def check_interval(interval_s: Any) -> None:
    """Refuse what is no interval.

    Raises
    ------
    InputError
        If it is not a number of seconds, above 0 and at most a day.
    """
    if isinstance(interval_s, bool) or not isinstance(interval_s, int | float) or not 0 < interval_s <= 86400:
        raise InputError(
            f"interval_s must be a number of seconds above 0 (at most 86400), got {interval_s!r}. The usual is 1.0."
        )


def _facts_of(reader: DeviceReader) -> dict[str, Any]:
    facts = reader.facts()
    match = tier_of(reader.name, facts["memory_total_mib"])
    return {**facts, "tier": match.tier.name}


def _pids_of_launch() -> frozenset[int]:
    """Give the processes that a launcher started together with this one (``accelerate launch``, ``torchrun``)."""
    if launch_id() is None:
        return frozenset()
    import psutil

    try:
        return frozenset(process.pid for process in psutil.Process(os.getppid()).children())
    except psutil.Error:
        return frozenset()


class SystemSampler:
    """Samples GPU, host and process in a thread of its own, until stopped; usable from any training loop.

    Nothing it meets ends a training: what a device does not say is None, with the reason once (event ``unavailable``);
    a thread that the driver holds fast is left behind. It measures what it costs, and samples less often where that is
    more than 0.5 % of a core. A forked child has no such thread; there every method does nothing.

    Parameters
    ----------
    writer : RunWriter or path-like
        Of the run folder; ``system.jsonl`` lies there.
    interval_s : float
        Seconds between two samples.
    devices : sequence of TorchDevice, optional
        The GPUs to look at; by default those that torch sees, if this process has begun to use CUDA.
    own : sequence of int, optional
        torch's numbers of the GPUs that this process uses, whose allocator is asked; by default all of `devices`.
    host : bool
        Whether host and GPUs are sampled (one process of a machine does), or this process alone.
    torch_memory : callable
        Of a device's number: what torch's allocator holds there. For tests.

    Attributes
    ----------
    step : int
        What the training sets, and the rows then say: the optimizer steps taken.
    phase : str
        ``"train"`` (within a step), ``"data"`` (waiting for a batch), ``"evaluate"``, ``"save"``, ``"other"``; also in
        the rows. There it is ``"silent"`` where nothing was heard for much longer than ever before.
    interval_s : float
        As it is now.
    samples : int
        How many were taken since the start.

    Raises
    ------
    InputError
        If `interval_s` is not a positive number, or `writer` is something else.

    Examples
    --------
    >>> from hf_monitor import RunWriter
    >>> writer = RunWriter("outputs/my_run")
    >>> with SystemSampler(writer) as sampler:  # doctest: +SKIP
    ...     for sampler.step in range(1, 101):
    ...         writer.row("train", sampler.step, {"loss": train_one_step()})
    """

    def __init__(
        self,
        writer: RunWriter | RankSamples | str | os.PathLike[str],
        *,
        interval_s: float = 1.0,
        devices: Sequence[TorchDevice] | None = None,
        own: Sequence[int] | None = None,
        host: bool = True,
        torch_memory: Callable[[int], Sequence[float]] = torch_memory,
    ) -> None:
        check_interval(interval_s)
        if isinstance(writer, str | os.PathLike):
            writer = RunWriter(writer)
        if not isinstance(writer, RunWriter | RankSamples):
            raise InputError(
                f"SystemSampler takes a RunWriter or the path of a run folder, got {type(writer).__name__}: "
                "SystemSampler(RunWriter('my_run'))."
            )
        self.step = 0
        self.phase = "train"
        self.samples = 0
        self.interval_s = self._base_s = float(interval_s)
        self.heard_at = time.monotonic()
        self._launch: frozenset[int] = frozenset()  # processes of the same launch: no strangers on a card
        self._sink: Sink = writer
        self._devices = devices
        self._with_host = host
        self._ask = torch_memory
        self._allocator = Allocator(torch_memory, only_used=own is None)
        self._rank = {"rank": writer.rank} if isinstance(writer, RankSamples) else {}
        self._host = HostReader(writer.run_dir)
        self._own: Sequence[int] = () if own is None else own
        self._all_own = own is None
        self._readers: Readers | None = None
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._pid = -1
        self._cost_s = 0.0
        self._look_around_at = 0.0
        self._window = Window()
        self._used_gpus: Any = None
        self._totals_mib: dict[Any, float | None] = {}
        self._longest_s = 0.0  # between two words of the training
        self._seen: tuple[int, str] = (0, "")
        self._reported: set[str] = set()

    def start(self, **facts: Any) -> Self:
        """Begin; where it runs already, nothing happens.

        Parameters
        ----------
        **facts
            What else the row ``sampler_begin`` should say; of ``used_gpus`` alone :meth:`drain` tells.

        Raises
        ------
        RunFolderError
            If nothing was recorded in this folder yet, and it cannot be written.
        """
        if self._thread is not None and self._pid == os.getpid():
            return self
        if isinstance(self._sink, RunWriter) and not self._sink.attempt:
            self._sink.begin_attempt()
        devices = torch_devices() if self._devices is None else self._devices
        if self._all_own:
            self._own = [device.index for device in devices]
        self._ended, self._pid, self._window, self.samples = threading.Event(), os.getpid(), Window(), 0
        self._reported, self.interval_s, self._cost_s = set(), self._base_s, 0.0
        self.heard_at, self._longest_s = time.monotonic(), 0.0
        self._allocator = Allocator(self._ask, only_used=self._all_own)
        before = _running.get(key := (str(self._sink.run_dir), tuple(self._rank)))
        if before is not None and before is not self:
            before.stop()  # its training ended with an error, most likely, of which nobody has told it
        _running[key] = self
        facts = {"device": f"cuda:{self._own[0]}" if self._own else "cpu", **facts}
        self._used_gpus = facts.get("used_gpus")
        self._thread = threading.Thread(target=self._run, args=(self._ended, devices, facts), daemon=True)
        self._thread.name = "hf_monitor sampler"
        self._thread.start()
        atexit.register(self.stop)
        return self

    def stop(self) -> bool:
        """End; the last sample is taken now. Where it does not run, nothing happens.

        Returns
        -------
        bool
            False where the thread did not end in time, because the driver does not answer; it is left behind.
        """
        thread, self._thread = self._thread, None
        if thread is None or self._pid != os.getpid():
            return True
        atexit.unregister(self.stop)
        self._ended.set()
        if thread is threading.current_thread():  # the last reference to whoever owned this went away in a sample
            return True
        thread.join(STOP_S)
        if thread.is_alive():
            self._report("stop", f"the sampler of {len(self._own)} GPU(s) hangs in the driver and is left behind")
            return False
        return True

    __enter__ = start

    def __exit__(self, *error: object) -> None:
        self.stop()

    def turn(self, phase: str) -> None:
        """Hear from the training what it does from now on."""
        now = time.monotonic()
        if now - self.heard_at > self._longest_s and self.phase in ("train", "data"):
            self._longest_s = now - self.heard_at
        self.heard_at, self.phase = now, phase

    def drain(self) -> dict[str, float]:
        """Give what the training's GPUs did while training since the last call, in short: for the row of a window.

        Returns
        -------
        dict
            ``gpu_samples``; ``gpu_utilization_percent`` and ``gpu_sm_clock_mhz`` (means over samples and GPUs); of the
            fullest GPU ``gpu_memory_used_mib``, ``gpu_memory_total_mib``, and of torch's allocator
            ``torch_allocated_peak_mib``, ``torch_reserved_peak_mib`` (since the training began); the least memory used
            beside torch's, ``gpu_memory_beside_mib``. Without what is not known.
        """
        window, self._window = self._window, Window()
        return window.values()

    def _run(self, ended: threading.Event, devices: Sequence[TorchDevice], facts: Mapping[str, Any]) -> None:
        readers: Readers | None = None
        opened = False
        due = time.monotonic()
        while self._ended is ended:  # else this thread was left behind, and another one has begun
            last = ended.is_set()
            began = time.thread_time()
            try:
                if not opened:
                    readers, opened = self._open(devices, facts), True
                    began = time.thread_time()  # opening is done once, and may cost as much as a hundred samples
                self.sample()
            except Exception as error:  # noqa: BLE001 - the policy: it is said once, and tried again
                self._report("sample", f"GPU and host are not sampled: {type(error).__name__}: {error}")
            if last:
                break
            try:
                self._pay(time.thread_time() - began)
            except Exception as error:  # noqa: BLE001 - as above
                self._report("sample", f"GPU and host are not sampled: {type(error).__name__}: {error}")
            quiet = time.monotonic() - self.heard_at > QUIET_S
            due = max(due + (max(self.interval_s, LONGEST_INTERVAL_S) if quiet else self.interval_s), time.monotonic())
            ended.wait(due - time.monotonic())
        with contextlib.suppress(Exception):  # the disk's or the driver's own affair, of which was told
            self._sink.flush()
        if readers is not None:
            with contextlib.suppress(Exception):
                readers.close()

    def _open(self, devices: Sequence[TorchDevice], facts: Mapping[str, Any]) -> Readers | None:
        """Open NVML, here in the thread: a driver that hangs does not keep the training from beginning."""
        begin = {"event": "sampler_begin", "interval_s": self.interval_s, **facts}
        readers = None
        if self._with_host:
            begin |= {**self._host.facts(), "gpus": []}
            if devices:
                self._launch = _pids_of_launch()
                readers = open_devices(devices)
                begin["gpus"] = gpus = [_facts_of(reader) for reader in readers.readers]
                self._totals_mib = {gpu["gpu"]: gpu["memory_total_mib"] for gpu in gpus}
                begin |= {"driver_version": readers.driver_version, "nvml_problem": readers.problem}
        self._host.read(), self._host.read_process()  # shares of time begin here
        self._readers = readers
        self._event(begin)
        if readers is not None and readers.problem:
            self._report("nvml", f"of the GPU only torch's own readings are recorded ({readers.problem})")
        return readers

    def _pay(self, cost_s: float) -> None:
        """Sample less often where it costs too much; the mean of about the last ten counts."""
        self._cost_s += (cost_s - self._cost_s) / 10
        affordable = min(max(self._base_s, self._cost_s / MOST_OF_A_CORE), LONGEST_INTERVAL_S)
        if not 0.8 < affordable / self.interval_s < 1.25:
            self.interval_s = affordable if affordable > 1.25 * self._base_s else self._base_s
            self._event({"event": "sampler_interval", "interval_s": self.interval_s, "cost_ms": 1e3 * self._cost_s})

    def sample(self) -> None:
        """Take one sample and write it: a row a GPU, and one of host and process."""
        phase = self._phase_now()
        head = {"time": time.time(), "attempt": self._sink.attempt, "step": self.step, **self._rank, "phase": phase}
        training = phase in ("train", "data")
        lines = []
        readers = () if self._readers is None else self._readers.readers
        look_around = time.monotonic() >= self._look_around_at
        dear = look_around or self._ended.is_set()
        for reader in readers:
            row = {**head, "kind": "gpu", "gpu": reader.index, **reader.read(energy=dear)}
            if look_around:
                row |= reader.read_processes(self._launch)
            if self._all_own or reader.index in self._own:
                row |= self._allocator.read(reader.index)
            if training and (
                self._used_gpus is None or reader.index in self._used_gpus or row.get("torch_allocated_mib")
            ):
                self._window.add(row, self._totals_mib.get(reader.index))
            lines.append(orjson.dumps(row, option=_LINE))
        if look_around:
            self._look_around_at = time.monotonic() + _LOOK_AROUND_EVERY_S
        row = {**head, "kind": "host" if self._with_host else "process"}
        if self._with_host:
            row |= self._host.read(disk=look_around)
        else:
            for index in self._own:
                row |= {"gpu": index, **self._allocator.read(index)}
        lines.append(orjson.dumps({**row, **self._host.read_process()}, option=_LINE))
        self._sink.encoded("system.jsonl", b"".join(lines))
        self.samples += 1
        for reader in readers:
            for news in reader.news():
                self._event({"event": "unavailable", **news})
                self._say(reader, news)

    def _phase_now(self) -> str:
        """Give the phase, unless nobody has been heard for so long that it can hardly be true any more."""
        if self._seen != (seen := (self.step, self.phase)):  # a loop of the user's own sets these, and says nothing
            self._seen = seen
            self.heard_at = max(self.heard_at, time.monotonic() - self._base_s)
        silent = time.monotonic() - self.heard_at
        if silent > SILENT_S and silent > SILENT_TIMES * self._longest_s and seen[1] in ("train", "data"):
            return "silent"
        return seen[1]

    def _event(self, values: Mapping[str, Any]) -> None:
        self._sink.rows("system.jsonl", [{"step": self.step, "kind": "event", **values}])

    def _say(self, reader: DeviceReader, news: Mapping[str, Any]) -> None:
        """Say in the log what is worth a line: a lost device, not that a laptop has no power meter."""
        known = self._readers is not None and self._readers.problem
        if news.get("metric") == "device" and not known:
            self._report(
                f"device {reader.index}",
                f"GPU {reader.index} ({reader.name}) gives no readings any more: {news.get('reason')}",
            )

    def _report(self, topic: str, message: str) -> None:
        if topic not in self._reported:
            self._reported.add(topic)
            log.warning("hf_monitor: %s. The training is not affected.", message)
