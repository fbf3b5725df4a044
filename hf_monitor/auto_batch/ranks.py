"""Several processes: how many there are, what DDP holds for them, and where they meet after probing on their own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from hf_monitor.auto_batch.agreement import agree, exchange, slowest
from hf_monitor.auto_batch.shapes import ProbeResult, Trial
from hf_monitor.errors import HfMonitorError

__all__ = ["World", "ddp_bucket_bytes", "gather", "probe_together", "time_together", "world"]

_Agreed = TypeVar("_Agreed")
_TIMEOUT_SECONDS = 1800.0  # as TrainingArguments.ddp_timeout: one rank may probe for much longer than another


@dataclass(frozen=True, slots=True)
class World:
    """The processes of a launch, and which of them this is.

    Attributes
    ----------
    size, rank : int
        Of all nodes.
    local, local_size : int
        The same within this node, whose host memory they share.
    """

    size: int = 1
    rank: int = 0
    local: int = 0
    local_size: int = 1


def world() -> World:
    """Say how many processes there are, by torch's process group or by what the launcher has set; creates nothing.

    Returns
    -------
    World
        Of size 1 without ``WORLD_SIZE``, ``RANK`` and ``LOCAL_RANK``, all of which the launchers set (``torchrun``,
        ``accelerate launch``): without the last one the Trainer trains in each process alone.
    """
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        rank = dist.get_rank()
        return World(dist.get_world_size(), rank, _number("LOCAL_RANK", rank), _number("LOCAL_WORLD_SIZE", 1))
    size, rank, local = (_number(name, -1) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    if size < 2 or rank < 0 or local < 0:
        return World()
    return World(size, rank, local, _number("LOCAL_WORLD_SIZE", 1))


def _number(name: str, default: int) -> int:
    found = os.environ.get(name, "")
    return int(found) if found.isdecimal() else default


def ddp_bucket_bytes(model: Any, *, gradient_as_bucket_view: bool = False) -> int:
    """Give what ``DistributedDataParallel`` will hold for exchanging gradients, besides the gradients themselves.

    Its buckets are as large as all that is trained, each in its own dtype (autocast changes nothing), whatever
    ``bucket_cap_mb`` and ``find_unused_parameters``: see the reducer in
    https://docs.pytorch.org/docs/stable/notes/ddp.html and ``DistributedDataParallel._get_ddp_logging_data()``.

    Parameters
    ----------
    model : torch.nn.Module
        Not wrapped.
    gradient_as_bucket_view : bool
        Whether gradients live within the buckets (neither the Trainer nor accelerate asks for that).

    Returns
    -------
    int
        Bytes.
    """
    if gradient_as_bucket_view:
        return 0
    ignored = set(getattr(model, "_ddp_params_and_buffers_to_ignore", ()))
    return sum(p.nbytes for name, p in model.named_parameters() if p.requires_grad and name not in ignored)


def probe_together(
    probe: Callable[[], ProbeResult], *, device: Any = None, timeout_seconds: float = _TIMEOUT_SECONDS
) -> ProbeResult:
    """Probe in every process of the launch, and agree on the smallest result. All processes must call it.

    Nothing is exchanged while `probe` runs. The agreement is made over a gloo group of its own, on the CPU, which is
    there before the probing (so that ranks do not wait for one another to meet) and gone after it. Where torch's
    process group does not exist yet, ``accelerate.PartialState`` makes it, as ``TrainingArguments`` would; it stays,
    and the Trainer takes it over.

    Parameters
    ----------
    probe : callable
        Probes on this process alone.
    device : torch.device, optional
        Where the training will run.
    timeout_seconds : float
        How long the first to finish waits for the others.

    Returns
    -------
    ProbeResult
        As :func:`hf_monitor.auto_batch.agreement.agree` gives it; on one process what `probe` gives.

    Raises
    ------
    Exception
        As :func:`hf_monitor.auto_batch.agreement.agree`.
    """
    return probe() if world().size == 1 else _meet(probe, agree, device, timeout_seconds)


def time_together(
    time: Callable[[], Sequence[Trial]], *, device: Any = None, timeout_seconds: float = _TIMEOUT_SECONDS
) -> tuple[Trial, ...]:
    """Time in every process of the launch, and take for each size what the slowest took: the others wait for it.

    Parameters
    ----------
    time : callable
        Gives trials of this process, one a size.
    device, timeout_seconds
        As of :func:`probe_together`.

    Returns
    -------
    tuple of Trial
        Equal on all ranks; of the sizes that all of them have timed.

    Raises
    ------
    Exception
        As :func:`hf_monitor.auto_batch.agreement.agree`.
    """

    def settle(outcome: Sequence[Trial] | Exception, group: Any) -> tuple[Trial, ...]:
        return slowest(exchange("timed its batch sizes", outcome, outcome, group))

    return tuple(time()) if world().size == 1 else _meet(time, settle, device, timeout_seconds)


def gather(what: str, value: Any, *, device: Any = None) -> list[Any]:
    """Give a value of every process of the launch, by rank; all must call it, and it connects them where need be.

    Parameters
    ----------
    what : str
        What the value comes from, in words: "rank 0 has ...". Another rank that is elsewhere is found out by it.
    value : object
        Can be pickled.
    device
        As of :func:`probe_together`.

    Raises
    ------
    RankFailed
        If another rank has died, or exchanges something else.
    """

    def settle(outcome: Any, group: Any) -> list[Any]:
        return exchange(what, outcome, outcome, group)

    return [value] if world().size == 1 else _meet(lambda: value, settle, device, _TIMEOUT_SECONDS)


def _meet(
    action: Callable[[], Any], settle: Callable[[Any, Any], _Agreed], device: Any, timeout_seconds: float
) -> _Agreed:
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        _make_process_group(device)
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds))
    try:
        outcome: Any
        try:
            outcome = action()
        except Exception as error:  # noqa: BLE001 - raised again by settle(), when the others know of it
            outcome = error
        return settle(outcome, group)
    finally:  # also on Ctrl-C: the others see the connection closed, and do not wait
        dist.destroy_process_group(group)


def _make_process_group(device: Any) -> None:
    import torch
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    told = parse_flag_from_env("ACCELERATE_USE_CPU")
    cpu = told or getattr(device, "type", device) == "cpu"
    if cpu and not told and torch.cuda.is_available():
        raise HfMonitorError(
            "several processes, a GPU, and a batch size to be probed on the CPU: it is not clear over which "
            "backend the training will run. Make the TrainingArguments first (they set up the processes), or set "
            "ACCELERATE_USE_CPU=true"
        )
    # What TrainingArguments hands over (transformers, training_args.py, _setup_devices); 1800 s is its ddp_timeout.
    options: dict[str, Any] = {} if cpu else {"timeout": timedelta(seconds=1800)}
    PartialState(cpu=cpu, **options)
    if not torch.distributed.is_initialized():
        raise HfMonitorError(
            f"the launcher has started {world().size} processes, but accelerate's PartialState connects none of them "
            "(made earlier, for one process?). Make the TrainingArguments first, with use_cpu=True where the training "
            "runs on the CPU"
        )
