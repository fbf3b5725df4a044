"""The probes that a plan wants: with or without accumulation, with the remedies that are allowed, and timed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from hf_monitor.auto_batch import plan_below
from hf_monitor.auto_batch import probe as probing
from hf_monitor.auto_batch.accumulation import Settled, divisors, settle
from hf_monitor.auto_batch.oom import free_memory
from hf_monitor.auto_batch.plan_device import DeviceFacts
from hf_monitor.auto_batch.plan_file import TrialsFile
from hf_monitor.auto_batch.shapes import Precision, ProbeResult, Trial
from hf_monitor.errors import BatchDoesNotFit

__all__ = ["REMEDIES", "Planner"]

REMEDIES = ("bf16", "gradient_checkpointing")
"""What a plan may change by itself where it is allowed, in the order in which it is tried."""

_AS_FAST = 0.97  # of the best throughput: what is nearer is within the noise of timing
_REPEATS = 3
_OF_BATCHES = frozenset(
    {
        "source_length",
        "target_length",
        "memory_limit",
        "tokenizer",
        "dataset",
        "collator",
        "length_quantile",
        "make_batch",
    }
)


class Planner:
    """Probes a model for a plan.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    facts : DeviceFacts
    share : int
        Samples of one update that one rank contributes.
    num_processes : int
    trials : TrialsFile
        Gets every trial, as soon as its probe is over.
    options : mapping
        For ``probe_batch_size``, the same in every probe.
    """

    def __init__(
        self,
        model: Any,
        facts: DeviceFacts,
        share: int,
        num_processes: int,
        trials: TrialsFile,
        options: Mapping[str, Any],
    ) -> None:
        self.model, self.facts, self.share, self.num_processes = model, facts, share, num_processes
        self.trials, self.options = trials, dict(options)

    def settle(self, ceiling: int) -> Settled:
        """Put the effective batch together below a ceiling, as the tier likes it."""
        effective = self.share * self.num_processes
        return settle(ceiling, self.facts.tier.tier, num_processes=self.num_processes, effective_batch_size=effective)

    def probe(
        self,
        first: tuple[Precision, bool],
        allow: Collection[str],
        evaluation: dict[str, Any] | None,
        *,
        fastest: bool = False,
    ) -> tuple[ProbeResult, list[str]]:
        """Probe; where not even one sample fits, with what is allowed.

        Parameters
        ----------
        first : tuple of str and bool
            Precision, and whether to recompute activations.
        allow : collection of str
            Of :data:`REMEDIES`.
        evaluation : dict or None
            How an evaluation generates, where it does.
        fastest : bool
            Whether sizes beyond the tier's are of interest.

        Returns
        -------
        ProbeResult, list of str
            The second: what was changed, in words.

        Raises
        ------
        BatchDoesNotFit
            With all that is allowed.
        """
        notes: list[str] = []
        error: BatchDoesNotFit | None = None
        ladder = self._ladder(*first, allow)
        for precision, checkpointing, note in ladder:
            notes += [note] if note else []
            self.options["suggest"] = (precision, checkpointing, note) == ladder[-1]  # what comes next is known before
            try:
                return self._probe(precision, checkpointing, evaluation, notes, fastest), notes
            except BatchDoesNotFit as found:
                self._record(getattr(found, "trials", ()), precision, checkpointing, None)
                error = found.with_traceback(None)  # which holds tensors
            free_memory(_torch_device(self.facts))
        assert error is not None
        raise error

    def _ladder(
        self, precision: Precision, checkpointing: bool, allow: Collection[str]
    ) -> list[tuple[Precision, bool, str | None]]:
        steps: list[tuple[Precision, bool, str | None]] = [(precision, checkpointing, None)]
        if "bf16" in allow and precision == "fp32" and (self.facts.precision == "bf16" or self.facts.device == "cpu"):
            precision = "bf16"
            steps.append((precision, checkpointing, "bf16, as allowed: in fp32 not even one sample fits"))
        able = getattr(self.model, "supports_gradient_checkpointing", False)
        if "gradient_checkpointing" in allow and not checkpointing and able:
            note = "gradient checkpointing, as allowed: without it not even one sample fits"
            steps.append((precision, True, note))
        return steps

    def _probe(
        self,
        precision: Precision,
        checkpointing: bool,
        evaluation: dict[str, Any] | None,
        notes: list[str],
        fastest: bool,
    ) -> ProbeResult:
        # More than what is wanted in the best case need not be known: nothing is tried beyond it.
        wanted = self.share if fastest else self.settle(self.share).per_device_batch_size
        options = {"precision": precision, "gradient_checkpointing": checkpointing}
        if wanted < self.share:
            return self._call(wanted, accumulation=True, evaluation=evaluation, **options)
        whole = self._call(wanted, accumulation=False, evaluation=evaluation, **options)
        if whole.batch_size >= self.share:
            return whole
        # Then it takes several steps an update, whose gradients live through the next forward pass.
        notes.append(
            f"{whole.batch_size} of {self.share} samples fit in one step an update: measured again for several"
        )
        again = self._call(whole.batch_size, accumulation=True, evaluation=None, **options)
        return dataclasses.replace(again, evaluation=whole.evaluation, limited_by="memory")

    def _call(self, maximum: int, **options: Any) -> ProbeResult:
        found = probing.probe_batch_size(
            self.model, self.facts.device, max_batch_size=maximum, **{**self.options, **options}
        )
        self._record_rows(
            found.rows(), options["precision"], options["gradient_checkpointing"], options["accumulation"]
        )
        return found

    def below(self, settled: Settled, probe: ProbeResult) -> tuple[int, int] | None:
        """Give what is below a batch that is a whole update; None where the plan accumulates already."""
        if settled.accumulation > 1 or settled.per_device_batch_size == 1:
            return None
        return plan_below.batch_below(
            self.model, probe, **{name: value for name, value in self.options.items() if name in _OF_BATCHES}
        )

    def fastest(self, probe: ProbeResult) -> tuple[Settled, ProbeResult]:
        """Take the smallest batch within 3 % of the best samples a second, among the divisors that fit.

        Parameters
        ----------
        probe : ProbeResult
            Gives the ceiling.

        Returns
        -------
        Settled, ProbeResult
            The probe's trials have the timed steps at their end; the settled note says what was found.
        """
        timed: list[Trial] = []
        sizes = [d for d in divisors(self.share) if d <= probe.batch_size]
        batches = {name: value for name, value in self.options.items() if name in _OF_BATCHES}
        for accumulation in (True, False):  # one step an update accumulates nothing
            some = [d for d in sizes if (d < self.share) == accumulation]
            if some:
                settings = dataclasses.replace(probe.settings, accumulation=accumulation)
                found = probing.time_batch_sizes(
                    self.model, self.facts.device, some, settings, repeats=_REPEATS, **batches
                )
                # A step may have been within the budget, but not within what is allowed of it.
                found = tuple(
                    dataclasses.replace(t, fits=t.peak_bytes is not None and t.peak_bytes <= probe.limit_bytes)
                    for t in found
                )
                self._record(found, settings.precision, settings.gradient_checkpointing, accumulation)
                timed += found
        speeds = {t.batch_size: t.samples_per_second for t in timed if t.fits and t.samples_per_second}
        preferred = self.settle(probe.batch_size)
        if not speeds:
            note = "no batch could be timed: the largest that suits the tier was taken"
            if not probe.settings.accumulation:  # no smaller one was measured as it would be trained
                preferred = Settled(self.share, 1, self.share * self.num_processes)
                note = "no batch could be timed: the whole update in one step was taken, as measured"
            return dataclasses.replace(preferred, note=note), probe
        best = max(speeds, key=lambda size: speeds[size])
        size = min(size for size, speed in speeds.items() if speed >= _AS_FAST * speeds[best])
        note = f"the fastest: {size} makes {speeds[size]:.1f} samples/s"
        note += "" if size == best else f", {best} the most with {speeds[best]:.1f}"
        note += f"; {preferred.per_device_batch_size} would suit the {self.facts.tier.tier.name} tier" * (
            size != preferred.per_device_batch_size
        )
        settings = dataclasses.replace(probe.settings, accumulation=size < self.share)
        settled = Settled(size, self.share // size, self.share * self.num_processes, note)
        return settled, dataclasses.replace(probe, trials=(*probe.trials, *timed), settings=settings)

    def _record(self, trials: Any, precision: str, checkpointing: bool, accumulation: bool | None) -> None:
        self._record_rows([dataclasses.asdict(trial) for trial in trials], precision, checkpointing, accumulation)

    def _record_rows(
        self, rows: list[dict[str, Any]], precision: str, checkpointing: bool, accumulation: bool | None
    ) -> None:
        self.trials.write(
            rows,
            device=self.facts.device,
            precision=precision,
            gradient_checkpointing=checkpointing,
            accumulation=accumulation,
        )


def _torch_device(facts: DeviceFacts) -> Any:
    import torch

    return torch.device(facts.device)
