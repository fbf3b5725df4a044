"""One training step as the Trainer makes it: forward in the chosen precision, backward, clipping, optimizer."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import torch

from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import InputError

__all__ = ["TrainingStep", "build_optimizer", "is_checkpointing"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def build_optimizer(model: Any, optimizer: Any) -> torch.optim.Optimizer:
    """Build the optimizer that a Trainer would build.

    Parameters
    ----------
    model : torch.nn.Module
    optimizer : str or callable
        See :class:`StepSettings`.

    Raises
    ------
    InputError
        For a name that transformers does not know, or whose optimizer only the Trainer itself can build.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise InputError("the model has no parameter with requires_grad=True: there is nothing to train")
    # As the Trainer does: biases and norms apart, so that what is allocated a group at a time is allocated alike.
    groups = [{"params": [p for p in parameters if p.ndim > 1]}, {"params": [p for p in parameters if p.ndim < 2]}]
    groups = [group for group in groups if group["params"]]
    if callable(optimizer) and not isinstance(optimizer, str):
        built = optimizer(groups)
        if not isinstance(built, torch.optim.Optimizer):
            raise InputError(f"optimizer must give a torch.optim.Optimizer, got {type(built).__name__}")
        if built.state:
            raise InputError("optimizer must make a new one each time; it gave one that has trained already")
        return built
    from transformers import Trainer, TrainingArguments
    from transformers.training_args import OptimizerNames

    try:
        name = OptimizerNames(str(getattr(optimizer, "value", optimizer)))
    except ValueError:
        raise InputError(
            f"optimizer {optimizer!r} is not one of transformers': one of {', '.join(OptimizerNames)}, or a function "
            "from a list of parameters to an optimizer"
        ) from None
    # Not TrainingArguments(...): making one sets up devices and process groups, which is the caller's to do.
    defaults = {field.name: field.default for field in dataclasses.fields(TrainingArguments) if field.init}
    args: Any = SimpleNamespace(**defaults | {"optim": name})
    built_class, kwargs = Trainer.get_optimizer_cls_and_kwargs(args, model)
    if not isinstance(built_class, type) or {"params", "model", "optimizer_dict"} & kwargs.keys():
        raise InputError(
            f"optimizer {name.value!r} is built by the Trainer itself and cannot be probed by its name; hand over a "
            "function from a list of parameters to the optimizer"
        )
    made: torch.optim.Optimizer = built_class(groups, **kwargs)
    return made


class TrainingStep:
    """Makes training steps with a model; :meth:`close` takes back what it switched on.

    Weights, gradients and random numbers are changed by it as by any training: see ``untouched.py``.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        On its device, not wrapped.
    settings : StepSettings
    """

    def __init__(self, model: Any, settings: StepSettings) -> None:
        self.model, self.settings = model, settings
        self.device = next(model.parameters()).device
        self.optimizer = build_optimizer(model, settings.optimizer)
        self._buckets: torch.Tensor | None = None
        self._use_cache = getattr(getattr(model, "config", None), "use_cache", None)
        self._smoother: Any = None
        if settings.label_smoothing:
            from transformers.trainer_pt_utils import LabelSmoother

            self._smoother = LabelSmoother(epsilon=settings.label_smoothing)

    def open(self) -> None:
        """Switch the model to training, with or without checkpointing, and hold what DDP would hold."""
        self.model.train()
        if self._use_cache is not None:
            self.model.config.use_cache = False  # as the Trainer does
        for module in self.model.modules():  # a step that happens to drop layers is not the worst
            if isinstance(getattr(module, "layerdrop", None), float):
                module.layerdrop = 0.0
        switch_checkpointing(self.model, self.settings.gradient_checkpointing)
        if self.settings.ddp_bucket_bytes:
            self._buckets = torch.empty(self.settings.ddp_bucket_bytes, dtype=torch.uint8, device=self.device)

    def prime(self) -> None:
        """Make the optimizer's state, by a step with gradients of zeros: no sample is needed for it."""
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()

    def between_steps(self) -> None:
        """Leave what lives between two steps: the optimizer's state, no gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def close(self) -> None:
        """Let go of gradients, optimizer state and buckets."""
        self.optimizer.zero_grad(set_to_none=True)
        self.optimizer.state.clear()
        self._buckets = None
        if self._use_cache is not None:
            self.model.config.use_cache = self._use_cache

    def run(self, batch: Mapping[str, Any]) -> None:
        """Make one step with a batch; where gradients accumulate, those of the step before are still there.

        There is no gradient scaler for fp16: a step that overflows would leave the optimizer out, and the weights are
        put back in any case.

        Parameters
        ----------
        batch : mapping
            Name -> tensor, on any device.
        """
        if not self.settings.accumulation:
            self.optimizer.zero_grad(set_to_none=True)
        self.backward(batch)
        self._step()

    def backward(self, batch: Mapping[str, Any]) -> None:
        """Add a batch's gradients to those that are there: a micro-step of an update."""
        self._loss(self.moved(batch)).backward()  # type: ignore[no-untyped-call] # torch does not type it

    def moved(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Give the batch on the model's device."""
        return {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()
        }

    def update(self, batch: Mapping[str, Any]) -> None:
        """Make an update with the last of its batches, and let its gradients go, as a training does."""
        self.backward(batch)
        self._step()
        self.between_steps()

    def restart(self) -> None:
        """Be as before the first update: no gradients, no state of the optimizer, which makes it in that update."""
        self.between_steps()
        self.optimizer.state.clear()
        self.optimizer = build_optimizer(self.model, self.settings.optimizer)  # some make their state at once

    def _step(self) -> None:
        if self.settings.max_grad_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        self.optimizer.step()

    def _loss(self, inputs: dict[str, Any]) -> torch.Tensor:
        """Give the loss; the outputs die here, as they do in the Trainer's ``compute_loss``."""
        if self._smoother is not None and "labels" not in inputs:
            raise InputError(f"the batch has no labels, which label smoothing needs; it has {', '.join(inputs)}")
        labels = inputs["labels"] if self._smoother is not None else None
        if labels is not None:
            inputs = {name: value for name, value in inputs.items() if name != "labels"}
            if "decoder_input_ids" not in inputs and hasattr(self.model, "prepare_decoder_input_ids_from_labels"):
                inputs["decoder_input_ids"] = self.model.prepare_decoder_input_ids_from_labels(labels=labels)
        with self._autocast():
            outputs = self.model(**inputs)
        if self.settings.precision != "fp32":
            from accelerate.utils.operations import convert_to_fp32

            outputs = convert_to_fp32(outputs)  # accelerate's prepare() does: another copy of the logits
        if labels is not None:
            return self._smoother(outputs, labels)  # type: ignore[no-any-return]
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs[0]
        if not isinstance(loss, torch.Tensor) or loss.numel() != 1:
            raise InputError(
                f"{type(self.model).__name__} gives no loss for a batch of {', '.join(inputs)}: the batch needs labels"
            )
        return loss

    @contextlib.contextmanager
    def _autocast(self) -> Iterator[None]:
        dtype = _DTYPES.get(self.settings.precision)
        if dtype is None:
            yield
        else:
            with torch.autocast(self.device.type, dtype=dtype):
                yield


def is_checkpointing(model: Any) -> bool:
    """Say whether a model recomputes activations; transformers 5.23 has a new name for it and warns of the old one."""
    new = "is_activation_checkpointing"
    return bool(getattr(model, new if hasattr(model, new) else "is_gradient_checkpointing", False))


def switch_checkpointing(model: Any, on: bool) -> None:
    """Switch gradient checkpointing on or off, where the model is not so already.

    Raises
    ------
    InputError
        Where the model cannot.
    """
    if is_checkpointing(model) == on:
        return
    new = hasattr(model, "activation_checkpointing_enable")
    if not on:
        (model.activation_checkpointing_disable if new else model.gradient_checkpointing_disable)()
        return
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise InputError(f"{type(model).__name__} does not support gradient checkpointing")
    if new:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if hasattr(model, "peft_config"):  # frozen embeddings give nothing to checkpoint from
        model.enable_input_require_grads()
