"""Do in a real JupyterLab what people do there, and look at what our areas show: run, run again, stop, restart, reload.

    python -m venv lab && lab/bin/pip install jupyterlab playwright    # and a Chromium: apt install chromium
    lab/bin/python scripts/check_jupyterlab.py --shots shots           # about 4 minutes on 2 busy cores
    lab/bin/python scripts/check_jupyterlab.py --only stop,restart     # some of it
    lab/bin/python scripts/check_jupyterlab.py --only picture --shots shots    # for docs/images/notebook*.png

JupyterLab comes from the Python that runs this script; the kernel is the Python that has hf_monitor (by default
.venv/bin/python of this repository), with this repository first on its path. The server listens on 127.0.0.1 with a
token of its own; notebooks, settings and keys are in a temporary folder; all that was started is ended.

Keys and buttons are pressed as a person presses them. For each thing that must hold there is a line, with what was
seen; the exit code is 1 if one did not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Error, Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
LONG_MS = 90_000
WIDTH, HEIGHT = 1280, 1000
MAX_BYTES = 300_000
CELL = ".jp-Notebook .jp-CodeCell"
OURS = "[class^='hfm-'], [class*=' hfm-']"

LOGGER = """
import itertools, time
from hf_monitor import NotebookLogger
nb = NotebookLogger()
count = itertools.count(1)
def loop(n=60, name="loop"):
    for i in range(n):
        nb.log_metrics({"loss": 3 / (1 + i), "accuracy": i / n, "values": next(count)})
        time.sleep(0.05)
print("ready")
"""
LOGGER_CELLS = [
    LOGGER,
    "nb.start_experiment('whole', total_steps=120)\nloop(120)\nnb.end_experiment()",
    "nb.start_experiment('in two cells')\ncount = itertools.count(1)",
    "loop(20)",
    "nb.end_experiment()",
    "nb.start_experiment('stopped')\nloop(2000)",
    "print('next', 6 * 7)",
    "print('alive', 40 + 2)",
]

TRAINER = """
import os, tempfile, torch
from datasets import Dataset
from transformers import (DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, T5Config,
                          T5ForConditionalGeneration)
from hf_monitor import TextMetrics, attach
from hf_monitor.seq2seq.demo_model import build_demo_tokenizer
torch.set_num_threads(1)
pairs = [("#Person1#: 안녕하세요. #Person2#: 내일 회의는 세 시입니다.", "#Person2#는 회의 시간을 알린다."),
         ("#Person1#: Did you eat? #Person2#: Not yet, let us go.", "They will go to eat.")] * 16
tokenizer = build_demo_tokenizer([text for pair in pairs for text in pair], 400)
data = Dataset.from_list([{**tokenizer(d), "labels": tokenizer(s)["input_ids"]} for d, s in pairs])
def make(steps, every=20):
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), d_model=32, d_ff=64, d_kv=16, num_layers=1,
        num_heads=2, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0))
    model.generation_config.max_length = 12
    folder = tempfile.mkdtemp(dir=os.getcwd())
    args = Seq2SeqTrainingArguments(folder, max_steps=steps, logging_steps=2, eval_strategy="steps", eval_steps=every,
        per_device_train_batch_size=8, per_device_eval_batch_size=8, predict_with_generate=True, report_to="none",
        use_cpu=True, save_strategy="no", learning_rate=1e-2, dataloader_pin_memory=False)
    trainer = Seq2SeqTrainer(model, args, train_dataset=data, eval_dataset=data.select(range(8)),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model), processing_class=tokenizer,
        compute_metrics=TextMetrics(tokenizer))
    attach(trainer)
    return trainer
trainer = make(80)
print("ready")
"""
TRAINER_CELLS = [
    TRAINER,
    "trainer.train();",
    "trainer.evaluate();",
    "trainer = make(20000, 2000)\ntrainer.train();",
    "print('next', 6 * 7)",
]


DEMO = """
import os, torch
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed
from hf_monitor import TextMetrics, attach
from hf_monitor.demo import load_demo
from hf_monitor.seq2seq.demo_model import build_demo_model, build_demo_tokenizer
torch.set_num_threads(1)
rows = {split: load_demo(split) for split in ("train", "validation")}
tokenizer = build_demo_tokenizer(row[key] for row in rows["train"] for key in ("dialogue", "summary"))
def encode(row):
    return {**tokenizer(row["dialogue"]), "labels": tokenizer(row["summary"])["input_ids"]}
data = {split: Dataset.from_list([encode(row) for row in found]) for split, found in rows.items()}
set_seed(0)
model = build_demo_model(tokenizer, d_model=64, d_ff=128)
args = Seq2SeqTrainingArguments("summarizer", max_steps=300, logging_steps=2, eval_strategy="steps", eval_steps=20,
    per_device_train_batch_size=8, per_device_eval_batch_size=4, predict_with_generate=True, report_to="none",
    use_cpu=True, save_strategy="no", learning_rate=5e-3, warmup_steps=20, dataloader_pin_memory=False)
trainer = Seq2SeqTrainer(model, args, train_dataset=data["train"], eval_dataset=data["validation"].select(range(12)),
    data_collator=DataCollatorForSeq2Seq(tokenizer, model), processing_class=tokenizer,
    compute_metrics=TextMetrics(tokenizer))
attach(trainer)
print("ready")
"""
DEMO_CELLS = [DEMO, "trainer.train();"]

LONG = {"loop.ipynb": (5, 6), "training.ipynb": (3, 4)}
"""A cell that runs for long, and one after it."""


class Lab:
    """A JupyterLab server in a folder of its own.

    Attributes
    ----------
    folder : Path
        Where the notebooks are.
    """

    def __init__(self, kernel_python: Path, theme: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="check-jupyterlab-"))
        self.folder = self.home / "notebooks"
        self.folder.mkdir()
        install = [kernel_python, "-m", "ipykernel", "install", "--prefix", self.home, "--name", "hfm"]
        subprocess.run([*install, "--env", "PYTHONPATH", ROOT], check=True, capture_output=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
        for name, values in (("notification", quiet), ("themes", {"theme": theme})):
            path = self.home / f"settings/@jupyterlab/apputils-extension/{name}.jupyterlab-settings"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(values), encoding="utf-8")
        self.token = secrets.token_hex()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        places = {
            "JUPYTER_PATH": "share/jupyter",
            "JUPYTERLAB_SETTINGS_DIR": "settings",
            "JUPYTER_CONFIG_DIR": "config",
        }
        places |= {"JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "JUPYTERLAB_WORKSPACES_DIR": "spaces"}
        places |= {"IPYTHONDIR": "ipython"}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
        command += [f"--port={self.port}", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.folder}"]
        command += ["--LabApp.news_url=None", "--LabApp.extension_manager=readonly"]
        command += ["--LabApp.expose_app_in_browser=True"]
        self._log = (self.home / "log").open("w")
        environment = {name: str(self.home / place) for name, place in places.items()}
        self._process = subprocess.Popen(
            command,
            env=os.environ | environment | {"JUPYTER_TOKEN": self.token, "HF_HUB_OFFLINE": "1"},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def write(self, name: str, sources: list[str]) -> str:
        """Write a notebook of these cells."""
        cells = [
            {
                "id": f"c{index}",
                "cell_type": "code",
                "metadata": {},
                "execution_count": None,
                "outputs": [],
                "source": text,
            }
            for index, text in enumerate(sources)
        ]
        kernel = {"name": "hfm", "display_name": "hfm", "language": "python"}
        book = {"nbformat": 4, "nbformat_minor": 5, "metadata": {"kernelspec": kernel}, "cells": cells}
        (self.folder / name).write_text(json.dumps(book), encoding="utf-8")
        return name

    def read(self, name: str) -> list[dict[str, Any]]:
        """Give the cells of a notebook as they were saved."""
        cells: list[dict[str, Any]] = json.loads((self.folder / name).read_text(encoding="utf-8"))["cells"]
        return cells

    def close(self) -> None:
        """End it, its kernels, and its folder."""
        self._process.terminate()  # it ends its kernels
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._log.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Notebook:
    """A notebook on a page, with a person's hands and eyes."""

    def __init__(self, lab: Lab, page: Page, name: str) -> None:
        self.lab, self.page, self.name = lab, page, name
        self.open()

    def open(self) -> None:
        """Open it (again) and wait for its kernel."""
        address = f"http://127.0.0.1:{self.lab.port}/lab/tree/{self.name}?reset&token={self.lab.token}"
        until = time.monotonic() + 60
        while True:
            try:
                self.page.goto(address)
                break
            except Error:
                if time.monotonic() > until:
                    raise
                time.sleep(0.3)
        self.page.wait_for_selector(CELL, timeout=LONG_MS)
        self.ready()

    def ready(self) -> None:
        """Wait until the kernel is there, and idle."""
        self.page.wait_for_function(
            """() => { const kernel = window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel;
               return kernel?.connectionStatus === 'connected' && kernel.status === 'idle' }""",
            timeout=LONG_MS,
        )

    def cell(self, index: int) -> Any:
        """Give the locator of a cell."""
        return self.page.locator(CELL).nth(index)

    def start(self, index: int) -> None:
        """Click into a cell and press Shift+Enter."""
        before = self.prompt(index)
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("Shift+Enter")
        until = time.monotonic() + 10
        while self.prompt(index) == before and time.monotonic() < until:
            self.page.wait_for_timeout(20)

    def run(self, index: int) -> str:
        """Run a cell to its end, and give its output's text."""
        self.start(index)
        return self.ended(index)

    def ended(self, index: int) -> str:
        """Wait for the end of a cell."""
        until = time.monotonic() + LONG_MS / 1000
        while self.prompt(index) == "[*]:" and time.monotonic() < until:
            self.page.wait_for_timeout(50)
        self.page.wait_for_timeout(200)
        return self.text(index)

    def prompt(self, index: int) -> str:
        """Give what stands in brackets before a cell."""
        return str(self.cell(index).locator(".jp-InputPrompt").inner_text()).strip()

    def text(self, index: int) -> str:
        """Give what a cell's output says."""
        self.cell(index).locator(".jp-InputPrompt").scroll_into_view_if_needed()  # what is far away is not rendered
        return str(self.cell(index).locator(".jp-Cell-outputArea").inner_text())

    def others(self, index: int) -> str:
        """Give what a cell's output says beside our areas."""
        found = self.cell(index).locator(".jp-OutputArea-output").filter(has_not=self.page.locator(OURS))
        return " ".join(found.all_inner_texts())

    def outputs(self, index: int) -> tuple[int, int]:
        """Count a cell's outputs, and those of them that are ours."""
        all_of_them = self.cell(index).locator(".jp-OutputArea-output")
        return all_of_them.count(), all_of_them.filter(has=self.page.locator(OURS)).count()

    def press(self, command: str) -> None:
        """Press a button of the toolbar."""
        self.page.locator(f".jp-NotebookPanel-toolbar [data-command='{command}']").click()

    def restart(self) -> None:
        """Press the restart button and confirm."""
        self.press("notebook:restart-kernel")
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_timeout(1000)
        self.ready()

    def save(self) -> list[dict[str, Any]]:
        """Press Ctrl+S; give the cells as saved."""
        self.page.keyboard.press("Escape")
        changed = (self.lab.folder / self.name).stat().st_mtime_ns
        self.press("docmanager:save")
        until = time.monotonic() + 5
        while (self.lab.folder / self.name).stat().st_mtime_ns == changed and time.monotonic() < until:
            self.page.wait_for_timeout(50)
        self.page.wait_for_timeout(200)
        return self.lab.read(self.name)

    def observe(self, index: int) -> None:
        """Note the times at which a cell's output changes, from here on."""
        self.cell(index).locator(".jp-Cell-outputArea").evaluate(
            """area => { window.changes = []; new MutationObserver(() => window.changes.push(performance.now()))
               .observe(area, {childList: true, subtree: true, characterData: true}) }"""
        )

    def changes(self) -> list[float]:
        """Give the times of changes, in seconds; what came within 50 ms is one."""
        kept: list[float] = []
        for moment in self.page.evaluate("window.changes"):
            if not kept or moment / 1000 - kept[-1] > 0.05:
                kept.append(moment / 1000)
        return kept

    def pictures(self, index: int) -> list[int]:
        """Give the widths of a cell's pictures as decoded; 0 is a broken one."""
        found: list[int] = (
            self.cell(index)
            .locator("img")
            .evaluate_all("all => Promise.all(all.map(i => i.decode().then(() => i.naturalWidth, () => 0)))")
        )
        return found


class Checks:
    """What was looked at, and whether it held."""

    def __init__(self, shots: Path | None) -> None:
        self.shots = shots
        self.scenario = ""
        self.failed = 0
        self.console: list[str] = []
        self.harmless: set[str] = set()

    def hold(self, what: str, held: bool, seen: object = "") -> None:
        """Note one thing."""
        self.failed += not held
        print(
            f"{'ok  ' if held else 'FAIL'} {self.scenario:10} {what:75} {' '.join(str(seen).split())[:160]}", flush=True
        )

    def note(self, what: str, seen: object) -> None:
        """Write down what nobody promised."""
        print(f"     {self.scenario:10} {what:75} {' '.join(str(seen).split())[:300]}", flush=True)

    def shoot(self, notebook: Notebook, name: str, index: int | None = None) -> None:
        """Take a screenshot of the page, or of a cell."""
        if self.shots is not None:
            target = notebook.page if index is None else notebook.cell(index)
            if index is not None and "Traceback" in notebook.others(index):
                target = (
                    notebook.cell(index).locator(".jp-OutputArea-output").filter(has=notebook.page.locator(OURS)).first
                )
            notebook.page.set_viewport_size({"width": WIDTH, "height": HEIGHT if index is None else 3 * HEIGHT})
            notebook.page.wait_for_timeout(300)
            target.screenshot(path=self.shots / f"{name}.png")
            notebook.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})

    def saved(self, cells: list[dict[str, Any]], index: int, areas: int = 1) -> None:
        """Look at the outputs of a cell as they were saved."""
        outputs = cells[index]["outputs"]
        kinds = {kind for output in outputs for kind in output.get("data", {})}
        html = [output for output in outputs if "hfm-" in "".join(output.get("data", {}).get("text/html", ""))]
        size = len(json.dumps(outputs, ensure_ascii=False).encode())
        self.hold(
            f"saved: {areas} of ours, no widgets", len(html) == areas and not any("widget" in k for k in kinds), kinds
        )
        self.hold(f"saved: under {MAX_BYTES} bytes", size < MAX_BYTES, f"{size} bytes")

    def silent(self) -> None:
        """Whether the console of the browser had nothing to say but what JupyterLab itself does."""
        said = [line for line in self.console if line not in self.harmless]
        self.hold("nothing on the console of the browser", not said, said)
        self.console.clear()


def cell_run(checks: Checks, book: Notebook) -> None:
    """Run a cell: its area is drawn anew in its place, at most twice a second."""
    book.start(1)
    book.observe(1)
    seen = []
    while book.prompt(1) == "[*]:":
        seen.append(book.text(1))
        book.page.wait_for_timeout(100)
    final = book.ended(1)
    times = book.changes()
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
    checks.hold("changes in place while it runs", len(set(seen)) >= 3, f"{len(set(seen))} different texts")
    checks.hold("at most two updates a second", 0 < rate <= 2.2, f"{len(times)} changes, {rate:.2f} a second")
    checks.hold("one output, ours", book.outputs(1) == (1, 1), book.outputs(1))
    checks.hold("says that it is finished", "finished" in final, final)
    widths = book.pictures(1)
    checks.hold("all pictures are shown", len(widths) > 0 and all(widths), widths)
    checks.saved(book.save(), 1)
    checks.shoot(book, "loop", 1)


def again(checks: Checks, book: Notebook) -> None:
    """Run the same cell five times; begin an experiment in one cell and log in another, five times."""
    for _ in range(5):
        book.run(1)
    checks.hold("five times the same cell: one area", book.outputs(1) == (1, 1), book.outputs(1))
    book.run(2)
    seen = set()
    for _ in range(5):
        book.start(3)
        while book.prompt(3) == "[*]:":
            seen.add(book.text(2))
            book.page.wait_for_timeout(100)
    checks.hold("started in one cell: it changes there while another runs", len(seen) >= 5, f"{len(seen)} texts")
    book.ended(3)
    rest = book.text(2)
    book.page.wait_for_timeout(6000)
    checks.hold("no cell runs: nothing changes, the notebook stays saved", book.text(2) == rest, book.text(2))
    book.run(4)
    checks.hold("started in one cell: its area is there", book.outputs(2) == (1, 1), book.outputs(2))
    checks.hold(
        "values of five runs of another cell are in it", "values 100" in " ".join(book.text(2).split()), book.text(2)
    )
    checks.hold("nothing in the other cell", book.outputs(3)[0] == 0, book.text(3))
    checks.saved(book.save(), 2)


def stop(checks: Checks, book: Notebook) -> None:
    """Press the stop button."""
    book.start(5)
    book.page.wait_for_timeout(2500)
    book.press("notebook:interrupt-kernel")
    text = book.ended(5)
    checks.hold("says interrupted", "interrupted" in text.lower(), text)
    checks.hold("one area beside the traceback", book.outputs(5)[1] == 1, book.outputs(5))
    checks.hold("the next cell runs", "next 42" in book.run(6), book.text(6))
    checks.shoot(book, "stopped", 5)


def restart(checks: Checks, book: Notebook) -> None:
    """Restart the kernel while a cell runs."""
    book.start(5)
    book.page.wait_for_timeout(2500)
    book.restart()
    text = book.text(5)
    checks.hold("the last picture stays, and says of when it is", "as of" in text and book.outputs(5)[1] == 1, text)
    checks.hold("another cell runs", "alive 42" in book.run(7), book.text(7))
    checks.shoot(book, "restarted", 5)
    book.run(0)
    book.run(1)
    checks.hold("run again: one area, finished", book.outputs(1) == (1, 1) and "finished" in book.text(1), book.text(1))


def alone(checks: Checks, book: Notebook, index: int, what: str) -> None:
    """Look whether a cell shows one area of ours, and nothing beside it."""
    lines = [line for line in book.others(index).splitlines() if line.strip()]
    checks.hold(f"{what}: one area", book.outputs(index)[1] == 1 and not lines, " ".join(lines))


def trainer(checks: Checks, book: Notebook) -> None:
    """Train with attach(): train, evaluate, train again, five times, stop."""
    book.start(1)
    seen = []
    while book.prompt(1) == "[*]:":
        seen.append(book.text(1))
        book.page.wait_for_timeout(100)
    final = book.ended(1)
    checks.hold("changes in place while it trains", len(set(seen)) >= 3, f"{len(set(seen))} different texts")
    alone(checks, book, 1, "the Trainer's own is not shown")
    checks.hold(
        "finished, with losses, a score and a sample",
        all(word in final for word in ("finished", "loss", "rouge", "#Person")),
        final,
    )
    checks.shoot(book, "trained", 1)
    text = book.run(2)
    checks.hold("evaluated in the next cell: its own area", book.outputs(2) == (1, 1) and "rouge" in text, text)
    alone(checks, book, 1, "which changes nothing above")
    checks.shoot(book, "evaluated", 2)
    for _ in range(5):
        book.run(1)
    alone(checks, book, 1, "trained five times more in the same cell")
    for _ in range(2):
        book.run(2)
    checks.hold("evaluated again: one area", book.outputs(2) == (1, 1), book.outputs(2))
    book.start(3)
    book.page.wait_for_timeout(5000)
    book.press("notebook:interrupt-kernel")
    text = book.ended(3)
    checks.hold("stopped: says interrupted, and where", "interrupted" in text.lower() and "step" in text, text)
    checks.hold("stopped: one area beside the traceback", book.outputs(3)[1] == 1, book.outputs(3))
    checks.hold("the next cell runs", "next 42" in book.run(4), book.text(4))
    checks.shoot(book, "training-stopped", 3)
    cells = book.save()
    for index in (1, 2, 3):
        checks.saved(cells, index)


def reload(checks: Checks, book: Notebook) -> None:
    """Reload the page while a training runs: JupyterLab shows what was saved last, and hears no more of that cell."""
    long, following = LONG[book.name]
    book.start(long)
    book.page.wait_for_timeout(4000)
    book.save()
    book.page.reload()
    book.page.wait_for_selector(CELL, timeout=LONG_MS)
    until = time.monotonic() + 30  # a kernel that runs a cell does not answer JupyterLab's greeting
    while not (before := book.text(long)).strip() and time.monotonic() < until:
        book.page.wait_for_timeout(100)
    book.page.wait_for_timeout(3000)
    after = book.text(long)
    checks.note("a saved area goes on after the reload", before != after)
    checks.note("it says", after)
    checks.hold("what was saved is shown, and of when it is", "as of" in after and book.outputs(long)[1] == 1, after)
    checks.shoot(book, "reloaded", long)
    book.press("notebook:interrupt-kernel")
    book.ready()
    checks.hold("the next cell runs", "next 42" in book.run(following), book.text(following))
    checks.note("after the stop the old area says", book.text(long))


def reopen(checks: Checks, book: Notebook) -> None:
    """Save, leave and reopen; open a copy that JupyterLab does not trust, as of git or of nbclient."""
    book.save()
    text, pictures = book.text(1), len(book.pictures(1))
    book.open()
    checks.hold("reopened: the same text", book.text(1).split() == text.split(), book.text(1))
    everything = json.loads((book.lab.folder / book.name).read_text(encoding="utf-8"))
    everything["cells"].append(everything["cells"].pop() | {"source": "print('changed by another tool')"})
    (book.lab.folder / "untrusted.ipynb").write_text(json.dumps(everything), encoding="utf-8")
    untrusted = Notebook(book.lab, book.page, "untrusted.ipynb")
    trusted = untrusted.cell(1).locator(".jp-mod-trusted").count()
    checks.hold("untrusted: it is", trusted == 0, f"{trusted} trusted outputs")
    checks.hold("untrusted: the same text", untrusted.text(1).split() == text.split(), untrusted.text(1))
    widths = untrusted.pictures(1)
    checks.hold("untrusted: all pictures", len(widths) == pictures > 0 and all(widths), widths)
    checks.hold("untrusted: tables", untrusted.cell(1).locator(".jp-OutputArea-output table").count() > 0)
    checks.shoot(untrusted, "untrusted", 1)
    book.open()


def theme(book: Notebook, name: str) -> None:
    """Take another theme: Light or Dark."""
    change = "name => { window.jupyterapp.commands.execute('apputils:change-theme', {theme: `JupyterLab ${name}`}) }"
    book.page.evaluate(change, name)
    light = "false" if name == "Dark" else "true"
    book.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
    book.page.wait_for_timeout(500)


def dark(checks: Checks, book: Notebook) -> None:
    """Take the dark theme: to look at."""
    theme(book, "Dark")
    ground, ink = (
        book.cell(1)
        .locator(OURS)
        .first.evaluate(
            "e => [getComputedStyle(document.querySelector('.jp-Notebook')).backgroundColor, getComputedStyle(e).color]"
        )
    )
    light = [sum(map(int, colour[colour.index("(") + 1 : -1].split(",")[:3])) for colour in (ground, ink)]
    checks.hold("dark: light letters on dark ground", light[0] < 200 < 450 < light[1], f"{ink} on {ground}")
    checks.shoot(book, "dark", 1)
    checks.shoot(book, "dark-page")


def picture(checks: Checks, book: Notebook) -> None:
    """Take pictures of the demo in the middle of its training, for the documents."""
    book.start(1)
    until = time.monotonic() + 200
    while not re.search(r"steps 1[3-9]\d of", book.text(1)) and book.prompt(1) == "[*]:" and time.monotonic() < until:
        book.page.wait_for_timeout(300)
    checks.shoot(book, "notebook", 1)
    theme(book, "Dark")
    checks.shoot(book, "notebook-dark", 1)
    theme(book, "Light")
    checks.hold("in the middle of a training", book.prompt(1) == "[*]:" and "rouge" in book.text(1), book.text(1))
    book.press("notebook:interrupt-kernel")
    book.ended(1)


SCENARIOS: dict[str, tuple[str, Callable[[Checks, Notebook], None]]] = {
    "run": ("loop.ipynb", cell_run),
    "again": ("loop.ipynb", again),
    "stop": ("loop.ipynb", stop),
    "restart": ("loop.ipynb", restart),
    "trainer": ("training.ipynb", trainer),
    "reopen": ("training.ipynb", reopen),
    "dark": ("training.ipynb", dark),
    "reload": ("training.ipynb", reload),
    "picture": ("demo.ipynb", picture),
}


@contextlib.contextmanager
def browser(program: str) -> Iterator[Page]:
    """Give a page of a Chromium without a window."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        finally:
            chromium.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel-python", type=Path, default=ROOT / ".venv/bin/python")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument(
        "--only",
        default=",".join(list(SCENARIOS)[:-1]),
        help="of %(default)s, where some need those before them; picture",
    )
    parser.add_argument("--shots", type=Path, help="a folder for screenshots")
    arguments = parser.parse_args()
    if arguments.chromium is None:
        parser.error("no Chromium was found: give one with --chromium")
    if arguments.shots is not None:
        arguments.shots.mkdir(parents=True, exist_ok=True)
    checks = Checks(arguments.shots)
    lab = Lab(arguments.kernel_python, "JupyterLab Light")
    try:
        lab.write("loop.ipynb", LOGGER_CELLS)
        lab.write("training.ipynb", TRAINER_CELLS)
        lab.write("demo.ipynb", DEMO_CELLS)
        lab.write("plain.ipynb", ["print(1)", "1/0"])
        with browser(arguments.chromium) as page:
            page.on(
                "console", lambda said: said.type in {"error", "warning"} and checks.console.append(said.text[:300])
            )
            page.on("pageerror", lambda error: checks.console.append(f"page error: {error}"[:300]))
            page.on("dialog", lambda dialog: dialog.accept())
            plain = Notebook(lab, page, "plain.ipynb")
            plain.run(0)
            plain.save()
            plain.restart()
            checks.harmless.update(checks.console)  # JupyterLab's own
            checks.console.clear()
            book = plain
            for name in arguments.only.split(","):
                checks.scenario = name
                file, scenario = SCENARIOS[name]
                try:
                    if book.name != file:
                        book = Notebook(lab, page, file)
                    said = book.run(0)
                    if not said.strip().endswith("ready"):
                        raise ValueError(f"the first cell failed: {said[-300:]}")
                    scenario(checks, book)
                except (Error, IndexError, ValueError) as error:
                    checks.hold("came to its end", False, error)
                    checks.shoot(book, f"{name}-failed")
                checks.silent()
    finally:
        lab.close()
    print(f"{checks.failed} did not hold" if checks.failed else "all held")
    return min(checks.failed, 1)


if __name__ == "__main__":
    sys.exit(main())
