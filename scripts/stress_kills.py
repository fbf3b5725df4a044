"""Kill trainings with SIGKILL at seeded random moments, resume each to the end, look whether a recorded row was lost.

    python scripts/stress_kills.py                     # 40 kills, ten of each kind: 2 to 5 minutes on 2 cores
    python scripts/stress_kills.py --kills 1 --seed 17  # the kill with seed 17 again
    python scripts/stress_kills.py --keep kills        # leave run folders, checkpoints and what was acknowledged there

A small T5 is trained by a real ``Seq2SeqTrainer`` with ``attach(trainer)``, in a process group of its own. Over a pipe
it announces its phases and acknowledges every row after our callbacks have returned from the event: what had been
flushed is known from outside, whatever is on the disk. It stops at the place that was drawn, the start of a phase or
where our callbacks are called in it, until the harness says go; a random part of the time later that it takes to the
end of the phase, the whole group is killed. A kill counts only if that end was not announced before; else it is
*missed*, and the next seed of this kind is taken, with a shorter time.

The kinds (by ``seed % 4``): while a step is *logged*, while a checkpoint is *saved*, during an *evaluation*, and in a
*resumed attempt* (killed in any phase, its beginning included, and resumed again). After each kill the folder must be
readable, with every acknowledged row; after the last resumption every (kind, step) must be there once, with the very
values of a run that was never killed. The exit code is 1 if anything is not as it should be.

Processes are forked from this one, which has imported everything and computed nothing: importing torch takes longer
than such a training. Linux and macOS only. The same seed draws the same phase, step and delay; what the process had
come to by then is up to the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import platform
import random
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# Known before anything is imported: one thread (a process with several cannot be forked safely), no network.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
)

KINDS = ("logging", "saving", "evaluation", "resumed attempt")
PHASES = ("logging", "saving", "evaluation")
BEGINNING = "beginning"  # from on_train_begin to its end, while run.json gets the new attempt
BURST = 20  # rows that the user logs at each step, beside the Trainer's own
EVAL_STEPS, SAVE_STEPS = 5, 3  # out of step with each other, so that a kill loses steps that were evaluated
LIMIT_SECONDS = 300.0  # for one training, which takes about 2
MISSES = 10  # in a row, and the harness gives up
TIMED = ("_runtime", "_per_second")  # endings of values that no two runs share


class Stop(NamedTuple):
    """Where a trainee waits for the harness: at the start of a phase, or where ``ours`` are called in it."""

    phase: str
    step: int
    place: str = "start"


# --- the trainee ---


class Wire:
    """What the trainee says to the harness, and where it waits for it."""

    def __init__(self, said: int, go: int, stop: Stop | None) -> None:
        self.said, self.go, self.stop = said, go, stop

    def say(self, *messages: dict[str, Any]) -> None:
        """Send messages, a line each, with one system call."""
        os.write(self.said, b"".join(json.dumps(message, default=float).encode() + b"\n" for message in messages))

    def reach(self, phase: str, step: int, place: str = "start") -> None:
        """Announce a place; if it is the one that was drawn, wait until the harness says go."""
        self.say({"reached": phase, "step": step, "place": place, "now": time.monotonic()})
        if self.stop == (phase, step, place):
            os.read(self.go, 1)

    def done(self, phase: str | None, step: int, *rows: dict[str, Any]) -> None:
        """Acknowledge rows that have been flushed, and the end of a phase."""
        ends = [{"end": phase, "step": step, "now": time.monotonic()}] if phase else []
        self.say(*({"row": {"step": step, **row}} for row in rows), *ends)


def _callbacks(wire: Wire, trainer: Any) -> tuple[Any, Any]:
    """Make the callback that comes before all others and the one that comes after them."""
    from transformers import TrainerCallback

    class Before(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.reach(BEGINNING, state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            if "eval_loss" in logs:
                wire.reach("evaluation", state.global_step, "ours")

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.reach("saving", state.global_step, "ours")

    class After(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.done(BEGINNING, state.global_step, {"kind": "event", "event": "train_begin"})

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.reach("logging", state.global_step)
            wanted = control.should_log
            for number in range(BURST):  # so that most of the time of this phase is ours
                trainer.log({"burst": number, "value": random.Random(state.global_step * BURST + number).random()})
            control.should_log = wanted  # which log() has switched off

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            signs = {"burst": "log", "loss": "train", "train_runtime": "train_summary", "eval_loss": "eval"}
            kind = next(kind for sign, kind in signs.items() if sign in logs)
            phase = "logging" if kind == "train" else None
            wire.done(phase, state.global_step, {"kind": kind, "burst": logs.get("burst"), "values": dict(logs)})

        def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            texts = {"kind": "texts", "count": len(kwargs["eval_dataloader"].dataset)}
            wire.done("evaluation", state.global_step, {"kind": "text_scores"}, texts)

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.done("saving", state.global_step, {"kind": "event", "event": "save"})

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            wire.done(None, state.global_step, {"kind": "event", "event": "train_end"})

    return Before(), After()


def train(output_dir: Path, resume: Path | None, steps: int, wire: Wire) -> None:
    """Run one training in this process; it ends at step `steps`, unless it is killed."""
    from datasets import Dataset
    from transformers import DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments, set_seed

    from hf_monitor import TextMetrics, attach
    from hf_monitor.demo import load_demo
    from hf_monitor.seq2seq.demo_model import build_demo_model, build_demo_tokenizer

    records = load_demo("validation")[:36]
    tokenizer = build_demo_tokenizer([text for row in records for text in (row["dialogue"], row["summary"])], 500)
    samples = [
        {
            "input_ids": tokenizer(row["dialogue"])["input_ids"][:32],
            "labels": tokenizer(row["summary"])["input_ids"][:16],
        }
        for row in records
    ]
    set_seed(1)
    # With dropout, so that a resumed run has the values of the other only where the random state is restored.
    model = build_demo_model(
        tokenizer, d_model=16, d_ff=32, num_heads=2, num_layers=1, dropout_rate=0.1, max_target_length=12
    )
    model.generation_config.min_length = 8  # longer texts than such a model would give
    args = Seq2SeqTrainingArguments(
        output_dir=str(output_dir),
        max_steps=steps,
        logging_steps=1,
        eval_strategy="steps",
        eval_steps=EVAL_STEPS,
        save_steps=SAVE_STEPS,
        save_total_limit=2,
        learning_rate=1e-2,
        per_device_train_batch_size=2,  # 12 steps an epoch: resumed within the first one, and within the second
        per_device_eval_batch_size=3,
        predict_with_generate=True,
        report_to="none",
        use_cpu=True,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        seed=1,
    )
    trainer: Any = Seq2SeqTrainer(
        model=model,
        args=args,
        train_dataset=Dataset.from_list(samples[:24]),
        eval_dataset=Dataset.from_list(samples[24:]),
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=model),
        processing_class=tokenizer,
        compute_metrics=TextMetrics(tokenizer),
    )
    attach(trainer)
    before, after = _callbacks(wire, trainer)
    callbacks = trainer.callback_handler.callbacks
    callbacks.insert(0, before)
    callbacks.append(after)

    def announced(phase: str, method: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            wire.reach(phase, trainer.state.global_step)
            return method(*args, **kwargs)

        return call

    trainer._save_checkpoint = announced("saving", trainer._save_checkpoint)
    trainer.evaluation_loop = announced("evaluation", trainer.evaluation_loop)
    trainer.train(resume_from_checkpoint=None if resume is None else str(resume))


# --- the harness: one process from outside ---


@dataclass
class Trainee:
    """One process, as it was seen from outside."""

    pid: int
    pid_started: float
    resumed_at: int = 0
    stop: Stop | None = None
    said: list[dict[str, Any]] = field(default_factory=list)
    told: bool = False  # to go on, by the harness, which killed it then
    status_alive: str = ""  # what load_run() said while the process waited to be killed
    exit: int = 0  # negative: the signal

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that had been flushed."""
        return [message["row"] for message in self.said if "row" in message]

    @property
    def ended(self) -> list[tuple[str, int]]:
        """Phase and step of every phase whose end was announced."""
        return [(message["end"], message["step"]) for message in self.said if "end" in message]

    @property
    def begun(self) -> bool:
        """Whether it is certain that the attempt is in the folder."""
        return any(phase == BEGINNING for phase, _ in self.ended)

    @property
    def hit(self) -> bool:
        """Whether it was killed within the phase that was drawn, after it had been told to go on."""
        return self.told and self.exit == -signal.SIGKILL and self.stop is not None and self.stop[:2] not in self.ended


def run_trainee(folder: Path, resume: Path | None, steps: int, stop: Stop | None = None, delay: float = 0.0) -> Trainee:
    """Train in a forked process, and kill its group `delay` seconds into the phase and step `stop`."""
    import psutil

    said, said_by_trainee = os.pipe()
    go_for_trainee, go = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.setsid()
            os.close(said)
            os.close(go)
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "console.txt").open("ab", buffering=0) as console:
                os.dup2(console.fileno(), 1)
                os.dup2(console.fileno(), 2)
            train(folder / "out", resume, steps, Wire(said_by_trainee, go_for_trainee, stop))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is must not unwind into the harness, of which this is a copy
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(said_by_trainee)
    os.close(go_for_trainee)
    trainee = Trainee(pid, psutil.Process(pid).create_time(), 0 if resume is None else _step_of(resume), stop)
    try:
        for message in _messages(said, trainee):
            if stop is not None and (message.get("reached"), message.get("step"), message.get("place")) == stop:
                if trainee.begun:
                    trainee.status_alive = _status(folder / "out" / "monitor")
                trainee.told = True
                os.write(go, b"g")
                time.sleep(delay)  # not a busy loop, which could keep the trainee off the core that it was woken up on
                os.killpg(pid, signal.SIGKILL)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it is gone, or not yet in its own group
            os.killpg(pid, signal.SIGKILL)
        trainee.exit = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(said)
        os.close(go)
    return trainee


def _messages(said: int, trainee: Trainee) -> Iterator[dict[str, Any]]:
    """Give what the trainee says, until it is gone; a line that it could not end is none."""
    until, rest = time.monotonic() + LIMIT_SECONDS, b""
    while True:
        if not select.select([said], [], [], max(0.0, until - time.monotonic()))[0]:
            raise TimeoutError(f"the training did not end within {LIMIT_SECONDS:g} s; it has said {trainee.said[-3:]}")
        data = os.read(said, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            trainee.said.append(json.loads(line))
            yield trainee.said[-1]


def _status(run_dir: Path) -> str:
    from hf_monitor import load_run

    return str(load_run(run_dir).status)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


def checkpoints(output_dir: Path) -> tuple[list[Path], int]:
    """Give the complete checkpoints, oldest first, and the number of those that are not.

    The Trainer writes ``trainer_state.json`` last (``Trainer._save_checkpoint``), so where it can be read the others
    are there. An older checkpoint that was being deleted may still have it; the newest is never the one deleted.
    """
    complete, broken = [], 0
    for folder in sorted(output_dir.glob("checkpoint-*"), key=_step_of):
        try:
            json.loads((folder / "trainer_state.json").read_bytes())
            complete.append(folder)
        except (OSError, ValueError):
            broken += 1
    return complete, broken


# --- the harness: what must be in the folder ---


@dataclass
class Findings:
    """What was counted and what was wrong, with a sentence for each."""

    acknowledged: int = 0
    steps: int = 0
    values: int = 0
    torn: int = 0
    unacknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All of them."""
        lists = {"LOST": self.lost, "DUPLICATE": self.duplicate, "UNREADABLE": self.unreadable, "WRONG": self.other}
        return [f"{name}: {sentence}" for name, sentences in lists.items() for sentence in sentences]

    def expect(self, what: str, found: object, wanted: object) -> None:
        """Note what is not as it should be."""
        if found != wanted:
            self.other.append(f"{what} is {found!r}, should be {wanted!r}")


def look(run_dir: Path, trainees: Sequence[Trainee], reference: Sequence[Trainee] = ()) -> tuple[Findings, Any]:
    """Read the folder after the last of `trainees` is gone; `reference` is the run that was never killed.

    Returns
    -------
    tuple
        The findings, and the :class:`hf_monitor.Run`; None if it could not be read.
    """
    from hf_monitor import load_run

    found = Findings()
    killed = trainees[-1].exit != 0
    try:
        run = load_run(run_dir)
        rows, metrics, texts = run.rows, run.metrics, run.predictions
        # A kill that missed may have come after the training's end had been written.
        ended = [row["event"] for row in run.events if row["event"] in ("train_begin", "train_end")][-1:] == [
            "train_end"
        ]
        found.expect("status", run.status, "killed" if killed and not ended else "finished")
    except Exception as error:  # noqa: BLE001 - whatever a reader throws, the folder is not readable
        found.unreadable.append(f"{run_dir}: {type(error).__name__}: {error}")
        return found, None
    if not run.facts.get("run_id") or "arguments" not in run.facts:
        found.unreadable.append(f"{run_dir / 'run.json'} has no run_id or no arguments")
    kills = sum(trainee.exit != 0 for trainee in trainees)
    for name, broken in run.broken_lines.items():
        found.torn += broken
        if broken > kills:
            found.unreadable.append(f"{name} has {broken} broken lines after {kills} kills")
    numbers = _attempts(run, trainees, found)
    acknowledged = _flushed(rows, texts, trainees, numbers, found)

    def once(what: str, keys: Iterator[Any]) -> None:
        found.duplicate += [f"{what} {key} is there {n} times" for key, n in Counter(keys).items() if n > 1]

    measured = [row for row in rows if row["kind"] != "event"]
    once(
        "row of attempt, kind, step",
        ((row["attempt"], row["kind"], row["step"], row.get("burst", row.get("rule"))) for row in measured),
    )
    metrics = [row for row in metrics if row["kind"] != "alert"]  # of the rules; several may come at a step
    once("(kind, step)", ((row["kind"], row["step"]) for row in metrics))
    once("text of attempt, step, sample", ((row["attempt"], row["step"], row["index"]) for row in texts))
    if not killed:
        _compare(metrics, acknowledged, reference or trainees, found)
    return found, run


def _attempts(run: Any, trainees: Sequence[Trainee], found: Findings) -> list[int | None]:
    """Find the number of each trainee's attempt: in run.json, by its process."""
    numbers: list[int | None] = []
    for trainee in trainees:
        own = [
            entry["attempt"]
            for entry in run.attempts
            if entry["pid"] == trainee.pid and abs(entry["pid_started"] - trainee.pid_started) < 0.5
        ]
        if len(own) > 1 or (trainee.begun and not own):
            found.other.append(f"process {trainee.pid} has the attempts {own} in run.json")
        numbers.append(own[0] if own else None)
    known = [number for number in numbers if number is not None]
    found.expect("attempts in run.json", [entry["attempt"] for entry in run.attempts], known)
    found.expect("their numbers", known, list(range(1, len(known) + 1)))
    return numbers


def _flushed(
    rows: Sequence[Any], texts: Sequence[Any], trainees: Sequence[Trainee], numbers: Sequence[Any], found: Findings
) -> dict[tuple[str, int], int]:
    """Look for every acknowledged row; give the latest attempt that acknowledged a (kind, step)."""
    there = {(row["attempt"], row["kind"], row["step"], row.get("event", row.get("burst"))): row for row in rows}
    n_texts = Counter((row["attempt"], row["step"]) for row in texts)
    latest: dict[tuple[str, int], int] = {}
    asked_for = set()
    for trainee, attempt in zip(trainees, numbers, strict=True):
        for row in trainee.rows:
            found.acknowledged += 1
            kind, step = row["kind"], row["step"]
            if kind == "texts":
                if n_texts[attempt, step] != row["count"]:
                    found.lost.append(
                        f"{n_texts[attempt, step]} of {row['count']} texts of step {step}, attempt {attempt}"
                    )
                continue
            key = (attempt, kind, step, row.get("event", row.get("burst")))
            asked_for.add(key)
            if kind != "event":
                latest[kind, step] = attempt
            if key not in there:
                found.lost.append(f"row {row} of attempt {attempt}")
                continue
            for name, value in row.get("values", {}).items():
                found.expect(f"{name} of {kind} at step {step}, attempt {attempt}", there[key].get(name), value)
    found.unacknowledged = len(there.keys() - asked_for)
    return latest


def _compare(
    metrics: Sequence[Any], acknowledged: dict[tuple[str, int], int], reference: Sequence[Trainee], found: Findings
) -> None:
    """Hold what the reader gives of a finished run against what the run that was never killed has acknowledged.

    A resumed run has the same values bit by bit: weights, optimizer, schedule, random state and the place in the data
    are restored. Not so the mean loss in the Trainer's last line, and what was timed.
    """
    wanted: dict[tuple[str, int], dict[str, float]] = {}
    for row in (row for trainee in reference for row in trainee.rows if row["kind"] not in ("event", "texts")):
        values = row.get("values", {}) if row["kind"] != "train_summary" else {}
        wanted[row["kind"], row["step"]] = {k: v for k, v in values.items() if not k.endswith(TIMED)}
    merged = {(row["kind"], row["step"]): row for row in metrics}
    found.steps = sum(kind == "train" for kind, _ in merged)
    for key in sorted(wanted.keys() - merged.keys()):
        found.lost.append(f"{key} is not in Run.metrics")
    timed = {("timing", step) for kind, step in wanted if kind in ("train", "train_summary")}  # not by the trainee
    for key in sorted(merged.keys() - wanted.keys() - timed):
        found.other.append(f"{key} is in Run.metrics, but no such step was taken")
    for key in wanted.keys() & merged.keys():
        found.expect(f"the attempt of {key} in Run.metrics", merged[key]["attempt"], acknowledged.get(key))
        for name, value in wanted[key].items():
            found.values += 1
            found.expect(f"{name} of {key}, compared with the run that was not killed,", merged[key].get(name), value)


# --- the harness: kills ---


class Reference:
    """The run that is never killed: what must come out, which steps there are, how long a phase takes."""

    def __init__(self, folder: Path, steps: int) -> None:
        self.trainee = run_trainee(folder, None, steps)
        if self.trainee.exit != 0:
            raise RuntimeError(f"the training itself failed:\n{(folder / 'console.txt').read_text()[-3000:]}")
        self.findings, run = look(folder / "out" / "monitor", [self.trainee])
        self.texts = [] if run is None else _texts(run)
        self.steps: dict[str, list[int]] = defaultdict(list)
        for phase, step in self.trainee.ended:
            self.steps[phase].append(step)
        self.findings.expect("the steps that were logged", self.steps["logging"], list(range(1, steps + 1)))
        times: dict[tuple[str, str], list[float]] = defaultdict(list)
        reached: dict[str, dict[str, float]] = defaultdict(dict)
        for message in self.trainee.said:
            if "reached" in message:
                reached[message["reached"]][message["place"]] = message["now"]
            elif "end" in message:
                for place, began in reached[message["end"]].items():
                    times[message["end"], place].append(message["now"] - began)
        self.seconds = {place: min(taken) for place, taken in times.items()}  # the least disturbed


def _texts(run: Any) -> list[tuple[int, str]]:
    return [(row["index"], row["prediction"]) for row in run.latest_predictions()]


@dataclass
class Case:
    """One killed and resumed run."""

    kind: str
    seed: int
    missed: bool = False
    story: str = ""
    broken_checkpoints: int = 0
    findings: list[Findings] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """Everything that was wrong, over all looks into the folder."""
        return [problem for findings in self.findings for problem in findings.problems]


def run_case(folder: Path, seed: int, steps: int, reference: Reference, share: float = 1.0) -> Case:
    """Kill a run as `seed` says, and resume it to the end; a kill that missed its phase is not resumed.

    The kill falls into the first `share` of the time that the phase took in the reference run.
    """
    rng = random.Random(seed)
    case = Case(KINDS[seed % len(KINDS)], seed)
    output_dir, trainees, resume = folder / "out", [], None
    for n_kill in range(2 if case.kind == "resumed attempt" else 1):
        after = 0 if resume is None else _step_of(resume)
        phases = [case.kind] if case.kind in PHASES else [*PHASES, *([BEGINNING] if n_kill else [])]
        left = [(phase, step) for phase in phases for step in reference.steps[phase] if step > after]
        left += [(BEGINNING, after)] * (BEGINNING in phases)
        phase = rng.choice(sorted({phase for phase, _ in left}))  # each as often, however many steps it has
        step = rng.choice([step for name, step in left if name == phase])
        stop = Stop(phase, step, rng.choice([place for name, place in reference.seconds if name == phase]))
        delay = rng.random() * share * reference.seconds[stop.phase, stop.place]
        trainees.append(run_trainee(folder, resume, steps, stop, delay))
        case.story += f"{', resumed from ' + str(after) + ',' if n_kill else ''} {phase} {step}"
        case.story += f"{' (ours)' if stop.place == 'ours' else ''} +{delay * 1000:.3f} ms"
        case.findings.append(look(output_dir / "monitor", trainees)[0])
        if trainees[-1].status_alive:
            case.findings[-1].expect("status of the living process", trainees[-1].status_alive, "running")
        if not trainees[-1].hit:
            case.missed = trainees[-1].exit == 0 or trainees[-1].exit == -signal.SIGKILL
            if not case.missed:
                case.findings[-1].other.append(f"the training failed, see {folder / 'console.txt'}")
            return case
        complete, broken = checkpoints(output_dir)
        case.broken_checkpoints += broken
        # Resumed from a checkpoint of the last step the Trainer takes one step more (transformers 5.23).
        resume = max((one for one in complete if _step_of(one) < steps), key=_step_of, default=None)
    trainees.append(run_trainee(folder, resume, steps))
    found, run = look(output_dir / "monitor", trainees, [reference.trainee])
    case.findings.append(found)
    case.story += f", resumed from {trainees[-1].resumed_at}"
    found.expect("exit code of the last attempt", trainees[-1].exit, 0)
    if run is not None:
        found.expect("the texts of the last evaluation", _texts(run), reference.texts)
    with (folder / "acknowledged.jsonl").open("w") as file:
        file.writelines(json.dumps({"pid": one.pid, **message}) + "\n" for one in trainees for message in one.said)
    return case


def run_cases(folder: Path, kills: int, first_seed: int, steps: int, reference: Reference) -> list[Case]:
    """Run until there are `kills` that hit, as many of each kind (give or take one)."""
    cases = []
    for seed in range(first_seed, first_seed + kills):
        for attempt in range(MISSES):
            # The seeds after those of this round have the same kind every `len(KINDS)` numbers.
            spare = seed if not attempt else seed + attempt * len(KINDS) * -(-kills // len(KINDS))
            own = folder / f"seed-{spare}"
            case = run_case(own, spare, steps, reference, 0.7**attempt)  # it may have been slower then than now
            cases.append(case)
            print(f"seed {spare:>4}  {case.kind:<15} {'missed' if case.missed else 'killed'}:{case.story}", flush=True)
            for problem in case.problems:
                print(f"           {problem}", flush=True)
            if not case.missed:
                break
            if not case.problems:
                shutil.rmtree(own)
        else:
            case.findings[-1].other.append(f"{MISSES} kills in a row missed their phase")
    return cases


# --- what is printed ---


def table(cases: Sequence[Case]) -> str:
    """Draw a line a kind, and one over all, as a Markdown table that is readable as it is."""
    head = ["killed during", "kills", "missed", "flushed rows", "lost", "steps", "duplicate", "unreadable"]
    head += ["wrong", "values compared", "torn lines", "rows not acknowledged", "half checkpoints"]
    cells = [head]
    for kind in (*KINDS, "all"):
        of_kind = [case for case in cases if kind in (case.kind, "all")]
        looks = [findings for case in of_kind for findings in case.findings]
        last = [case.findings[-1] for case in of_kind if not case.missed]
        numbers = [sum(not case.missed for case in of_kind), sum(case.missed for case in of_kind)]
        numbers += [sum(found.acknowledged for found in last), sum(len(found.lost) for found in looks)]
        numbers += [sum(found.steps for found in last), sum(len(found.duplicate) for found in looks)]
        numbers += [sum(len(found.unreadable) for found in looks), sum(len(found.other) for found in looks)]
        numbers += [sum(found.values for found in last), sum(found.torn for found in last)]
        numbers += [sum(found.unacknowledged for found in last), sum(case.broken_checkpoints for case in of_kind)]
        cells.append([kind, *map(str, numbers)])
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    lines = [
        f"| {line[0].ljust(widths[0])} | {' | '.join(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))} |"
        for line in cells
    ]
    rule = "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def summary(cases: Sequence[Case], reference: Reference, seconds: float) -> list[str]:
    """Say what came out, with which seeds, and on what."""
    import torch
    import transformers

    hits = [case for case in cases if not case.missed]
    looks = [findings for case in cases for findings in case.findings]
    lost, duplicate, unreadable = (
        sum(len(getattr(found, name)) for found in looks) for name in ("lost", "duplicate", "unreadable")
    )
    lines = [
        f"{len(hits)} kills: {lost} lost flushed rows, {duplicate} duplicate steps, {unreadable} unreadable folders",
        *(f"seeds, {kind}: {' '.join(str(c.seed) for c in hits if c.kind == kind) or '-'}" for kind in KINDS),
    ]
    if missed := [str(case.seed) for case in cases if case.missed]:
        lines.append(f"seeds, missed: {' '.join(missed)}")
    took = ", ".join(
        f"{phase}{' (ours)' if place == 'ours' else ''} {taken * 1000:.2g} ms"
        for (phase, place), taken in reference.seconds.items()
    )
    lines.append(
        f"{seconds:.0f} s on {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}; "
        f"phases: {took}"
    )
    return lines


def preload() -> None:
    """Import what a training needs, so that no trainee has to, and make ready for forks.

    pyarrow's allocator has a thread of its own, which it looks after in a fork; a thread of Python's would be lost.
    """
    gc.disable()
    importlib.import_module("datasets")
    importlib.import_module("transformers.models.t5.modeling_t5")
    importlib.import_module("transformers.trainer_seq2seq")
    importlib.import_module("matplotlib.backends.backend_agg")
    for module in ("callbacks.attach", "charts.history", "demo", "loggers.file_logger", "seq2seq.demo_model"):
        importlib.import_module(f"hf_monitor.{module}")
    from hf_monitor import score_texts

    texts = ["한국어 문장", "an English sentence"]
    score_texts(texts, texts)  # what cuts texts of either language into words is loaded at first use
    if threading.active_count() > 1:
        raise RuntimeError(f"cannot fork safely beside other threads: {threading.enumerate()}")
    gc.freeze()  # so that the trainees' collections do not walk through all that was imported
    gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=40, help="a quarter of each kind (default 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the first kill; the others follow (default 0)")
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each run (default 20)")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave everything there; must be empty or not exist"
    )
    options = parser.parse_args(argv)
    if options.kills < 1 or options.steps < 6:
        parser.error("--kills must be at least 1 and --steps at least 6 (an evaluation and a checkpoint)")
    if options.keep and options.keep.exists() and (not options.keep.is_dir() or any(options.keep.iterdir())):
        parser.error(f"--keep {options.keep} is not an empty folder; name another")
    preload()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stress-kills-")))
        reference = Reference(folder / "reference", options.steps)
        cases = run_cases(folder, options.kills, options.seed, options.steps, reference)
    print(f"\n{table(cases)}\n")
    print("\n".join(summary(cases, reference, time.monotonic() - began)))
    problems = [*reference.findings.problems, *(problem for case in cases for problem in case.problems)]
    print(f"{len(problems)} problems" if problems else "all as it should be")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
