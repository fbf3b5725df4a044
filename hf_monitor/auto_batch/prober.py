"""Real steps of growing size, each measured, none of them a trace behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.evaluation import EvaluationStep
from hf_monitor.auto_batch.meters import Meter, meter_for
from hf_monitor.auto_batch.oom import is_out_of_memory
from hf_monitor.auto_batch.search import Found, search
from hf_monitor.auto_batch.shapes import ProbeResult, StepSettings, Trial
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.auto_batch.untouched import untouched
from hf_monitor.errors import BatchDoesNotFit
from hf_monitor.seq2seq.batches import Lengths, MakeBatch

__all__ = ["Prober", "on_device"]

_MIB = 2**20


@contextlib.contextmanager
def on_device(model: Any, device: torch.device) -> Iterator[None]:
    """Have the model on a device, and afterwards where and what it was."""
    with untouched(model, device):
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

    def close(self) -> None:
        """Let go of what the steps left."""
        self._step.close()
        self._meter.settle()

    def find(self, make: MakeBatch, lengths: Lengths, maximum: int, estimator: Estimator | None) -> ProbeResult:
        """Search for the largest batch.

        Raises
        ------
        BatchDoesNotFit
        """
        estimate = None
        if estimator is not None:
            estimate = self._estimate(estimator, maximum)
        begun = self._measured(self._begin) is not None
        if begun and self._device.type == "cuda":
            # Kernels are loaded at their first use, into memory that torch does not manage: the budget comes after.
            self._trial(self._step.run, make(1), estimate)
            self._budget = min(self._budget, self._meter.budget(), key=lambda budget: budget.bytes)
        first = len(self.trials)
        found = search(
            lambda size: self._trial(self._step.run, make(size), estimate) if begun else None,
            limit=self._limit,
            maximum=maximum,
            estimate=estimate,
            trust_estimate=self._device.type == "cpu",
            noise=self._meter.noise,
        )
        if not found.size:
            needed = next((t.peak_bytes for t in self.trials if t.batch_size == 1 and t.peak_bytes), None)
            raise self._does_not_fit(needed or (round(estimate(1)) if estimate is not None else None), lengths)
        return self._result(found, lengths, maximum, self.trials[first:], self.trials)

    def _estimate(self, estimator: Estimator, maximum: int) -> Callable[[int], float] | None:
        """Let the estimate look at the sizes that matter: what lies on a line between them costs nothing afterwards."""
        try:
            estimator.largest(self._limit, maximum)
        except EstimateUnavailable:
            return None
        return estimator.peaks.near

    def time(self, make: MakeBatch, sizes: Sequence[int], repeats: int) -> tuple[Trial, ...]:
        """Time steps of each size: the median of some, after one that is not counted."""
        timed: list[Trial] = []
        if self._measured(self._begin) is None:
            return ()
        for size in sizes:
            batch = make(size)
            if any(self._trial(self._step.run, batch, None) is None for _ in range(repeats + 1)):
                continue
            taken = sorted(self.trials[-repeats:], key=lambda trial: trial.seconds or 0.0)
            timed.append(taken[len(taken) // 2])
        return tuple(timed)

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
            lambda size: self._trial(step.run, make(size), None, "evaluate"),
            limit=self._limit,
            maximum=maximum,
            noise=self._meter.noise,
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
        estimate: Callable[[int], float] | None,
        phase: str = "train",
    ) -> int | None:
        size = len(next(iter(batch.values())))
        measured = self._measured(lambda: run(batch), batch)
        peak, seconds = measured or (None, None)
        self.trials.append(
            Trial(
                batch_size=size,
                peak_bytes=peak,
                fits=peak is not None and peak <= self._limit,
                out_of_memory=peak is None,
                seconds=seconds,
                samples_per_second=size / seconds if seconds else None,
                predicted_bytes=round(estimate(size)) if estimate is not None else None,
                phase=phase,
            )
        )
        return peak

    def _measured(self, run: Callable[[], None], batch: Mapping[str, Any] | None = None) -> tuple[int, float] | None:
        """Give the peak of what is run, and its seconds; None where it ran out of memory."""
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
        best = next(trial for trial in reversed(trials) if trial.batch_size == found.size and trial.fits)
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
        )

    def _does_not_fit(self, needed: int | None, lengths: Lengths) -> BatchDoesNotFit:
        what = f"about {needed / _MIB:.0f} MiB" if needed is not None else "more"
        return BatchDoesNotFit(
            f"not even one sample fits: a step needs {what}, {self._limit / _MIB:.0f} MiB may be taken "
            f"({self._factor:g} of {self._budget.why})",
            needed_bytes=needed,
            limit_bytes=self._limit,
        )


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    import platform

    return platform.processor() or platform.machine()
