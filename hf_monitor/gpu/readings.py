"""What a GPU says about itself: values from NVML, ``None`` with a reason where the hardware does not say."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Any, Literal, Self, cast

from hf_monitor.gpu.devices import TorchDevice, find, unmatched
from hf_monitor.gpu.limits import limits
from hf_monitor.gpu.nvml import Failure, Session, answer_of, failure_of, open_session
from hf_monitor.gpu.processes import ProcessTable
from hf_monitor.gpu.questions import METRICS, MIB, MOST_BYTES, RETRY_READS, Question, questions

__all__ = ["METRICS", "DeviceReader", "Readers", "open_devices"]


class _DeviceGone(Exception):
    """The failure is not about one value, the others need not be asked."""


class DeviceReader:
    """One device of torch, read through NVML (memory through torch where NVML does not say).

    Made by :func:`open_devices`. One thread at a time.

    Attributes
    ----------
    index : int
        torch's.
    name : str
    uuid, pci_address : str or None
        As NVML writes them: ``"GPU-..."`` or ``"MIG-..."``, ``"0000:0a:00.0"`` (of a MIG instance that of its card).
    matched_by : "uuid", "pci" or None
        How the device was found in NVML; None: it was not, or there is no NVML.
    is_mig : bool
    reasons : dict
        Why a metric is None, by its name; ``"device"`` for all of them.
    """

    def __init__(self, device: TorchDevice, session: Session | None, failure: Failure | None, table: ProcessTable):
        self._device, self._session, self._table = device, session, table
        self._match = match = find(session.nvml, device) if session is not None else unmatched(device, failure)
        self.index, self.name = device.index, device.name
        self.uuid, self.pci_address = match.uuid, match.pci_address
        self.matched_by: Literal["uuid", "pci"] | None = match.matched_by
        self.is_mig = match.is_mig
        self.reasons: dict[str, str] = {}
        self._news: list[dict[str, Any]] = []
        self._told: set[tuple[str, str]] = set()
        self._reads = 0
        self._rest_until = 0
        self._renew_at = 0
        self._generation = session.generation if session is not None else 0
        self._questions, self._processes = questions(
            list(match.handles()), is_mig=match.is_mig, with_torch=device.memory_info is not None
        )
        self._bind()
        if self._processes is not None:
            table.add(self._list_processes, device.in_use)
        if match.failure is not None:
            self._tell("device", match.failure)
        self.read()  # finds out which functions there are; what they said is of no interest

    def _bind(self) -> None:
        nvml = self._session.nvml if self._session is not None else None
        for question in (*self._questions, self._processes):
            if question is not None:
                question.bind(nvml, self._match.handles(), self._device.memory_info)

    def facts(self) -> dict[str, Any]:
        """Give what does not change.

        Returns
        -------
        dict
            ``gpu`` (torch's index), ``name``, ``uuid``, ``pci_address``, ``matched_by``, ``mig`` (profile of an
            instance, ``"1g.5gb"``), ``memory_total_mib`` (MiB of 2**20 bytes, of the same source as what is used),
            ``memory_source`` (``"nvml_v2"``: used is without what the driver reserves; ``"nvml_v1"``: with it;
            ``"torch"``; None: nothing was said yet), ``power_limit_w``, ``sm_clock_max_mhz``,
            ``temperature_slowdown_c``, and for a MIG instance ``scope``: the metrics that are the whole card's
            (``{"power_w": "card", ...}``). None: unknown.
        """
        answered = [question for question in self._questions if question.settled]
        memory = next((question for question in answered if question.name == "memory_used_mib"), None)
        total_mib = self._device.memory_total_mib
        if memory is not None and memory.way.source != "torch":
            info = answer_of(memory.ask)
            if info is not None and 0 < info.total < MOST_BYTES:
                total_mib = info.total / MIB
        facts: dict[str, Any] = {
            "gpu": self.index,
            "name": self.name,
            "uuid": self.uuid,
            "pci_address": self.pci_address,
            "matched_by": self.matched_by,
            "mig": self._match.mig,
            "memory_total_mib": total_mib,
            "memory_source": memory.way.source if memory is not None else None,
            **limits(self._session.nvml if self._session is not None else None, self._match.handles()),
        }
        if self.is_mig:
            facts["scope"] = {question.name: "card" for question in answered if question.way.scope == "card"}
        return facts

    def read(self, *, energy: bool = True) -> dict[str, Any]:
        """Read every value once. Never raises.

        Parameters
        ----------
        energy : bool
            Whether to ask for ``energy_j``, too: on an H100 the driver takes a hundred times as long for it as for all
            the others together (2.4 ms of the processor; docs/gpu.md).

        Returns
        -------
        dict
            ``memory_used_mib`` (MiB of 2**20 bytes), ``utilization_percent`` (share of the driver's last sample period,
            0.17 to 1 s, in which a kernel ran), ``power_w`` (W; the mean over a second on most cards since Ampere),
            ``temperature_c`` (°C), ``sm_clock_mhz``, ``throttle`` (list of words, empty: nothing holds the clocks
            down), ``energy_j`` (J since the driver was loaded). None where the hardware does not say; the reason is in
            ``reasons`` and, once, in :meth:`news`.
        """
        self._reads = now = self._reads + 1
        values: dict[str, Any] = dict.fromkeys(METRICS)
        if now < self._rest_until:
            return values
        self._take_new_handles()
        try:
            for question in self._questions:
                if now < question.rest_until or (question.name == "energy_j" and not energy):
                    continue
                try:
                    values[question.name] = question.convert(question.ask())
                    question.settled, question.failures = True, 0
                except Exception as error:  # noqa: BLE001 - whatever driver or ctypes do, the other values go on
                    values[question.name] = self._ask_again(question, error)
        except _DeviceGone:
            return dict.fromkeys(METRICS)
        if self.reasons:
            self._forget_reasons(values)
        return values

    def _ask_again(self, question: Question, error: Exception) -> Any:
        """Give the value by another way after an error, or None."""
        while True:
            failure = failure_of(error)
            if failure.whole_device:
                self._rest_until = self._reads + RETRY_READS
                self._tell("device", failure)
                raise _DeviceGone
            renewed = failure.code == "NVML_ERROR_UNINITIALIZED" and self._renew()
            if not renewed and not question.next_way(failure):
                break
            try:
                value = question.convert(question.ask())
            except Exception as again:  # noqa: BLE001 - as in read()
                error = again
            else:
                question.succeeded()
                return value
        self._tell(question.name, question.failed(failure, self._reads))
        return None

    def _renew(self) -> bool:
        """Initialise NVML again after somebody shut it down; not in every read, in case they do that all the time."""
        if self._session is None or self._reads < self._renew_at:
            return False
        self._renew_at = self._reads + RETRY_READS
        if not self._session.renew():
            return False
        self._take_new_handles()
        return True

    def _take_new_handles(self) -> None:
        """Find the device anew where NVML was initialised anew; the old handles stay where it is not found any more."""
        if self._session is None or self._generation == self._session.generation:
            return
        self._generation = self._session.generation
        match = find(self._session.nvml, self._device)
        if match.handles().keys() == self._match.handles().keys():
            self._match = match
            self._bind()

    def read_processes(self, own: Collection[int] = ()) -> dict[str, Any]:
        """Count the processes that compute on this device and are not ours. Never raises; costs more than :meth:`read`.

        Parameters
        ----------
        own : collection of int
            Process ids that are ours, too (the other ranks). This process need not be among them.

        Returns
        -------
        dict
            ``other_processes`` (int) and ``other_memory_mib`` (MiB). None where the driver does not say, or where it
            names process ids of another table: in a container it may see the host's, and ours cannot be told from them.
            What one card shows of that holds for all.
        """
        values: dict[str, Any] = {"other_processes": None, "other_memory_mib": None}
        question = self._processes
        if question is None or self._reads < max(self._rest_until, question.rest_until):
            return values
        self._take_new_handles()
        try:
            try:
                running = question.ask()
            except Exception as error:  # noqa: BLE001 - as in read()
                running = self._ask_again(question, error)
            if running is not None:
                values = self._table.others(running, set(own), self._device.in_use)
                question.succeeded()
                self.reasons.pop(question.name, None)
        except _DeviceGone:
            pass
        except Exception as error:  # noqa: BLE001 - as in read()
            self._tell(question.name, failure_of(error))
        return values

    def _list_processes(self) -> Sequence[Any] | None:
        """Ask for the processes for the sake of another card; None where that rests. May raise what a driver does."""
        if self._processes is None or self._reads < max(self._rest_until, self._processes.rest_until):
            return None
        return cast(Sequence[Any], self._processes.ask())

    def news(self) -> list[dict[str, Any]]:
        """Give what was found missing since the last call, each (metric, code) once in the life of this reader.

        Returns
        -------
        list of dict
            ``gpu`` (index), ``metric`` (its name, or ``"device"``: all of them), ``reason`` (words), ``code``
            (``"NVML_ERROR_NOT_SUPPORTED"``), ``lasting`` (it is not asked for again).
        """
        news, self._news = self._news, []
        return news

    def _tell(self, metric: str, failure: Failure) -> None:
        self.reasons[metric] = failure.reason
        if (metric, failure.code) not in self._told:
            self._told.add((metric, failure.code))
            self._news.append(
                {
                    "gpu": self.index,
                    "metric": metric,
                    "reason": failure.reason,
                    "code": failure.code,
                    "lasting": failure.lasting,
                }
            )

    def _forget_reasons(self, values: dict[str, Any]) -> None:
        """Drop the reasons of values that are there again, and that of a lost device that answers."""
        for metric in [name for name in self.reasons if values.get(name) is not None]:
            del self.reasons[metric]
        if self.matched_by is not None:
            self.reasons.pop("device", None)


class Readers:
    """The readers of some devices, and NVML, which they share; close it at the end (or use it in ``with``).

    Attributes
    ----------
    readers : list of DeviceReader
        One a device, in their order, also where there is no NVML.
    problem : str or None
        Why there is no NVML at all.
    driver_version : str or None
        ``"570.86.10"``.
    """

    def __init__(self, devices: Sequence[TorchDevice]):
        self._session, failure = open_session()
        self.problem = None if failure is None else f"no NVML readings: {failure.reason} ({failure.code})"
        self.driver_version = self._session.driver_version if self._session is not None else None
        table = ProcessTable()
        self.readers = [DeviceReader(device, self._session, failure, table) for device in devices]

    def close(self) -> None:
        """Give NVML back; others in this process that use it are not disturbed. May be called again."""
        if self._session is not None:
            self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_devices(devices: Sequence[TorchDevice]) -> Readers:
    """Open NVML for devices of torch.

    Parameters
    ----------
    devices : sequence of TorchDevice
        From :func:`hf_monitor.gpu.devices.torch_devices`.

    Returns
    -------
    Readers
        One reader a device, whatever NVML says: where there is no NVML, or a device is not found in it, its reader
        gives what torch knows and the reason for the rest.
    """
    return Readers(devices)
