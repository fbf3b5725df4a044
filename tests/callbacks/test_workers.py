"""DataLoader workers, and the log's own process, beside a recorded training."""

import pickle
import re
import subprocess
import sys
from collections import Counter

import pytest
import torch
import untraced

from hf_monitor import FileLoggingCallback, attach, load_run
from hf_monitor.run.secrets import SecretMask

SCRIPT = """
import gc
gc.disable()  # a fifth of what the imports take, and those of spawn make them three times
import ctypes, multiprocessing, os, sys
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, T5Config, T5ForConditionalGeneration
from hf_monitor import FileLoggingCallback, attach
gc.enable()


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        worker = torch.utils.data.get_worker_info()
        assert worker is not None
        sys.stdout.write(f"python of worker {worker.id} row {i}\\n"); sys.stdout.flush()
        ctypes.CDLL(None).dprintf(2, b"c of row %d\\n", i)
        return {"input_ids": [2, 3, i + 4, 1], "attention_mask": [1] * 4, "labels": [i + 4, 1]}


if __name__ == "__main__":
    method, folder = sys.argv[1:]
    multiprocessing.set_start_method(method)
    config = T5Config(vocab_size=20, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2, pad_token_id=0,
                      eos_token_id=1, decoder_start_token_id=0)
    arguments = Seq2SeqTrainingArguments(
        output_dir=folder + "/out", max_steps=4, logging_steps=1, per_device_train_batch_size=2, report_to="none",
        use_cpu=True, save_strategy="no", dataloader_num_workers=2, dataloader_persistent_workers=True,
        dataloader_pin_memory=False, disable_tqdm=False)
    trainer = Seq2SeqTrainer(model=T5ForConditionalGeneration(config), args=arguments, train_dataset=Rows(),
                             callbacks=[FileLoggingCallback(folder + "/run", capture_fd=True)])
    attach(trainer, folder + "/run")
    trainer.train()
    print("c of", ctypes.CDLL(None).dprintf(1, b"the end\\n"))
    sys.exit(11)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_persistent_workers_of_every_kind(tmp_path, method):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, method, tmp_path],
        capture_output=True,
        text=True,
        env=untraced.ENVIRONMENT,
        timeout=300,
        check=False,
    )
    assert done.returncode == 11, done.stderr

    run = load_run(tmp_path / "run")
    assert run.status == "finished"
    assert [row["step"] for row in run.rows.of("train")] == [1, 2, 3, 4]
    assert run.broken_lines == {"metrics.jsonl": 0}
    log = (tmp_path / "run" / "train.log").read_text()
    for text in (log, done.stdout):
        rows = Counter(re.findall(r"python of worker \d row (\d)\n", text))
        assert rows == {str(i): 1 for i in range(8)}
    for text in (log, done.stderr):
        assert Counter(re.findall(r"c of row (\d)\n", text)) == {str(i): 1 for i in range(8)}
    assert log.count("training begins") == log.count("training ended") == 1
    assert len(re.findall(r" step \d/4  loss ", log)) == 4
    assert sum("4/4" in line and "|" in line for line in log.splitlines()) == 1  # the bar's end


@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")  # Python 3.12's, about any fork
def test_forked_workers_change_nothing_and_write_no_row(make_trainer, make_model, tmp_path):
    weights = []
    for recorded in (False, True):
        trainer = make_trainer(
            model=make_model(),
            output_dir=tmp_path / f"out{recorded}",
            dataloader_num_workers=2,
            callbacks=[FileLoggingCallback(tmp_path / "run", capture_fd=True)] if recorded else None,
        )
        if recorded:
            attach(trainer, tmp_path / "run")
        trainer.train()
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    rows = load_run(tmp_path / "run").rows
    assert [row["step"] for row in rows.of("train")] == [1, 2, 3, 4]
    assert [row["step"] for row in rows.of("eval")] == [2, 4]


def test_the_mask_of_a_run_folder_needs_no_transformers_elsewhere():
    data = pickle.dumps(SecretMask.of_process())
    code = f"import pickle, sys; mask = pickle.loads({data!r}); print(mask('x api_key=abcdefghij12 y'), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    text, modules = done.stdout.split(" y ")
    assert text == "x api_key=***"
    assert not {"torch", "transformers"} & set(modules.split())
