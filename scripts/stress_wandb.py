"""The W&B mirror under stress: kills, servers that die or hang, a training that is resumed, secrets everywhere.

    python scripts/stress_wandb.py                      # all four parts: about 10 minutes on 2 cores
    python scripts/stress_wandb.py --only kills --kills 3 --seed 17
    python scripts/stress_wandb.py --only servers --cases middle,hangs
    python scripts/stress_wandb.py --keep folder        # leave run folders and what the server received there

A small T5 is trained by a real ``Seq2SeqTrainer`` with ``WandBCallback`` and ``attach(trainer)``; wandb is the real
one, the server is ``tests/wandb_stub.py`` in a process of its own. What counts is held against ``metrics.jsonl``, line
by line: each row must be in W&B once, at ``_step`` = 10 times its line, with the same values under the names that
transformers gives them.

kills
    Offline, every step logged, about 100 a second (odd seeds: 5 a second, so that no full block forces the file to the
    disk): at seeded random moments from 3 s on all processes (training, mirror, wandb-core) are
    stopped, then killed with SIGKILL. How many seconds of rows are in ``metrics.jsonl`` and not in the ``.wandb`` file?
    Goal: at most 2.
servers
    The server is not there; dies in the middle, at the end; hangs in the middle; answers after 30 s. How much longer
    does the training's process live than without W&B (goal: at most 10 s), what is its exit code, is everything on the
    disk, and does ``hf-monitor wandb`` send the rest once the server is back?
chain
    Training, SIGKILL of all, resumed training, ``evaluate()``, ``predict()``; offline and with a server. Goal: 0 rows
    missing, 0 with other values, 0 twice.
secrets
    Planted in the environment, the arguments, the config, the URL of the git remote, and in texts. Goal: 0 in all bytes
    of ``.wandb`` files and of what the server received. With ``--unmasked`` as a control: then they must be found.

Processes are forked from this one, which has imported everything and computed nothing. Linux only. The exit code is 1
where a goal is missed.
"""

from __future__ import annotations

import argparse
import atexit
import base64
import contextlib
import gc
import importlib
import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Known before anything is imported: one thread (a process with several cannot be forked safely), no network.
os.environ.update(
    {
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "WANDB_ERROR_REPORTING": "false",
    }
)
ROOT = Path(__file__).resolve().parents[1]
TESTS = ROOT / "tests"  # the stub of the server, the reader of .wandb files
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

from wandb_compare import compare, flatten, rows_of  # noqa: E402 - its folder is known only now

GOAL_LOST_S, GOAL_GROWTH_S = 2.0, 10.0
PLACES = ("offline", "online")
PARTS = ("kills", "servers", "chain", "secrets")
CASES = ("fine", "start", "middle", "end", "hangs", "slow")
ANSWER_S = 30.0  # how long the slow server takes
LIMIT_S = 300.0  # for one training, and for the mirror after it
MARK = "HF_MONITOR_STRESS"  # in the environment of whatever a training starts


# --- the trainee ---


@dataclass
class Task:
    """What a training is to be."""

    folder: Path
    steps: int = 40
    pause: float = 0.02
    mirrored: bool = True
    resume: bool = False
    then: tuple[str, ...] = ()  # "evaluate", "predict"
    environment: Mapping[str, str] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # of the model, and of a loop of one's own after it
    texts: Mapping[str, str] = field(default_factory=dict)  # printed, and logged under their names
    unmasked: bool = False

    @property
    def run_dir(self) -> Path:
        """The run folder."""
        return self.folder / "out" / "monitor"


def train(task: Task) -> None:
    """Run one training in this process."""
    from datasets import Dataset
    from transformers import (
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
        TrainerCallback,
        set_seed,
    )

    from hf_monitor import TextMetrics, attach
    from hf_monitor.demo import load_demo
    from hf_monitor.seq2seq.demo_model import build_demo_model, build_demo_tokenizer

    class Pace(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            time.sleep(task.pause)
            if state.global_step == 2:
                for name, text in task.texts.items():
                    print(f"{name}={text}", flush=True)

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
    model = build_demo_model(tokenizer, d_model=16, d_ff=32, num_heads=2, num_layers=1, max_target_length=12)
    for name, value in task.config.items():
        setattr(model.config, name, value)
    args = Seq2SeqTrainingArguments(
        output_dir=str(task.folder / "out"),
        max_steps=task.steps,
        logging_steps=1,
        eval_strategy="steps" if task.then else "no",
        eval_steps=15,
        save_strategy="steps" if task.then else "no",
        save_steps=10,
        save_total_limit=2,
        learning_rate=1e-3,
        per_device_train_batch_size=2,
        per_device_eval_batch_size=6,
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
        compute_metrics=TextMetrics(tokenizer) if task.then else None,
        callbacks=[Pace(), *([_callback(task)] if task.mirrored else [])],
    )
    attach(trainer)
    trainer.train(resume_from_checkpoint=task.resume or None)
    if "evaluate" in task.then:
        trainer.evaluate()
    if "predict" in task.then:
        trainer.predict(trainer.eval_dataset)
    if task.config:
        from hf_monitor import WandBLogger

        with WandBLogger("stress", task.config, run_dir=task.folder / "out" / "loop") as logger:
            logger.log({"loss": 1.0, **task.texts})


def _unmask() -> None:
    from hf_monitor.run.secrets import SecretMask

    mask: Any = SecretMask
    mask.text = mask.data = lambda self, value: value
    mask.key = lambda self, key: key
    mask._value = lambda self, value, name: value
    mask.__call__ = lambda self, text: str(text)


def _callback(task: Task) -> Any:
    from hf_monitor import WandBCallback

    return WandBCallback("stress")


class Training:
    """A training in a process of its own, and whatever it starts, seen from outside."""

    def __init__(self, task: Task) -> None:
        self.task, self.mark = task, f"{os.getpid()}-{time.monotonic_ns()}"
        task.folder.mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            self._be()
        self.exit: int | None = None
        self.seconds = 0.0

    def _be(self) -> None:
        code = 1
        try:
            os.setsid()
            with (self.task.folder / "console.txt").open("ab", buffering=0) as console:
                os.dup2(console.fileno(), 1)
                os.dup2(console.fileno(), 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ.update({**self.task.environment, MARK: self.mark})
            os.chdir(self.task.folder)
            if self.task.unmasked:
                _unmask()
            if self.task.argv:
                sys.argv = ["train.py", *self.task.argv]
            train(self.task)
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is must not unwind into the harness, of which this is a copy
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):  # as at the end of any script: other threads first
                threading._shutdown()  # type: ignore[attr-defined]
                atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    @property
    def lives(self) -> bool:
        """Whether the training's own process is there; its end is noted here."""
        if self.exit is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.exit, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.began
        return self.exit is None

    def others(self) -> list[Any]:
        """Give the processes that it has started, and theirs."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.pid != self.pid and process.environ().get(MARK) == self.mark:
                    found.append(process)
        return found

    def wait(self, until: Callable[[], bool] = lambda: False, limit_s: float = LIMIT_S) -> None:
        """Wait until it has ended, or something has happened."""
        end = time.monotonic() + limit_s
        while self.lives and not until():
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(f"a training did not end within {limit_s:g} s, see {self.task.folder}")
            time.sleep(0.01)

    def wait_for_others(self, limit_s: float) -> float | None:
        """Wait until nothing that it started is left: how many seconds that took; None: longer than that."""
        began = time.monotonic()
        while self.others():
            if time.monotonic() - began > limit_s:
                return None
            time.sleep(0.1)
        return time.monotonic() - began

    def kill(self) -> float:
        """Kill all at once, as when the power fails: nobody is left to notice that another one is gone.

        Returns
        -------
        float
            When, in seconds since 1970.
        """
        import psutil

        own = [psutil.Process(self.pid)] if self.lives else []
        now = time.time()
        for signal_number in (signal.SIGSTOP, signal.SIGKILL):
            for process in [*own, *self.others()]:
                with contextlib.suppress(psutil.Error, OSError):
                    process.send_signal(signal_number)
        while self.lives:
            time.sleep(0.01)
        return now

    def rows(self, kind: str) -> int:
        """Count the rows of a kind so far."""
        try:
            return (self.task.run_dir / "metrics.jsonl").read_bytes().count(f'"kind":"{kind}"'.encode())
        except OSError:
            return 0

    def console(self) -> str:
        """Give what it printed."""
        return (self.task.folder / "console.txt").read_text(errors="replace")


@contextlib.contextmanager
def ended_in_the_end(training: Training) -> Iterator[Training]:
    """Leave nothing of it behind."""
    try:
        yield training
    finally:
        training.kill()


# --- the server, in a process of its own ---


class Server:
    """tests/wandb_stub.py; killed, it comes back on the same port with what it had."""

    def __init__(self, folder: Path, delay: float = 0.0) -> None:
        self.folder, self.delay = folder, delay
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables for wandb."""
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.port}", "WANDB_API_KEY": "0123456789" * 4}

    def start(self) -> None:
        """Listen."""
        command = [sys.executable, str(TESTS / "wandb_stub.py"), str(self.port), str(self.folder)]
        command += ["--delay", str(self.delay)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        if not self.process.stdout.readline():
            raise RuntimeError("the stub of the server did not start")

    def signal(self, number: int) -> None:
        """Send a signal; SIGKILL is its end."""
        if self.process is not None:
            self.process.send_signal(number)
            if number == signal.SIGKILL:
                self.process.wait()
                assert self.process.stdout is not None
                self.process.stdout.close()
                self.process = None

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *error: object) -> None:
        self.signal(signal.SIGKILL)

    def received(self) -> Any:
        """Give what it had received, as a :class:`wandb_stub.WandbStub`."""
        return importlib.import_module("wandb_stub").WandbStub.load(self.folder)


# --- what is in the folder, and what W&B has of it ---


def aside(function: Callable[..., Any], *given: Any) -> Any:
    """Call a function in a forked process: wandb is imported there, and the trainings start without it, as ours do."""
    answer, written = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(answer)
            with os.fdopen(written, "w") as file:
                json.dump(function(*given), file)
            code = 0
        except BaseException:  # noqa: BLE001 - it must not unwind into the harness
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(written)
    with os.fdopen(answer) as file:
        text = file.read()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError(f"{function.__name__}{given} failed")
    return json.loads(text)


def offline_history(run_dir: Path) -> list[dict[str, Any]]:
    """Read the history in all ``.wandb`` files of a run folder: a flat dict a record."""
    found: list[dict[str, Any]] = aside(_offline_history, run_dir)
    return found


def _offline_history(run_dir: Path) -> list[dict[str, Any]]:
    found = []
    for path in sorted(run_dir.rglob("*.wandb")):
        for record in importlib.import_module("wandb_file").records(path):
            if record.WhichOneof("record_type") == "history":
                values: dict[str, Any] = {"_step": record.history.step.num}
                for item in record.history.item:
                    flatten(json.loads(item.value_json), ".".join(item.nested_key) or item.key, values)
                found.append(values)
    return found


def _unpacked(folder: Path) -> list[str]:
    """Give the contents of the records, in base64: the format may tear one in two."""
    paths = folder.rglob("*.wandb")
    records = (record for path in paths for record in importlib.import_module("wandb_file").records(path))
    return [base64.b64encode(record.SerializeToString()).decode() for record in records]


def server_history(run_dir: Path, stub: Any) -> list[dict[str, Any]]:
    """Give what a server has of the W&B runs of a folder: a flat dict a line."""
    from hf_monitor.loggers.mirror.identity import mirrored_runs

    runs = [stub.runs[one.id] for one in mirrored_runs(run_dir) if one.id in stub.runs]
    return [flatten(line) for run in runs for line in run.history]


# --- the parts ---


@dataclass
class Result:
    """A table, and what missed its goal."""

    head: list[str]
    lines: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, *cells: object, problems: Iterable[str] = ()) -> None:
        """Add a line of the table, and print it."""
        self.lines.append([str(cell) for cell in cells])
        print("  ".join(self.lines[-1]), flush=True)
        for problem in problems:
            self.problems.append(f"{cells[0]}: {problem}")
            print(f"    MISSED {problem}", flush=True)

    def table(self) -> str:
        """Draw it as a Markdown table that is readable as it is."""
        cells = [self.head, *self.lines]
        widths = [max(len(line[i]) for line in cells) for i in range(len(self.head))]
        drawn = [f"| {' | '.join(c.ljust(w) for c, w in zip(line, widths, strict=True))} |" for line in cells]
        return "\n".join([drawn[0], f"|{'|'.join('-' * (w + 2) for w in widths)}|", *drawn[1:]])


OFFLINE = {"WANDB_MODE": "offline"}


def kills(folder: Path, options: argparse.Namespace) -> Result:
    """Kill everything at random moments; look what the ``.wandb`` file lacks."""
    result = Result(["seed", "killed after, s", "rows", "not in the file", "lost, s"])
    lost = []
    for seed in range(options.seed, options.seed + options.kills):
        task = Task(folder / f"kill-{seed}", steps=10**6, pause=0.2 if seed % 2 else 0.005, environment=OFFLINE)
        with ended_in_the_end(Training(task)) as training:
            training.wait(lambda training=training: training.rows("train") > 0)  # type: ignore[misc]
            after = random.Random(seed).uniform(3.0, options.latest)
            began = time.monotonic()
            training.wait(lambda began=began, after=after: time.monotonic() - began > after)  # type: ignore[misc]
            problems = [] if training.exit is None else [f"the training ended by itself, see {task.folder}"]
            killed = training.kill()
        found = compare(task.run_dir, offline_history(task.run_dir))
        seconds = max((killed - row["time"] for row in found.missing), default=0.0)
        lost.append(seconds)
        if seconds > GOAL_LOST_S or not found.rows:
            problems.append(f"{seconds:.2f} s of values are missing, of {found.rows} rows")
        problems += [*found.unlike[:3], *found.doubled[:3]]
        result.add(seed, f"{after:.2f}", found.rows, len(found.missing), f"{seconds:.2f}", problems=problems)
        clear(task.folder, options, problems)
    result.add("all", "-", "-", "-", f"{max(lost):.2f} at most, {sorted(lost)[len(lost) // 2]:.2f} median")
    return result


def servers(folder: Path, options: argparse.Namespace) -> Result:
    """Train beside servers in trouble; look at the time, the exit code, the disk."""
    head = ["server", "training, s", "longer, s", "exit", "on disk", "mirror lived on, s", "after hf-monitor wandb"]
    result, steps, pause = Result(head), options.steps, 0.05
    plain = []
    for number in range(2):
        task = Task(folder / f"plain-{number}", steps, pause, mirrored=False)
        with ended_in_the_end(Training(task)) as training:
            training.wait()
        plain.append(training.seconds)
        problems = [f"exit code {training.exit}: {training.console()[-500:]}"] if training.exit else []
        result.add("no W&B", f"{training.seconds:.1f}", "-", training.exit, "-", "-", "-", problems=problems)
    for case in options.cases:
        server = Server(folder / f"server-{case}", ANSWER_S if case == "slow" else 0.0)
        task = Task(folder / f"server-{case}-run", steps, pause, environment={"WANDB_MODE": "online"})
        task.environment = {**task.environment, **server.environment}
        with server:
            if case != "start":
                server.start()
            with ended_in_the_end(Training(task)) as training:
                if case in ("middle", "end", "hangs"):
                    at = steps if case == "end" else steps // 2
                    training.wait(lambda training=training, at=at: training.rows("train") >= at)  # type: ignore[misc]
                    server.signal(signal.SIGSTOP if case == "hangs" else signal.SIGKILL)
                training.wait()
                after = training.wait_for_others(options.linger)
                disk = compare(task.run_dir, offline_history(task.run_dir))
            server.signal(signal.SIGKILL)
            server.delay = 0.0
            server.start()
            told = send(task, server)
            sent = compare(task.run_dir, server_history(task.run_dir, server.received()))
        longer = training.seconds - sum(plain) / len(plain)
        problems = [f"the training took {longer:.1f} s longer"] if longer > GOAL_GROWTH_S else []
        problems += [f"exit code {training.exit}: {training.console()[-500:]}"] if training.exit else []
        problems += [] if disk.good else [f"on disk: {disk}", *disk.unlike[:3], *disk.doubled[:3]]
        problems += [] if sent.good else [f"sent later: {sent}", *sent.unlike[:3], *sent.doubled[:3], told[-300:]]
        lived = "still there" if after is None else f"{after:.1f}"
        times = f"{training.seconds:.1f}", f"{longer:+.1f}"
        result.add(case, *times, training.exit, disk, lived, sent, problems=problems)
        clear(task.folder, options, problems)
    return result


def send(task: Task, server: Server) -> str:
    """Run ``hf-monitor wandb`` on a run folder; give what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "hf_monitor", "wandb", str(task.run_dir)],
        env={**os.environ, **server.environment, "WANDB_MODE": "online", "PYTHONPATH": str(ROOT)},
        cwd=task.folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.stdout + done.stderr


def chain(folder: Path, options: argparse.Namespace) -> Result:
    """Train, kill, resume, evaluate, predict; look whether W&B has it all, once."""
    result = Result(["W&B", "seed", "rows", "missing", "unlike", "doubled", "attempts", "W&B runs"])
    for where in ("offline", "online"):
        for seed in range(options.seed, options.seed + options.chains):
            with Server(folder / f"server-chain-{seed}") as server:
                environment: dict[str, str] = OFFLINE
                if where == "online":
                    server.start()
                    environment = {"WANDB_MODE": "online", **server.environment}
                task = Task(folder / f"chain-{where}-{seed}", 60, 0.05, environment=environment)
                task.then = ("evaluate", "predict")
                at = random.Random(seed).randrange(11, 60)  # after the first checkpoint
                with ended_in_the_end(Training(task)) as first:
                    first.wait(lambda first=first, at=at: first.rows("train") >= at)  # type: ignore[misc]
                    first.kill()
                task.resume = True
                with ended_in_the_end(Training(task)) as second:
                    second.wait()
                    second.wait_for_others(options.linger)
                stub = server.received()
            history = offline_history(task.run_dir) if where == "offline" else server_history(task.run_dir, stub)
            found = compare(task.run_dir, history)
            problems = [f"exit code {second.exit}: {second.console()[-500:]}"] if second.exit else []
            problems += [f"missing: {row}" for row in found.missing[:3]] + found.unlike[:3] + found.doubled[:3]
            rows = [row for _, row in rows_of(task.run_dir)]
            attempts = {row["attempt"] for row in rows}
            problems += [] if attempts == {1, 2} else [f"attempts {attempts}: the kill or the resumption went wrong"]
            kinds = {row["kind"] for row in rows}
            problems += [
                f"there is no row {kind}" for kind in ("eval", "predict", "train_summary") if kind not in kinds
            ]
            runs = {path.stem for path in task.run_dir.rglob("*.wandb")}
            problems += [] if len(runs) == 1 else [f"W&B runs: {', '.join(sorted(runs))}"]
            numbers = len(found.missing), len(found.unlike), len(found.doubled)
            result.add(where, seed, found.rows, *numbers, len(attempts), len(runs), problems=problems)
            clear(task.folder, options, problems)
    return result


def planted(seed: int) -> dict[str, str]:
    """Make secrets; the first word of a name says where it is planted."""
    rng = random.Random(seed)

    def some(n: int, letters: str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") -> str:
        return "".join(rng.choices(letters, k=n))

    return {
        "env HF_TOKEN": "hf_" + some(34),
        "env OPENAI_API_KEY": "sk-proj-" + some(40),
        "env AWS_SECRET_ACCESS_KEY": some(40),
        "env MY_PASSWORD": "p@ss w/ord+" + some(6),
        "argv --api-key": some(16),
        "argv --db.password": "a;b&" + some(10),
        "argv url": "pw" + some(10),
        "git user": "ghp_" + some(36),
        "git password": "ghp_" + some(36),
        "config service_token": "svc/" + some(12),
        "config url": "pw" + some(11),
        "text api_key": some(24),
        "text github": "ghp_" + some(36),
    }


def forms(secret: str) -> list[bytes]:
    """Give how a secret may be written: as it is, escaped, quoted, in base64."""
    from urllib.parse import quote, quote_plus

    texts = {secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return [*(text.encode() for text in texts), base64.b64encode(secret.encode())]


def secrets(folder: Path, options: argparse.Namespace) -> Result:
    """Plant secrets; look for them in all bytes of the files and of what the server received."""
    result = Result(["W&B", "planted", "bytes searched", "found"])
    for where in options.places:
        secret = planted(options.seed)
        home = folder / f"secrets-{where}"
        home.mkdir()
        url = f"https://{secret['git user']}:{secret['git password']}@git.example.com/x.git"
        for command in (["init", "-q"], ["remote", "add", "origin", url]):
            subprocess.run(["git", "-C", str(home), *command], check=True)
        environment = {name[4:]: value for name, value in secret.items() if name.startswith("env ")}
        argv = ("--api-key", secret["argv --api-key"], f"--db.password={secret['argv --db.password']}")
        argv += (f"postgresql://me:{secret['argv url']}@db:5432/x",)
        config = {"service_token": secret["config service_token"], "store": {"url": f"s3://u:{secret['config url']}@b"}}
        texts = {name: f"connected with {value}" for name, value in environment.items()}
        texts |= {"api_key": secret["text api_key"], "said": f"the key is {secret['text github']} there"}
        with Server(folder / "server-secrets") as server:
            environment |= OFFLINE
            if where == "online":
                server.start()
                environment |= {"WANDB_MODE": "online", **server.environment}
            task = Task(home, 20, 0.05, then=("evaluate", "predict"), argv=argv, config=config, texts=texts)
            task.environment, task.unmasked = environment, options.unmasked
            with ended_in_the_end(Training(task)) as training:
                training.wait()
                training.wait_for_others(options.linger)
            received = server.received()
        searched = {
            str(path.relative_to(home)): path.read_bytes() for path in task.run_dir.rglob("*") if path.is_file()
        }
        searched["records of .wandb"] = b"".join(map(base64.b64decode, aside(_unpacked, home / "out")))
        searched["what the server received"] = received.bodies
        found = [
            f"{name} is in {place}"
            for place, data in searched.items()
            for name, value in secret.items()
            if any(form in data for form in forms(value))
        ]
        rows = compare(
            task.run_dir,
            offline_history(task.run_dir) if where == "offline" else server_history(task.run_dir, received),
        )
        problems = [*found, *([] if rows.good else [f"W&B has not what it should have: {rows}"])]
        problems += [f"exit code {training.exit}: {training.console()[-500:]}"] if training.exit else []
        result.add(where, len(secret), sum(map(len, searched.values())), len(found), problems=problems)
        clear(home, options, problems)
    return result


def clear(folder: Path, options: argparse.Namespace, problems: Sequence[str]) -> None:
    """Take a run's files away, unless they are to be looked at."""
    if not options.keep and not problems:
        shutil.rmtree(folder, ignore_errors=True)


def preload() -> None:
    """Import what a training needs, so that no trainee has to, and make ready for forks."""
    gc.disable()
    importlib.import_module("datasets")
    importlib.import_module("transformers.models.t5.modeling_t5")
    importlib.import_module("transformers.trainer_seq2seq")
    importlib.import_module("transformers.integrations.integration_utils")
    importlib.import_module("matplotlib.backends.backend_agg")
    for module in ("callbacks.attach", "callbacks.wandb", "charts.history", "demo", "loggers.file_logger"):
        importlib.import_module(f"hf_monitor.{module}")
    importlib.import_module("hf_monitor.seq2seq.demo_model")
    from hf_monitor import score_texts

    score_texts(["한국어 문장", "an English sentence"], ["한국어 문장", "an English sentence"])
    if threading.active_count() > 1:
        raise RuntimeError(f"cannot fork safely beside other threads: {threading.enumerate()}")
    gc.freeze()  # so that the trainees' collections do not walk through all that was imported
    gc.enable()


def machine() -> str:
    """Say what this ran on."""
    import torch
    import transformers
    import wandb

    cpu = platform.machine()
    with contextlib.suppress(OSError):
        names = re.findall(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        cpu = names[0] if names else cpu
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}, wandb {wandb.__version__}"
    return (
        f"{platform.platform()}, {cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {versions}"
    )


def _some(known: Sequence[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        wrong = [name for name in found if name not in known]
        if wrong or not found:
            raise argparse.ArgumentTypeError(f"use some of {','.join(known)}; got {text!r}")
        return found

    return names


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", type=_some(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--seed", type=int, default=0, help="of the first kill; the others follow (default 0)")
    parser.add_argument("--kills", type=int, default=20, help="of the part kills (default 20)")
    parser.add_argument("--latest", type=float, default=8.0, help="seconds after which the last kill falls (default 8)")
    parser.add_argument("--steps", type=int, default=200, help="of a training beside a server, 0.05 s each")
    parser.add_argument("--cases", type=_some(CASES), default=list(CASES), help=f"some of {','.join(CASES)}")
    parser.add_argument("--linger", type=float, default=60.0, help="seconds that a mirror may go on after a training")
    parser.add_argument("--chains", type=int, default=2, help="offline, and as many with a server (default 2)")
    parser.add_argument(
        "--places", type=_some(PLACES), default=list(PLACES), help="of the part secrets: offline,online"
    )
    parser.add_argument("--unmasked", action="store_true", help="a control of the part secrets: nothing is masked")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave everything there; must be empty or not exist"
    )
    options = parser.parse_args(argv)
    if options.kills < 1 or options.chains < 1 or options.steps < 10 or options.latest <= 3:
        parser.error("--kills and --chains must be at least 1, --steps at least 10, --latest more than 3")
    if options.keep and options.keep.exists() and (not options.keep.is_dir() or any(options.keep.iterdir())):
        parser.error(f"--keep {options.keep} is not an empty folder; name another")
    preload()
    began, results = time.monotonic(), {}
    with contextlib.ExitStack() as stack:
        folder = options.keep
        if folder is None:  # no TemporaryDirectory: each fork would delete it when it ends
            folder = Path(tempfile.mkdtemp(prefix="stress-wandb-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        for part in options.only:
            print(f"{part}:", flush=True)
            results[part] = globals()[part](folder, options)
    for part, result in results.items():
        print(f"\n{part}\n\n{result.table()}")
    print(f"\n{time.monotonic() - began:.0f} s on {machine()}")
    problems = [f"{part}, {problem}" for part, result in results.items() for problem in result.problems]
    print("\n".join(f"MISSED: {problem}" for problem in problems) if problems else "all goals are met")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
