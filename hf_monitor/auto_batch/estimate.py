"""The peak of a training step, estimated without taking memory: the very step, run on tensors that have none.

``FakeTensorMode`` (torch._subclasses.fake_tensor) gives tensors with shapes, types and storages of the right size but no
memory behind them; :class:`LiveStorages` counts those. A step of T5-base takes 1 to 2 seconds of one core, at any size.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from hf_monitor.auto_batch.live import LiveStorages
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.errors import HfMonitorError, InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch, dummy_batch

__all__ = ["EstimateUnavailable", "Estimator", "Parts", "estimate_peak"]


_STRAIGHT = 1e-4
"""Three peaks lie on one line where none between them can be further off than this part of itself."""


class EstimateUnavailable(Exception):  # noqa: N818 - it is an answer, not a fault: whoever asked goes on without
    """The step cannot be run on fake tensors: an operation has no fake form, or the model looks at values."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a peak is made of, in bytes; together they are the peak.

    Attributes
    ----------
    weights : int
        Parameters and buffers.
    gradients : int
        All of them where gradients accumulate; else as much of them as can be alive at the peak.
    optimizer_state : int
    rest : int
        Activations, casts, temporary tensors, the batch, DDP's buckets.
    """

    weights: int
    gradients: int
    optimizer_state: int
    rest: int


class _Undecided(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch does not type its hook
    """Answer "no" where a model asks a fake tensor yes or no: no layer dropped, no mask left out, the larger case."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype is torch.bool:
            return False
        return func(*args, **(kwargs or {}))


class Estimator:
    """Estimates the peak of one model under one kind of step, at any size; every answer is kept.

    A model is copied as fake tensors, wherever it is, and itself not touched; a config becomes a model without weights.
    No random number is drawn from torch's generators. What a kernel allocates within itself is not seen.

    Parameters
    ----------
    model_or_config : PreTrainedModel, PeftModel or PreTrainedConfig
        A config must be one of ``AutoModelForSeq2SeqLM``.
    settings : StepSettings
    lengths : Lengths
    make_batch : callable, optional
        From a number of samples to a batch on the CPU; one of random tokens by default.

    Raises
    ------
    InputError
        Where settings and model cannot go together (see :class:`TrainingStep`).
    EstimateUnavailable
        Where the step cannot be run on fake tensors. So do the methods.
    """

    def __init__(
        self, model_or_config: Any, settings: StepSettings, lengths: Lengths, *, make_batch: MakeBatch | None = None
    ) -> None:
        self.settings, self.lengths = settings, lengths
        self._make_batch = make_batch
        self._peaks: dict[int, int] = {}
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._live = LiveStorages()
        with self._running():
            self._model = self._fake_model(model_or_config)
            self._live.count([*self._model.parameters(), *self._model.buffers()])
            self._weights = self._live.now
            self._step = TrainingStep(self._model, settings)
            self._step.open()
        self._first_step()

    def _fake_model(self, given: Any) -> Any:
        if isinstance(given, torch.nn.Module):
            with FakeCopyMode(self._fake):
                model = copy.deepcopy(given)
            for parameter in model.parameters():
                parameter.grad = None
            return model
        from transformers import AutoModelForSeq2SeqLM

        return AutoModelForSeq2SeqLM.from_config(given)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Make all that runs within fake and counted; what goes wrong in it is no error of the caller's."""
        try:
            with torch.enable_grad(), self._fake, _Undecided(), self._live:
                yield
        except HfMonitorError:
            raise
        except Exception as error:
            raise EstimateUnavailable(f"{type(error).__name__}: {error}".splitlines()[0]) from error

    def _batch(self, size: int) -> Any:
        if self._make_batch is None:
            return dummy_batch(self._model, size, self.lengths)
        return self._make_batch(size)

    def _first_step(self) -> None:
        """Let gradients and optimizer state come to be, as they are in every step but the first."""
        with self._running():
            self._step.run(self._batch(1))
            state = self._step.optimizer.state
            self._state = _bytes_of(list(state.values()))
            self._gradients = _bytes_of([p.grad for p in self._model.parameters()])

    def peak_bytes(self, size: int) -> int:
        """Estimate the peak of a step: weights, gradients, optimizer state and all the rest.

        Parameters
        ----------
        size : int
            Samples of one device and one step, 1 or more.

        Returns
        -------
        int
            Bytes of live storages at the worst moment; on the CPU the same as :class:`LiveStorages` measures.
        """
        if size < 1:
            raise InputError(f"the batch size must be 1 or more, got {size}")
        if size not in self._peaks:
            with self._running():
                batch = self._batch(size)
                self._live.reset_peak()
                self._step.run(batch)
                self._peaks[size] = self._live.peak
        return self._peaks[size]

    def parts(self, size: int) -> Parts:
        """Say what the peak is made of.

        Parameters
        ----------
        size : int

        Returns
        -------
        Parts
        """
        left = self.peak_bytes(size) - self._weights - self._state
        gradients = self._gradients if self.settings.accumulation else min(self._gradients, left)
        return Parts(self._weights, gradients, self._state, left - gradients)

    def largest(self, limit_bytes: int, maximum: int = 1024) -> int:
        """Find the largest size whose estimated peak is within a limit.

        The bytes alive at any one moment of a step are a constant plus so many a sample; their peak over all moments is
        therefore convex and piecewise linear in the size. Where the chord between a size that fits and one that does
        not crosses the limit, a size fits; where the line through two that fit crosses it, the next one does not. The
        two meet after a few steps.

        Parameters
        ----------
        limit_bytes : int
        maximum : int
            The largest size to look at.

        Returns
        -------
        int
            From 0, where not even one sample fits, to ``maximum``. Its peak is within the limit, that of one more is not.
        """
        if maximum < 1 or self._known(1) > limit_bytes:
            return 0
        if self._known(maximum) <= limit_bytes:
            return maximum
        fits, too_large = 1, maximum
        while too_large - fits > 1:
            low, high = self._known(fits), self._known(too_large)
            crossing = fits + int((too_large - fits) * (limit_bytes - low) / (high - low))
            middle = min(max(crossing, fits + 1), too_large - 1)
            at_middle = self._known(middle)
            if at_middle > limit_bytes:
                too_large = middle
                continue
            a_sample = (at_middle - low) / (middle - fits)
            fits = middle
            bound = fits + int((limit_bytes - at_middle) / a_sample) + 1 if a_sample > 0 else too_large
            if bound >= too_large:
                continue
            if self._known(bound) > limit_bytes:
                too_large = bound
            else:
                fits = bound
        return fits

    def _known(self, size: int) -> int:
        """Give a peak, by the line that it lies on where three measured ones around it lie on one."""
        if size in self._peaks:
            return self._peaks[size]
        below = sorted(known for known in self._peaks if known < size)
        above = sorted(known for known in self._peaks if known > size)
        for around in (below[-2:] + above[:1], below[-1:] + above[:2]):
            if len(around) < 3:
                continue
            one, two, three = around
            first, second, third = (self._peaks[known] for known in around)
            share = (two - one) / (three - one)
            off = abs(first + (third - first) * share - second)
            if off <= _STRAIGHT * second * min(share, 1 - share):  # what it is off elsewhere, at the most, being convex
                return round(first + (third - first) * (size - one) / (three - one))
        return self.peak_bytes(size)


def estimate_peak(
    model_or_config: Any,
    batch_size: int,
    settings: StepSettings | None = None,
    *,
    source_length: int,
    target_length: int,
    make_batch: MakeBatch | None = None,
) -> int:
    """Estimate the peak memory of a training step without taking any: see :class:`Estimator`.

    Parameters
    ----------
    model_or_config : PreTrainedModel, PeftModel or PreTrainedConfig
    batch_size : int
    settings : StepSettings, optional
        What the Trainer does by default: fp32, fused AdamW, with accumulation.
    source_length, target_length : int
        Tokens, padding included.
    make_batch : callable, optional

    Returns
    -------
    int
        Bytes.
    """
    lengths = Lengths(source_length, target_length)
    return Estimator(model_or_config, settings or StepSettings(), lengths, make_batch=make_batch).peak_bytes(batch_size)


def _bytes_of(tree: Any) -> int:
    storages = {t.untyped_storage()._cdata: t for t in tree_iter(tree) if isinstance(t, torch.Tensor)}
    return sum(t.untyped_storage().nbytes() for t in storages.values())
