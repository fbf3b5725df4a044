"""What the processes of a launch have found, exchanged: one result for all, or an error for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hf_monitor.auto_batch.shapes import ProbeResult, Trial
from hf_monitor.errors import BatchDoesNotFit, RankFailed

__all__ = ["PROBED", "agree", "exchange", "slowest", "smallest"]

_NCCL_NOTE = (
    "NCCL keeps buffers of its own outside of torch's allocator, from the first exchange of gradients on: they are not "
    "in these figures"
)


PROBED = "probed its batch size"
"""What an exchange of probes is called, in words."""


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
    heard = exchange(PROBED, outcome, _packed(outcome) if isinstance(outcome, ProbeResult) else None, group)
    assert isinstance(outcome, ProbeResult)
    return _own_settings(smallest(heard), outcome)


def exchange(what: str, outcome: Any, packed: Any, group: Any) -> list[Any]:
    """Give what the processes have to say, by rank; raises if one of them has an error to tell.

    Parameters
    ----------
    what : str
        What this process has done, in words: "rank 0 has ...". All must have done the same.
    outcome : object
        What came of it here, or the exception that ended it.
    packed : object
        The same, to be pickled; of no account where `outcome` is an exception.
    group : torch.distributed.ProcessGroup or None
    """
    import torch.distributed as dist

    told = (what, _told(outcome), None) if isinstance(outcome, Exception) else (what, None, packed)
    heard: list[Any] = [None] * dist.get_world_size(group)
    try:
        dist.all_gather_object(heard, told, group=group)
    except RuntimeError as error:
        if isinstance(outcome, Exception):
            raise outcome from None
        raise RankFailed(
            f"rank {dist.get_rank()} has {what}, but not every other rank has come to compare: one has died or was "
            "interrupted (its own output says more), takes too long, or does not call this at all, which "
            f"every rank must do ({type(error).__name__}: {str(error)[:300]})"
        ) from error
    _same(outcome, [done for done, _, _ in heard])
    failed = {rank: said for rank, (_, said, _) in enumerate(heard) if said is not None}
    if failed:
        _fail(outcome, failed, dist.get_rank())
    return [value for _, _, value in heard]


def _same(outcome: Any, done: Sequence[str]) -> None:
    """Refuse to take what another rank has said of something else."""
    if len(set(done)) == 1:
        return
    if isinstance(outcome, Exception):
        raise outcome
    each = "; ".join(f"rank {rank} has {what}" for rank, what in enumerate(done))
    raise RankFailed(f"the ranks do not do the same: {each}. All must make the same calls in the same order")


def _packed(result: ProbeResult) -> ProbeResult:
    """Give what can be pickled; an optimizer may be a function that cannot."""
    named = getattr(result.settings.optimizer, "__qualname__", str(result.settings.optimizer))
    evaluation = _packed(result.evaluation) if result.evaluation is not None else None
    return replace(result, settings=replace(result.settings, optimizer=named), evaluation=evaluation)


def _told(error: Exception) -> dict[str, Any]:
    said: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, BatchDoesNotFit):
        said["fit"] = {name: getattr(error, name) for name in ("needed_bytes", "limit_bytes", "remedies")}
    return said


def _own_settings(result: ProbeResult, own: ProbeResult) -> ProbeResult:
    evaluation = result.evaluation
    if evaluation is not None and own.evaluation is not None:
        evaluation = _own_settings(evaluation, own.evaluation)
    return replace(result, settings=own.settings, evaluation=evaluation)


def _fail(outcome: Any, failed: dict[int, dict[str, Any]], own_rank: int) -> None:
    cause = outcome if isinstance(outcome, Exception) else None
    worse = {rank: said for rank, said in failed.items() if "fit" not in said}
    if worse:
        if cause is not None and own_rank in worse:
            raise cause
        told = "; ".join(f"rank {rank}: {said['type']}: {said['message']}" for rank, said in worse.items())
        raise RankFailed(f"not every rank has come through. {told}") from cause
    tightest = min(failed, key=lambda rank: (failed[rank]["fit"]["limit_bytes"] or 0, rank))
    if cause is not None and own_rank == tightest:
        raise cause
    said = failed[tightest]
    raise BatchDoesNotFit(f"on rank {tightest}: {said['message']}", **said["fit"]) from cause


def smallest(results: Sequence[ProbeResult]) -> ProbeResult:
    """Give the result that holds for all ranks, with the trials of each and a word on how it was chosen."""
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
        evaluation=smallest(evaluations) if len(evaluations) == len(results) else None,
        notes=(*found.notes, *notes),
        rank=rank,
        by_rank=tuple(result.trials for result in results),
    )


def slowest(timed: Sequence[Sequence[Trial]]) -> tuple[Trial, ...]:
    """Give for each size that all ranks have timed what the slowest of them took."""
    by_size: dict[int, list[Trial]] = {}
    for trial in (trial for trials in timed for trial in trials if trial.seconds is not None):
        by_size.setdefault(trial.batch_size, []).append(trial)
    return tuple(
        max(trials, key=lambda t: t.seconds or 0.0) for trials in by_size.values() if len(trials) == len(timed)
    )
