"""What would help where not even one sample fits: a ladder, each rung with its estimated gain."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import BatchDoesNotFit, InputError
from hf_monitor.seq2seq.batches import Lengths, MakeBatch

__all__ = ["TRAINING_OPTIONS", "Remedy", "does_not_fit", "remedies"]

_ATTENTION = ("q", "v", "q_proj", "v_proj", "query", "value")  # what LoRA adapts by default
_LORA_RANK = 8
_MIB = 2**20
_WORTH = 0.01  # of the peak: less is within the error of the estimate

TRAINING_OPTIONS: Mapping[str, str] = {
    "bf16": "--bf16",
    "gradient_checkpointing": "--gradient_checkpointing",
    "shorter": "--max_source_length {source} --max_target_length {target}",
    "adafactor": "--optim adafactor",
    "adamw_8bit": "--optim adamw_8bit (pip install bitsandbytes)",
    "lora": "LoRA (pip install peft)",
}
"""What the remedies are called in a training script (``TrainingArguments``, ``train_summarizer.py``)."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """One thing to change, all else as it was.

    Attributes
    ----------
    name : str
        ``"bf16"``, ``"gradient_checkpointing"``, ``"bf16+gradient_checkpointing"``, ``"shorter"``, ``"adafactor"``,
        ``"adamw_8bit"``, ``"lora"`` or ``"smaller_model"``.
    what_to_do : str
        The option to give.
    peak_bytes : int or None
        Estimated with it; None where that depends on what is chosen.
    saves_bytes : int or None
    enough : bool
        Whether one sample fits with it alone.
    """

    name: str
    what_to_do: str
    peak_bytes: int | None
    saves_bytes: int | None
    enough: bool

    def __str__(self) -> str:
        if self.peak_bytes is None or self.saves_bytes is None:
            return self.what_to_do
        verdict = "enough" if self.enough else "not enough by itself"
        return f"{self.what_to_do}: about {_mib(self.peak_bytes)}, {_mib(self.saves_bytes)} less ({verdict})"


def remedies(
    model_or_config: Any,
    settings: StepSettings,
    lengths: Lengths,
    limit_bytes: int,
    *,
    make_batch: MakeBatch | None = None,
    device_type: str = "cpu",
    bf16: bool = True,
    size: int = 1,
    options: Mapping[str, str] = TRAINING_OPTIONS,
) -> tuple[Remedy, ...]:
    """Estimate what each remedy would bring, the first to try first.

    The step is run on fake tensors with each of them; 8-bit AdamW and LoRA are computed from what a step is made of.
    What brings less than 1 % of the peak, is there already, or cannot be, is left out.

    Parameters
    ----------
    model_or_config : PreTrainedModel, PeftModel or PreTrainedConfig
    settings : StepSettings
    lengths : Lengths
    limit_bytes : int
        What the peak has to stay within.
    make_batch : callable, optional
    device_type : str
        See :class:`Estimator`.
    bf16 : bool
        Whether the device computes in bf16.
    size : int
    options : mapping
        Remedy -> what it is called where the reader is.

    Returns
    -------
    tuple of Remedy
        Empty where the step cannot be estimated.
    """

    def estimator(new: StepSettings, shorter: Lengths | None = None) -> Estimator | None:
        make = make_batch if shorter is None else None
        try:
            made = Estimator(model_or_config, new, shorter or lengths, make_batch=make, device_type=device_type)
            made.peak_bytes(size)
        except (EstimateUnavailable, InputError):  # InputError: a model without gradient checkpointing
            return None
        return made

    now = estimator(settings)
    if now is None:
        return ()
    found: list[Remedy] = []

    def add(name: str, peak: int | None) -> None:
        if peak is not None and now.peak_bytes(size) - peak >= _WORTH * now.peak_bytes(size):
            words = " ".join(options[part].format(source=source, target=target) for part in name.split("+"))
            found.append(Remedy(name, words, peak, now.peak_bytes(size) - peak, peak <= limit_bytes))

    def tried(new: StepSettings, shorter: Lengths | None = None) -> int | None:
        made = estimator(new, shorter)
        return None if made is None else made.peak_bytes(size)

    half = dataclasses.replace(settings, precision="bf16")
    checkpointed = dataclasses.replace(settings, gradient_checkpointing=True)
    source, target = max(1, lengths.source // 2), max(1, lengths.target // 2)
    may_bf16 = bf16 and settings.precision == "fp32"
    if may_bf16:
        add("bf16", tried(half))
    if not settings.gradient_checkpointing:
        add("gradient_checkpointing", tried(checkpointed))
        if may_bf16:
            both = dataclasses.replace(half, gradient_checkpointing=True)
            add("bf16+gradient_checkpointing", tried(both))
    add("shorter", tried(settings, Lengths(source, target, "half as long")))
    if settings.optimizer != "adafactor":
        add("adafactor", tried(dataclasses.replace(settings, optimizer="adafactor")))
    add("adamw_8bit", _with_8bit(now, size))
    add("lora", _with_lora(now, size))
    return (*found, *_smaller(now, limit_bytes))


def does_not_fit(
    needed_bytes: int | None, limit_bytes: int, ladder: tuple[Remedy, ...], lengths: Lengths, why: str = ""
) -> BatchDoesNotFit:
    """Make the error that says what was needed, what there is, and what would help.

    Parameters
    ----------
    needed_bytes : int or None
        Peak of one sample; None where nobody knows.
    limit_bytes : int
        What it had to stay within.
    ladder : tuple of Remedy
    lengths : Lengths
    why : str
        What the limit comes from.
    """
    needs = "more than there is" if needed_bytes is None else f"{needed_bytes / _MIB:.0f} MiB"
    lines = [
        f"not even one sample of {lengths.source} source and {lengths.target} target tokens fits: "
        f"it takes {needs}, and {limit_bytes / _MIB:.0f} MiB may be taken{f' ({why})' if why else ''}."
    ]
    if ladder:
        lines += ["What would help, each by itself (estimated):", *(f"  {remedy}" for remedy in ladder)]
    return BatchDoesNotFit("\n".join(lines), needed_bytes=needed_bytes, limit_bytes=limit_bytes, remedies=ladder)


def _trainable(estimator: Estimator) -> list[Any]:
    return [p for p in estimator.model.parameters() if p.requires_grad]


def _with_8bit(now: Estimator, size: int) -> int | None:
    """Give the peak with bitsandbytes' AdamW, for AdamW.

    Two states of a byte, and 4 bytes for each block of 256 of each; tensors below 4096 elements stay in 32 bits
    (https://huggingface.co/docs/bitsandbytes/optimizers, arxiv.org/abs/2110.02861).
    """
    if not str(now.settings.optimizer).startswith("adamw_torch"):
        return None
    counts = [p.numel() for p in _trainable(now)]
    state: int = sum(8 * n if n < 4096 else 2 * n + 2 * 4 * -(-n // 256) for n in counts)
    return int(now.peak_bytes(size) - now.parts(size).optimizer_state + state)


def _with_lora(now: Estimator, size: int) -> int | None:
    """Give the peak with rank-8 adapters on the query and value projections: weights and activations stay."""
    if hasattr(now.model, "peft_config"):
        return None
    adapted = [module for name, module in now.model.named_modules() if name.rpartition(".")[2] in _ATTENTION]
    linear = [module for module in adapted if hasattr(module, "in_features")]
    if not linear:
        return None
    parts = now.parts(size)
    adapters: int = 4 * _LORA_RANK * sum(module.in_features + module.out_features for module in linear)
    with_adam = adapters * 4  # the weights, their gradients and two states
    return int(parts.weights + parts.rest + with_adam)


def _mib(count: int) -> str:
    return f"{count / _MIB:.0f} MiB" if count >= 10 * _MIB else f"{count / _MIB:.2g} MiB"


def _smaller(now: Estimator, limit_bytes: int) -> list[Remedy]:
    parts = now.parts(1)
    count = sum(p.numel() for p in now.model.parameters())
    each = (parts.weights + parts.gradients + parts.optimizer_state) / count
    most = limit_bytes / each / 1e6
    if most < 0.01:
        return []  # no model at all
    millions = f"{count / 1e6:.3g} million"
    words = f"a smaller model: at {each:.0f} bytes a parameter "
    if count < 1e6 * most:
        words += f"its {millions} would fit; what one sample takes beside them does not"
    else:
        words += f"there is room for less than {most:.3g} million of them; this one has {millions}"
    return [Remedy("smaller_model", words, None, None, False)]
