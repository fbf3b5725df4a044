"""Finders of the largest batch on a real GPU, side by side, and the truth by trying every size that matters.

    pip install "hf-monitor[bench]" && python scripts/bench_finders_on_gpu.py                   # t5-base, bf16, a tenth
    python scripts/bench_finders_on_gpu.py --model facebook/bart-base --precision fp32 --fraction 1.0

A small card is emulated by ``set_per_process_memory_fraction``. Every finder has a fresh model with random weights and
the same update (autocast, logits in fp32 as in the Trainer, clipping to 1, fused AdamW, no accumulation), 512 tokens in
and 128 out: ours, accelerate's ``find_executable_batch_size`` from 256 with two updates for a function, and Lightning's
own ``Tuner``. The truth: two updates of each size that bisection asks for, in the same process with an empty cache;
"most" is the largest that did not run out of memory, "within 0.95" the largest whose peak (``max_memory_reserved``) is
within 0.95 times the memory, which is what ours is to find. OOMs and samples are counted by a hook and by torch.

``scripts/bench_batch_finders.py`` has more cases, on the CPU. ``--device cpu`` is only there to try this script.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch

from hf_monitor.auto_batch.known_configs import known_config, known_names
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

GIB = 2**30
SAFE = 0.95


class Card:
    """What is asked of the device."""

    def __init__(self, device: str, fraction: float) -> None:
        self.device, self.is_cuda = torch.device(device), device.startswith("cuda")
        self.limit_bytes = 0
        if self.is_cuda:
            torch.cuda.set_per_process_memory_fraction(fraction)
            free, total = torch.cuda.mem_get_info()
            self.limit_bytes = min(int(fraction * total), free)

    def clean(self) -> int:
        """Free what nobody holds; gives the bytes that are still held."""
        gc.collect()
        if not self.is_cuda:
            return 0
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_reserved()

    def peak(self) -> int:
        """Give the most that torch reserved since :meth:`clean`, in bytes."""
        return torch.cuda.max_memory_reserved() if self.is_cuda else 0

    def ooms(self) -> int:
        """Count the OOMs of this process so far, as torch's allocator does."""
        return int(torch.cuda.memory_stats().get("num_ooms", 0)) if self.is_cuda else 0


class Training:
    """A plain training: nothing of hf_monitor's but the batch."""

    def __init__(self, args: argparse.Namespace, card: Card) -> None:
        from transformers import AutoModelForSeq2SeqLM

        torch.manual_seed(0)
        config = known_config(args.model)
        if not card.is_cuda:  # a try of the script
            for name in ("num_layers", "num_decoder_layers", "encoder_layers", "decoder_layers"):
                if hasattr(config, name):
                    setattr(config, name, 1)
        self.model = AutoModelForSeq2SeqLM.from_config(config).to(card.device).train()
        self.model.config.use_cache = False
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4, fused=True)
        self.precision, self.device = args.precision, card.device
        self.lengths = Lengths(args.source, args.target)
        self.sizes: list[int] = []
        self.model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if type(kwargs["input_ids"]) is torch.Tensor and kwargs["input_ids"].device.type == self.device.type:
            self.sizes.append(len(kwargs["input_ids"]))

    def batch(self, size: int) -> dict[str, torch.Tensor]:
        """Make a batch of random tokens on the CPU."""
        return dummy_batch(self.model, size, self.lengths)

    def loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Go forward as the Trainer does, with all outputs in fp32 at the end."""
        from accelerate.utils.operations import convert_to_fp32

        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"):
            outputs = self.model(**batch)
        return convert_to_fp32(outputs)["loss"]

    def update(self, size: int) -> None:
        """Make one update."""
        self.loss({name: value.to(self.device) for name, value in self.batch(size).items()}).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()


def ours(args: argparse.Namespace, card: Card, training: Training) -> int:
    from hf_monitor import probe_batch_size

    result = probe_batch_size(
        training.model,
        card.device,
        SAFE,
        source_length=args.source,
        target_length=args.target,
        precision=args.precision,
        accumulation=False,
        max_batch_size=args.maximum,
    )
    return result.batch_size


def accelerate(args: argparse.Namespace, card: Card, training: Training) -> int:
    from accelerate.utils import find_executable_batch_size

    def train(size: int) -> int:
        training.update(size)
        training.update(size)
        return size

    return find_executable_batch_size(train, starting_batch_size=min(256, args.maximum))()


def lightning(mode: str) -> Callable[[argparse.Namespace, Card, Training], int]:
    def work(args: argparse.Namespace, card: Card, training: Training) -> int:
        import lightning.pytorch as pl
        from lightning.pytorch.tuner import Tuner

        class Module(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.model, self.batch_size = training.model, 2

            def train_dataloader(self) -> Any:
                return torch.utils.data.DataLoader(
                    range(1 << 16), batch_size=self.batch_size, collate_fn=lambda rows: training.batch(len(rows))
                )

            def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
                return training.loss(batch)

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return training.optimizer

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                accelerator="gpu" if card.is_cuda else "cpu",
                devices=1,
                max_epochs=1,
                gradient_clip_val=1.0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            trials = {} if card.is_cuda else {"max_trials": 2}
            return Tuner(trainer).scale_batch_size(Module(), mode=mode, **trials) or 0

    return work


FINDERS: dict[str, Callable[[argparse.Namespace, Card, Training], int]] = {
    "ours": ours,
    "accelerate from 256": accelerate,
    "Lightning power": lightning("power"),
    "Lightning binsearch": lightning("binsearch"),
}


def run(args: argparse.Namespace, card: Card, name: str) -> dict[str, Any]:
    """Let a finder work; an error of it is a result, too."""
    training = Training(args, card)
    card.clean()
    ooms, began = card.ooms(), time.perf_counter()
    failure = ""
    try:
        answer = FINDERS[name](args, card, training)
    except Exception as error:  # noqa: BLE001 - whatever a finder dies of, the others go on
        answer, failure = 0, f"{type(error).__name__}: {error}".partition("\n")[0]
    seconds = time.perf_counter() - began
    found = {"finder": name, "answer": answer, "samples": sum(training.sizes), "steps": len(training.sizes)}
    found |= {"ooms": card.ooms() - ooms, "seconds": round(seconds, 1), "failure": failure}
    weights = sum(parameter.nbytes for parameter in training.model.parameters())
    del training
    found["left_mib"] = round(card.clean() / 2**20)
    print("FOUND", json.dumps(found | {"weights_mib": round(weights / 2**20)}), flush=True)
    return found


def truth(args: argparse.Namespace, card: Card, near: int) -> tuple[int, int, dict[int, int | None]]:
    """Give the largest size that runs, the largest within the safe share, and every size's peak (None: out)."""
    training = Training(args, card)
    training.update(1)
    peaks: dict[int, int | None] = {}

    def peak(size: int) -> int | None:
        if size not in peaks:
            card.clean()
            try:
                training.update(size)
                training.update(size)
                peaks[size] = card.peak()
            except torch.OutOfMemoryError:
                peaks[size] = None
            training.optimizer.zero_grad()
        return peaks[size]

    def largest(fits: Callable[[int], bool]) -> int:
        low, high, step = 0, args.maximum + 1, max(near // 16, 1)
        size = near
        while low == 0 or high > args.maximum:
            if fits(size):
                low = max(low, size)
                if low >= args.maximum:
                    return low
                size = min(low + step, args.maximum)
            else:
                high = size
                size = size - step
            step *= 2
            if size < 1 or size <= low:
                break
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        return low

    most = largest(lambda size: peak(size) is not None)
    return most, largest(lambda size: (peak(size) or GIB**2) <= SAFE * card.limit_bytes), dict(sorted(peaks.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="t5-base", help=f"one of {', '.join(known_names())}")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--fraction", type=float, default=0.1, help="share of the card that may be used (default: 0.1)")
    parser.add_argument("--source", type=int, default=512, help="tokens in (default: 512)")
    parser.add_argument("--target", type=int, default=128, help="tokens out (default: 128)")
    parser.add_argument("--maximum", type=int, default=1024, help="largest batch that is looked at")
    parser.add_argument("--finders", help=f"some of: {', '.join(FINDERS)} (comma-separated)")
    parser.add_argument("--device", default="cuda", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("this needs a GPU that torch can use; `hf-monitor gpu` says what is wrong")
    names = [name.strip() for name in args.finders.split(",")] if args.finders else list(FINDERS)
    if unknown := set(names) - FINDERS.keys():
        parser.error(f"--finders: unknown {', '.join(sorted(unknown))}; there are {', '.join(FINDERS)}")
    logging.disable(logging.WARNING)
    card = Card(args.device, args.fraction)
    name = torch.cuda.get_device_name() if card.is_cuda else platform.machine()
    print(f"{name} x {args.fraction:g} ({card.limit_bytes / GIB:.2f} GiB), torch {torch.__version__}, {args.model},")
    print(f"{args.precision}, {args.source}/{args.target} tokens", flush=True)
    Training(args, card).update(1)  # what is done once a process is paid by no finder
    found = [run(args, card, name) for name in names]
    near = next((one["answer"] for one in found if one["answer"]), 8)
    most, within, peaks = truth(args, card, near)
    print("PEAKS", json.dumps({size: None if peak is None else round(peak / 2**20) for size, peak in peaks.items()}))
    print(f"\nmost {most}, within {SAFE:g} of the memory {within}\n")
    print(
        "| finder | answer | of most | samples | OOMs | seconds | held afterwards, MiB |\n|---|---|---|---|---|---|---|"
    )
    for one in found:
        answer = one["answer"] or f"failed: {one['failure']}"
        share = f"{one['answer'] / most:.2f}" if most else "-"
        print(f"| {one['finder']} | {answer} | {share} | {one['samples']} | {one['ooms']} |", end="")
        print(f" {one['seconds']} | {one['left_mib']} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
