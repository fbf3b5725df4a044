# ruff: noqa: E402 - garbage collections are off before what is imported
"""A training by careless people: started by test_planted_secrets.py, in a process of its own.

``leaky_training.py OUTPUT_DIR SECRETS [--unmasked] ...``: SECRETS is a JSON file of what is to be planted, whose name
does not end so, that it may not be taken for a configuration.
"""

import gc

gc.disable()  # a fifth of what the imports take

import base64
import json
import logging
import pickle
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from datasets import Dataset
from transformers import (
    ByT5Tokenizer,
    DataCollatorForSeq2Seq,
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    T5Config,
    T5ForConditionalGeneration,
    TrainerCallback,
)

from hf_monitor import TextMetrics, attach
from hf_monitor.run.secrets import SecretMask

gc.enable()

output_dir, secret = sys.argv[1], json.loads(Path(sys.argv[2]).read_text())

if "--unmasked" in sys.argv:  # the control: everything must then be found
    SecretMask.text = SecretMask.data = lambda self, value: value
    SecretMask.key = lambda self, key: key
    SecretMask._value = lambda self, value, name: value
    SecretMask.__call__ = lambda self, text: str(text)
    import hf_monitor.callbacks._facts as facts

    facts.MASK = secret["argument hub_token"]


@dataclass
class Arguments(Seq2SeqTrainingArguments):
    """With a setting of the team's own."""

    store_secret_key: str | None = None


class Careless(TrainerCallback):
    """Print, log and raise what should not be seen."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 1:
            self.known(args)
        elif state.global_step == 2:
            self.shapes()
        elif state.global_step == 3:
            self.assigned()
        else:
            self.crash()

    def known(self, args):
        for name, value in secret.items():
            if name.split()[0] in ("env", "file", "argument", "config"):
                print("connected with", value, "at last")
                logging.getLogger("client").warning("retry with %r", value)
                logging.getLogger("client").warning("retry with \x1b[31m%s\x1b[0m%s", value[:4], value[4:])
                print(f"GET https://host/x?q={quote(value, safe='')}&y=1 body={json.dumps({'note': value})}")
                print("sent", base64.b64encode(f"me:{value}".encode()).decode())
        print("half of it: " + args.hub_token[:9], end="")
        print(args.hub_token[9:])

    def shapes(self):
        for name, value in secret.items():
            if name.startswith("shape"):
                print(f"the answer was ({value}), ok")
        for line in secret["pem"].splitlines():
            print(line)
        logging.getLogger("client").error("cannot read\n%s", secret["pem"])

    def assigned(self):
        s = secret
        print(f'password = "{s["assigned quoted"]}"')
        print(f"export SERVICE_TOKEN={s['assigned exported']}")
        print(json.dumps({"outer": json.dumps({"api_key": s["assigned nested json"]})}))
        print(f"run: tool --api-key {s['assigned option']} --verbose")
        print(f"db_pass: {s['assigned yaml']}")
        print(f"GET https://host/x?access_token={s['assigned query']}&page=2")
        print(f"Authorization: Token {s['header authorization']}")
        print({"Cookie": f"session={s['header cookie']}; theme=dark"})
        print(f"> Authorization: Basic {base64.b64encode(('me:' + s['header basic']).encode()).decode()}")
        print(f"cloning https://me:{s['url password']}@git.example.com/x.git")
        print(f"AccountName=a;AccountKey={s['assigned account key']};EndpointSuffix=core.windows.net")

    def crash(self):
        try:
            raise KeyError(secret["env AWS_SECRET_ACCESS_KEY"])
        except KeyError as error:
            message = f"login failed for https://u:{secret['url in error']}@h/ with {secret['argument --service-key']}"
            raise RuntimeError(message + " " + "x" * 1900 + secret["env MY_SECRET"]) from error


tokenizer = ByT5Tokenizer()
config = T5Config(
    vocab_size=384,
    d_model=16,
    d_ff=32,
    d_kv=8,
    num_layers=1,
    num_heads=2,
    pad_token_id=0,
    eos_token_id=1,
    decoder_start_token_id=0,
)
config.service_token = secret["config service_token"]
config.remote = {"url": f"https://me:{secret['config url']}@hub.example.com/model"}
model = T5ForConditionalGeneration(config)
model.generation_config.max_length = 8
texts = [f"my login is {secret['env MY_SECRET']} there", f"use {secret['shape GitHub']} please", "see you at three"]
data = Dataset.from_list(
    [
        {"input_ids": tokenizer(text)["input_ids"], "labels": tokenizer("hello")["input_ids"], "references": text[:200]}
        for text in texts * 2
    ]
)
args = Arguments(
    output_dir=output_dir,
    max_steps=5,
    logging_steps=1,
    eval_strategy="steps",
    eval_steps=1,
    save_strategy="no",
    per_device_train_batch_size=2,
    predict_with_generate=True,
    report_to="none",
    use_cpu=True,
    disable_tqdm=True,
    hub_token=secret["argument hub_token"],
    store_secret_key=secret["argument store_secret_key"],
)
trainer = Seq2SeqTrainer(
    model=model,
    args=args,
    train_dataset=data,
    eval_dataset=data,
    data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
    processing_class=tokenizer,
    compute_metrics=TextMetrics(tokenizer),
    callbacks=[Careless()],
)
monitor = attach(trainer)
with monitor:
    print("before the training:", args.hub_token)
    trainer.log({"note": f"with {secret['env MY_SECRET']}", secret["key in a log"]: 1.0})
    trainer.log({"nested": {"client_secret": secret["log client_secret"]}})
    trainer.log({"session_token": secret["log session_token"]})
    pickle.loads(pickle.dumps(monitor.find(type(monitor.callbacks[0]))._logger.mask))  # a child process gets one
    trainer.train()
