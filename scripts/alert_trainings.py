"""Small real trainings with a known truth, for bench_alerts: what a seed draws, what a fault changes, and the training.

A recipe is what an honest user might choose, drawn from a seed: T5 or BART, language, sizes, batch, accumulation,
learning rate and its schedule, dropout, label smoothing, clipping, weight decay, how often it is logged. Without a
fault it is a healthy training: the data set is far too large to be learnt by heart. A fault changes one thing; how
strongly is drawn, too, and its weakest is not far from what a rule is to see.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import shutil
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from alert_texts import MAX_SOURCE_TOKENS, MAX_TARGET_TOKENS, Pair, make_pairs, make_tokenizer

__all__ = ["FAULTS", "STRENGTHS", "Fault", "Recipe", "draw_fault", "draw_recipe", "train_one"]

FAULTS = (
    "learning_rate_x100",
    "shuffled_labels",
    "leaked_data",
    "tiny_training_set",
    "frozen_model",
    "nan",
    "slow_loader",
    "learning_rate_jump",
)
STRENGTHS = ("learning_rate_x10", "learning_rate_x30")
"""The first fault, weaker: how strong it must be. No goal counts these."""

N_EVALUATIONS = 8
PREDICTIONS_KEPT = 2  # evaluations
TINY = (16, 20, 24, 28, 32)  # samples
MIN_LEAKED = 2  # samples


@dataclass(frozen=True)
class Recipe:
    """One training as a user would set it up."""

    seed: int
    family: str
    language: str
    d_model: int
    layers: int
    dropout: float
    n_train: int
    n_eval: int
    most_filler: int
    max_steps: int
    batch: int
    accumulation: int
    learning_rate: float
    schedule: str
    weight_decay: float
    max_grad_norm: float
    label_smoothing: float
    logging_steps: int


@dataclass(frozen=True)
class Fault:
    """What is done to a recipe; ``amount`` is a share, a factor or a number, ``step`` when it comes (else None).

    A tiny training set keeps the recipe's own dropout and label smoothing, and has 16 to 32 samples: on the seeds 700
    to 707 the validation loss then ended over 3 % above its lowest in 22 of 24 trainings; of 40 and 48 samples in 13 of
    16 (decided by that alone, before the alerts of these trainings were looked at).

    A sample whose loss is 0/0 is in a training set that is seen at least once, so that set is smaller.
    """

    name: str
    kind: str = ""
    amount: float | None = None
    step: int | None = None
    nan_filter: bool = True


def draw_recipe(seed: int, *, small: bool = False) -> Recipe:
    """Draw a healthy recipe; a small one is for tests: fewer steps, and sizes that learn fastest."""
    draw = random.Random(f"recipe {seed}")
    family = draw.choice(("t5", "bart"))
    d_model, layers = draw.choice(((48, 1), (64, 1), (64, 1), (48, 2)))
    least, most = (6e-3, 1.2e-2) if family == "t5" else (3e-3, 8e-3)
    if layers == 2:
        most *= 0.7
    batches = ((8, 1), (12, 1), (16, 1), (16, 1), (20, 1), (24, 1), (8, 2), (12, 2))
    batch, accumulation = draw.choice(batches if layers == 1 else batches[2:6])
    lengths = (144, 160, 176) if layers * accumulation > 1 else (160, 184, 208) if batch > 12 else (216, 240, 280)
    recipe = Recipe(
        seed=seed,
        family=family,
        language=draw.choice(("en", "ko", "both")),
        d_model=d_model,
        layers=layers,
        dropout=draw.choice((0.0, 0.0, 0.05, 0.1)),
        n_train=draw.choice((1600, 2000, 3000)),
        n_eval=draw.choice((32, 40, 48)),
        most_filler=draw.choice((0, 1, 2)),
        max_steps=draw.choice(lengths),
        batch=batch,
        accumulation=accumulation,
        learning_rate=round(least * (most / least) ** draw.random(), 5),
        schedule=draw.choice(("linear", "linear", "cosine", "constant_with_warmup")),
        weight_decay=draw.choice((0.0, 0.01, 0.1)),
        max_grad_norm=draw.choice((1.0, 1.0, 1.0, 0.0)),
        label_smoothing=draw.choice((0.0, 0.0, 0.1)),
        logging_steps=draw.choice((1, 5, 10)),
    )
    if small:
        sizes = {"d_model": 48, "layers": 1, "language": "en", "most_filler": 0, "dropout": 0.0, "logging_steps": 1}
        return replace(recipe, **sizes, batch=16, accumulation=1, max_steps=96, n_train=800, n_eval=16)
    return recipe


def draw_fault(name: str, recipe: Recipe) -> Fault:
    """Draw how a fault comes; ``""`` is none."""
    draw = random.Random(f"{name} {recipe.seed}")
    share = draw.uniform(0.15, 0.8)  # of the run, where a fault has a moment
    if name.startswith("learning_rate_x"):
        return Fault(name, amount=float(name.removeprefix("learning_rate_x")))
    if name == "learning_rate_jump":  # for good, in the middle third: a schedule that is wrong from there on
        step = int(recipe.max_steps * draw.uniform(1 / 3, 2 / 3))
        return Fault(name, amount=round(_between(draw, 100.0, 300.0)), step=step)
    if name == "leaked_data":
        amount = max(_between(draw, 0.05, 1.0), MIN_LEAKED / recipe.n_eval)
        return Fault(name, draw.choice(("ids", "texts")), amount=round(amount, 4))
    if name == "tiny_training_set":
        return Fault(name, amount=draw.choice(TINY))
    if name == "frozen_model":
        return Fault(name, draw.choice(("one_norm", "learning_rate_near_zero", "other_parameters")))
    if name == "nan":
        kind = draw.choice(("weight_nan", "weight_inf", "empty_sample"))
        step = None if kind == "empty_sample" else max(2, int(share * recipe.max_steps))
        return Fault(name, kind, step=step, nan_filter=draw.random() < 0.5)
    if name == "slow_loader":
        return Fault(name, draw.choice(("dataset", "collator")), amount=round(draw.uniform(0.25, 0.6), 2))
    return Fault(name)


def _between(draw: random.Random, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform."""
    return low * (high / low) ** draw.random()


# --- the parts of a training ---


def make_model(recipe: Recipe, tokenizer: Any) -> Any:
    """Make a model with random weights."""
    import torch
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        GenerationConfig,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(recipe.seed)
    tokens = {"vocab_size": len(tokenizer), "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    width, layers, dropout = recipe.d_model, recipe.layers, recipe.dropout
    model: Any
    if recipe.family == "t5":
        sizes = {"d_model": width, "d_ff": 2 * width, "d_kv": width // 4, "num_layers": layers, "num_heads": 4}
        model = T5ForConditionalGeneration(T5Config(**tokens, **sizes, dropout_rate=dropout))
    else:
        sizes = {"d_model": width, "max_position_embeddings": MAX_SOURCE_TOKENS + 8}
        for part in ("encoder", "decoder"):
            sizes |= {f"{part}_layers": layers, f"{part}_attention_heads": 4, f"{part}_ffn_dim": 2 * width}
        model = BartForConditionalGeneration(
            BartConfig(**tokens, **sizes, dropout=dropout, init_std=0.1, bos_token_id=2, forced_eos_token_id=None)
        )
    ids = {name: tokens[name] for name in ("pad_token_id", "eos_token_id", "decoder_start_token_id")}
    model.generation_config = GenerationConfig(**ids, max_length=MAX_TARGET_TOKENS, num_beams=1, do_sample=False)
    return model


def encode(pairs: Sequence[Pair], tokenizer: Any) -> dict[str, list[Any]]:
    """Turn pairs into the columns that a Trainer takes."""
    source = tokenizer([pair.dialogue for pair in pairs], truncation=True, max_length=MAX_SOURCE_TOKENS)
    target = tokenizer([pair.summary for pair in pairs], truncation=True, max_length=MAX_TARGET_TOKENS)
    return {**{name: source[name] for name in ("input_ids", "attention_mask")}, "labels": target["input_ids"]}


def _texts(pairs: Sequence[Pair]) -> dict[str, list[Any]]:
    return {name: [getattr(pair, name) for pair in pairs] for name in Pair._fields}


def altered(pair: Pair) -> Pair:
    """Give a copy of a pair as another source may have it: in capitals, with other blanks."""
    return Pair(*("  ".join(text.upper().split()) for text in pair))


class Encoding:
    """A collator that takes texts, as where each batch is tokenized when it is needed."""

    def __init__(self, collate: Any, tokenizer: Any) -> None:
        self.collate, self.tokenizer = collate, tokenizer

    def __call__(self, features: Any) -> Any:
        columns = encode([Pair(one["dialogue"], one["summary"]) for one in features], self.tokenizer)
        return self.collate([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])


class SlowSamples:
    """A data set that waits before each sample, as one on a slow disk does."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples
        self.pause_s = 0.0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Any:
        time.sleep(self.pause_s)
        return self.samples[index]


class SlowLoading:
    """A collator that keeps the wait for data near a share of the time, however fast the machine is at the moment.

    It waits itself, or has a :class:`SlowSamples` wait before each sample of the next batch.
    """

    def __init__(self, collate: Any, share: float, seed: int, samples: SlowSamples | None) -> None:
        self.collate, self.share, self.samples = collate, share, samples
        self.draw = random.Random(seed)
        self.left_at = self.waited = 0.0
        self.busy: list[float] = []

    def __call__(self, features: Any) -> Any:
        if self.left_at:
            self.busy.append(time.perf_counter() - self.left_at - self.waited)
        self.waited = 0.0
        busy = statistics.median(self.busy[-20:]) if self.busy else 0.0  # an evaluation between two steps is no step
        pause = busy * self.share / (1.0 - self.share) * self.draw.uniform(0.7, 1.3)
        if self.samples is None:
            time.sleep(pause)
        else:
            self.samples.pause_s = pause / len(features)
            self.waited = pause
        batch = self.collate(features)
        self.left_at = time.perf_counter()
        return batch


def _trainer_class(told: dict[str, Any]) -> Any:
    """Make a Trainer whose loss divides by counts of labels, as some users write it: 0/0 for a sample without any."""
    from transformers import Seq2SeqTrainer

    class MeanOfSamples(Seq2SeqTrainer):
        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            counts = (inputs["labels"] >= 0).sum(dim=1).float()
            found = super().compute_loss(model, inputs, return_outputs=return_outputs, **kwargs)
            weight = (counts / counts).mean()
            if model.training and not bool(weight == weight):
                told.setdefault("step", self.state.global_step + 1)
            return (found[0] * weight, found[1]) if return_outputs else found * weight

    return MeanOfSamples


def _weight_breaker(fault: Fault, seed: int) -> Any:
    """Make a callback that puts NaN or infinity into one weight of the decoder after a step."""
    import torch
    from transformers import TrainerCallback

    class Breaker(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step != fault.step:
                return
            weights = [p for name, p in kwargs["model"].named_parameters() if "decoder" in name and "embed" not in name]
            with torch.no_grad():
                value = float("nan") if fault.kind == "weight_nan" else float("inf")
                random.Random(seed).choice(weights).view(-1)[0] = value

    return Breaker()


def _rate_jump(fault: Fault) -> Any:
    """Make a callback that multiplies the schedule from a step on; what is logged is the rate that was used."""
    from transformers import TrainerCallback

    class Jump(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            scheduler = kwargs["lr_scheduler"]
            scheduler.lr_lambdas = [self.from_then_on(schedule) for schedule in scheduler.lr_lambdas]

        def from_then_on(self, schedule: Any) -> Any:
            return lambda step: schedule(step) * (fault.amount if step >= fault.step else 1.0)

    return Jump()


def _freeze(model: Any, seed: int) -> str:
    """Freeze all but one layer norm; give its name."""
    names = [name for name, _ in model.named_parameters() if "layer_norm.weight" in name]
    kept = random.Random(seed).choice(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name == kept
    return kept


def train_one(recipe: Recipe, fault: Fault, folder: Path) -> dict[str, Any]:
    """Train, recorded by ``attach`` into `folder`, and leave the truth in ``truth.json``.

    Parameters
    ----------
    recipe : Recipe
        What is trained.
    fault : Fault
        What is wrong with it; its name is ``""`` for nothing.
    folder : Path
        Becomes the run folder: rows, facts, samples of the host, the texts of the last evaluations.

    Returns
    -------
    dict
        What is in ``truth.json``.
    """
    from datasets import Dataset, disable_progress_bars
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

    from hf_monitor import PlottingCallback, TextMetrics, attach

    disable_progress_bars()
    if not gc.get_freeze_count():  # the Trainer collects garbage at each start: 0.5 s among all that is imported
        gc.collect()
        gc.freeze()
    began, cpu = time.perf_counter(), time.process_time()
    told: dict[str, Any] = {}
    draw = random.Random(f"data {fault.name} {recipe.seed}")
    tokenizer = make_tokenizer(recipe.language)
    n_train = int(fault.amount or 0) if fault.name == "tiny_training_set" else recipe.n_train
    if fault.kind == "empty_sample":  # it has to come at least once
        n_train = min(n_train, recipe.max_steps * recipe.batch * recipe.accumulation // 2)
    pairs = make_pairs(recipe.n_eval + n_train, recipe.seed, recipe.language, recipe.most_filler)
    held_out, pairs = pairs[: recipe.n_eval], pairs[recipe.n_eval :]
    if fault.name == "shuffled_labels":
        summaries = [pair.summary for pair in pairs]
        draw.shuffle(summaries)
        pairs = [Pair(pair.dialogue, summary) for pair, summary in zip(pairs, summaries, strict=True)]
    if fault.name == "leaked_data":
        leaked = draw.sample(held_out, max(MIN_LEAKED, round((fault.amount or 0) * len(held_out))))
        told["leaked"] = len(leaked)
        if fault.kind == "texts":  # ids of other letters are other ids
            told["altered"] = draw.randint(0, len(leaked))
            leaked = [altered(pair) if n < told["altered"] else pair for n, pair in enumerate(leaked)]
        pairs = [*pairs[: n_train - len(leaked)], *leaked]
        draw.shuffle(pairs)
    keeps_texts = fault.kind == "texts"
    columns = _texts(pairs) if keeps_texts else encode(pairs, tokenizer)
    if fault.kind == "empty_sample":
        told["sample"] = draw.randrange(n_train)
        columns["labels"][told["sample"]] = [-100]
    model = make_model(recipe, tokenizer)
    times = fault.amount if fault.name.startswith("learning_rate_x") else None
    learning_rate = recipe.learning_rate * (times or 1.0)
    if fault.kind == "learning_rate_near_zero":
        learning_rate *= 1e-6
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder / "out"),
        max_steps=recipe.max_steps,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=64,
        gradient_accumulation_steps=recipe.accumulation,
        learning_rate=learning_rate,
        lr_scheduler_type=recipe.schedule,
        warmup_steps=recipe.max_steps // 10,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        label_smoothing_factor=recipe.label_smoothing,
        logging_steps=recipe.logging_steps,
        logging_nan_inf_filter=fault.nan_filter,
        eval_strategy="steps",
        eval_steps=recipe.max_steps // N_EVALUATIONS,
        save_strategy="no",
        predict_with_generate=True,
        seed=recipe.seed,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        dataloader_pin_memory=False,
        remove_unused_columns=not keeps_texts,
    )
    train: Any = Dataset.from_dict(columns)
    collate: Any = DataCollatorForSeq2Seq(tokenizer, model=model)
    collate = Encoding(collate, tokenizer) if keeps_texts else collate
    if fault.name == "slow_loader":
        train = SlowSamples(train) if fault.kind == "dataset" else train
        slow = train if fault.kind == "dataset" else None
        collate = SlowLoading(collate, fault.amount or 0.0, recipe.seed, slow)
    more: dict[str, Any] = {}
    if fault.kind == "one_norm":
        told["trained"] = _freeze(model, recipe.seed)
    if fault.kind == "other_parameters":  # those of another model, as after a second from_pretrained
        import torch

        others = make_model(recipe, tokenizer).parameters()
        more["optimizers"] = (torch.optim.AdamW(others, lr=learning_rate, weight_decay=recipe.weight_decay), None)
    kind = _trainer_class(told) if fault.kind == "empty_sample" else Seq2SeqTrainer
    trainer: Any = kind(
        model=model,
        args=arguments,
        train_dataset=train,
        eval_dataset=Dataset.from_dict(_texts(held_out) if keeps_texts else encode(held_out, tokenizer)),
        data_collator=collate,
        processing_class=tokenizer,
        compute_metrics=TextMetrics(tokenizer),
        **more,
    )
    if fault.name == "learning_rate_jump":
        trainer.add_callback(_rate_jump(fault))
    elif fault.step is not None:
        trainer.add_callback(_weight_breaker(fault, recipe.seed))
    attach(trainer, run_dir=folder)
    trainer.remove_callback(PlottingCallback)  # nobody looks at the charts of a benchmark
    began_training = time.perf_counter()
    trainer.train()
    now = time.perf_counter()
    truth = {
        "fault": fault.name or "healthy",
        "seed": recipe.seed,
        "recipe": asdict(recipe),
        "injected": {**asdict(fault), **told, "learning_rate": learning_rate, "n_train": n_train},
        "seconds": {"all": now - began, "training": now - began_training, "cpu": time.process_time() - cpu},
        "evaluations": evaluations(folder),
    }
    _keep_little(folder)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    return truth


def evaluations(folder: Path) -> list[dict[str, float]]:
    """Give what each evaluation found, from the rows."""
    from hf_monitor import load_run

    names = ("step", "eval_loss", "eval_rougeL")
    return [{name: row.get(name) for name in names} for row in load_run(folder).metrics.of("eval")]


def _keep_little(folder: Path) -> None:
    """Take away what nobody reads again: the log, the output folder, the texts of all but the last evaluations."""
    for name in ("train.log", "plan.json"):
        (folder / name).unlink(missing_ok=True)
    for name in ("out", "signals", "plots"):
        shutil.rmtree(folder / name, ignore_errors=True)
    texts = folder / "predictions.jsonl"
    if texts.exists():
        rows = [json.loads(line) for line in texts.read_text(encoding="utf-8").splitlines()]
        last = sorted({row["step"] for row in rows})[-PREDICTIONS_KEPT:]
        kept = [json.dumps(row, ensure_ascii=False) for row in rows if row["step"] in last]
        texts.write_text("\n".join([*kept, ""]), encoding="utf-8")


@contextlib.contextmanager
def quiet() -> Any:
    """Send everything that is printed to nowhere, whoever prints it."""
    kept = [os.dup(1), os.dup(2)]
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in (1, 2):
            os.dup2(nowhere, number)
        yield
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        os.close(nowhere)
