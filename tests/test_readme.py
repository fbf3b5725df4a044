"""The code blocks of README.md, run as they stand."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import untraced

from hf_monitor import load_run
from hf_monitor.loggers.mirror.identity import mirrored_runs

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def recorded_once(tmp_path_factory):
    """A folder for the run that the README reads: recorded by the first who needs it."""
    return tmp_path_factory.mktemp("recorded") / "demo"


@pytest.fixture
def names(make_trainer, tokenizer, tmp_path, monkeypatch, recorded_once):
    """What the blocks take as given: a model, data, arguments; and a run where the README reads one."""
    from transformers import Seq2SeqTrainer

    from hf_monitor import TextMetrics, attach

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    if not recorded_once.exists():
        recorded = make_trainer(compute_metrics=TextMetrics(tokenizer), output_dir=recorded_once)
        attach(recorded)
        recorded.train()
    for name in ("demo", "other"):
        shutil.copytree(recorded_once, tmp_path / "outputs" / name)
    trainer = make_trainer()
    return {
        "Seq2SeqTrainer": Seq2SeqTrainer,
        "model": trainer.model,
        "args": trainer.args,
        "train_dataset": trainer.train_dataset,
        "eval_dataset": trainer.eval_dataset,
        "data_collator": trainer.data_collator,
        "tokenizer": tokenizer,
    }


def test_there_are_blocks():
    assert len(PYTHON) == 10
    assert len(SHELL) == 1


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_block(number, names, tmp_path, capsys):
    exec(compile(PYTHON[number], f"README block {number}", "exec"), names)
    if "attach(trainer)" in PYTHON[number]:
        assert (tmp_path / "out" / "monitor" / "metrics.jsonl").exists()
    if "run.status" in PYTHON[number]:
        assert "finished" in capsys.readouterr().out
    if "hardware_findings" in PYTHON[number]:
        out = capsys.readouterr().out
        assert "data_bound" in out
        assert "process_rss_mib" in out or "..." in out
    if "create_training_visualizations" in PYTHON[number]:
        drawn = sorted(path.name[:2] for path in (tmp_path / "plots").glob("*.png"))
        assert drawn == ["01", "02", "03", "04", "05", "06", "07"]
        assert len(list((tmp_path / "plots" / "inference").iterdir())) >= 3  # no confidence: the Trainer's evaluation
        assert (tmp_path / "loss.svg").exists()
        assert (tmp_path / "loss.csv").exists()
    if "plan_training" in PYTHON[number]:
        assert "= 128 samples an update" in capsys.readouterr().out
        assert names["args"].per_device_train_batch_size * names["args"].gradient_accumulation_steps == 128
    if "WandBLogger" in PYTHON[number]:
        (folder,) = (tmp_path / "wandb").glob("hf_monitor-*")
        assert load_run(folder).curve("loss") == ([0, 1, 2], [2.5, 1.5, 1.0])
        assert mirrored_runs(folder)
    elif "Logger" in PYTHON[number]:
        log = (tmp_path / "logs" / "train.log").read_text(encoding="utf-8")
        assert "epoch 1" in log
        assert "this line is in the file too" in log


def test_images_and_documents_that_it_points_to_exist():
    for target in re.findall(r"\]\(((?!https?:)[^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_make_targets_that_it_names_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"\bmake (\w+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def commands():
    lines = [line for line in SHELL[0].replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [" ".join(line.split()) for line in lines]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_shell_command(number, make_model, tokenizer, dialogues, tmp_path):
    """The commands as they stand but shorter, and with a T5 on disk where the README names one from the hub."""
    assert len(commands()) == 3
    make_model().save_pretrained(tmp_path / "t5")
    tokenizer.save_pretrained(tmp_path / "t5")
    for name in ("train.jsonl", "dev.jsonl"):
        rows = [json.dumps({"dialogue": d, "summary": s}) for d, s in dialogues]
        (tmp_path / name).write_text("\n".join(rows) + "\n", encoding="utf-8")
    quoted = [[text.replace('"', '""') for text in pair] for pair in dialogues]
    csv = "\n".join(["dialogue,summary", *(f'"{d}","{s}"' for d, s in quoted)])
    (tmp_path / "dev.csv").write_text(csv, encoding="utf-8")
    command = commands()[number].replace("google-t5/t5-small", "t5")
    command = command.replace("scripts/", f"{ROOT}/scripts/").replace("python ", f"{sys.executable} ", 1)
    command = command.replace(
        "accelerate launch", f"{Path(sys.executable).parent}/accelerate launch --main_process_port 0"
    )
    command += " --use_cpu --max_steps 2 --output_dir out --eval_on_start false"
    command += " --max_eval_samples 4 --max_predict_samples 4" if number == 2 else ""
    env = untraced.ENVIRONMENT
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    run = load_run(tmp_path / "out")
    assert run.status == "finished"
    assert run.facts["devices"]["world_size"] == (2 if number == 2 else 1)
