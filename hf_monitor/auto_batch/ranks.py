"""Several processes: each probes on its own, then all take the smallest result, or all end with an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from hf_monitor.auto_batch.shapes import ProbeResult
from hf_monitor.errors import BatchDoesNotFit, HfMonitorError, RankFailed

__all__ = ["World", "agree", "ddp_bucket_bytes", "probe_together", "world"]

_TIMEOUT_SECONDS = 1800.0  # as TrainingArguments.ddp_timeout: one rank may probe for much longer than another
_NCCL_NOTE = (
    "NCCL keeps buffers of its own outside of torch's allocator, from the first exchange of gradients on: they are not "
    "in these figures"
)


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
        As :func:`agree` gives it; on one process what `probe` gives.

    Raises
    ------
    Exception
        As :func:`agree`.
    """
    if world().size == 1:
        return probe()
    import torch.distributed as dist

    if not (dist.is_available() and dist.is_initialized()):
        _make_process_group(device)
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=timeout_seconds))
    try:
        outcome: ProbeResult | Exception
        try:
            outcome = probe()
        except Exception as error:  # noqa: BLE001 - raised again by agree(), when the others know of it
            outcome = error
        return agree(outcome, group)
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


def agree(outcome: ProbeResult | Exception, group: Any = None) -> ProbeResult:
    """Exchange what each process has found, and give or raise the same everywhere.

    Parameters
    ----------
    outcome : ProbeResult or Exception
        What this process has found, or what ended its probe.
    group : torch.distributed.ProcessGroup, optional
        A gloo group of all processes; the default group if None.

    Returns
    -------
    ProbeResult
        That of the rank with the smallest batch size (the lowest such rank), equal on all ranks but for ``settings``,
        which stay this process's; ``evaluation`` is chosen by itself in the same way.

    Raises
    ------
    Exception
        What ended this process's probe.
    BatchDoesNotFit
        On every rank, with equal attributes (those of the rank with the lowest limit), if not even one sample fits on
        some rank and nothing worse happened: what is tried next can then be the same on all ranks.
    RankFailed
        If another rank's probe ended with another error, or another rank has died.
    """
    import torch.distributed as dist

    heard: list[Any] = [None] * dist.get_world_size(group)
    try:
        dist.all_gather_object(heard, _packed(outcome), group=group)
    except RuntimeError as error:
        if isinstance(outcome, Exception):
            raise outcome from None
        raise RankFailed(
            f"rank {dist.get_rank()} has probed its batch size, but not every other rank has come to compare: one has "
            "died or was interrupted (its own output says more), takes too long, or does not call this at all, which "
            f"every rank must do ({type(error).__name__}: {str(error)[:300]})"
        ) from error
    failed = {rank: said for rank, said in enumerate(heard) if isinstance(said, dict)}
    if failed:
        _fail(outcome, failed, dist.get_rank())
    assert isinstance(outcome, ProbeResult)
    return _own_settings(_smallest(heard), outcome)


def _packed(outcome: ProbeResult | Exception) -> ProbeResult | dict[str, Any]:
    """Give what can be pickled; an optimizer may be a function that cannot."""
    if isinstance(outcome, ProbeResult):
        named = getattr(outcome.settings.optimizer, "__qualname__", str(outcome.settings.optimizer))
        evaluation = outcome.evaluation
        return replace(
            outcome,
            settings=replace(outcome.settings, optimizer=named),
            evaluation=_packed(evaluation) if evaluation is not None else None,  # type: ignore[arg-type]
        )
    said: dict[str, Any] = {"type": type(outcome).__name__, "message": str(outcome)}
    if isinstance(outcome, BatchDoesNotFit):
        said["fit"] = {name: getattr(outcome, name) for name in ("needed_bytes", "limit_bytes", "remedies")}
    return said


def _own_settings(result: ProbeResult, own: ProbeResult) -> ProbeResult:
    evaluation = result.evaluation
    if evaluation is not None and own.evaluation is not None:
        evaluation = _own_settings(evaluation, own.evaluation)
    return replace(result, settings=own.settings, evaluation=evaluation)


def _fail(outcome: ProbeResult | Exception, failed: dict[int, dict[str, Any]], own_rank: int) -> None:
    cause = outcome if isinstance(outcome, Exception) else None
    worse = {rank: said for rank, said in failed.items() if "fit" not in said}
    if worse:
        if cause is not None and own_rank in worse:
            raise cause
        told = "; ".join(f"rank {rank}: {said['type']}: {said['message']}" for rank, said in worse.items())
        raise RankFailed(f"the batch size could not be probed on every rank. {told}") from cause
    tightest = min(failed, key=lambda rank: (failed[rank]["fit"]["limit_bytes"] or 0, rank))
    if cause is not None and own_rank == tightest:
        raise cause
    said = failed[tightest]
    raise BatchDoesNotFit(f"on rank {tightest}: {said['message']}", **said["fit"]) from cause


def _smallest(results: Sequence[ProbeResult]) -> ProbeResult:
    rank = min(range(len(results)), key=lambda rank: (results[rank].batch_size, rank))
    found = results[rank]
    sizes = ", ".join(str(result.batch_size) for result in results)
    notes = [f"the smallest of {len(results)} ranks ({sizes} by rank): that of rank {rank}, {found.device_name}"]
    if any((r.settings, r.lengths) != (found.settings, found.lengths) for r in results):
        notes.append("the ranks have not probed the same settings or lengths: each should")
    evaluations = [result.evaluation for result in results if result.evaluation is not None]
    if 0 < len(evaluations) < len(results):
        notes.append("only some of the ranks have probed the evaluation batch: there is no common result of it")
    if found.device.startswith("cuda"):
        notes.append(_NCCL_NOTE)
    return replace(
        found,
        evaluation=_smallest(evaluations) if len(evaluations) == len(results) else None,
        notes=(*found.notes, *notes),
        rank=rank,
        by_rank=tuple(result.trials for result in results),
    )
