"""What reading, reporting, comparing and watching runs cost, as they grow.

    python scripts/bench_report.py                     # some minutes, 2 GiB of disk
    python scripts/bench_report.py --only load report
    python scripts/bench_report.py --quick             # tiny runs: whether it works, no numbers to show

The runs are made (scripts/made_runs.py). Each measurement is a process of its own; the kinds of one table take turns,
and the best of the rounds is shown.

load     ``load_run(path).metrics`` of a run with two overlapping attempts, beside orjson alone on the same lines, and
         orjson with a naive dictionary of (kind, step). The reading of the bytes counts for none of them but ours.
report   ``write_report``: the whole process, start and imports included.
compare  ``compare_runs`` of 100 runs: likewise.
watch    ``hf-monitor watch`` in a terminal of its own on a run that grows by a row a second: its share of a core after
         it has read what was there.

Goals: loading at most 4 times orjson; a report of 100,000 steps at most 5 s, 500 MiB, 2 MB; 100 runs at most 5 s;
watching below 2 % of a core. Exit code 1 where one is missed (never with --quick).
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import orjson
from made_runs import make_run

GOAL_RATIO, GOAL_REPORT_S, GOAL_MIB, GOAL_MB, GOAL_COMPARE_S, GOAL_SHARE = 4.0, 5.0, 500.0, 2.0, 5.0, 0.02
ROWS_A_STEP = 2.4  # two rows, and a fifth of the steps twice
LOADS = ("orjson", "dictionary", "ours")


# ---------------------------------------------------------------- in a process of its own


def child(what: str, *arguments: str) -> None:
    """Measure one thing, and print it as JSON."""
    from hf_monitor.run import load_run

    path = Path(arguments[0])
    found: dict[str, Any] = {}
    if what in ("orjson", "dictionary"):
        data = (path / "metrics.jsonl").read_bytes()
        began = time.perf_counter()
        rows = [orjson.loads(line) for line in data.splitlines()]
        if what == "dictionary":
            naive = {(row["kind"], row["step"]): row for row in rows}
            found["n"] = len(naive)
    elif what == "ours":
        began = time.perf_counter()
        found["n"] = len(load_run(path).metrics)
    elif what == "report":
        from hf_monitor.report import write_report

        began = time.perf_counter()
        found["bytes"] = write_report(path, arguments[1]).stat().st_size
    else:
        from hf_monitor.report.comparison import compare_runs

        began = time.perf_counter()
        compare_runs(sorted(path.iterdir()))
    found["seconds"] = time.perf_counter() - began
    found["mib"] = _peak_mib()
    print(json.dumps(found))


def _peak_mib() -> float:
    """Give this process's own peak: that of ``resource`` counts what its parent held when it was started, too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measured(what: str, *arguments: object) -> dict[str, Any]:
    """Run :func:`child` in a process of its own; ``whole`` is how long that took from start to end."""
    began = time.perf_counter()
    command = [sys.executable, __file__, "--child", what, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{what} failed:\n{done.stderr[-2000:]}")
    return {**json.loads(done.stdout.splitlines()[-1]), "whole": whole}


# ---------------------------------------------------------------- the tables


def load(folder: Path, quick: bool, rounds: int) -> bool:
    """Time loading as the rows grow."""
    print("\n| rows | orjson alone | orjson + naive dictionary | load_run(...).metrics | times orjson | peak |")
    print("|---:|---:|---:|---:|---:|---:|")
    good = True
    for n in (1000,) if quick else (10**4, 10**5, 10**6):
        run = make_run(folder / f"load_{n}", int(n / ROWS_A_STEP), attempts=2, samples=False, n_texts=1)
        found = [{kind: measured(kind, run) for kind in LOADS} for _ in range(rounds)]
        one, naive, ours = (min(each[kind]["seconds"] for each in found) for kind in LOADS)
        good &= ours <= GOAL_RATIO * one
        peak = min(each["ours"]["mib"] for each in found)
        print(f"| {n:,} | {one:.3f} s | {naive:.3f} s | {ours:.3f} s | {ours / one:.2f} | {peak:.0f} MiB |", flush=True)
        shutil.rmtree(run)
    return good


def report(folder: Path, quick: bool, rounds: int) -> bool:
    """Time the report as the steps grow."""
    print("\n| steps | seconds, whole process | of these in write_report | peak | size |\n|---:|---:|---:|---:|---:|")
    good = True
    for n in (50,) if quick else (10**3, 10**4, 10**5):
        run = make_run(folder / f"report_{n}", n, evaluations=20, n_texts=5 if quick else 100)
        found = [measured("report", run, folder / "report.html") for _ in range(rounds)]
        whole, inner, peak = (min(each[key] for each in found) for key in ("whole", "seconds", "mib"))
        size = found[0]["bytes"] / 1e6
        good &= whole <= GOAL_REPORT_S and peak <= GOAL_MIB and size <= GOAL_MB
        print(f"| {n:,} | {whole:.2f} | {inner:.2f} | {peak:.0f} MiB | {size:.2f} MB |", flush=True)
        shutil.rmtree(run)
    return good


def compare(folder: Path, quick: bool, rounds: int) -> bool:
    """Time the comparison of many runs."""
    n, steps = (3, 50) if quick else (100, 1000)
    for seed in range(n):
        make_run(folder / "many" / f"r{seed:03d}", steps, seed=seed, n_texts=5, evaluations=10)
    found = [measured("compare", folder / "many") for _ in range(rounds)]
    whole, inner, peak = (min(each[key] for each in found) for key in ("whole", "seconds", "mib"))
    print(
        "\n| runs | steps each | seconds, whole process | of these in compare_runs | peak |\n|---:|---:|---:|---:|---:|"
    )
    print(f"| {n} | {steps:,} | {whole:.2f} | {inner:.2f} | {peak:.0f} MiB |", flush=True)
    shutil.rmtree(folder / "many")
    return whole <= GOAL_COMPARE_S


def watch(folder: Path, quick: bool, rounds: int) -> bool:
    """Measure what the live view takes of a core, in a terminal of its own, while the run grows by a row a second."""
    import pty
    import threading

    import psutil

    n, seconds = (1000, 3) if quick else (10**6, 60)
    run = make_run(folder / "watched", int(n / ROWS_A_STEP), attempts=2, samples=False, n_texts=1)
    _goes_on(run)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", "from hf_monitor.cli import main; main()", "watch", str(run)]
    watcher = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    shown = bytearray()
    threading.Thread(target=_drained, args=(ours, shown), daemon=True).start()
    try:
        process, before = psutil.Process(watcher.pid), -1.0
        while (spent := sum(process.cpu_times()[:2])) > before + 0.3 or spent < 0.2:  # it reads what is there
            before = spent
            if watcher.poll() is not None:
                break
            time.sleep(2)
        first, began, step = spent, time.perf_counter(), int(n / ROWS_A_STEP)
        for k in range(1, seconds + 1):
            row = {"time": time.time(), "attempt": 2, "step": step + k, "kind": "train", "loss": 1.0 + k % 7 / 10}
            with (run / "metrics.jsonl").open("ab") as file:
                file.write(orjson.dumps(row) + b"\n")
            time.sleep(1)
        share = (sum(process.cpu_times()[:2]) - first) / (time.perf_counter() - began)
        peak = process.memory_info().rss / 2**20
        if watcher.poll() is not None or not shown:
            raise SystemExit(f"the watcher ended: {bytes(shown[-500:])!r}")
    finally:
        watcher.kill()
        watcher.wait()
    print("\n| rows | seconds watched | to read what is there | share of a core | memory |\n|---:|---:|---:|---:|---:|")
    print(f"| {n:,} | {seconds} | {first:.1f} s | {share:.2%} | {peak:.0f} MiB |", flush=True)
    shutil.rmtree(run)
    return share <= GOAL_SHARE


def _goes_on(run: Path) -> None:
    """Make of a finished run one that this process is still training."""
    from hf_monitor.run.process import process_identity

    lines = (run / "metrics.jsonl").read_bytes().rstrip().rsplit(b"\n", 1)[0]
    (run / "metrics.jsonl").write_bytes(lines + b"\n")
    facts = json.loads((run / "run.json").read_bytes())
    facts["attempts"] = [{**entry, **process_identity()} for entry in facts["attempts"]]
    facts["max_steps"] *= 2
    (run / "run.json").write_text(json.dumps(facts))


def _drained(terminal: int, shown: bytearray) -> None:
    try:
        while data := os.read(terminal, 65536):
            shown += data
            del shown[:-65536]
    except OSError:  # the other side is closed
        pass


PARTS = {"load": load, "report": report, "compare": compare, "watch": watch}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny runs, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return 0
    versions = {name: importlib.metadata.version(name) for name in ("hf-monitor", "orjson", "numpy", "rich")}
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    rounds = 1 if options.quick else options.rounds
    with tempfile.TemporaryDirectory() as name:
        missed = [part for part in options.only if not PARTS[part](Path(name), options.quick, rounds)]
    if missed and not options.quick:
        print(f"\nmissed: {', '.join(missed)}")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
