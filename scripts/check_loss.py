"""Is the recorded loss the loss? Compares run folders with references computed by hand, over real trainings.

    python scripts/check_loss.py                      # 96 trainings: about two minutes on 2 cores
    python scripts/check_loss.py --ranks 1 --models t5

{T5, BART, Llama} x accumulation {1, 4} x processes {1, 2} x label smoothing {0, 0.1} x {even, short} last step of an
epoch x logging_steps {1, 3}. The models are tiny and random, with weights so large that the losses of micro-batches
differ by far; the learning rate is 0 and there is no dropout, so that afterwards the plain model gives the loss of
every batch that the Trainer took. Two processes are started by ``accelerate launch`` (gloo).

The reference of a step is what the step minimises. T5 and BART: the mean over processes and micro-batches of their
mean losses. Llama, and every model under label smoothing, where the Trainer computes the loss: the sum over all tokens
of the step, on all processes, divided by their number. A logged value is the mean over the steps of its window.

Exit status 1 if any logged loss, or any ``train_loss``, is off by more than 2 %.
"""

from __future__ import annotations

import argparse
import functools
import gc
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TOLERANCE = 0.02
VOCABULARY, PAD, EOS = 64, 0, 1
BATCH, EPOCHS, STEPS_IN_EPOCH = 2, 2, 3
MODELS = ("t5", "bart", "llama")


@dataclass(frozen=True)
class Cell:
    """One training."""

    model: str
    accumulation: int
    ranks: int
    smoothing: float
    short: bool
    logging_steps: int

    @property
    def micro_batches(self) -> int:
        """Number of micro-batches of a process in an epoch: the last step has one where it is short."""
        return STEPS_IN_EPOCH * self.accumulation - (self.accumulation - 1 if self.short else 0)

    @property
    def n_samples(self) -> int:
        """Where there is no accumulation the last batch is the short one."""
        full = self.micro_batches * BATCH * self.ranks
        return full - 1 if self.short and self.accumulation == 1 else full

    @property
    def by_tokens(self) -> bool:
        """Whether a step's loss is that of all its tokens."""
        return self.model == "llama" or self.smoothing > 0

    def __str__(self) -> str:
        last = "short" if self.short else "even"
        return (
            f"{self.model:5}  x{self.accumulation}  {self.ranks} process{'es' if self.ranks > 1 else '  '}  "
            f"smoothing {self.smoothing:3}  {last:5}  logging_steps {self.logging_steps}"
        )


def cells(models: Sequence[str], accumulations: Sequence[int], ranks: int) -> Iterator[Cell]:
    """Give the cells of a number of processes."""
    for model, k, smoothing, short, steps in itertools.product(
        models, accumulations, (0.0, 0.1), (False, True), (1, 3)
    ):
        yield Cell(model, k, ranks, smoothing, short, steps)


def make_model(name: str) -> Any:
    """Make a tiny model whose losses differ by far from token to token."""
    import torch
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        LlamaConfig,
        LlamaForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    torch.manual_seed(0)
    tokens = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "eos_token_id": EOS}
    model: Any
    if name == "t5":
        sizes = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
        model = T5ForConditionalGeneration(T5Config(**tokens, **sizes, decoder_start_token_id=PAD))
    elif name == "bart":
        sizes = {"d_model": 16, "dropout": 0.0, "max_position_embeddings": 32}
        for part in ("encoder", "decoder"):
            sizes |= {f"{part}_layers": 1, f"{part}_attention_heads": 2, f"{part}_ffn_dim": 32}
        model = BartForConditionalGeneration(
            BartConfig(**tokens, **sizes, bos_token_id=2, decoder_start_token_id=EOS, forced_eos_token_id=None)
        )
    else:
        sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(**tokens, **sizes, bos_token_id=2, max_position_embeddings=32))
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(0.0, 4.0 if name == "t5" else 1.0)
    model.generation_config = None
    return model


@functools.cache
def make_data(name: str) -> list[dict[str, list[int]]]:
    """Make samples of very different lengths, half of them mostly what the model would have said: a small loss."""
    import random

    import torch

    draw = random.Random(5)
    model = make_model(name).eval()
    samples = []
    for _ in range(STEPS_IN_EPOCH * 4 * BATCH * 2):
        easy = draw.random() < 0.5
        source = [draw.randrange(3, VOCABULARY) for _ in range(draw.choice((3, 4, 6, 16)))]
        target = source[:1] if name == "llama" else [EOS if name == "bart" else PAD]
        for _ in range(draw.choice((2, 3, 9))):
            before = torch.tensor([target])
            given = {"input_ids": before}
            if name != "llama":
                given = {"input_ids": torch.tensor([source]), "decoder_input_ids": before}
            with torch.no_grad():
                likely = int(model(**given).logits[0, -1].argmax())
            target.append(likely if easy and draw.random() < 0.8 else draw.randrange(3, VOCABULARY))
        if name == "llama":
            source = labels = target
        else:
            labels = target[1:]
        samples.append({"input_ids": source, "attention_mask": [1] * len(source), "labels": labels})
    return samples


def collate(samples: list[dict[str, list[int]]], model: Any) -> Any:
    """Pad to the right; the decoder's inputs are what a T5 or BART needs under label smoothing."""
    import torch

    fill = {"input_ids": PAD, "attention_mask": 0, "labels": -100}
    batch = {
        key: torch.tensor(
            [s[key] + [value] * (max(len(other[key]) for other in samples) - len(s[key])) for s in samples]
        )
        for key, value in fill.items()
    }
    if model.config.is_encoder_decoder:
        batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    return batch


def reference(model: Any, batch: Any, smoothing: float) -> tuple[float, int]:
    """Compute the summed loss over the tokens of a micro-batch, and their number, from the logits alone."""
    import torch

    with torch.no_grad():
        logits = model.eval()(**batch).logits.double()
    labels = batch["labels"]
    if not model.config.is_encoder_decoder:
        logits, labels = logits[:, :-1], labels[:, 1:]
    taken = labels != -100
    log_p = logits.log_softmax(-1)[taken]
    right = log_p.gather(-1, labels[taken].unsqueeze(-1)).squeeze(-1)
    loss = -(1 - smoothing) * right - smoothing * log_p.mean(-1)
    return float(loss.sum()), int(taken.sum())


def train(cell: Cell, folder: Path) -> list[list[tuple[float, int]]]:
    """Train with the Trainer and attach(); give what the micro-batches of each step of this process were worth."""
    from transformers import Trainer, TrainingArguments

    from hf_monitor import PlottingCallback, attach

    taken: list[list[Any]] = []

    class Recording(Trainer):
        def get_batch_samples(self, *args: Any, **kwargs: Any) -> Any:
            batches, n = super().get_batch_samples(*args, **kwargs)
            taken.append([{key: value.clone() for key, value in batch.items()} for batch in batches])
            return batches, n

    plain = make_model(cell.model)
    trainer = Recording(
        model=make_model(cell.model),
        args=TrainingArguments(
            output_dir=str(folder),
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=BATCH,
            gradient_accumulation_steps=cell.accumulation,
            label_smoothing_factor=cell.smoothing,
            logging_steps=cell.logging_steps,
            learning_rate=0.0,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_pin_memory=False,
        ),
        train_dataset=make_data(cell.model)[: cell.n_samples],
        data_collator=functools.partial(collate, model=plain),
    )
    assert trainer.args.world_size == cell.ranks, f"{trainer.args.world_size} processes instead of {cell.ranks}"
    attach(trainer)
    trainer.remove_callback(PlottingCallback)
    trainer.train()
    return [[reference(plain, batch, cell.smoothing) for batch in step] for step in taken]


def work(folder: Path, wanted: Iterator[Cell]) -> None:
    """Do all trainings of a number of processes; every process leaves a file of what its batches were worth."""
    rank = int(os.environ.get("RANK", "0"))
    gc.disable()  # while the first training imports what all need
    for number, cell in enumerate(wanted):
        worth = train(cell, folder / str(number))
        (folder / f"{number}.{rank}.json").write_text(json.dumps(worth), encoding="utf-8")
        if not gc.isenabled():
            gc.freeze()  # what is there now stays; the Trainer collects garbage at each end
            gc.enable()


def expected(cell: Cell, by_rank: list[list[list[tuple[float, int]]]]) -> list[float]:
    """Give the loss of each step."""
    found = []
    for parts in zip(*by_rank, strict=True):
        micro_batches = [micro for part in parts for micro in part]
        if cell.by_tokens:
            found.append(sum(loss for loss, _ in micro_batches) / sum(n for _, n in micro_batches))
        else:
            found.append(math.fsum(loss / n for loss, n in micro_batches) / len(micro_batches))
    return found


@dataclass
class Result:
    """What a cell came to.

    Attributes
    ----------
    deviation : float
        The largest of any logged loss, relative to the reference.
    raw : float
        The same of what the Trainer logged.
    spread : float
        The largest loss of a micro-batch divided by the smallest: where it is near 1, wrong weights would not show.
    """

    cell: Cell
    deviation: float
    raw: float
    spread: float


def compare(folder: Path, number: int, cell: Cell) -> Result:
    """Compare a run folder with the references."""
    from hf_monitor import load_run

    by_rank = [json.loads((folder / f"{number}.{rank}.json").read_text()) for rank in range(cell.ranks)]
    steps = expected(cell, by_rank)
    run = load_run(folder / str(number))
    assert run.facts["devices"]["world_size"] == cell.ranks
    rows = run.metrics.of("train")
    last = EPOCHS * STEPS_IN_EPOCH
    assert len(steps) == last, f"{cell}: {len(steps)} steps"
    assert [row["step"] for row in rows] == list(range(cell.logging_steps, last + 1, cell.logging_steps)), f"{cell}"
    deviation = raw = 0.0
    for row in rows:
        window = steps[row["step"] - cell.logging_steps : row["step"]]
        wanted = math.fsum(window) / len(window)
        deviation = max(deviation, abs(row["loss"] / wanted - 1))
        raw = max(raw, abs(row.get("loss_raw", row["loss"]) / wanted - 1))
    (summary,) = run.metrics.of("train_summary")
    deviation = max(deviation, abs(summary["train_loss"] / (math.fsum(steps) / last) - 1))
    means = [loss / n for part in by_rank for step in part for loss, n in step]
    return Result(cell, deviation, raw, max(means) / min(means))


def launch(folder: Path, models: Sequence[str], accumulations: Sequence[int], ranks: int) -> None:
    """Start the worker, in one process or in several."""
    command = [sys.executable]
    if ranks > 1:  # accelerate's own --cpu --num_processes 2 silently starts one
        accelerate = str(Path(sys.executable).parent / "accelerate-launch")
        command = [accelerate, "--multi_gpu", "--num_processes", str(ranks), "--main_process_port", "0"]
    command += [__file__, "--worker", str(folder), "--ranks", str(ranks), "--models", *models]
    command += ["--accumulation", *map(str, accumulations)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"check_loss: the trainings on {ranks} process(es) failed:\n{done.stderr[-4000:]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainings, print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--accumulation", nargs="+", type=int, choices=(1, 4), default=[1, 4])
    parser.add_argument("--ranks", nargs="+", type=int, choices=(1, 2), default=[1, 2], help="numbers of processes")
    parser.add_argument("--json", type=Path, help="also write the table to this file")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker is not None:
        work(options.worker, cells(options.models, options.accumulation, options.ranks[0]))
        return 0
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for ranks in options.ranks:
            folder = Path(scratch) / str(ranks)
            folder.mkdir()
            launch(folder, options.models, options.accumulation, ranks)
            wanted = cells(options.models, options.accumulation, ranks)
            results += [compare(folder, number, cell) for number, cell in enumerate(wanted)]
    for result in results:
        verdict = "ok" if result.deviation <= TOLERANCE else "OFF"
        print(
            f"{result.cell}   recorded {result.deviation:8.3%}   the Trainer's {result.raw:8.1%}   "
            f"micro-batches differ {result.spread:4.1f} x   {verdict}"
        )
    worst = max(results, key=lambda result: result.deviation)
    print(f"\n{len(results)} trainings; largest deviation {worst.deviation:.4%}, of\n{worst.cell}")
    if options.json is not None:
        table = [{**asdict(r.cell), "deviation": r.deviation, "raw": r.raw, "spread": r.spread} for r in results]
        options.json.write_text(json.dumps(table, indent=1), encoding="utf-8")
    return int(worst.deviation > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
