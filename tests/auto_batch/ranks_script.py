# ruff: noqa: E402 - garbage collections are off before what is imported
"""What test_probe_ranks.py launches: ranks_script.py FOLDER, for what each rank saw in FOLDER/rank<N>.json.

All in one launch: importing torch and transformers in each process takes longer than all that is tried.
"""

import gc

gc.disable()  # a fifth of what the imports take

import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensor

from hf_monitor.auto_batch import plan_ranks
from hf_monitor.auto_batch.estimate import estimate_peak
from hf_monitor.auto_batch.plan import plan_training
from hf_monitor.auto_batch.probe import probe_batch_size
from hf_monitor.auto_batch.ranks import ddp_bucket_bytes, gather, time_together, world
from hf_monitor.auto_batch.shapes import StepSettings, Trial
from hf_monitor.auto_batch.step import TrainingStep
from hf_monitor.errors import HfMonitorError
from hf_monitor.seq2seq.batches import Lengths, dummy_batch

gc.enable()

FOLDER = Path(sys.argv[1])
RANK = int(os.environ["RANK"])
LENGTHS = Lengths(24, 24)
MIB = 2**20
seen: dict = {}


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    sizes = {"vocab_size": 500, "d_model": 64, "d_ff": 256, "d_kv": 16, "num_layers": 2, "num_heads": 4}
    return T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=0, use_cache=False))


def bart_with_a_frozen_encoder():
    from transformers import BartConfig, BartForConditionalGeneration

    torch.manual_seed(0)
    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 128))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = BartConfig(vocab_size=3000, d_model=64, max_position_embeddings=64, use_cache=False, **layers, **heads)
    model = BartForConditionalGeneration(config)
    for parameter in model.get_encoder().layers.parameters():
        parameter.requires_grad_(False)
    return model


def sgd(groups):
    return torch.optim.SGD(groups)


def probe(model, **options):
    options = {"max_batch_size": 40, "optimizer": sgd, **options}
    return probe_batch_size(model, "cpu", 1.0, source_length=24, target_length=24, estimate=False, **options)


class Data(torch.utils.data.Dataset):
    def __init__(self, model):
        self.rows = dummy_batch(model, 32, LENGTHS)
        self.rows["attention_mask"][:, -1] = 0

    def __len__(self):
        return 2000

    def __getitem__(self, index):
        return {name: rows[index % 32] for name, rows in self.rows.items()}


def trainer_of(model, size, name, **options):
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    args = Seq2SeqTrainingArguments(
        str(FOLDER / name),
        use_cpu=True,
        per_device_train_batch_size=size,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        **options,
    )
    assert args.world_size == 2
    return Seq2SeqTrainer(model, args, train_dataset=Data(model))


def hash_of(model):
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.parameters())).hexdigest()


def plan():
    """No training arguments yet, so no process group; unlike cards; a run folder, and a plan in it, on rank 0 only."""
    assert not dist.is_initialized()
    look = plan_ranks.device_facts

    def unlike(device):
        name, precision = (("Tesla T4", "fp32"), ("NVIDIA L4", "bf16"))[RANK]
        return dataclasses.replace(look(device), name=name, precision=precision)

    plan_ranks.device_facts = unlike
    model = t5()
    made = [
        plan_training(
            model,
            "cpu",
            run_dir=None if RANK else FOLDER / "run",
            effective_batch_size=4,
            source_length=8,
            target_length=8,
            memory_limit=64 * MIB,
        )
        for _ in range(2)
    ]
    plan_ranks.device_facts = look
    seen["plans"] = [[p.precision, p.per_device_train_batch_size, p.fingerprint["device"], p.notes[-1]] for p in made]
    told("unlike", lambda: gather("done something else", 1) if RANK else probe(model))


def agree_and_train():
    """The ranks have different limits; then the real Trainer at the size agreed upon."""
    model = t5()
    before = hash_of(model)
    result = probe(
        model, memory_limit=(24 if RANK == 0 else 12) * MIB, optimizer=lambda groups: torch.optim.SGD(groups)
    )
    seen["limits"] = [result.batch_size, result.rank, result.limit_bytes, [len(trials) for trials in result.by_rank]]
    seen["rows"] = sorted({row["rank"] for row in result.rows()})
    seen["notes"] = list(result.notes)
    seen["own_optimizer"] = callable(result.settings.optimizer)

    def out_of_memory(module, args, kwargs):
        if RANK == 1 and len(kwargs["input_ids"]) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. (said by the test)")

    hook = model.register_forward_pre_hook(out_of_memory, with_kwargs=True)
    result = probe(model, memory_limit=24 * MIB, optimizer="adamw_torch_fused")
    hook.remove()
    seen["one_rank_oom"] = [result.batch_size, result.rank]
    seen["ooms"] = [any(trial.out_of_memory for trial in trials) for trials in result.by_rank]
    seen["untouched"] = hash_of(model) == before
    trainer = trainer_of(model, result.batch_size, "out", max_steps=3)
    seen["backend"] = dist.get_backend()
    trainer.train()
    seen["world"] = [world().size, world().local_size]
    own = [Trial(size, 1, True, False, seconds=size + RANK * (size - 2)) for size in (1, 3, *([5] if RANK else []))]
    seen["timed"] = [[trial.batch_size, trial.seconds] for trial in time_together(lambda: own, device="cpu")]
    seen["size"] = trainer.args.per_device_train_batch_size
    seen["trained"], seen["weights"] = hash_of(model) != before, hash_of(model)
    seen["memory"] = [
        ddp_memory("t5 fp32", t5, 8),
        ddp_memory("t5 bf16, nothing unused", t5, 2, bf16=True, ddp_find_unused_parameters=False),
        ddp_memory("bart, part of it frozen, fp32", bart_with_a_frozen_encoder, 4),
        ddp_memory("bart, part of it frozen, bf16", bart_with_a_frozen_encoder, 2, bf16=True),
    ]


def peak_of(events):
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    return peak


class LastStep:
    """A callback: profile the last optimizer step; of the first the profiler does not see what gloo's threads free."""

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        if state.global_step == args.max_steps - 1:
            from torch.profiler import ProfilerActivity, profile

            state_tensors = [t for held in optimizer.optimizer.state.values() for t in held.values()]
            self.held = sum(t.nbytes for t in [*model.parameters(), *model.buffers(), *state_tensors])
            assert all(p.grad is None for p in model.parameters())
            self.profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self.profile.__enter__()

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == args.max_steps:
            self.profile.__exit__(None, None, None)


def ddp_memory(name, make_model, size, **options):
    """Give what DDP has in its buckets and its peak, by torch's own accounts, and what we say of both."""
    from torch.profiler import ProfilerActivity, profile
    from transformers import TrainerCallback

    watch, model = type("Watch", (LastStep, TrainerCallback), {})(), make_model()
    trainer = trainer_of(model, size, "memory", max_steps=3, gradient_accumulation_steps=2, **options)
    trainer.add_callback(watch)
    trainer.train()
    logged = trainer.model_wrapped._get_ddp_logging_data()
    buckets = logged.get("rebuilt_bucket_sizes") or logged["bucket_sizes"]
    buckets = sum(int(n) for n in str(buckets).split(", "))
    measured = watch.held + buckets + peak_of(watch.profile.profiler.kineto_results.events())
    model = make_model()
    own = ddp_bucket_bytes(model)
    settings = StepSettings("bf16" if options.get("bf16") else "fp32", ddp_bucket_bytes=own)
    weights = sum(t.nbytes for t in [*model.parameters(), *model.buffers()])
    batch = dummy_batch(model, size, LENGTHS)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as prof:
        step = TrainingStep(model, settings)
        step.open()
        step.run(batch)
        step.run(batch)
    estimated = weights + peak_of(prof.profiler.kineto_results.events())
    return [name, buckets, own, measured, estimated]


def told(name, action):
    try:
        action()
    except HfMonitorError as error:
        cause = error.__cause__ or error.__context__
        seen[name] = [type(error).__name__, str(error), getattr(error, "limit_bytes", None), type(cause).__name__]
    except ValueError as error:
        seen[name] = ["ValueError", str(error)]


def estimate_first():
    """Estimate before anything has imported the Trainer, and with it PEFT."""
    seen["imported_before"] = "transformers.trainer" in sys.modules
    estimate_peak(t5(), 1, source_length=8, target_length=4)
    gc.collect()
    seen["fake"] = sum(type(found) is FakeTensor for found in gc.get_objects())


def fail():
    """One rank does not fit, has another error, is interrupted, dies: every rank gets an error, none waits."""
    model = t5()
    told("one", lambda: probe(model, memory_limit=(24 * MIB) >> (4 * RANK)))
    told("both", lambda: probe(model, memory_limit=(2 * MIB) >> RANK, suggest=False))

    def with_hook(act):
        def hook(module, args, kwargs):
            if RANK == 1:
                act()

        model = t5()
        model.register_forward_pre_hook(hook, with_kwargs=True)
        return model

    told("bug", lambda: probe(with_hook(bug), memory_limit=24 * MIB))
    told("bug_and_does_not_fit", lambda: probe(model, memory_limit=MIB, optimizer=bug if RANK else sgd, suggest=False))
    try:
        told("interrupt", lambda: probe(with_hook(interrupted), memory_limit=8 * MIB))
    except KeyboardInterrupt:
        seen["interrupt"] = ["KeyboardInterrupt"]
    write()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # by which the launcher ends the others when one has died
    told("death", lambda: probe(with_hook(lambda: os._exit(3)), memory_limit=8 * MIB))
    write()


def bug(*groups):
    raise ValueError("a bug, on this rank only")


def interrupted():
    raise KeyboardInterrupt


def write():
    (FOLDER / f"rank{RANK}.json").write_text(json.dumps(seen))


if __name__ == "__main__":
    estimate_first()
    plan()
    agree_and_train()
    fail()
