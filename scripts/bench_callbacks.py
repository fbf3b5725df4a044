"""What a callback costs a training: microseconds per logged and per unlogged step, beside the other loggers' callbacks.

    pip install "hf-monitor[bench]"                   # the peers that are not needed otherwise
    python scripts/bench_callbacks.py                 # all that is installed: about 10 minutes on 2 busy cores
    python scripts/bench_callbacks.py --only noop,file_logging --rounds 3
    python scripts/bench_callbacks.py --plotting 100 --memory-gib 4   # how long charts hold a training up

Each callback runs in processes of its own, one process at a time, in several rounds whose order alternates. A process
drives transformers' own ``CallbackHandler`` as the Trainer does: an unlogged step is ``on_step_begin`` and
``on_step_end``, a logged step also ``on_log`` with loss, grad_norm, learning_rate and epoch; the two take turns.
``DefaultFlowCallback``, which every Trainer has, is in all of them, the no-op included. Garbage collection stays on.
Shown are medians over the rounds of each round's median and 99th percentile; the first round and the first steps of
each process are dropped.

Nobody else's time is counted: what a callback leaves to a thread or a process of its own costs nothing here until it
gets in the way. So the last column says whether a logged value can be read from the disk by others when the call
returns, and if not, when. That is looked up after the measurement, in the same process: the last line of both of our
files; for peers, the bytes of a value in any of their files; for ``WandBCallback`` in the ``.wandb`` file alone, where
a process of its own writes it later than in ``metrics.jsonl``.

``notebook`` and ``notebook_progress`` show a training in a notebook: their processes are real kernels, started by
nbclient, which takes what they display as a front end does. A step there is ``--kernel-gap-ms`` long, so that the time
has come for drawing again and again; for these two the last column also says what all other threads of the kernel
(drawing, sending) took of the processor, by step.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GOAL_LOGGED_US, GOAL_UNLOGGED_US = 15.0, 2.0
GOAL_NOTEBOOK_US = 300.0
PROBES, PROBE_SECONDS, DRAIN_SECONDS = 5, 1.0, 60.0
WORKER_SECONDS = 300

# No hub, no telemetry, no GPU: the same on every machine. Known to the worker before anything else is imported.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

OURS = ("file_logging", "default_callbacks", "wandb_ours", "notebook")

Check = Callable[[Path, int, float], bool]
"""(folder, step, loss) -> can the values of this step be read from the files there?"""


def _bytes_on_disk(folder: Path, step: int, loss: float) -> bool:
    """Search for a value as text (JSON), TensorBoard's float or SQLite's double in all files, journals included."""
    forms = (repr(loss).encode(), struct.pack("<f", loss), struct.pack(">d", loss))
    for path in folder.rglob("*"):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except OSError:  # a temporary file that is gone
            continue
        if any(form in data for form in forms):
            return True
    return False


def _in_the_wandb_file(folder: Path, step: int, loss: float) -> bool:
    """Search for a value in the ``.wandb`` files only; it was in ``metrics.jsonl`` before."""
    return any(repr(loss).encode() in path.read_bytes() for path in folder.rglob("*.wandb"))


def _both_files_end_with(folder: Path, step: int, loss: float) -> bool:
    """Say whether the last lines of ``metrics.jsonl`` and ``train.log`` are whole and of this step."""
    rows, text = ((folder / "run" / name).read_bytes() for name in ("metrics.jsonl", "train.log"))
    if not (rows.endswith(b"\n") and text.endswith(b"\n")):
        return False
    last = [json.loads(line) for line in rows.splitlines()[-2:]]
    row = [row for row in last if row["kind"] == "train"][-1]  # a row "timing" may come after it
    return bool(row["step"] == step and row["loss"] == loss and f"step {step}/".encode() in text.splitlines()[-1])


def _peer(name: str) -> Callable[[Path], list[Any]]:
    def make(folder: Path) -> list[Any]:
        from transformers.integrations import integration_utils

        return [getattr(integration_utils, name)()]

    return make


def _noop(folder: Path) -> list[Any]:
    from transformers import TrainerCallback

    return [TrainerCallback()]


def _file_logging(folder: Path) -> list[Any]:
    from hf_monitor import FileLoggingCallback

    return [FileLoggingCallback(folder / "run")]


def _wandb_ours(folder: Path) -> list[Any]:
    from hf_monitor import WandBCallback

    return [WandBCallback("bench", folder / "run")]


def _notebook(folder: Path) -> list[Any]:
    from hf_monitor import NotebookCallback

    return [NotebookCallback(folder / "run")]


def _notebook_progress(folder: Path) -> list[Any]:
    from transformers.utils.notebook import NotebookProgressCallback

    return [NotebookProgressCallback()]  # type: ignore[no-untyped-call]


def _default_callbacks(folder: Path) -> list[Any]:
    from hf_monitor import default_callbacks

    return list(default_callbacks(folder / "run"))


@dataclass(frozen=True)
class Subject:
    """One thing to be measured: how to make it, what it needs, how to see its values on the disk."""

    title: str
    package: str
    make: Callable[[Path], list[Any]]
    check: Check | None = _bytes_on_disk
    environment: tuple[tuple[str, str], ...] = ()  # "{}" stands for the folder
    probe_seconds: float = PROBE_SECONDS
    in_kernel: bool = False  # of a notebook

    @property
    def version(self) -> str:
        """The version that is installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return "-"

    @property
    def missing(self) -> str:
        """What to do if the package is not there; empty if it is."""
        for needed in ("nbclient", "ipykernel") if self.in_kernel else ():
            if importlib.util.find_spec(needed) is None:
                return f"not installed: pip install {needed}"
        if importlib.util.find_spec(self.package.replace("-", "_")) is None:
            return f"not installed: pip install {self.package}"
        return ""


_WANDB = (
    ("WANDB_MODE", "offline"),
    ("WANDB_SILENT", "true"),
    ("WANDB_ERROR_REPORTING", "false"),
    *((f"WANDB_{name}DIR", "{}") for name in ("", "DATA_", "CACHE_", "CONFIG_", "ARTIFACT_")),
)
SUBJECTS: dict[str, Subject] = {
    "noop": Subject("no-op TrainerCallback", "transformers", _noop, None),
    "file_logging": Subject("FileLoggingCallback", "hf-monitor", _file_logging, _both_files_end_with),
    "default_callbacks": Subject("default_callbacks()", "hf-monitor", _default_callbacks, _both_files_end_with),
    "tensorboard": Subject(
        "TensorBoardCallback",
        "tensorboard",
        _peer("TensorBoardCallback"),
        environment=(("TENSORBOARD_LOGGING_DIR", "{}/runs"),),
    ),
    "wandb_ours": Subject("WandBCallback, ours (offline)", "wandb", _wandb_ours, _in_the_wandb_file, _WANDB, 4.0),
    "wandb": Subject("WandbCallback (offline)", "wandb", _peer("WandbCallback"), environment=_WANDB),
    "mlflow": Subject(
        "MLflowCallback (sqlite)",
        "mlflow",
        _peer("MLflowCallback"),
        environment=(("MLFLOW_TRACKING_URI", "sqlite:///{}/mlflow.db"), ("MLFLOW_DISABLE_TELEMETRY", "true")),
    ),
    "trackio": Subject(
        "TrackioCallback (local)", "trackio", _peer("TrackioCallback"), environment=(("TRACKIO_DIR", "{}/trackio"),)
    ),
    "notebook": Subject("NotebookCallback (in a kernel)", "hf-monitor", _notebook, in_kernel=True),
    "notebook_progress": Subject(
        "NotebookProgressCallback (in a kernel)", "transformers", _notebook_progress, None, in_kernel=True
    ),
}


# --- the worker: one callback, one round ---


def _spread(times_ns: Sequence[int]) -> dict[str, float]:
    ordered = sorted(times_ns)
    p99 = ordered[math.ceil(0.99 * len(ordered)) - 1]
    return {"median": statistics.median(ordered) / 1000, "p99": p99 / 1000}


def _look_until_there(check: Check, folder: Path, step: int, loss: float, limit_s: float) -> float | None:
    """Say how many milliseconds after now the look began that found the value; 0 for the first look."""
    began = time.perf_counter()
    if check(folder, step, loss):
        return 0.0
    while (waited := time.perf_counter() - began) < limit_s:
        if check(folder, step, loss):
            return waited * 1000
        time.sleep(0.005)
    return None


def measure(
    name: str,
    folder: Path,
    *,
    steps: int,
    warmup_steps: int = 200,
    gap_ms: float = 0.0,
    printer: bool = False,
    probes: int = PROBES,
) -> dict[str, Any]:
    """Measure one callback in this process, in microseconds a step; `folder` takes what it writes."""
    from transformers import T5Config, T5ForConditionalGeneration, TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback, PrinterCallback

    subject = SUBJECTS[name]
    args = TrainingArguments(str(folder / "out"), report_to="none", use_cpu=True, logging_steps=1, save_strategy="no")
    model = T5ForConditionalGeneration(T5Config(vocab_size=64, d_model=16, d_ff=32, d_kv=8, num_layers=1, num_heads=2))
    n_steps = 2 * (steps + warmup_steps) + probes + 1
    state = TrainerState(max_steps=n_steps, num_train_epochs=3, logging_steps=1, eval_steps=500, save_steps=500)
    control = TrainerControl()
    callbacks = [DefaultFlowCallback(), *subject.make(folder), *([PrinterCallback()] if printer else [])]
    handler: Any = CallbackHandler(callbacks, model, None, None, None)  # type: ignore[no-untyped-call]
    now = time.perf_counter_ns

    def one_step(logged: bool, loss: float = 0.0) -> int:
        """Do what the Trainer does around a step and give the nanoseconds that went to the callbacks."""
        step = state.global_step + 1
        state.epoch = step / 100
        logs = {
            "loss": loss or 3.0 + 1 / step,
            "grad_norm": 1.0 + 1 / step,
            "learning_rate": 5e-5,
            "epoch": state.epoch,
        }
        if logged:
            state.log_history.append({**logs, "step": step})
            began = now()
            handler.on_step_begin(args, state, control)
            state.global_step = step
            handler.on_step_end(args, state, control)
            handler.on_log(args, state, control, logs)
        else:
            began = now()
            handler.on_step_begin(args, state, control)
            state.global_step = step
            handler.on_step_end(args, state, control)
        return now() - began

    began = now()
    handler.on_train_begin(args, state, control)
    begin_ms = (now() - began) / 1e6
    elsewhere = time.process_time_ns() - time.thread_time_ns()
    times: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(steps + warmup_steps):
        for logged, taken in times.items():
            if gap_ms:
                time.sleep(gap_ms / 1000)
            taken.append(one_step(logged))
    elsewhere = time.process_time_ns() - time.thread_time_ns() - elsewhere
    delays = []
    if subject.check is not None:
        for probe in range(probes + 1):
            loss = 7.0 + (probe * 7919 + 1234567) / 1e8  # a value that was not logged before, nor can be by chance
            one_step(True, loss)
            # The first one only waits until all that was queued during the measurement is through.
            limit = subject.probe_seconds if probe else DRAIN_SECONDS
            delays.append(_look_until_there(subject.check, folder, state.global_step, loss, limit))
    began = now()
    handler.on_train_end(args, state, control)
    return {
        "name": name,
        "status": "ok",
        "steps": steps,
        "logged_us": _spread(times[True][warmup_steps:]),
        "unlogged_us": _spread(times[False][warmup_steps:]),
        "begin_ms": begin_ms,
        "other_threads_us": elsewhere / 1000 / (2 * (steps + warmup_steps)),
        "end_ms": (now() - began) / 1e6,
        "on_disk_after_ms": delays[1:],
        "drained_after_ms": delays[0] if delays else None,
    }


def _one_line(text: str) -> str:
    return " ".join(text.split())[:160]


def measure_in_kernel(name: str, folder: Path, **how: Any) -> dict[str, Any]:
    """Have a kernel measure one callback; this process takes what it displays."""
    import nbclient
    from nbformat.v4 import new_code_cell, new_notebook

    result = folder / "found.json"
    source = f"""
        import json, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).resolve().parent)!r})
        import bench_callbacks
        found = bench_callbacks.measure({name!r}, Path({str(folder)!r}), **{how!r})
        Path({str(result)!r}).write_text(json.dumps(found))
    """
    cell = new_code_cell("\n".join(line.strip() for line in source.splitlines()))
    nbclient.NotebookClient(new_notebook(cells=[cell]), kernel_name="python3", timeout=WORKER_SECONDS).execute()
    if not [out for out in cell.outputs if out.output_type == "display_data"]:
        raise RuntimeError("the kernel displayed nothing")
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def worker(options: argparse.Namespace) -> int:
    """Measure, and leave the result as JSON in ``--result`` (else on stdout). Errors are results, too."""
    subject = SUBJECTS[options.worker]
    with tempfile.TemporaryDirectory(
        prefix=f"bench-{options.worker}-", dir=options.dir, ignore_cleanup_errors=True
    ) as tmp:
        os.environ.update(ENVIRONMENT)
        os.environ.update({name: value.replace("{}", tmp) for name, value in subject.environment})
        target = options.result and options.result.absolute()
        os.chdir(tmp)  # some peers leave things where they are called
        found: dict[str, Any]
        try:
            if subject.missing:
                found = {"name": options.worker, "status": "missing", "error": subject.missing}
            else:
                how = {"steps": options.steps, "warmup_steps": options.warmup_steps, "printer": options.printer}
                if subject.in_kernel:
                    gap_ms = options.gap_ms or options.kernel_gap_ms
                    found = measure_in_kernel(options.worker, Path(tmp), gap_ms=gap_ms, **how)
                else:
                    found = measure(options.worker, Path(tmp), gap_ms=options.gap_ms, **how)
        except Exception as error:  # noqa: BLE001 - whatever a peer throws is its line in the table
            found = {"name": options.worker, "status": "error", "error": _one_line(f"{type(error).__name__}: {error}")}
        os.chdir("/")
        text = json.dumps({**found, "round": options.round})
        if target:
            target.write_text(text)
        else:
            print(text)
    return 0


# --- what a refresh of the charts costs ---

WATCHED_S = 0.3  # of a busy loop after each refresh: whatever is started or handed over falls into it


def _longest_pause_ns(seconds: float) -> int:
    """Stay busy, as a training is; give the longest time for which others had the interpreter or the core."""
    now = time.perf_counter_ns
    began = last = now()
    longest = 0
    while last - began < seconds * 1e9:
        this = now()
        longest = max(longest, this - last)
        last = this
    return longest


def measure_plotting(folder: Path, *, refreshes: int, memory_gib: float = 0.0) -> dict[str, Any]:
    """Measure how long refreshes of PlottingCallback hold a training up, in a process that holds so much memory."""
    import torch
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

    from hf_monitor import FileLoggingCallback, PlottingCallback

    held = torch.ones(int(memory_gib * 2**28))
    args = TrainingArguments(str(folder / "out"), report_to="none", use_cpu=True, logging_steps=1, save_strategy="no")
    state, control = TrainerState(max_steps=10**6, num_train_epochs=3, logging_steps=1), TrainerControl()
    plotting = PlottingCallback(folder / "run", refresh_seconds=1e-9)
    callbacks = [DefaultFlowCallback(), FileLoggingCallback(folder / "run", redirect=False), plotting]
    handler: Any = CallbackHandler(callbacks, torch.nn.Linear(1, 1), None, None, None)  # type: ignore[no-untyped-call]
    handler.on_train_begin(args, state, control)
    found: dict[str, list[int]] = {name: [] for name in ("refresh", "pause", "log", "pause_without")}
    now = time.perf_counter_ns
    for number in range(2 * refreshes):
        refreshes_now = number % 2 == 0  # every other log is one without
        plotting._refreshes = refreshes_now
        state.global_step += 1
        logs = {"loss": 3.0 + 1 / state.global_step, "learning_rate": 5e-5, "epoch": state.global_step / 100}
        state.log_history.append({**logs, "step": state.global_step})
        began = now()
        handler.on_log(args, state, control, logs)
        taken = now() - began
        pause = _longest_pause_ns(WATCHED_S)
        found["refresh" if refreshes_now else "log"].append(taken)
        found["pause" if refreshes_now else "pause_without"].append(pause)
        painter = plotting._painter
        assert painter is not None
        while painter.busy:
            time.sleep(0.01)
        if refreshes_now:
            assert painter.outcome is not None, "no refresh where there was to be one"
            assert painter.outcome.kind == "drawn", painter.outcome.reason
            painter.outcome = None  # else a pause of ten times its duration would follow
    began = now()
    handler.on_train_end(args, state, control)
    return {
        "refreshes": refreshes,
        "memory_gib": held.nbytes / 2**30,
        **{f"{name}_us": {**_spread(times), "max": max(times) / 1000} for name, times in found.items()},
        "end_ms": (now() - began) / 1e6,
    }


def plotting_report(found: dict[str, Any]) -> str:
    """Say in words what :func:`measure_plotting` found."""
    words = {
        "refresh_us": "the event that refreshes",
        "log_us": "the same event without",
        "pause_us": f"longest pause of a busy loop in the {WATCHED_S:g} s after it",
        "pause_without_us": "the same without a refresh",
    }
    lines = [f"{found['refreshes']} refreshes, beside {found['memory_gib']:.1f} GiB (goal: at most 20 ms each)"]
    for name, what in words.items():
        shown = "  ".join(f"{key} {value / 1000:.2f} ms" for key, value in found[name].items())
        lines.append(f"  {what}: {shown}")
    return "\n".join([*lines, f"  at the end, with the charts drawn: {found['end_ms']:.0f} ms"])


# --- the parent: rounds, table ---


def run_worker(name: str, round_number: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one round of one callback in a new process and give its result."""
    if missing := SUBJECTS[name].missing:
        return {"name": name, "status": "missing", "error": missing}
    with tempfile.TemporaryDirectory(prefix="bench-result-") as tmp:
        result, output = Path(tmp, "result.json"), Path(tmp, "output.txt")
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, "--round", str(round_number)]
        # A round that is dropped need not be long: it fills the disk cache and finds out what fails.
        steps = options.steps if round_number >= 0 else min(options.steps, 50)
        command += ["--steps", str(steps), "--warmup-steps", str(options.warmup_steps), "--result", str(result)]
        command += ["--kernel-gap-ms", str(options.kernel_gap_ms)]
        command += ["--gap-ms", str(options.gap_ms)] + ["--printer"] * options.printer
        command += ["--dir", str(options.dir.resolve())] if options.dir else []
        limit_s = WORKER_SECONDS + (options.steps + options.warmup_steps) * options.gap_ms / 500
        with output.open("wb") as file:
            try:
                # Not a terminal in and out, wherever this is started from: some peers draw on one.
                code = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    timeout=limit_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return {"name": name, "status": "error", "error": f"not done after {limit_s:.0f} s"}
        try:
            found: dict[str, Any] = json.loads(result.read_text())
        except (OSError, ValueError):
            lines = output.read_text(errors="replace").strip().splitlines() or ["no output"]
            return {"name": name, "status": "error", "error": _one_line(f"exit code {code}: {lines[-1]}")}
        return found


def run_rounds(names: Sequence[str], options: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run all rounds, each in another order; what fails or is missing is not tried again."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    try:
        for round_number in range(-options.warmup_rounds, options.rounds):
            turn = round_number % len(names)
            order = [*names[turn:], *names[:turn]]
            for name in order[:: -1 if round_number % 2 else 1]:
                if found[name] and found[name][-1]["status"] != "ok":
                    continue
                result = run_worker(name, round_number, options)
                if result["status"] == "ok":
                    shown = "{median:.1f} us logged".format(**result["logged_us"])
                    found[name].extend([result] if round_number >= 0 else [])
                else:
                    shown = result["error"]
                    found[name] = [result]
                print(f"round {round_number + 1}/{options.rounds}  {name}: {shown}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("interrupted; below is what was measured until then", file=sys.stderr)
    return found


def _on_disk(name: str, results: Sequence[dict[str, Any]]) -> str:
    delays = [delay for result in results for delay in result["on_disk_after_ms"]]
    if not delays:
        return "writes nothing"
    at_once = sum(delay == 0 for delay in delays)
    if at_once == len(delays):
        what = "row and log line" if SUBJECTS[name].check is _both_files_end_with else "yes"
        return f"{what}: {at_once} of {len(delays)}"
    later = [delay for delay in delays if delay]
    never = sum(delay is None for delay in delays)
    parts = [f"no: {at_once} of {len(delays)}"]
    if later:
        parts.append(f"{len(later)} after {statistics.median(later):.0f} ms (median)")
    if never:
        parts.append(f"{never} not within {SUBJECTS[name].probe_seconds:.0f} s")
    return ", ".join(parts)


def summarize(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Make one row a callback: medians over the rounds, and what they are beside the no-op and FileLoggingCallback."""
    rows = []
    for name, results in found.items():
        subject = SUBJECTS[name]
        row: dict[str, Any] = {"name": name, "title": subject.title, "version": subject.version}
        good = [result for result in results if result["status"] == "ok"]
        if good and len(good) == len(results):
            for kind in ("logged_us", "unlogged_us"):
                row[kind] = {key: statistics.median(r[kind][key] for r in good) for key in ("median", "p99")}
                row[kind]["rounds"] = [round(r[kind]["median"], 2) for r in good]
                row[kind]["quietest"] = min(r[kind]["median"] for r in good)
            for key in ("begin_ms", "end_ms"):
                row[key] = statistics.median(result[key] for result in good)
            row["on_disk"] = _on_disk(name, good)
            if subject.in_kernel:
                taken = statistics.median(result["other_threads_us"] for result in good)
                row["on_disk"] += f"; its other threads {taken:.0f} us a step"
        else:
            row["error"] = results[-1]["error"] if results else "no round was run"
        rows.append(row)
    measured = {row["name"]: row for row in rows if "error" not in row}
    for row in measured.values():
        for kind in ("logged_us", "unlogged_us"):
            if "noop" in measured:
                row[kind]["over_noop"] = row[kind]["median"] - measured["noop"][kind]["median"]
        if "file_logging" in measured:
            row["ratio"] = row["logged_us"]["median"] / measured["file_logging"]["logged_us"]["median"]
    return rows


def machine(options: argparse.Namespace) -> dict[str, Any]:
    """Tell what this runs on, and how."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {name: Subject(name, name, _noop).version for name in ("transformers", "torch", "orjson")}
    return {
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **versions,
        "rounds": options.rounds,
        "steps": options.steps,
        "gap_ms": options.gap_ms,
        "kernel_gap_ms": options.gap_ms or options.kernel_gap_ms,
        "printer": options.printer,
        "folder": str(options.dir or tempfile.gettempdir()),
    }


def _load_average() -> str:
    return " ".join(f"{load:.1f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Draw the rows as a Markdown table that is readable as it is."""
    head = ["callback", "version", "logged step, us: median", "p99", "over no-op", "x FileLogging"]
    head += ["unlogged step, us: median", "p99", "over no-op", "begin, ms", "end, ms", "on disk when the call returns"]
    cells = [head]
    for row in rows:
        if "error" in row:
            cells.append([row["title"], row["version"], *["-"] * 9, row["error"]])
            continue
        line = [row["title"], row["version"]]
        for kind in ("logged_us", "unlogged_us"):
            values = row[kind]
            line += [f"{values['median']:.1f}", f"{values['p99']:.1f}"]
            line.append(f"{values['over_noop']:+.1f}" if "over_noop" in values else "-")
            if kind == "logged_us":
                line.append(f"{row['ratio']:.2f}" if "ratio" in row else "-")
        cells.append([*line, f"{row['begin_ms']:.0f}", f"{row['end_ms']:.0f}", row["on_disk"]])
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    numbers = range(2, len(head) - 1)
    lines = []
    for line in cells:
        padded = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))]
        lines.append(f"| {' | '.join(padded)} |")
    rule = "|".join("-" * (w + 1) + (":" if i in numbers else "-") for i, w in enumerate(widths))
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Say whether FileLoggingCallback is where it should be, in one sentence; empty where that was not measured."""
    measured = {row["name"]: row for row in rows if "error" not in row}
    ours = measured.get("file_logging")
    if ours is None or "noop" not in measured:
        return ""
    logged, unlogged = ours["logged_us"]["over_noop"], ours["unlogged_us"]["over_noop"]
    quiet = ours["logged_us"]["quietest"] - measured["noop"]["logged_us"]["quietest"]
    # What runs in a kernel does not record: no peer of this one.
    peers = [row for name, row in measured.items() if name not in ("noop", *OURS) and not SUBJECTS[name].in_kernel]
    ahead = [row["title"] for row in peers if row["logged_us"]["median"] <= ours["logged_us"]["median"]]
    return (
        f"FileLoggingCallback over the no-op: {logged:+.1f} us a logged step (goal: at most {GOAL_LOGGED_US:g}; "
        f"{quiet:+.1f} between the quietest rounds), "
        f"{unlogged:+.1f} us an unlogged step (goal: at most {GOAL_UNLOGGED_US:g}); "
        + (f"behind {', '.join(ahead)}" if ahead else f"ahead of the {len(peers)} peers that were measured")
        + _beside_wandb(measured)
        + _beside_progress(measured)
    )


def _beside_wandb(measured: dict[str, dict[str, Any]]) -> str:
    """Say what both of W&B's callbacks cost; ours is to cost no more."""
    if not {"wandb", "wandb_ours"} <= measured.keys():
        return ""
    ours, theirs = (measured[name]["logged_us"]["over_noop"] for name in ("wandb_ours", "wandb"))
    return f"; W&B: ours {ours:+.1f} us a logged step, transformers' {theirs:+.1f}"


def _beside_progress(measured: dict[str, dict[str, Any]]) -> str:
    """Say what both displays in a notebook cost."""
    if not {"notebook", "notebook_progress"} <= measured.keys():
        return ""
    ours, theirs = (
        " and ".join(f"{measured[name][kind]['median']:.1f}" for kind in ("logged_us", "unlogged_us"))
        for name in ("notebook", "notebook_progress")
    )
    return (
        f"; in a notebook, us a logged and an unlogged step (goal: at most {GOAL_NOTEBOOK_US:g}): "
        f"ours {ours}, transformers' {theirs}"
    )


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in SUBJECTS:
            raise argparse.ArgumentTypeError(f"there is no callback {name!r} here; use {', '.join(SUBJECTS)}")
    if not names:
        raise argparse.ArgumentTypeError(f"no callback named; use {', '.join(SUBJECTS)}")
    return list(dict.fromkeys(names))


def _name(text: str) -> str:
    return _names(text)[0]


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=_at_least(1), default=1000, help="logged, and as many unlogged, steps a round")
    parser.add_argument("--rounds", type=_at_least(1), default=5, help="processes for each callback (default 5)")
    parser.add_argument("--only", type=_names, default=list(SUBJECTS), help=f"some of {','.join(SUBJECTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write rows, rounds and machine here")
    parser.add_argument(
        "--gap-ms", type=float, default=0.0, help="sleep before each step, for a training's pace (default 0)"
    )
    parser.add_argument(
        "--kernel-gap-ms",
        type=float,
        default=5.0,
        help="the same for what runs in a kernel, without --gap-ms (default 5)",
    )
    parser.add_argument("--printer", action="store_true", help="with the Trainer's own PrinterCallback beside each")
    parser.add_argument("--dir", type=Path, help="where the callbacks write (default: the system's temporary folder)")
    parser.add_argument(
        "--warmup-steps", type=_at_least(0), default=200, help="first steps of each process, not counted"
    )
    parser.add_argument("--warmup-rounds", type=_at_least(0), default=1, help="first rounds, not counted")
    parser.add_argument(
        "--plotting", type=_at_least(1), metavar="N", help="only measure N refreshes of the charts, and nothing else"
    )
    parser.add_argument("--memory-gib", type=float, default=0.0, help="hold so much beside --plotting (default 0)")
    parser.add_argument("--worker", type=_name, help=argparse.SUPPRESS)
    parser.add_argument("--round", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.dir and not options.dir.is_dir():
        parser.error(f"--dir {options.dir} is not a folder; make it first")
    if options.worker:
        return worker(options)
    if options.plotting:
        with tempfile.TemporaryDirectory(prefix="bench-plotting-", dir=options.dir) as tmp:
            found = measure_plotting(Path(tmp), refreshes=options.plotting, memory_gib=options.memory_gib)
        print(plotting_report(found))
        print(f"  load average {_load_average()}")
        if options.json:
            options.json.write_text(json.dumps(found, indent=2) + "\n")
        return 0
    facts = machine(options)
    facts["load_average_before"] = _load_average()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended from outside: the table of what there is
    try:
        rounds = run_rounds(options.only, options)
    finally:
        signal.signal(signal.SIGTERM, before)
    facts["load_average_after"] = _load_average()
    rows = summarize(rounds)
    print(table(rows))
    print()
    for line in (verdict(rows), "; ".join(f"{key} {value}" for key, value in facts.items())):
        if line:
            print(line)
    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "rows": rows, "rounds": rounds}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
