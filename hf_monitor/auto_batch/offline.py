"""A plan for a GPU that is not here: batch, accumulation, precision and peak by card, from fake tensors alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_monitor.auto_batch.accumulation import per_rank_batch, settle
from hf_monitor.auto_batch.cards import Card, usable_bytes
from hf_monitor.auto_batch.estimate import EstimateUnavailable, Estimator
from hf_monitor.auto_batch.known_configs import known_config, known_names
from hf_monitor.auto_batch.plan_device import NOT_IN_FP16
from hf_monitor.auto_batch.remedies import Remedy, remedies
from hf_monitor.auto_batch.shapes import StepSettings
from hf_monitor.errors import InputError
from hf_monitor.gpu.precision import precision_of
from hf_monitor.gpu.tiers import tier_of
from hf_monitor.seq2seq.batches import Lengths

__all__ = ["CardPlan", "card_plans", "load_config", "run"]

_MIB = 2**20
_OPTIONS = {  # what the remedies are called on this command line; the last two it cannot plan for
    "bf16": "--precision bf16",
    "gradient_checkpointing": "--gradient_checkpointing",
    "shorter": "--source_length {source} --target_length {target}",
    "adafactor": "--optimizer adafactor",
    "adamw_8bit": "AdamW in 8 bits (to train with --optim adamw_8bit; pip install bitsandbytes)",
    "lora": "LoRA (to train with; pip install peft)",
}


@dataclass(frozen=True, slots=True)
class CardPlan:
    """What a card can do.

    Attributes
    ----------
    card : str
    memory_mib : int
    usable_mib : int
        What torch's allocator may hold of it, within which the peak has to stay.
    tier : str
    precision : str
    largest_batch_size : int
        By the estimate; 0 where not even one sample fits.
    batch_size, accumulation : int or None
        Of one device; None where nothing fits.
    peak_mib : int or None
        Estimated with ``batch_size``; with one sample where nothing fits.
    effective_batch_size : int
        Samples of one update, over all processes.
    notes : tuple of str
    tier_note : str or None
        Where the tier had to yield: what it would have, and why it has not.
    remedies : tuple of Remedy
        Where nothing fits.
    """

    card: str
    memory_mib: int
    usable_mib: int
    tier: str
    precision: str
    largest_batch_size: int
    batch_size: int | None
    accumulation: int | None
    peak_mib: int | None
    effective_batch_size: int
    notes: tuple[str, ...] = ()
    tier_note: str | None = None
    remedies: tuple[Remedy, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Give it as plain values."""
        return asdict(self)


def load_config(name: str) -> Any:
    """Give the config of a model: its folder, its config.json, a name in the local cache, or one known here.

    Weights are neither loaded nor looked for, and nothing is downloaded.

    Raises
    ------
    InputError
        Where there is none, or it is no sequence-to-sequence model's.
    """
    from transformers import AutoConfig, AutoModelForSeq2SeqLM

    make: Any = AutoConfig
    if not Path(name).exists() and (name.endswith(".json") or name.startswith((".", "/", "~"))):
        raise InputError(f"--model {name!r}: there is no such file or folder")
    try:
        config = make.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as error:
        config = None if Path(name).exists() else known_config(name)
        if config is None:
            said = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(
                f"--model {name!r}: no config can be had from it ({said[0]:.120}); pass a folder with a config.json, "
                f"the name of a model that is in the local cache (hf download {name} config.json), or one of "
                f"{', '.join(known_names())}"
            ) from error
    if type(config) not in AutoModelForSeq2SeqLM._model_mapping:
        raise InputError(f"--model {name!r} is a {config.model_type!r}, which is no sequence-to-sequence model")
    return config


def card_plans(
    config: Any,
    lengths: Lengths,
    cards: Sequence[Card],
    *,
    precision: str = "auto",
    optimizer: str = "adamw_torch_fused",
    gradient_checkpointing: bool = False,
    num_processes: int = 1,
    effective_batch_size: int = 128,
    maximum: int = 1024,
) -> tuple[CardPlan, ...]:
    """Plan a training for each of some cards; cards of one precision share their estimates.

    Parameters
    ----------
    config : PreTrainedConfig
    lengths : Lengths
    cards : sequence of Card
    precision : str
        ``"auto"``: bf16 where the card computes in it, or is not known; fp16 below, but not for models that overflow in
        it.
    optimizer : str
    gradient_checkpointing : bool
    num_processes, effective_batch_size : int
    maximum : int

    Raises
    ------
    InputError
        For lengths that the model has no positions for, and an effective batch that the processes do not divide.
    EstimateUnavailable
        Where the model cannot be run on fake tensors.
    """
    per_rank_batch(effective_batch_size, num_processes)  # before anything is estimated
    estimators: dict[str, Estimator] = {}
    plans = []
    for card in cards:
        kind, notes = _precision(card, config, precision)
        if kind not in estimators:
            settings: Any = {"precision": kind, "gradient_checkpointing": gradient_checkpointing}
            estimators[kind] = _estimator(config, lengths, optimizer, num_processes, settings)
        plans.append(_plan(card, estimators[kind], config, notes, num_processes, effective_batch_size, maximum))
    return tuple(plans)


def _precision(card: Card, config: Any, wanted: str) -> tuple[str, tuple[str, ...]]:
    can = precision_of(card.capability)
    kind = config.model_type
    overflows = kind in NOT_IN_FP16
    if wanted == "auto":
        if card.capability is None:
            return "bf16", ("bf16 is assumed, the card being unknown; before Ampere: --precision fp16, or fp32",)
        if can == "fp16" and overflows:
            return "fp32", (f"fp32: models of the kind {kind!r} overflow in fp16, and the card has no bf16",)
        return can, ()
    if wanted == "bf16" and card.capability is not None and can != "bf16":
        return wanted, ("the card has no bf16 of its own: --precision auto",)
    return wanted, (f"models of the kind {kind!r} overflow in fp16",) if wanted == "fp16" and overflows else ()


def _estimator(
    config: Any, lengths: Lengths, optimizer: str, num_processes: int, settings: dict[str, Any]
) -> Estimator:
    one = Estimator(config, StepSettings(optimizer=optimizer, **settings), lengths, device_type="cuda")
    if num_processes == 1:
        return one
    buckets = one.parts(1).gradients  # DistributedDataParallel copies all of them into its buckets
    several = StepSettings(optimizer=optimizer, ddp_bucket_bytes=buckets, **settings)
    return Estimator(config, several, lengths, device_type="cuda")


def _plan(
    card: Card,
    estimator: Estimator,
    config: Any,
    notes: tuple[str, ...],
    num_processes: int,
    effective_batch_size: int,
    maximum: int,
) -> CardPlan:
    limit = usable_bytes(card.memory_mib)
    tier = tier_of(card.name, card.memory_mib).tier
    largest = estimator.largest(limit, maximum)
    head = (card.name, card.memory_mib, limit // _MIB, tier.name, estimator.settings.precision, largest)
    if largest == 0:
        ladder = remedies(
            config,
            estimator.settings,
            estimator.lengths,
            limit,
            device_type="cuda",
            bf16=card.capability is None or precision_of(card.capability) == "bf16",
            options=_OPTIONS,
        )
        needed = round(estimator.peak_bytes(1) / _MIB)
        return CardPlan(*head, None, None, needed, effective_batch_size, notes, remedies=ladder)
    settled = settle(largest, tier, num_processes=num_processes, effective_batch_size=effective_batch_size)
    size = settled.per_device_batch_size
    peak = round(estimator.peaks.near(size) / _MIB)
    return CardPlan(*head, size, settled.accumulation, peak, settled.effective_batch_size, notes, settled.note)


def run(options: Any) -> tuple[tuple[CardPlan, ...], Lengths]:
    """Do what ``hf-monitor plan`` was asked.

    Raises
    ------
    InputError
    """
    from hf_monitor.auto_batch.cards import CARDS, card_named, card_of, parse_memory_mib

    lengths = Lengths(options.source_length, options.target_length)
    cards: Sequence[Card] = CARDS
    if options.memory is not None:
        cards = [card_of(options.gpu, parse_memory_mib(options.memory))]
    elif options.gpu is not None:
        cards = [card_named(options.gpu)]
    try:
        plans = card_plans(
            load_config(options.model),
            lengths,
            cards,
            precision=options.precision,
            optimizer=options.optimizer,
            gradient_checkpointing=options.gradient_checkpointing,
            num_processes=options.num_processes,
            effective_batch_size=options.effective_batch_size,
        )
    except EstimateUnavailable as error:
        raise InputError(f"the memory of {options.model!r} cannot be estimated: {error}") from error
    return plans, lengths
