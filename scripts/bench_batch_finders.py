"""Finders of the largest batch side by side: how near they come, what they push through the model, how often they fail.

    pip install "hf-monitor[bench]" && python scripts/bench_batch_finders.py      # 16 cases: about 20 minutes on 1 core
    python scripts/bench_batch_finders.py --quick                                 # 3 cases: about 1 minute
    python scripts/bench_batch_finders.py --only t5-54,bart-1gib

The device is this machine's CPU with a cap: :class:`Device`, a dispatch mode that counts live storages and raises
``torch.OutOfMemoryError`` past it, in CUDA's words, which accelerate and Lightning look for. As on a GPU, what is
copied away with ``.to("cpu")`` is not the device's. Every finder has a fresh model and works under that cap:
- ours: ``hf_monitor.probe_batch_size(model, "cpu", 0.95, memory_limit=cap, ...)``, told lengths and settings only;
- accelerate's ``find_executable_batch_size`` from 256, with two updates for a function; the Trainer's
  ``auto_find_batch_size`` is the same, from the user's own size, with the whole training for a function;
- Lightning's own ``Tuner.scale_batch_size``, "power" and "binsearch", with its defaults.

Samples are counted by a hook on the model: the rows of every batch that a forward pass began with, those that ran out
of memory too. OOMs are counted by the device. "Most" is the true maximum within the cap, by bisection with real steps;
"within 0.95" the largest within 0.95 times the cap, which is what ours is to find.

The judge shares no code with any finder: torch's memory profiler over two whole updates, at our answer and at one more,
and for cases of 1 GiB and more the peak RSS of a child process that makes those updates. Exit code 1: a goal is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch reads it once: no line for every start of the profiler
import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hf_monitor.errors import HfMonitorError

MIB, GIB = 2**20, 2**30
SAFE = 0.95
ESTIMATE_WITHIN = 0.03


# --- the device ---


class Device(TorchDispatchMode):
    """Memory with a cap. Whether storages are dead is looked up where the cap seems reached, by weak references."""

    def __init__(self, cap_bytes: float = float("inf")) -> None:
        super().__init__()
        self.cap_bytes, self.ooms = cap_bytes, 0
        self._live: dict[int, tuple[StorageWeakRef, int]] = {}
        self._at_most = 0

    def hold(self, tensors: Iterable[Any]) -> None:
        """Count tensors, and let anything else pass."""
        for tensor in tensors:
            self._meet(tensor)

    def used_bytes(self) -> int:
        """Count what is alive now."""
        for key in [key for key, (reference, _) in self._live.items() if reference.expired()]:
            del self._live[key]
        self._at_most = sum(size for _, size in self._live.values())
        return self._at_most

    def _meet(self, tensor: Any) -> None:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.device.type != "cpu":
            return  # fake and meta tensors have no memory
        storage = tensor.untyped_storage()
        known = self._live.get(storage._cdata)
        if known is None or known[1] != storage.nbytes():
            self._at_most += storage.nbytes() - (known[1] if known else 0)
            self._live[storage._cdata] = (known[0] if known else StorageWeakRef(storage), storage.nbytes())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and (kwargs or {}).get("device") and out.dtype == args[0].dtype:
            return out  # from a GPU, this would have left the device
        self.hold(tree_leaves(out))
        if self._at_most > self.cap_bytes and (used := self.used_bytes()) > self.cap_bytes:
            self.ooms += 1
            del out  # what did not fit was never there: the traceback, which finders keep, must not hold it
            self.used_bytes()
            raise torch.OutOfMemoryError(
                f"CUDA out of memory. {func} (emulated: {used} bytes needed, {self.cap_bytes:.0f} allowed)"
            )
        return out


# --- what is trained ---


@dataclass(frozen=True)
class Case:
    """A training and a device; ``accumulate`` batches make an update."""

    name: str
    family: str
    vocabulary: int
    width: int
    layers: int
    source: int
    target: int
    optimizer: str  # as TrainingArguments.optim names it
    checkpointing: bool
    accumulate: int
    cap_mib: float

    @property
    def cap(self) -> int:
        """The device's bytes."""
        return int(self.cap_mib * MIB)


CASES = [
    Case(*row)
    for row in [
        # name          family  vocab width layers src tgt optimizer             ckpt  acc cap in MiB
        ("t5-54", "t5", 2400, 128, 2, 64, 32, "sgd", False, 1, 209),
        ("t5-145", "t5", 2400, 128, 2, 64, 32, "sgd", False, 1, 553),
        ("t5-adamw", "t5", 2400, 128, 2, 128, 32, "adamw_torch_fused", False, 2, 148),
        ("t5-32", "t5", 1000, 64, 2, 32, 32, "adamw_torch_fused", False, 1, 683),
        ("t5-adafactor", "t5", 2400, 128, 2, 256, 64, "adafactor", False, 2, 152),
        ("t5-knee", "t5", 32128, 128, 2, 64, 32, "adamw_torch", False, 1, 130),
        ("t5-1gib", "t5", 2400, 256, 2, 512, 128, "adamw_torch_fused", False, 2, 1200),
        ("bart-sgd", "bart", 2400, 128, 2, 64, 32, "sgd", False, 2, 18),
        ("bart-adamw", "bart", 2400, 128, 2, 128, 64, "adamw_torch", False, 1, 81),
        ("bart-ckpt", "bart", 2400, 128, 3, 512, 128, "adafactor", True, 2, 203),
        ("bart-1gib", "bart", 8000, 256, 2, 256, 64, "adamw_torch_fused", False, 2, 1310),
        ("bart-32", "bart", 1000, 64, 1, 32, 16, "sgd", False, 1, 150),
        ("mbart-one", "mbart", 2400, 128, 2, 512, 128, "adamw_torch_fused", False, 2, 40),
        ("mbart-ckpt", "mbart", 4000, 128, 2, 128, 32, "adamw_torch_fused", True, 1, 153),
        ("mbart-adafactor", "mbart", 4000, 64, 2, 64, 64, "adafactor", False, 2, 450),
        ("mbart-1gib", "mbart", 16000, 256, 2, 512, 128, "adamw_torch", False, 2, 1500),
    ]
]
QUICK = ("t5-54", "bart-adamw", "mbart-one")


def make_model(case: Case) -> Any:
    """Build a model with random weights, always the same ones."""
    import transformers as hf

    torch.manual_seed(0)
    heads, inner = 4, 2 * case.width
    if case.family == "t5":
        sizes = {"d_model": case.width, "d_kv": case.width // heads, "d_ff": inner, "num_layers": case.layers}
        config = hf.T5Config(vocab_size=case.vocabulary, num_heads=heads, decoder_start_token_id=0, **sizes)
        model: Any = hf.T5ForConditionalGeneration(config)
    else:
        made, config_of = {
            "bart": (hf.BartForConditionalGeneration, hf.BartConfig),
            "mbart": (hf.MBartForConditionalGeneration, hf.MBartConfig),
        }[case.family]
        sizes = {f"{part}_layers": case.layers for part in ("encoder", "decoder")}
        sizes |= {f"{part}_attention_heads": heads for part in ("encoder", "decoder")}
        sizes |= {f"{part}_ffn_dim": inner for part in ("encoder", "decoder")}
        model = made(config_of(vocab_size=case.vocabulary, d_model=case.width, max_position_embeddings=600, **sizes))
    return model.train()


def make_optimizer(case: Case, model: Any) -> torch.optim.Optimizer:
    """Build the optimizer that TrainingArguments.optim means."""
    parameters = list(model.parameters())
    if case.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=1e-4)
    if case.optimizer == "adafactor":
        from transformers.optimization import Adafactor

        return Adafactor(parameters, lr=1e-4, scale_parameter=False, relative_step=False)
    return torch.optim.AdamW(parameters, lr=1e-4, fused=case.optimizer == "adamw_torch_fused")


def make_batch(case: Case, model: Any, size: int) -> dict[str, torch.Tensor]:
    """Make what DataCollatorForSeq2Seq makes of texts of that length, the last place being padding."""
    batch = {
        "input_ids": torch.randint(5, case.vocabulary, (size, case.source)),
        "attention_mask": torch.ones(size, case.source, dtype=torch.long),
        "labels": torch.randint(5, case.vocabulary, (size, case.target)),
    }
    batch["attention_mask"][:, -1] = 0
    batch["decoder_input_ids"] = model.prepare_decoder_input_ids_from_labels(labels=batch["labels"])
    return batch


class Training:
    """A plain training loop: nothing of hf_monitor's."""

    def __init__(self, case: Case) -> None:
        self.case, self.model = case, make_model(case)
        if case.checkpointing:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # its new name is not in older transformers
                self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.optimizer = make_optimizer(case, self.model)

    def batch(self, size: int) -> None:
        """Go forward and backward."""
        (self.model(**make_batch(self.case, self.model, size)).loss / self.case.accumulate).backward()

    def finish(self) -> None:
        """Clip and take the optimizer's step."""
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def update(self, size: int) -> None:
        """Make one update out of all its batches."""
        for _ in range(self.case.accumulate):
            self.batch(size)
        self.finish()


def held(model: Any) -> list[torch.Tensor]:
    """Give weights and buffers."""
    return [*model.parameters(), *model.buffers()]


def runs_out(work: Callable[[], Any]) -> bool:
    """Do it and say whether memory ran out; by then all of it is free again."""
    try:
        work()
    except torch.OutOfMemoryError:
        out = True
    else:
        out = False
    gc.collect()
    return out


def fits(case: Case, size: int, limit_bytes: float) -> bool:
    """Say whether the last batch of an update fits, the optimizer's state, and gradients if any, being there."""
    training = Training(case)
    with Device(limit_bytes) as device:
        device.hold(held(training.model))

        def work() -> None:
            training.update(1)
            for _ in range(case.accumulate - 1):
                training.batch(1)
            training.batch(size)
            training.finish()

        return not runs_out(work)


def largest(fit: Callable[[int], bool], low: int = 0, high: int | None = None) -> int:
    """Give the largest size that fits, 0 for none, by bisection; ``high`` is known not to fit."""
    step = max(low // 16, 1)
    while high is None:
        if fit(low + step):
            low, step = low + step, 2 * step
        else:
            high = low + step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fit(middle) else (low, middle)
    return low


# --- the judge ---


def profiled_peak(case: Case, size: int) -> int:
    """Give the peak of two whole updates as torch's memory profiler saw it, the weights included."""
    from torch.profiler import ProfilerActivity, profile

    training = Training(case)
    before = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in held(training.model)}
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        training.update(size)
        training.update(size)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = sum(before.values())
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def rss_bytes(key: str) -> int:
    """Read this process's resident memory: "VmRSS" now, "VmHWM" at its most."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def child_work(case: Case, size: int) -> int:
    """Give what two updates added to the peak of this process, everything being imported and warm before."""
    Training(next(other for other in CASES if other.name == "mbart-one")).update(1)
    gc.collect()
    baseline = rss_bytes("VmRSS")
    training = Training(case)
    training.update(size)
    training.update(size)
    return rss_bytes("VmHWM") - baseline


def child_peak(case: Case, size: int) -> int:
    """Have a child process make the updates; its allocator gives back what is freed, as the counts assume."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, "--child", json.dumps([case.name, size])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"the child process of {case.name} failed:\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])


# --- the finders ---


@dataclass
class Found:
    """What a finder answered and what it took."""

    answer: int  # 0: it failed
    sizes: list[int] = field(default_factory=list)
    ooms: int = 0
    seconds: float = 0.0
    details: Any = None
    failure: str = ""


@contextlib.contextmanager
def sizes_seen(model: Any) -> Iterator[list[int]]:
    """Note the rows of every batch with which a forward pass begins; not of fake ones, which are no work."""
    seen: list[int] = []

    def note(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"]
        if type(ids) is torch.Tensor and ids.device.type == "cpu":
            seen.append(len(ids))

    handle = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def find(case: Case, finder: Callable[[Case, Training], tuple[int, Any]]) -> Found:
    """Let a finder work on the capped device."""
    training = Training(case)
    gc.collect()
    with sizes_seen(training.model) as sizes, Device(case.cap) as device:
        device.hold(held(training.model))
        began = time.perf_counter()
        try:
            answer, details, failure = *finder(case, training), ""
        except (RuntimeError, HfMonitorError) as error:  # a result, too: the others go on
            answer, details, failure = 0, None, f"{type(error).__name__}: {error}".partition("\n")[0]
        seconds = time.perf_counter() - began
    return Found(answer or 0, sizes, device.ooms, seconds, details, failure)


def ours(case: Case, training: Training) -> tuple[int, Any]:
    from hf_monitor.auto_batch import probe_batch_size

    result = probe_batch_size(
        training.model,
        "cpu",
        SAFE,
        memory_limit=case.cap,
        source_length=case.source,
        target_length=case.target,
        gradient_checkpointing=case.checkpointing,
        optimizer=case.optimizer,
        accumulation=case.accumulate > 1,
    )
    return result.batch_size, result


def accelerate(case: Case, training: Training) -> tuple[int, Any]:
    from accelerate.utils import find_executable_batch_size

    def train(size: int) -> int:
        training.update(size)
        training.update(size)  # the first one that has the optimizer's state beside it
        return size

    return find_executable_batch_size(train, starting_batch_size=256)(), None


def lightning(mode: str) -> Callable[[Case, Training], tuple[int, Any]]:
    def work(case: Case, training: Training) -> tuple[int, Any]:
        import lightning.pytorch as pl
        from lightning.pytorch.tuner import Tuner

        class Rows(torch.utils.data.Dataset):
            def __len__(self) -> int:
                return 1 << 16

            def __getitem__(self, index: int) -> int:
                return index

        class Module(pl.LightningModule):
            def __init__(self) -> None:
                super().__init__()
                self.model, self.batch_size = training.model, 2

            def train_dataloader(self) -> Any:
                return torch.utils.data.DataLoader(
                    Rows(),
                    batch_size=self.batch_size,
                    collate_fn=lambda rows: make_batch(case, self.model, len(rows)),
                )

            def training_step(self, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
                return self.model(**batch).loss

            def configure_optimizers(self) -> torch.optim.Optimizer:
                return training.optimizer

        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = pl.Trainer(
                accelerator="cpu",
                devices=1,
                max_epochs=1,
                accumulate_grad_batches=case.accumulate,
                gradient_clip_val=1.0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=folder,
            )
            return Tuner(trainer).scale_batch_size(Module(), mode=mode), None

    return work


FINDERS: dict[str, tuple[str, Callable[[Case, Training], tuple[int, Any]]]] = {
    "ours": ("hf_monitor", ours),
    "accelerate from 256": ("accelerate", accelerate),
    "Lightning power": ("lightning", lightning("power")),
    "Lightning binsearch": ("lightning", lightning("binsearch")),
}


# --- the table and the goals ---


@dataclass
class Verdict:
    """A case: the truth, what each finder found, and what the judge measured of ours."""

    case: Case
    most: int
    within_safe: int
    found: dict[str, Found]
    peaks: tuple[int, int] | None = None  # at our answer and at one more
    estimate: int | None = None
    rss: int | None = None

    @property
    def limit(self) -> float:
        """What ours has to stay within, in bytes."""
        return SAFE * self.case.cap

    @property
    def ours(self) -> Found:
        """Give what ours found."""
        return self.found["ours"]

    @property
    def ooms(self) -> int:
        """Give our OOMs: the device's count, or our own where we raised one before the device did."""
        return max(self.ours.ooms, self.ours.details.out_of_memory_errors if self.ours.details else 0)


def estimated_peak(case: Case, size: int) -> int:
    """Give the estimate of fake tensors."""
    from hf_monitor.auto_batch.estimate import Estimator
    from hf_monitor.auto_batch.shapes import StepSettings
    from hf_monitor.seq2seq.batches import Lengths

    settings = StepSettings(
        gradient_checkpointing=case.checkpointing, optimizer=case.optimizer, accumulation=case.accumulate > 1
    )
    return Estimator(make_model(case), settings, Lengths(case.source, case.target)).peak_bytes(size)


def examine(case: Case, finders: Iterable[str]) -> Verdict:
    """Run all finders on a case, find the truth, and judge ours."""
    Training(case).update(1)  # no finder pays for what is done once,
    gc.collect()
    gc.freeze()  # or for looking through all that is imported at each garbage collection: a second, on a busy machine
    found = {name: find(case, FINDERS[name][1]) for name in finders}
    most = largest(lambda size: fits(case, size, case.cap))
    low = int(0.9 * most)
    within = largest(
        lambda size: fits(case, size, SAFE * case.cap), low if low and fits(case, low, SAFE * case.cap) else 0, most + 1
    )
    verdict = Verdict(case, most, within, found)
    if "ours" in found and (answer := found["ours"].answer):
        verdict.peaks = profiled_peak(case, answer), profiled_peak(case, answer + 1)
        verdict.estimate = estimated_peak(case, answer)
        verdict.rss = child_peak(case, answer) if case.cap >= GIB else None
    return verdict


def print_finders(verdicts: list[Verdict]) -> None:
    """Print what each finder found."""
    print("\n| case | cap MiB | most | within 0.95 | finder | answer | of most | samples | x answer | OOMs | seconds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for verdict in verdicts:
        case, ours = verdict.case, verdict.found.get("ours")
        for name, found in verdict.found.items():
            samples, ooms = sum(found.sizes), verdict.ooms if name == "ours" else found.ooms
            row = [case.name, f"{case.cap_mib:g}", verdict.most, verdict.within_safe, name]
            row += [found.answer or f"failed: {found.failure}", f"{found.answer / verdict.most:.2f}"]
            if found.answer > verdict.most:
                row[-1] += ", does not fit"
            row += [samples, f"{samples / found.answer:.1f}" if found.answer else "-", ooms]
            row.append(f"{found.seconds:.1f}" + (f" ({found.seconds / ours.seconds:.1f})" if ours else ""))
            print("|", " | ".join(map(str, row)), "|")


def print_judge(verdicts: list[Verdict]) -> None:
    """Print what the judge measured."""
    print(
        "\n| case | within 0.95 | answer | limit MiB | profiler: at answer | at one more | fake tensors | child's RSS |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for verdict in verdicts:
        if verdict.peaks is None:
            continue
        at, more = verdict.peaks
        row = [verdict.case.name, verdict.within_safe, verdict.ours.answer, f"{verdict.limit / MIB:.2f}"]
        row += [f"{at / MIB:.2f}", f"{more / MIB:.2f}"]
        for value in (verdict.estimate, verdict.rss):
            row.append("" if value is None else f"{value / MIB:.2f} ({value / at - 1:+.2%})")
        print("|", " | ".join(map(str, row)), "|")


def goals(verdicts: list[Verdict]) -> dict[str, list[str]]:
    """Give each goal with the cases that miss it."""

    def missed(reached: Callable[[Verdict], bool]) -> list[str]:
        return [verdict.case.name for verdict in verdicts if not reached(verdict)]

    def is_exact(verdict: Verdict) -> bool:
        truth = verdict.within_safe
        return abs(verdict.ours.answer - truth) <= (0 if truth <= 50 else 0.02 * truth)

    def is_judged_right(verdict: Verdict) -> bool:
        if verdict.peaks is None:
            return False
        at, more = verdict.peaks
        return at <= verdict.limit and (more > verdict.limit or verdict.ours.answer > 50)

    def is_confirmed(verdict: Verdict) -> bool:
        size, details = verdict.ours.answer, verdict.ours.details
        trials = [trial for trial in (details.trials if details else ()) if trial.batch_size == size and trial.fits]
        return size in verdict.ours.sizes and any(trial.peak_bytes <= verdict.limit for trial in trials)

    few = missed(lambda verdict: verdict.ooms == 0)
    return {
        "exact up to 50, within 2 % above, by bisection": missed(is_exact),
        "profiler: the answer within the limit, one more beyond it (up to 50)": missed(is_judged_right),
        "samples at most 3 x answer": missed(lambda v: sum(v.ours.sizes) <= 3 * v.ours.answer),
        "no OOM in nine cases of ten": few if len(few) * 10 > len(verdicts) else [],
        "never more than one OOM": missed(lambda verdict: verdict.ooms <= 1),
        "confirmed by a measured step": missed(is_confirmed),
        "fake tensors within 3 % of the profiler": missed(
            lambda v: v.peaks is not None and abs(v.estimate / v.peaks[0] - 1) <= ESTIMATE_WITHIN
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"3 cases: {', '.join(QUICK)}")
    parser.add_argument("--only", help=f"some of: {','.join(case.name for case in CASES)}")
    parser.add_argument("--finders", help=f"some of: {', '.join(FINDERS)} (comma-separated)")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads (default: 1)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    logging.disable(logging.WARNING)  # Lightning's and transformers' words on every trial
    torch.set_num_threads(args.threads)
    cases = {case.name: case for case in CASES}
    if args.child:
        name, size = json.loads(args.child)
        print(child_work(cases[name], size))
        return 0
    names = args.only.split(",") if args.only else QUICK if args.quick else list(cases)
    if unknown := set(names) - cases.keys():
        parser.error(f"--only: unknown {', '.join(sorted(unknown))}; there are {', '.join(cases)}")
    finders = [name.strip() for name in args.finders.split(",")] if args.finders else list(FINDERS)
    if unknown := set(finders) - FINDERS.keys():
        parser.error(f"--finders: unknown {', '.join(sorted(unknown))}; there are {', '.join(FINDERS)}")
    for name in [name for name in finders if importlib.util.find_spec(FINDERS[name][0]) is None]:
        print(f"left out: {name}: {FINDERS[name][0]} is not installed (pip install {FINDERS[name][0]})")
        finders.remove(name)
    packages = {"torch", "transformers", *(FINDERS[name][0].replace("_", "-") for name in finders)}
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(packages))
    print(f"{platform.platform()}, {os.cpu_count()} cores, {args.threads} threads, Python {platform.python_version()}")
    print(f"{versions}\n{len(names)} cases:", flush=True)
    verdicts: list[Verdict] = []
    with contextlib.suppress(KeyboardInterrupt):  # what was measured until then is printed
        for name in names:
            case, began = cases[name], time.perf_counter()
            verdicts.append(examine(case, finders))
            about = f"{case.family} {case.source}/{case.target}, {case.optimizer}, accumulation {case.accumulate}"
            about += ", checkpointing" * case.checkpointing
            answers = ", ".join(f"{finder} {found.answer}" for finder, found in verdicts[-1].found.items())
            print(f"- {name}: {about} ({time.perf_counter() - began:.0f} s): {answers}", flush=True)
    if len(verdicts) < len(names):
        print(f"interrupted: {len(names) - len(verdicts)} cases are left out")
    print_finders(verdicts)
    if "ours" not in finders:
        return 0
    print_judge(verdicts)
    print()
    results = goals(verdicts)
    for goal, misses in results.items():
        done = f"NOT reached: {', '.join(misses)}" if misses else f"reached in {len(verdicts)} cases"
        print(f"goal: {goal}: {done}")
    return int(any(results.values()) or len(verdicts) < len(names))


if __name__ == "__main__":
    sys.exit(main())
