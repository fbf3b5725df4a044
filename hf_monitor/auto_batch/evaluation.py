"""One evaluation step as the Seq2SeqTrainer makes it with ``predict_with_generate``, at its longest."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from hf_monitor.auto_batch.shapes import Precision
from hf_monitor.errors import InputError
from hf_monitor.seq2seq.batches import positions

__all__ = ["EvaluationStep"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NEVER = 2**31 - 1
_MADE_BY_PEFT = "prepare_inputs_for_generation"  # PeftModel.generate leaves it on the base model


class EvaluationStep:
    """Generates from a batch up to the very last token, then computes the loss: ``Seq2SeqTrainer.prediction_step``.

    Nothing lasting is done to the model, except that sampling (``do_sample``) draws random numbers. What a training
    holds beside it (the optimizer's state, DDP's buckets) is not part of it.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        On its device, not wrapped.
    generation_max_length : int, optional
        In tokens, the decoder's start included, as in ``Seq2SeqTrainingArguments``. None: the generation config's.
    num_beams : int, optional
        None: the generation config's.
    precision : str
        The Trainer's mixed precision. As in the Trainer, the encoder runs without it while generating.
    with_loss : bool
        False where the data has no labels.
    label_smoothing : float
        As in the training arguments: the loss is then computed twice.

    Raises
    ------
    InputError
        For lengths that the decoder has no positions for, and for a model that cannot generate.
    """

    def __init__(
        self,
        model: Any,
        *,
        generation_max_length: int | None = None,
        num_beams: int | None = None,
        precision: Precision = "fp32",
        with_loss: bool = True,
        label_smoothing: float = 0.0,
    ) -> None:
        self.model = model
        self.base = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.device = next(model.parameters()).device
        self.precision, self.with_loss = precision, with_loss
        if getattr(self.base, "generation_config", None) is None:
            raise InputError(f"{type(self.base).__name__} cannot generate: it has no generation_config")
        if num_beams is not None and num_beams < 1:
            raise InputError(f"num_beams must be at least 1, got {num_beams}")
        given = {"max_length": generation_max_length, "num_beams": num_beams}
        self._options = {name: value for name, value in given.items() if value is not None}
        self._check_length()
        self._smoother: Any = None
        if label_smoothing:
            from transformers.trainer_pt_utils import LabelSmoother

            self._smoother = LabelSmoother(epsilon=label_smoothing)

    def _check_length(self) -> None:
        config = self.base.generation_config
        name, longest = "the length that transformers takes where none is set", 21
        if config.max_new_tokens is not None:  # goes before max_length, given or not
            name, longest = "max_new_tokens of the generation config, and the start,", config.max_new_tokens + 1
        elif "max_length" in self._options:
            name, longest = "generation_max_length", self._options["max_length"]
        elif config.max_length is not None:
            name, longest = "max_length of the generation config", config.max_length
        if longest < 2:
            raise InputError(f"{name} must be at least 2, the start and one token, got {longest}")
        most = positions(self.model, decoder=True)
        if most is not None and longest - 1 > most:  # the last token is not fed back
            raise InputError(
                f"{name} {longest} is more than the {most} positions of {type(self.base).__name__}'s decoder"
            )

    def run(self, batch: Mapping[str, Any]) -> None:
        """Make one step with a batch.

        Parameters
        ----------
        batch : mapping
            Name -> tensor, on any device.

        Raises
        ------
        InputError
            Where a loss is wanted and the batch has no ``labels``.
        """
        inputs = {
            name: value.to(self.device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()
        }
        if self.with_loss and "labels" not in inputs:
            raise InputError(f"the batch has no labels for the loss (it has {', '.join(inputs)}): say with_loss=False")
        generating = self._without_decoder(inputs)
        if not self.with_loss:
            generating.pop("labels", None)
        with self._prepared():
            # `generate` knows its own no_grad; the tokens live until the step's end, as in the Trainer.
            tokens = self.model.generate(**generating, **self._options)
            if self.with_loss:
                with torch.no_grad():
                    self._loss(inputs)
            del tokens

    def _without_decoder(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Leave out decoder inputs that were made from the labels: generating would go on from them."""
        labels, decoder = inputs.get("labels"), inputs.get("decoder_input_ids")
        if labels is None or decoder is None or labels.shape != decoder.shape:
            return inputs.copy()
        return {n: value for n, value in inputs.items() if n not in ("decoder_input_ids", "decoder_attention_mask")}

    def _loss(self, inputs: dict[str, Any]) -> None:
        outputs = self.model(**inputs)
        if self._smoother is not None:
            self._smoother(outputs, inputs["labels"]).detach().mean()
        else:
            (outputs["loss"] if isinstance(outputs, Mapping) else outputs[0]).detach().mean()

    @contextlib.contextmanager
    def _prepared(self) -> Iterator[None]:
        """Put the model into the state in which the Trainer evaluates it; afterwards it is as it was."""
        parts = (self.model, getattr(self.model, "base_model", None), self.base)
        holders = {id(part): part for part in parts if part is not None}.values()
        names = ("forward", "generation_config", _MADE_BY_PEFT)
        found = [(vars(part), {name: vars(part)[name] for name in names if name in vars(part)}) for part in holders]
        modes = [(module, module.training) for module in self.model.modules()]
        config = self.model.config
        use_cache = getattr(config, "use_cache", None)
        try:
            self.model.eval()
            if use_cache is not None:
                config.use_cache = False  # the Trainer sets it, for the loss; generating goes by its own config
            endless = self._endless()
            for attributes, had in found:
                if "generation_config" in had:
                    attributes["generation_config"] = endless
            dtype = _DTYPES.get(self.precision)
            if dtype is not None:
                from accelerate.utils.operations import convert_outputs_to_fp32

                # As accelerate's prepare_model does: around `forward`, so that calls of the encoder alone stay outside.
                autocast = torch.autocast(self.device.type, dtype=dtype)
                vars(self.model)["forward"] = convert_outputs_to_fp32(autocast(self.model.forward))
            yield
        finally:
            if use_cache is not None:
                config.use_cache = use_cache
            for module, mode in modes:
                module.training = mode
            for attributes, had in found:
                for name in names:
                    attributes.pop(name, None)
                attributes.update(had)

    def _endless(self) -> Any:
        """Give a generation config with which no text ends before its time, and all else costs what it costs.

        The ends become tokens that no model gives. A minimal length would do too, but it holds copies of the scores.
        """
        config = copy.deepcopy(self.base.generation_config)
        ends = config.eos_token_id
        if ends is None:
            return config
        ends = ends if isinstance(ends, list) else [ends]
        if config.pad_token_id is None:
            config.pad_token_id = ends[0]  # as `generate` does
        config.eos_token_id = [_NEVER - number for number in range(len(ends))]
        config.exponential_decay_length_penalty = None  # looks up the scores of the ends
        return config
