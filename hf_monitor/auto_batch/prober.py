"""Real steps of growing size, each measured, none of them a trace behind."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.evaluation import EvaluationStep
from hf_monitor.auto_batch.meters import Meter, meter_for
from hf_monitor.auto_batch.oom import is_out_of_memory
from hf_monitor.auto_batch.remedies import Remedy, does_not_fit, remedies
from hf_monitor.auto_batch.search import Found, search
from hf_monitor.auto_batch.shapes import ProbeResult, StepSettings, Trial
from hf_monitor.auto_batch.steady import EXPANDABLE, WORST, batch_of, largest_steady, updates
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.auto_batch.untouched import uninterrupted, untouched
from hf_monitor.seq2seq.batches import Lengths, MakeBatch
from hf_monitor.seq2seq.worst_batches import WorstBatches

__all__ = ["Prober", "on_device"]

_MIB = 2**20


@contextlib.contextmanager
def on_device(model: Any, device: torch.device) -> Iterator[None]:
    """Have the model on a device, and afterwards where and what it was."""
    with untouched(model, device), torch.inference_mode(False), torch.enable_grad():
        if next(model.parameters()).device != device:
            model.to(device)
        yield


class Prober:
    """Makes steps on a device; optimizer state and (with accumulation) gradients stay from one to the next.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        On the device.
    device : torch.device
    settings : StepSettings
    memory_limit : int or None
        Bytes.
    safe_factor : float
    """

    def __init__(
        self, model: Any, device: torch.device, settings: StepSettings, memory_limit: int | None, safe_factor: float
    ) -> None:
        self._model, self._device, self._settings, self._factor = model, device, settings, safe_factor
        self._step = TrainingStep(model, settings)
        self._meter: Meter = meter_for(device, [*model.parameters(), *model.buffers()], memory_limit)
        self._budget = self._meter.budget()
        self.trials: list[Trial] = []
        self._notes: list[str] = []
        # Collecting before every step is quick where all that was there before is left out of it.
        gc.collect()
        self._frozen = gc.get_freeze_count() == 0
        if self._frozen:
            gc.freeze()

    def close(self) -> None:
        """Let go of what the steps left."""
        with uninterrupted():
            self._step.close()
            if self._frozen:
                gc.unfreeze()
                self._frozen = False
            self._meter.settle()
            self._meter.close()

    def find(
        self, make: MakeBatch, lengths: Lengths, maximum: int, estimator: Estimator | None, *, suggest: bool = True
    ) -> ProbeResult:
        """Search for the largest batch.

        Raises
        ------
        BatchDoesNotFit
            With what would help, if `suggest`.
        """
        estimate = None
        if estimator is not None:
            estimate = self._estimate(estimator, maximum)
        begun = self._measured(self._begin) is not None
        if begun and self._device.type == "cuda":
            # Kernels are loaded at their first use, into memory that torch does not manage: the budget comes after.
            self._trial(self._step.run, make(1), 1, estimate)
            self._budget = min(self._budget, self._meter.budget(), key=lambda budget: budget.bytes)
        first = len(self.trials)
        found = search(
            lambda size: self._trial(self._step.run, make(size), size, estimate) if begun else None,
            limit=self._limit,
            maximum=maximum,
            estimate=estimate,
            trust_estimate=self._device.type == "cpu",
            noise=self._meter.noise,
            first=_first(make),
        )
        if found.size == 1 and not self._fits_every_single(make):
            found = replace(found, size=0)
        if found.size and self._meter.wears:
            found = self._proven(found, make, estimate)
        if not found.size:
            single = [t for t in self.trials if t.batch_size == 1]
            needed = max((t.peak_bytes for t in single if t.peak_bytes and not t.fits), default=None)
            # One that fits alone, but not step after step, needs more than it was estimated or measured to take.
            if needed is None and estimate is not None and not any(t.fits for t in single):
                needed = round(estimate(1))
            self._step.close()  # the fake steps that follow want none of it
            raise self._does_not_fit(needed, make if isinstance(make, WorstBatches) else None, lengths, suggest)
        return self._result(found, lengths, maximum, self.trials[first:], self.trials)

    def _proven(self, found: Found, make: MakeBatch, estimate: Callable[[int], float] | None) -> Found:
        """Give what also goes through step after step, in a cache that nobody empties, as in a training."""
        size, failed = largest_steady(found.size, lambda size: self._steady(make, size))
        if self._measured(self._afresh) is None:
            size = 0
        if size in (0, found.size):
            return replace(found, size=size)
        self._notes.append(
            f"{found.size} fit alone, but not step after step: the allocator's blocks were cut up by the steps before; "
            f"{size} went through. {EXPANDABLE} may leave room for more, where it is not set"
        )
        self._trial(self._step.run, make(size), size, estimate)
        return Found(size, failed, failed - 1 - size)

    def _steady(self, make: MakeBatch, size: int) -> bool:
        self._step.restart()
        self._meter.settle()
        flushes = self._meter.flushes()
        can_cut = bool(getattr(getattr(self._model, "config", None), "is_encoder_decoder", False))
        for update in updates(self._settings.accumulation):
            waiting = [batch_of(shape, make, size, can_cut=can_cut) for shape in update]
            for number, shape in enumerate(update):
                batch = waiting[number]
                samples = len(next(iter(batch.values())))
                # Of another shape no peak is known: the blocks of the worst batch are still there.
                self._trial(
                    partial(self._micro_step, waiting, number), batch, samples, None, "steady", told=shape == WORST
                )
                trial = self.trials[-1]
                # No device holds more than there is: what would take more shows as a cache that had to be given back.
                if trial.fits and self._meter.flushes() > flushes:
                    trial = self.trials[-1] = replace(trial, fits=False)
                if not trial.fits:
                    return False
        return True

    def _micro_step(self, waiting: list[Mapping[str, Any]], number: int, batch: Mapping[str, Any]) -> None:
        if number == 0:  # the Trainer has all batches of an update on the device before the first of them
            waiting[:] = [self._step.moved(one) for one in waiting]
        run = self._step.update if number == len(waiting) - 1 else self._step.backward
        run(waiting[number])

    def _afresh(self) -> None:
        """Have the optimizer's state where it was before, in a cache that was empty."""
        self._step.restart()
        self._meter.settle()
        self._step.prime()

    def _fits_every_single(self, make: MakeBatch) -> bool:
        """Try the other samples that may be the worst on their own; two together have been the worst of all."""
        others = make.candidates(1)[1:] if isinstance(make, WorstBatches) else []
        peaks = [self._trial(self._step.run, batch, 1, None) for batch in others]
        return all(peak is not None and peak <= self._limit for peak in peaks)

    def _estimate(self, estimator: Estimator, maximum: int) -> Callable[[int], float] | None:
        """Let the estimate look at the sizes that matter: what lies on a line between them costs nothing afterwards."""
        try:
            estimator.largest(self._limit, maximum)
        except EstimateUnavailable as error:
            self._notes.append(f"no estimate by fake tensors, real steps alone: {error}")
            return None
        return estimator.peaks.near

    def time(self, make: MakeBatch, sizes: Sequence[int], repeats: int) -> tuple[Trial, ...]:
        """Time steps of each size: the median of some, after one whose peak is measured."""
        timed: list[Trial] = []
        if self._measured(self._begin) is None:
            return ()
        for size in sizes:
            batch = make(size)
            if self._trial(self._step.run, batch, size, None) is None:
                continue
            # Without the meter: on the CPU the counting takes longer than a small step.
            seconds = sorted(self._seconds(batch) for _ in range(repeats))[repeats // 2]
            timed.append(replace(self.trials[-1], seconds=seconds, samples_per_second=size / seconds))
        return tuple(timed)

    def _seconds(self, batch: Mapping[str, Any]) -> float:
        begun = time.perf_counter()
        self._step.run(batch)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - begun

    def find_evaluation(
        self, evaluation: Mapping[str, Any], make: MakeBatch, lengths: Lengths, maximum: int
    ) -> ProbeResult | None:
        """Search for the largest evaluation batch, with the optimizer's state beside it; None where not one fits."""
        options = dict(evaluation)
        maximum = options.pop("max_batch_size", maximum)
        step = EvaluationStep(
            self._model,
            precision=self._settings.precision,
            label_smoothing=self._settings.label_smoothing,
            **options,
        )
        self._step.between_steps()
        trials = len(self.trials)
        found = search(
            lambda size: self._trial(step.run, make(size), size, None, "evaluate"),
            limit=self._limit,
            maximum=maximum,
            noise=self._meter.noise,
            first=_first(make),
        )
        mine = self.trials[trials:]
        del self.trials[trials:]
        return self._result(found, lengths, maximum, mine, mine) if found.size else None

    @property
    def _limit(self) -> int:
        return int(self._factor * self._budget.bytes)

    def _begin(self) -> None:
        self._step.open()
        self._step.prime()

    def _trial(
        self,
        run: Callable[[Mapping[str, Any]], None],
        batch: Mapping[str, Any],
        size: int,
        estimate: Callable[[int], float] | None,
        phase: str = "train",
        told: bool = True,
    ) -> int | None:
        steady = phase == "steady"
        measured = self._measured(lambda: run(batch), batch, settle=not steady)
        peak, seconds = measured or (None, None)
        # What `safe_factor` keeps is for this.
        most = self._budget.bytes if steady else self._limit
        self.trials.append(
            Trial(
                batch_size=size,
                peak_bytes=peak if told else None,
                fits=peak is not None and peak <= most,
                out_of_memory=peak is None,
                seconds=seconds,
                samples_per_second=size / seconds if seconds else None,
                predicted_bytes=round(estimate(size)) if estimate is not None else None,
                phase=phase,
            )
        )
        return peak

    def _measured(
        self, run: Callable[[], None], batch: Mapping[str, Any] | None = None, *, settle: bool = True
    ) -> tuple[int, float] | None:
        """Give the peak of what is run, and its seconds; None where it ran out of memory."""
        if settle:
            self._meter.settle()
        try:
            begun = time.perf_counter()
            with self._meter.watch((batch or {}).values()):
                run()
            return self._meter.peak(), time.perf_counter() - begun
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self._meter.settle()  # here, not above: the traceback, gone by now, held the tensors of the step
        return None

    def _result(
        self, found: Found, lengths: Lengths, maximum: int, trials: list[Trial], told: list[Trial]
    ) -> ProbeResult:
        best = max(
            (t for t in trials if t.batch_size == found.size and t.fits),
            key=lambda trial: (trial.phase != "steady", trial.peak_bytes or 0),
        )
        assert best.peak_bytes is not None
        return ProbeResult(
            batch_size=found.size,
            peak_bytes=best.peak_bytes,
            predicted_bytes=best.predicted_bytes,
            budget=self._budget,
            limit_bytes=self._limit,
            safe_factor=self._factor,
            lengths=lengths,
            settings=self._settings,
            device=str(self._device),
            device_name=_name(self._device),
            meter=self._meter.how,
            trials=tuple(told),
            limited_by="memory" if found.size < maximum else "max_batch_size",
            at_most_wrong_by=found.at_most_wrong_by,
            notes=tuple(self._notes),
        )

    def _does_not_fit(self, needed: int | None, make: MakeBatch | None, lengths: Lengths, suggest: bool) -> Exception:
        ladder: tuple[Remedy, ...] = ()
        if suggest:
            bf16 = self._device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
            ladder = remedies(
                self._model,
                self._settings,
                lengths,
                self._limit,
                make_batch=make,
                device_type=self._device.type,
                bf16=bf16,
            )
        error = does_not_fit(needed, self._limit, ladder, lengths, self._budget.why)
        error.trials = tuple(self.trials)
        return error


def _first(make: MakeBatch) -> int:
    """Give the smallest batch that is like all larger ones: a data set's longest texts are two samples, not one."""
    return 2 if isinstance(make, WorstBatches) else 1


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import platform

    return platform.processor() or platform.machine()
