# ruff: noqa: E402 - garbage collections are off before what is imported
"""Trainings under a launcher, for test_ranks.py: ranks.py FOLDER WHAT..., where WHAT says what rank 1 does at step 3.

Each in FOLDER/WHAT, one after another: what the processes import takes longer than all of them.
"""

import functools
import gc

gc.disable()  # a second of the six that the imports take

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import torch
from transformers import T5Config, T5ForConditionalGeneration, Trainer, TrainerCallback, TrainingArguments

from hf_monitor import AlertCallback, WandBCallback, attach

gc.enable()
gc.freeze()  # as in nursery.py


class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        tokens = [3 + (index + i) % 20 for i in range(6)]
        return {"input_ids": torch.tensor(tokens), "labels": torch.tensor(tokens[:4])}


class At3(TrainerCallback):
    def __init__(self, what):
        self.what = what

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step != 3 or not args.process_index:
            return
        if self.what == "error":
            raise ValueError("bad sample on this rank")
        if self.what == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == "fine":
            warnings.warn("rank 1 is worried", stacklevel=1)
            print("rank 1 talks")


def train(folder, what):
    torch.manual_seed(0)
    config = T5Config(vocab_size=32, d_model=8, d_ff=16, d_kv=4, num_layers=1, num_heads=2, decoder_start_token_id=0)
    args = TrainingArguments(
        folder,
        max_steps=6,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        per_device_train_batch_size=2,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        ddp_find_unused_parameters=False,
        per_device_eval_batch_size=2,
        eval_steps=3,
        eval_strategy="steps" if what == "fine" else "no",
    )
    trainer = Trainer(
        model=T5ForConditionalGeneration(config),
        args=args,
        train_dataset=Data(),
        eval_dataset=Data(),
        callbacks=[At3(what)],
    )
    if what == "nan":
        trainer.add_callback(AlertCallback(stop_on={"nan", "divergence"}))
        forward = trainer.model.forward

        @functools.wraps(forward)  # the Trainer looks at its signature
        def broken(*args, **kwargs):
            found = forward(*args, **kwargs)
            if trainer.state.global_step == 2 and trainer.args.process_index:
                found.loss = found.loss * float("nan")
            return found

        trainer.model.forward = broken
    if what == "fine":
        trainer.add_callback(WandBCallback())
    attach(trainer)
    if what == "fine":  # evaluations within, after, of several sets, a prediction, and what heeds the number of items
        few, many = torch.utils.data.Subset(Data(), range(8)), Data()
        trainer.eval_dataset = {"few": few, "many": many}
    if what == "term" and args.process_index == 0:
        Path(folder + ".pid").write_text(str(os.getppid()))
    if what == "term":
        trainer.add_callback(type("Slow", (TrainerCallback,), {"on_step_end": lambda *a, **k: time.sleep(2)})())
    trainer.train()
    if what == "fine":
        got = trainer.evaluate(many) | trainer.predict(few).metrics
        got |= {
            f"logged_{row['step']}": row["eval_few_loss"] for row in trainer.state.log_history if "eval_few_loss" in row
        }
        plain = trainer.model.eval()
        for name, data in (("few", few), ("many", many)):
            with torch.no_grad():
                batch = torch.utils.data.default_collate([data[i] for i in range(len(data))])
                got[f"true_{name}"] = float(plain(**batch).loss)
        trainer.model.accepts_loss_kwargs = trainer.model_accepts_loss_kwargs = False
        got |= trainer.evaluate(few, metric_key_prefix="mended")
        if args.process_index == 0:
            Path(folder + ".json").write_text(json.dumps(got | {"has_own": "compute_loss" in vars(trainer)}))
    print(f"world size {args.world_size}, ended at step {trainer.state.global_step}")


if __name__ == "__main__":
    for what in sys.argv[2:]:
        train(f"{sys.argv[1]}/{what}", what)
