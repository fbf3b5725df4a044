"""Do the alerts speak when they should, and only then? Real small trainings on the CPU with a known truth.

    python scripts/bench_alerts.py --cache /tmp/alerts          # 292 faulty, 100 healthy: 15 minutes on 2 cores
    python scripts/bench_alerts.py --judge /tmp/alerts          # today's rules over the rows of those, no training
    python scripts/bench_alerts.py --runs 3 --healthy 5 --faults nan,slow_loader
    python scripts/bench_alerts.py --cost                       # only what the rules cost a logged step

T5 and BART with random weights learn to write summaries of made-up Korean and English dialogues (alert_texts.py). What
a seed draws (alert_trainings.py) is healthy; a fault changes one thing: learning rate x100, labels shuffled, validation
samples in the training set, 16 to 32 training samples, frozen weights, NaN, a slow data loader, a rate that jumps
halfway. Rates x10 and x30 are trained, too, to see how strong a fault must be; no goal counts them. Seeds from 10000 on
are not used for setting thresholds; those below 1000 were.

Each training is recorded by ``attach``; what counts are the rows of kind ``alert`` that it wrote while it ran. Which
rule is right for which fault, and why, is written down in alert_truth.py. Intervals are Wilson's, of 95 %. A goal is
met only by 30 runs and more; of 34 a rule that finds 0.9 speaks in so many. With
``--cache`` an interrupted benchmark goes on where it was; for new rules take a new folder, or ``--judge``.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import multiprocessing
import os
import platform
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from alert_counts import Share
from alert_tables import GOAL_US, fault_table, plain_truth, reasons, rule_table, strength_table, summary
from alert_trainings import FAULTS, STRENGTHS, draw_fault, draw_recipe, quiet, train_one
from alert_truth import HEALTHY, Judged, Said, is_plainly_healthy

FIRST_FINAL_SEED = 10_000
NO_LIMIT = {"learning_rate_high_extreme": 1e9}
"""With it `learning_rate_high` goes by what the losses do alone."""

# Nothing is downloaded, and one thread each: models this small are fastest so.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}

Job = tuple[str, int]
"""Fault and seed."""


# --- trainings ---


def jobs_of(faults: Sequence[str], runs: int, healthy: int, seed: int, strengths: int = 0) -> list[Job]:
    """Give what is to be trained, mixed: an interrupted benchmark has some of all."""
    mixed = []
    wanted = [(HEALTHY, healthy), *((fault, strengths if fault in STRENGTHS else runs) for fault in faults)]
    for fault, n in wanted:
        mixed += [((k + 0.5) / n, fault, seed + k) for k in range(n)]
    return [(fault, seed) for _, fault, seed in sorted(mixed)]


def train(job: Job, cache: Path, small: bool = False) -> str:
    """Train one, unless it is there; give the error, if there was one."""
    fault, seed = job
    folder = cache / fault / str(seed)
    if (folder / "truth.json").exists():
        return ""
    part = cache / ".part" / f"{fault}-{seed}"
    shutil.rmtree(part, ignore_errors=True)
    for parent in (part.parent, folder.parent):
        parent.mkdir(parents=True, exist_ok=True)
    recipe = draw_recipe(seed, small=small)
    try:
        with quiet():
            train_one(recipe, draw_fault("" if fault == HEALTHY else fault, recipe), part)
    except Exception:  # noqa: BLE001 - one that fails is told, the others go on
        return f"{fault} {seed}: {traceback.format_exc()}"
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return ""


def train_all(jobs: Sequence[Job], cache: Path, processes: int) -> Iterator[str]:
    """Train all in processes of their own, and give the error of each, or nothing."""
    os.environ.update(ENVIRONMENT)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        waiting = [pool.submit(train, job, cache) for job in jobs]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


# --- what was said ---


def _alerts(rows: Iterable[dict[str, Any]]) -> tuple[Said, ...]:
    return tuple(Said(row["rule"], row["severity"], row["step"]) for row in rows if row.get("kind") == "alert")


def replay(run: Any, thresholds: Mapping[str, float] | None = None) -> tuple[Said, ...]:
    """Show the rows of a run to the rules of today."""
    from hf_monitor.diagnosis.watcher import Watcher, lineage

    watcher = Watcher(run.facts, thresholds=thresholds)
    said = []
    for row in lineage(run.rows):
        said += [Said(one.rule, one.severity, int(row.get("step") or 0)) for one in watcher.see(row)]
    return tuple(said)


def judge(folder: Path, *, live: bool = True) -> tuple[Judged, list[str]]:
    """Say what was found in a run, and where the alerts of the training and ``diagnose`` afterwards differ.

    Parameters
    ----------
    folder : Path
        A run folder with its ``truth.json``.
    live : bool
        Whether the alerts of the training count; else what the rules say of its rows today.

    Returns
    -------
    Judged, list of str
        The second is empty where `live` is false.
    """
    from hf_monitor import load_run
    from hf_monitor.diagnosis import diagnose, hardware_findings

    truth = _truth(folder)
    run = load_run(folder)
    said = _alerts(run.rows) if live else replay(run)
    injected = truth["injected"]
    judged = Judged(
        truth["fault"],
        truth["seed"],
        truth["recipe"]["max_steps"],
        said,
        since=injected.get("step"),
        kind=injected["kind"],
        losses=tuple(one["eval_loss"] for one in truth["evaluations"]),
        unlimited=replay(run, NO_LIMIT) if truth["fault"].startswith("learning_rate_x") else (),
    )
    if not live:
        return judged, []
    name = f"{truth['fault']} {truth['seed']}"
    again = replay(run)
    differences = [f"{name}: live {one}, not so afterwards" for one in sorted(set(said) - set(again))]
    differences += [f"{name}: afterwards {one}, not so live" for one in sorted(set(again) - set(said))]
    # The samples of the whole run may show more than its rows do; that is no difference of the rules.
    samples = {one.rule for one in hardware_findings(run) if one.verdict == "found"}
    named = {one.rule for one in diagnose(run) if one.verdict == "found"}
    spoke = {one.rule for one in said}
    for rule in sorted((spoke - named) | (named - spoke - samples)):
        differences.append(f"{name}: {rule} is named by {'diagnose' if rule in named else 'the training'} alone")
    return judged, differences


def _truth(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    return found


def _is_healthy(truth: dict[str, Any]) -> bool:
    names = ("eval_loss", "eval_rougeL")
    losses, scores = ([one[name] for one in truth["evaluations"]] for name in names)
    return is_plainly_healthy(losses, scores)


def folders_in(cache: Path, jobs: Sequence[Job] | None = None) -> list[Path]:
    """Give the run folders that are complete, of some jobs or of all."""
    if jobs is not None:
        return [
            found for fault, seed in jobs if (found := cache / fault / str(seed)) and (found / "truth.json").exists()
        ]
    return sorted((path.parent for path in cache.glob("*/*/truth.json")), key=lambda f: (f.parent.name, int(f.name)))


# --- what it costs ---


def rows_of(first: int, n: int) -> Iterator[list[dict[str, Any]]]:
    """Give the rows of logged steps of a long healthy training: a noisy loss that falls, timings, evaluations."""
    draw = random.Random(first)
    for step in range(first, first + n):
        loss = 2.0 + math.exp(-step / 20_000) + 3.0 * math.exp(-step / 100) + draw.gauss(0.0, 0.05)
        head = {"time": 1e9 + step, "attempt": 1, "step": step}
        timing = {"steps": 1, "seconds": 1.0, "step_seconds": 0.99 + draw.random() / 50, "data_wait_seconds": 0.01}
        timing |= {"data_wait_share": 0.01, "other_seconds": 0.0, "samples_per_second": 8.0, "tokens_per_second": 4e3}
        train_row = {"loss": loss, "grad_norm": 0.5 + draw.random() / 5, "learning_rate": 1e-4, "epoch": step / 1e4}
        rows = [{**head, "kind": "train", **train_row}, {**head, "kind": "timing", **timing}]
        if step % 1000 == 0:
            scores = {"eval_loss": 2.1 + math.exp(-step / 20_000), "eval_rougeL": 30.0 + 10 * step / 200_000}
            rows.append({**head, "kind": "eval", **scores, "epoch": step / 1e4})
        yield rows


def _spread(times_ns: Sequence[int]) -> tuple[float, float]:
    ordered = sorted(times_ns)
    return statistics.median(ordered) / 1000, ordered[math.ceil(0.99 * len(ordered)) - 1] / 1000


def cost_of_rules(before: int, steps: int) -> dict[str, Any]:
    """Measure the microseconds that all rules take of a logged step, after so many logged steps before."""
    from hf_monitor.diagnosis.rules import RULES
    from hf_monitor.diagnosis.watcher import Watcher

    watcher = Watcher({"arguments": {"max_grad_norm": 1.0, "learning_rate": 1e-4, "logging_steps": 1}})
    watcher.see({"kind": "event", "event": "train_begin", "step": 0, "max_steps": 2 * (before + steps), "time": 1e9})
    for rows in rows_of(1, before):
        for row in rows:
            watcher.see(row)
    times = []
    now = time.perf_counter_ns
    for rows in rows_of(before + 1, steps):
        train_row, timing = rows[:2]
        began = now()
        watcher.see(train_row)
        watcher.see(timing)
        times.append(now() - began)
        for row in rows[2:]:
            watcher.see(row)
    median, p99 = _spread(times)
    spoke = sorted({finding.rule for finding in watcher.findings})
    return {"before": before, "median_us": median, "p99_us": p99, "rules": len(RULES), "spoke": spoke}


def cost_of_callback(folder: Path, steps: int) -> dict[str, float]:
    """Measure what a logged step takes of our callbacks with and without AlertCallback, in turns, in microseconds."""
    from transformers import TrainerControl, TrainerState, TrainingArguments
    from transformers.trainer_callback import CallbackHandler, DefaultFlowCallback

    from hf_monitor import AlertCallback, FileLoggingCallback, GpuMonitorCallback, TextMetricsCallback

    handlers: dict[str, Any] = {}
    args = TrainingArguments(str(folder / "out"), report_to="none", use_cpu=True, logging_steps=1, save_strategy="no")
    control = TrainerControl()
    states = {}
    for name in ("without", "with"):
        run = folder / name
        ours: list[Any] = [FileLoggingCallback(run, redirect=False), TextMetricsCallback(run)]
        ours += [AlertCallback(run)] * (name == "with") + [GpuMonitorCallback(run)]
        handlers[name] = CallbackHandler([DefaultFlowCallback(), *ours], None, None, None, None)  # type: ignore[no-untyped-call,arg-type]
        states[name] = TrainerState(max_steps=2 * steps, num_train_epochs=3, logging_steps=1, eval_steps=500)
        handlers[name].on_train_begin(args, states[name], control)
        ours[-1].clock.hears_fetches = True  # as with attach; else all that is between two steps is a wait for data
    times: dict[str, list[int]] = {name: [] for name in handlers}
    now = time.perf_counter_ns
    for rows in rows_of(1, steps):
        logs = {name: rows[0][name] for name in ("loss", "grad_norm", "learning_rate", "epoch")}
        for name, handler in handlers.items():
            state = states[name]
            handler.on_step_begin(args, state, control)
            state.global_step += 1
            handler.on_step_end(args, state, control)
            began = now()
            handler.on_log(args, state, control, dict(logs))
            times[name].append(now() - began)
    for name, handler in handlers.items():
        handler.on_train_end(args, states[name], control)
    warm = min(200, steps // 4)
    found = {name: _spread(values[warm:]) for name, values in times.items()}
    extra = found["with"][0] - found["without"][0]
    return {"with_us": found["with"][0], "with_p99_us": found["with"][1], "extra_us": extra}


def cost(folder: Path, steps: int, before: int = 100_000) -> str:
    """Measure and tell what the rules cost."""
    lines = []
    for earlier in (0, before):
        found = cost_of_rules(earlier, steps)
        lines.append(
            f"All {found['rules']} rules, a logged step (rows train and timing) after {earlier:,} logged steps: median "
            f"{found['median_us']:.1f} us, p99 {found['p99_us']:.1f} us (goal: at most {GOAL_US:g}); "
            f"had spoken and so may look away: {', '.join(found['spoke']) or 'none'}"
        )
    found = cost_of_callback(folder, steps)
    lines.append(
        f"AlertCallback: on_log of our callbacks without charts takes {found['with_us']:.1f} us with it "
        f"(p99 {found['with_p99_us']:.1f}), {found['extra_us']:+.1f} us more than without (medians, in turns)"
    )
    return "\n".join(lines)


# --- the command ---


def machine() -> str:
    """Tell what this runs on."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers"))
    load = " ".join(f"{load:.1f}" for load in os.getloadavg()) if hasattr(os, "getloadavg") else "unknown"
    return (
        f"{time.strftime('%Y-%m-%d %H:%M %z')}; {cpu}, {cores} cores; Python {platform.python_version()}, {versions}; "
        f"load average {load}"
    )


def _faults(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in FAULTS + STRENGTHS:
            known = ", ".join(FAULTS + STRENGTHS)
            raise argparse.ArgumentTypeError(f"there is no fault {name!r} here; use {known}")
    return list(dict.fromkeys(names))


def _at_least(least: int) -> Any:
    def number(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, got {value}")
        return value

    return number


def report(runs: Sequence[Judged], differences: Sequence[str] | None, healthy: Share) -> str:
    """Write all tables and sentences."""
    from hf_monitor.diagnosis.rules import RULES

    rules = [rule.name for rule in RULES]
    strengths = [*STRENGTHS, FAULTS[0]]
    parts = [fault_table(runs), rule_table(runs, rules), summary(runs, rules), strength_table(runs, strengths)]
    parts += [plain_truth(runs, healthy), reasons()]
    if differences is not None:
        told = "\n".join(f"  {line}" for line in differences)
        parts.append(f"Alerts and diagnose() afterwards differ in {len(differences)} places (goal: 0)\n{told}".rstrip())
    return "\n\n".join(part for part in parts if part)


def main(argv: Sequence[str] | None = None) -> int:
    names = ",".join([*FAULTS, *STRENGTHS])
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=_at_least(0), default=34, help="trainings with each fault (default 34)")
    parser.add_argument(
        "--strengths", type=_at_least(0), default=10, help="trainings with each weaker learning rate (default 10)"
    )
    parser.add_argument("--healthy", type=_at_least(0), default=100, help="trainings without one (default 100)")
    parser.add_argument(
        "--seed", type=int, default=FIRST_FINAL_SEED, help=f"the first one (default {FIRST_FINAL_SEED})"
    )
    parser.add_argument("--faults", type=_faults, default=[*FAULTS, *STRENGTHS], help=f"some of {names}")
    parser.add_argument("--jobs", type=_at_least(1), default=2, help="processes (default 2)")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="keep the run folders here, and go on from them")
    parser.add_argument(
        "--judge", type=Path, metavar="DIR", help="train nothing: judge the rows there by today's rules"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write what was said of each run here")
    parser.add_argument("--cost", action="store_true", help="only what the rules cost a logged step")
    parser.add_argument("--cost-steps", type=_at_least(10), default=5000, help="logged steps that are timed")
    options = parser.parse_args(argv)
    if options.judge and not options.judge.is_dir():
        parser.error(f"--judge {options.judge} is not a folder: make one with --cache")
    if options.seed < FIRST_FINAL_SEED and not options.judge:
        print(f"Seeds below {FIRST_FINAL_SEED} may have been used for setting thresholds: no numbers for docs.")
    with tempfile.TemporaryDirectory(prefix="bench-alerts-") as tmp:
        if options.cost:
            print(cost(Path(tmp), options.cost_steps))
            print(machine())
            return 0
        cache, jobs = options.judge or options.cache or Path(tmp), None
        failed: list[str] = []
        began = time.perf_counter()
        if not options.judge:
            jobs = jobs_of(options.faults, options.runs, options.healthy, options.seed, options.strengths)
            failed = _train_and_tell(jobs, cache, options.jobs)
        folders = folders_in(cache, jobs)
        found = [judge(folder, live=not options.judge) for folder in folders]
        plain = [_is_healthy(truth) for folder in folders if (truth := _truth(folder))["fault"] == HEALTHY]
    runs = [run for run, _ in found]
    if not runs:
        print("There is no complete run to judge.")
        return 1
    differences = None if options.judge else [line for _, lines in found for line in lines]
    print(report(runs, differences, Share(sum(plain), len(plain))))
    if failed:
        print(f"\n{len(failed)} trainings failed:\n" + "\n".join(failed))
    if jobs is not None and len(runs) < len(jobs):
        print(f"\nOnly {len(runs)} of {len(jobs)} trainings are there.")
    print(f"\n{len(runs)} runs, {time.perf_counter() - began:.0f} s; {machine()}")
    if options.json:
        options.json.write_text(json.dumps([run._asdict() for run in runs], indent=1) + "\n")
    return 1 if failed or differences else 0


def _train_and_tell(jobs: Sequence[Job], cache: Path, processes: int) -> list[str]:
    """Train all, with a line from time to time; ended from outside, what there is counts."""
    failed = []
    began = told = time.monotonic()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for done, error in enumerate(train_all(jobs, cache, processes), 1):
            failed += [error] if error else []
            if time.monotonic() > told + 30:
                told = time.monotonic()
                print(f"{done} of {len(jobs)} trainings, {told - began:.0f} s", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        print("Interrupted: the tables are of what there is.", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)
    return failed


if __name__ == "__main__":
    sys.exit(main())
