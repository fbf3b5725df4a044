"""The peak of a training step, estimated without taking memory: the very step, run on tensors that have none.

``FakeTensorMode`` (torch._subclasses.fake_tensor) gives tensors with shapes, types and storages of the right size but
no memory behind them; :class:`FakeStorages` counts those. A step takes a second or a few, at any size.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode
from torch.utils._python_dispatch import _disable_current_modes

from hf_monitor.auto_batch.convex import ConvexPeaks
from hf_monitor.auto_batch.cuda_like import CudaLike, reserved_bytes, use_foreach
from hf_monitor.auto_batch.fake import FakeStorages, all_ones_are_seen, bytes_of, fake_batch, has_own_head
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.errors import HfMonitorError, InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch, check_lengths, dummy_batch

__all__ = ["EstimateUnavailable", "Estimator", "Parts", "estimate_peak"]


class EstimateUnavailable(Exception):
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
        Activations, casts, temporary tensors, the batch, DDP's buckets; on CUDA the allocator's share.
    """

    weights: int
    gradients: int
    optimizer_state: int
    rest: int


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
    device_type : str
        ``"cpu"``: the bytes of live tensors; ``"cuda"``: what the caching allocator would hold, the CUDA context not
        in it. For a model that is not on CUDA, CUDA's ways are imitated: see ``cuda_like.py``.

    Raises
    ------
    InputError
        Where settings and model cannot go together (see :class:`TrainingStep`), and for lengths that the model has no
        positions for.
    EstimateUnavailable
        Where the step cannot be run on fake tensors. So do the methods.
    """

    def __init__(
        self,
        model_or_config: Any,
        settings: StepSettings,
        lengths: Lengths,
        *,
        make_batch: MakeBatch | None = None,
        device_type: str = "cpu",
    ) -> None:
        self.settings, self.lengths, self.device_type = settings, lengths, device_type
        self._mode: Any = contextlib.nullcontext()
        self._make_batch = make_batch
        self.peaks = ConvexPeaks(self._measure)
        self._fake = FakeTensorMode(allow_non_fake_inputs=True)
        self._live = FakeStorages()
        _import_first(model_or_config)
        with self._running(counted=False):  # nor are the real weights watched, which it is copied from
            self.model = self._fake_model(model_or_config)
            if make_batch is None:
                check_lengths(self.model, lengths)  # a fake embedding takes any index
        with self._running():
            self._live.count([*self.model.parameters(), *self.model.buffers()])
            self._weights = self._live.now
            self._step = TrainingStep(self.model, settings)
            if device_type == "cuda" and self._step.device.type == "cpu":
                self._mode = CudaLike()
                use_foreach(self._step.optimizer)
            self._step.open()
        with self._running():
            self._first_step()

    def _fake_model(self, given: Any) -> Any:
        if isinstance(given, torch.nn.Module):
            with FakeCopyMode(self._fake):
                model = copy.deepcopy(given)
            for parameter in model.parameters():
                parameter.grad = None
            return model
        from transformers import AutoModelForSeq2SeqLM

        make: Any = AutoModelForSeq2SeqLM.from_config
        model = make(copy.deepcopy(given))  # the model writes into it
        if has_own_head(given):
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
        return model

    @contextlib.contextmanager
    def _running(self, *, counted: bool = True) -> Iterator[None]:
        """Make all that runs within fake and counted; what goes wrong in it is no error of the caller's."""
        try:
            live = self._live if counted else contextlib.nullcontext()
            with torch.enable_grad(), all_ones_are_seen(), self._fake, live, self._mode:
                yield
        except HfMonitorError:
            raise
        except Exception as error:
            raise EstimateUnavailable(f"{type(error).__name__}: {error}".splitlines()[0]) from error

    def _batch(self, size: int) -> Any:
        if self._make_batch is None:
            return dummy_batch(self.model, size, self.lengths)
        with _disable_current_modes():  # it may look at values as it likes
            batch = self._make_batch(size)
        return fake_batch(batch, self._fake, self._live)

    def _first_step(self) -> None:
        """Let gradients and optimizer state come to be, as they are in every step but the first."""
        self._step.run(self._batch(1))
        self._state = bytes_of(list(self._step.optimizer.state.values()))
        self._gradients = bytes_of([p.grad for p in self.model.parameters()])

    def _measure(self, size: int) -> int:
        with self._running():
            batch = self._batch(size)
            self._live.reset_peak()
            self._step.run(batch)
        return reserved_bytes(self._live.peak) if self.device_type == "cuda" else self._live.peak

    def peak_bytes(self, size: int) -> int:
        """Estimate the peak of a step: weights, gradients, optimizer state and all the rest.

        Parameters
        ----------
        size : int
            Samples of one device and one step, 1 or more.

        Returns
        -------
        int
            Bytes at the worst moment; on the CPU the same as ``LiveStorages`` measures.
        """
        if size < 1:
            raise InputError(f"the batch size must be 1 or more, got {size}")
        return int(self.peaks.at(size))

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
        """Find the largest size whose estimated peak is within a limit: see :meth:`ConvexPeaks.largest`.

        Parameters
        ----------
        limit_bytes : int
        maximum : int
            The largest size to look at.

        Returns
        -------
        int
            From 0, where not even one sample fits, to ``maximum``.
        """
        return self.peaks.largest(limit_bytes, maximum)


def _import_first(model_or_config: Any) -> None:
    """Import what a step would import: a module's own tensors would be fake for ever (PEFT's LoHa has such)."""
    import importlib

    for name in ("accelerate.utils.operations", "transformers.trainer_pt_utils", "transformers.trainer"):
        importlib.import_module(name)  # the last one imports PEFT, where it is installed
    from transformers import AutoModelForSeq2SeqLM

    if not isinstance(model_or_config, torch.nn.Module):
        with contextlib.suppress(KeyError):  # no such model: said when it is made
            AutoModelForSeq2SeqLM._model_mapping[type(model_or_config)]


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
