# ruff: noqa: E402 - the settings of the environment and of descriptor 1 must come before what is imported
"""Forks a process a scenario from one that has imported everything: real processes to be killed, in a second each.

A line of JSON on stdin: {"code": ..., "cwd": ..., "traced": whether coverage goes on}. Answers {"pid": ...} when it has
begun, {"code": ...} when it has ended. The child is alone in its session, its output goes to out.txt and err.txt in its
folder, and it ends as any script does.
"""

import gc
import json
import os
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
answers = os.fdopen(os.dup(1), "w")  # what is imported may print
os.dup2(2, 1)

import datasets  # noqa: F401 - what a training would import on the way
import matplotlib.figure  # noqa: F401
import torch
import transformers
from transformers import T5Config, T5ForConditionalGeneration, Trainer, TrainingArguments

from hf_monitor import attach, default_callbacks, load_run

torch.set_num_threads(1)
gc.freeze()  # so that the children's collections do not walk through (and copy) all that was imported


class Data(torch.utils.data.Dataset):
    def __init__(self, n=8, on_item=None):
        self.n, self.on_item = n, on_item

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if self.on_item is not None:
            self.on_item(index)
        tokens = [3 + (index + i) % 20 for i in range(6)]
        return {"input_ids": torch.tensor(tokens), "labels": torch.tensor(tokens[:4])}


class At(transformers.TrainerCallback):
    """Do something at the end of a step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.action()


def trainer(folder="out", callbacks=(), data=None, **changes):
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32, d_model=8, d_ff=16, d_kv=4, num_layers=1, num_heads=2, decoder_start_token_id=0, dropout_rate=0.1
    )
    settings = {"max_steps": 6, "logging_steps": 1, "save_strategy": "no", "report_to": "none", "use_cpu": True}
    settings |= {"per_device_train_batch_size": 2, "disable_tqdm": True, "dataloader_pin_memory": False, "seed": 7}
    return Trainer(
        model=T5ForConditionalGeneration(config),
        args=TrainingArguments(str(folder), **(settings | changes)),
        train_dataset=data or Data(),
        eval_dataset=Data(3),
        callbacks=list(callbacks),
    )


def ready():
    """Tell the test that the moment has come, and wait for what it does."""
    Path("ready").touch()
    time.sleep(30)


NAMES = {
    "At": At,
    "Data": Data,
    "attach": attach,
    "default_callbacks": default_callbacks,
    "load_run": load_run,
    "ready": ready,
    "torch": torch,
    "trainer": trainer,
}


def main():
    print(json.dumps({"up": os.getpid()}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.chdir(order["cwd"])
            os.dup2(os.open("out.txt", os.O_WRONLY | os.O_CREAT), 1)
            os.dup2(os.open("err.txt", os.O_WRONLY | os.O_CREAT), 2)
            os.close(0)
            for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
            os.environ.update(order.get("env", {}))
            tracer = "coverage" in sys.modules and sys.modules["coverage"].Coverage.current()
            if tracer and not order["traced"]:
                tracer.stop()
            names = {
                k: globals()[k] for k in ("At", "Data", "trainer", "ready", "attach", "default_callbacks", "load_run")
            }
            exec(compile(order["code"], "scenario.py", "exec"), {**names, "torch": torch, "__name__": "scenario"})
            return
        print(json.dumps({"pid": pid}), file=answers, flush=True)
        _, status = os.waitpid(pid, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status)}), file=answers, flush=True)


main()
