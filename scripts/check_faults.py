"""A disk that fails under the run folder, at the level of the system's calls: no training may notice.

    python scripts/check_faults.py           # the whole matrix, 132 small trainings in one process: a minute or two
    python scripts/check_faults.py --half    # ENOSPC everywhere, the other errors in turn
    python scripts/check_faults.py --ops open,fsync --errors ENOSPC --times once

A library preloaded with LD_PRELOAD (``tests/faults/shim.c``, compiled here with ``cc``) makes the 1st, 10th or last
call of an operation below the run folder fail, counted from the end of ``on_train_begin``: ``once``, or with all that
follow (``on``). Operations: ``open``; ``write`` (rows and lines: descriptors opened with O_APPEND); ``flush`` (what a
buffered file does when it is flushed and closed: write to any other descriptor, and close; run.json and pictures);
``rename``; ``fsync``; ``any`` (the whole disk is dead: these and mkdir, unlink, ftruncate and the lock; only ``on``,
since a single call of any kind may be one that nobody needs).

Each cell trains a tiny T5 for 12 steps with ``attach()``: each step logged, TextMetrics, predictions and checkpoints at
half-time and at the end, charts; the Trainer's ``output_dir`` is elsewhere. A callback of the user's adds a fact to
``run.json`` at each step, so that there are ten renames to fail. (Charts, half of the time, are left out of the cells
of ``write`` and ``fsync``, to which they add no call.) A cell is good if

- the fault has fired, ``train()`` returned, and the weights are those of a training without us, bit for bit;
- there was exactly one warning, an error that tells how many rows are left exactly where some were, and, where rows or
  run.json had failed, one line on the console when recording works again;
- where the fault fired once, every row is there when ``train()`` returns; else when the disk works again;
- ``load_run`` reads the folder: finished, no broken line, no row twice, the latest facts.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import errno
import gc
import io
import itertools
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

OPS = {"open": 0, "write": 1, "flush": 2, "rename": 3, "fsync": 4, "any": 6}
ERRORS = ("ENOSPC", "EIO", "EACCES", "EROFS")
PLACES = ("1st", "10th", "last")
TIMES = ("once", "on")
STEPS = 12
SHIM = Path(__file__).parents[1] / "tests" / "faults" / "shim.c"
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # faster for a model this small
}


class Cell(NamedTuple):
    """One fault, and what came of it."""

    op: str
    error: str
    place: str
    times: str


def compile_shim(folder: Path) -> Path | None:
    """Compile the library; None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = folder / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl"], check=True)
    return library


# --- the child: all trainings, one after another ---


class Collected(logging.Handler):
    """What our logger says."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def of(self, level: int) -> list[str]:
        """Give the messages of a level."""
        return [record.getMessage() for record in self.records if record.levelno == level]


class Console(io.StringIO):
    """What the console would show; as any stream, it can be listened to."""


class Lab:
    """Makes trainings that differ in nothing but the fault."""

    def __init__(self, folder: Path) -> None:
        gc.disable()  # while the first training, plain(), imports what all need
        from datasets import Dataset
        from transformers.utils import logging as transformers_logging

        from hf_monitor.seq2seq.demo_model import build_demo_tokenizer

        transformers_logging.disable_progress_bar()
        self.folder = folder
        self.shim = ctypes.CDLL(None)
        self.shim.shim_fired.restype = self.shim.shim_count.restype = ctypes.c_long
        self.told = Collected()
        logging.getLogger("hf_monitor").addHandler(self.told)
        logging.getLogger("hf_monitor").propagate = False
        texts = [f"#Person1#: 회의는 {n} 시입니다. #Person2#: The meeting is at {n}." for n in range(1, 5)]
        self.tokenizer = build_demo_tokenizer(texts, vocab_size=300)
        self.data, self.evaluation = (
            Dataset.from_list(
                [
                    {"input_ids": ids, "labels": ids[:8]}
                    for ids in (self.tokenizer(opening + text)["input_ids"] for text in texts)
                ]
            )
            for opening in ("", "내일, ")  # a set that stands in the other one is an alert
        )
        self.n = 0

    def trainer(self) -> Any:
        """Make a Trainer with the same weights and the same seed as all others."""
        from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

        from hf_monitor import TextMetrics
        from hf_monitor.seq2seq.demo_model import build_demo_model

        self.n += 1
        set_seed(1)
        model = build_demo_model(self.tokenizer, 16, 1, 2, 16, dropout_rate=0.1, max_target_length=6)
        arguments = Seq2SeqTrainingArguments(
            output_dir=str(self.folder / f"out{self.n}"),
            max_steps=STEPS,
            logging_steps=1,
            eval_strategy="steps",
            eval_steps=STEPS // 2,
            save_strategy="steps",
            save_steps=STEPS // 2,
            save_only_model=True,
            per_device_train_batch_size=2,
            predict_with_generate=True,
            report_to="none",
            use_cpu=True,
            seed=7,
            dataloader_pin_memory=False,
            disable_tqdm=True,
        )
        return Seq2SeqTrainer(
            model=model,
            args=arguments,
            train_dataset=self.data,
            eval_dataset=self.evaluation,
            data_collator=DataCollatorForSeq2Seq(self.tokenizer, model=model),
            processing_class=self.tokenizer,
            compute_metrics=TextMetrics(self.tokenizer),
        )

    def plain(self) -> dict[str, Any]:
        """Train without us; give the weights."""
        trainer = self.trainer()
        with contextlib.redirect_stdout(Console()):
            trainer.train()
        gc.freeze()  # what is there now stays; the Trainer collects garbage at each end
        gc.enable()
        return dict(trainer.model.state_dict())

    def recorded(self, arm: Any, charts: bool = True) -> tuple[Any, Path, Any]:
        """Train with ``attach()``; `arm` is called at the end of ``on_train_begin``."""
        from transformers import TrainerCallback

        from hf_monitor import GpuMonitorCallback, PlottingCallback, attach

        trainer = self.trainer()
        folder = self.folder / f"run{self.n}"
        monitor = attach(trainer, run_dir=folder)
        # Two samples, one before the counting begins, one at the end: each time the number of calls is the same.
        gpu_monitor = monitor.find(GpuMonitorCallback)
        gpu_monitor.interval_s = 1000.0
        writer = monitor._recorder.writer
        if not charts:
            trainer.remove_callback(PlottingCallback)

        class User(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                while not gpu_monitor._sampler.samples:
                    time.sleep(0.001)
                arm()

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                writer.update_facts({"reached": state.global_step})

        trainer.add_callback(User())
        self.told.records.clear()
        self.shim.shim_watch(os.fsencode(folder))
        trainer.train()
        return trainer, folder, monitor

    def rows(self, folder: Path) -> Counter[tuple[Any, ...]]:
        """Name each row of a folder; each should be there once."""
        from hf_monitor import load_run

        run = load_run(folder)
        names = [(row["kind"], row["step"], row.get("event")) for row in run.rows]
        names += [("prediction", row["step"], row["index"]) for row in run.predictions]
        return Counter(name for name in names if name[2] != "recording_resumed")

    def try_cell(self, cell: Cell, nth: int, weights: Any, expected: Counter[tuple[Any, ...]]) -> tuple[str, list[str]]:
        """Train with one fault; give the line of the table and what is wrong with it."""
        import torch

        from hf_monitor import FileLoggingCallback, load_run

        def arm() -> None:
            self.shim.shim_arm(OPS[cell.op], getattr(errno, cell.error), ctypes.c_long(nth), cell.times == "on")

        console = Console()
        with contextlib.redirect_stdout(console):
            trainer, folder, monitor = self.recorded(arm, charts=cell.op not in ("write", "fsync"))
        self.shim.shim_disarm()
        fired = self.shim.shim_fired()
        errors = self.told.of(logging.ERROR)
        late = sum(len(file.waiting) for file in monitor._recorder.writer._files.values())
        at_end = expected - self.rows(folder)
        with contextlib.redirect_stdout(console):
            monitor._recorder.writer.close()
        monitor.find(FileLoggingCallback)._logger.close()
        warnings, found = self.told.of(logging.WARNING), self.rows(folder)
        run = load_run(folder)
        resumed = [row for row in run.events if row["event"] == "recording_resumed"]
        same = all(torch.equal(value, weights[key]) for key, value in trainer.model.state_dict().items())
        wrong = {
            "not fired": not fired,
            "fired more than once": cell.times == "once" and fired != 1,
            "weights differ": not same,
            "did not reach the end": trainer.state.global_step != STEPS,
            f"{len(warnings)} warnings": len(warnings) != 1,
            "the warning does not say what the system said": os.strerror(getattr(errno, cell.error))
            not in "".join(warnings),
            "the error does not tell how many rows are left": [f" {late} rows could not" in e for e in errors]
            != [True] * bool(late),
            "not told that it works again": console.getvalue().count("works again") != len(resumed),
            "resumed more than once": len(resumed) > 1,
            "rows missing when train() returned": cell.times == "once" and bool(at_end),
            "rows missing": bool(expected - found),
            "rows twice or not expected": bool(found - expected),
            "not finished": run.status != "finished",
            "broken lines": any(run.broken_lines.values()),
            "old facts": run.facts.get("reached") != STEPS,
            "the log lacks its last line": "training ended" not in (folder / "train.log").read_text(),
        }
        line = (
            f"{cell.op:7} {cell.error:7} {cell.place:>4} = {nth:<4d} {cell.times:5} {fired:5d}  "
            f"{'equal' if same else 'DIFFER':7} {len(warnings):8d} {sum(at_end.values()):9d} "
            f"{sum((expected - found).values()):5d}"
        )
        shutil.rmtree(trainer.args.output_dir, ignore_errors=True)
        return line, [name for name, bad in wrong.items() if bad]


def run_matrix(cells: list[Cell], folder: Path) -> int:
    """Run all cells in this process, which has the library preloaded; give how many are bad."""
    lab = Lab(folder)
    weights = lab.plain()
    with contextlib.redirect_stdout(Console()):
        _, clean, _ = lab.recorded(lambda: lab.shim.shim_arm(-2, 0, ctypes.c_long(0), 0))
    counts = {op: lab.shim.shim_count(number) for op, number in OPS.items()}
    expected = lab.rows(clean)
    print("calls of a clean training after on_train_begin:", counts, flush=True)
    print(f"rows: {sum(expected.values())}, warnings: {len(lab.told.of(logging.WARNING))}")
    bad = sum(n < 10 for n in counts.values()) + len(lab.told.of(logging.WARNING))
    print("\nop      error   the call    times fired  weights warnings rows left  lost")
    for cell in cells:
        nth = {"1st": 1, "10th": 10, "last": counts[cell.op]}[cell.place]
        line, wrong = lab.try_cell(cell, nth, weights, expected)
        bad += bool(wrong)
        print(line, *(["  BAD:", "; ".join(wrong)] if wrong else []), flush=True)
    return bad


def main(argv: list[str] | None = None) -> int:
    """Compile, preload, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, choices in (("ops", tuple(OPS)), ("errors", ERRORS), ("places", PLACES), ("times", TIMES)):
        parser.add_argument(f"--{name}", default=",".join(choices), help=f"of {','.join(choices)} (default: all)")
    parser.add_argument("--half", action="store_true", help="ENOSPC everywhere, the other errors in turn")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    chosen = []
    for name, choices in (("ops", tuple(OPS)), ("errors", ERRORS), ("places", PLACES), ("times", TIMES)):
        chosen.append(getattr(options, name).split(","))
        if unknown := set(chosen[-1]) - set(choices):
            parser.error(f"--{name}: there is no {', '.join(sorted(unknown))}; choose from {','.join(choices)}")
    cells = [Cell(*which) for which in itertools.product(*chosen) if (which[0], which[3]) != ("any", "once")]
    if options.half:
        others = itertools.cycle(ERRORS[1:])
        turns = {(cell.op, cell.place, cell.times): next(others) for cell in cells if cell.error == "ENOSPC"}
        cells = [c for c in cells if c.error in ("ENOSPC", turns.get((c.op, c.place, c.times)))]
    if options.child:
        return min(run_matrix(cells, Path(options.child)), 1)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="check_faults_") as folder:
        library = compile_shim(Path(folder))
        if library is None:
            print("a C compiler (cc) and Linux are needed: the faults are made by a preloaded library", file=sys.stderr)
            return 2
        work = Path(folder).resolve() / "work"
        work.mkdir()
        command = [sys.executable, __file__, *(sys.argv[1:] if argv is None else argv), "--child", str(work)]
        done = subprocess.run(command, env={**os.environ, **ENVIRONMENT, "LD_PRELOAD": str(library)}, check=False)
    verdict = "all good" if done.returncode == 0 else "NOT all good"
    print(f"\n{len(cells)} cells, {verdict}, {time.monotonic() - began:.0f} s")
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
