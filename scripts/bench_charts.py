"""What the fifteen charts cost: time beside matplotlib's own fifteen empty figures, memory, a million rows.

    python scripts/bench_charts.py             # about a minute
    python scripts/bench_charts.py --rounds 9
    python scripts/bench_charts.py --overfitting   # how often the mark of overfitting is wrong, or missing

Time: each round draws and saves all fifteen charts from plain data, computing included, and fifteen empty figures with
the same axes: same size, resolution, layout engine and grid. The order alternates; shown are medians over the rounds.
Memory: resident memory of a process of its own after the first set and after 300 charts (Linux). A million rows: from a
list of mappings in memory to both pictures of the history, and how the time grows.

Goals: at most 2 times the empty figures, at most 60 MiB more, at most 5 s. Exit code 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GOAL_RATIO, GOAL_MIB, GOAL_SECONDS = 2.0, 60.0, 5.0
MIB = 2**20


# ---------------------------------------------------------------- data, the same each time


def history(n: int) -> list[dict[str, Any]]:
    """Make a training of `n` rows: nine of ten are training logs, one an evaluation."""
    draw = random.Random(0)
    rows: list[dict[str, Any]] = []
    for i in range(n):
        step = i + 1
        if step % 10:
            loss = 4 * math.exp(-3 * i / n) + 0.2 * draw.random()
            norm = 1 + draw.random()
            rows.append(
                {"loss": loss, "grad_norm": norm, "learning_rate": 1e-3 * (1 - i / n), "epoch": i / n, "step": step}
            )
        else:
            score = 40 * (1 - math.exp(-4 * i / n)) + draw.random()
            scores = {
                f"eval_{name}": score * share for name, share in (("rouge1", 1.2), ("rouge2", 0.6), ("rougeL", 1.0))
            }
            rows.append({"eval_loss": 2 + abs(i / n - 0.5), **scores, "epoch": i / n, "step": step})
    return rows


def folds(n: int) -> list[dict[str, Any]]:
    draw = random.Random(1)
    return [{"fold": k + 1, "f1": 0.4 + 0.1 * draw.random(), "accuracy": 0.6 + 0.1 * draw.random()} for k in range(n)]


def predictions(n: int) -> list[dict[str, Any]]:
    draw = random.Random(2)
    words = [
        "회의",
        "시간",
        "세 시",
        "내일",
        "전화",
        "약속",
        "the",
        "meeting",
        "is",
        "at",
        "three",
        "they",
        "will",
        "eat",
    ]
    rows = []
    for index in range(n):
        texts = [" ".join(draw.choice(words) for _ in range(draw.randint(4, 24))) for _ in range(3)]
        scores = {name: 100 * draw.random() for name in ("rouge1", "rouge2", "rougeL")}
        rows.append(
            {"index": index, "input": texts[0] * 3, "references": [texts[1]], "prediction": texts[2], **scores}
            | {"confidence": draw.random(), "n_tokens": len(texts[2].split()), "ended": draw.random() > 0.1}
        )
    return rows


def sweep(n: int) -> list[dict[str, Any]]:
    draw = random.Random(3)
    rows = []
    for _ in range(n):
        rate, batch, warmup = 10 ** draw.uniform(-5, -2), draw.choice([8, 16, 32, 64]), draw.choice([0.0, 0.05, 0.1])
        score = 40 - 4 * abs(math.log10(rate) + 3.5) ** 2 + draw.random()
        rows.append(
            {"learning_rate": rate, "per_device_train_batch_size": batch, "warmup_ratio": warmup, "eval_rougeL": score}
        )
    return rows


def trials() -> list[dict[str, Any]]:
    rows = []
    for size in (1, 2, 4, 8, 16, 32, 64, 128):
        fits = size < 128
        rows.append(
            {"kind": "trial", "batch_size": size, "gradient_accumulation_steps": max(1, 128 // size), "fits": fits}
            | {"peak_bytes": (2000 + 90 * size) * MIB if fits else None, "limit_bytes": 11_000 * MIB}
            | {"seconds": 0.05 + 0.004 * size if fits else None}
        )
    return rows


def system(n: int) -> list[dict[str, Any]]:
    draw = random.Random(4)
    return [
        {"kind": "gpu", "gpu": 0, "time": 1e9 + second, "step": second, "attempt": 1, "name": "NVIDIA GeForce RTX 3060"}
        | {"memory_used_mib": 9000 + 500 * draw.random(), "memory_total_mib": 12288.0}
        for second in range(n)
    ]


# ---------------------------------------------------------------- what is measured


def draw_all(folder: Path, model_name: str = "KoBART 요약") -> list[Path]:
    from hf_monitor import (
        create_inference_visualizations,
        create_optimization_visualizations,
        create_training_visualizations,
    )

    rows = history(200)
    return [
        *create_training_visualizations(
            fold_results=folds(5), model_name=model_name, output_dir=folder / "training", history_data=rows
        ),
        *create_inference_visualizations(predictions(200), model_name=model_name, output_dir=folder / "inference"),
        *create_optimization_visualizations(
            runs=sweep(24),
            trials=trials(),
            history_data=rows,
            system=system(300),
            model_name=model_name,
            output_dir=folder / "optimization",
        ),
    ]


def geometries(folder: Path) -> list[dict[str, Any]]:
    """Draw all once, and note of each figure its size, resolution, layout engine and the places of its axes."""
    from hf_monitor.charts.chart import Chart

    found: list[dict[str, Any]] = []
    save = Chart.save

    def noted(self: Chart, path: Any) -> Path:
        saved = save(self, path)
        figure = self.figure
        assert figure is not None
        places = [ax.get_subplotspec() for ax in figure.axes]
        found.append(
            {
                "size": tuple(figure.get_size_inches()),
                "dpi": figure.dpi,
                "axes": [
                    (spec.get_gridspec().get_geometry(), spec.num1, spec.num2) if spec is not None else None
                    for spec in places
                ],
            }
        )
        return saved

    Chart.save = noted  # type: ignore[method-assign]
    try:
        draw_all(folder)
    finally:
        Chart.save = save  # type: ignore[method-assign]
    return found


def draw_empty(shapes: list[dict[str, Any]], folder: Path) -> None:
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for number, shape in enumerate(shapes):
        figure = Figure(figsize=shape["size"], dpi=shape["dpi"], layout="constrained")
        grids: dict[tuple[int, int], Any] = {}
        for place in shape["axes"]:
            if place is None:
                figure.add_axes((0.1, 0.1, 0.8, 0.8))
                continue
            geometry, first, last = place
            grid = grids.setdefault(geometry, figure.add_gridspec(*geometry))
            rows, columns = (sorted({divmod(n, geometry[1])[i] for n in (first, last)}) for i in (0, 1))
            figure.add_subplot(grid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        figure.savefig(folder / f"{number:02}.png")


def seconds_of(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB


def measure_memory(folder: Path, n_charts: int) -> dict[str, float]:
    """In a process of its own: resident memory after the first ten charts or more, and after `n_charts`."""
    done, first = 0, None
    while done < n_charts:
        done += len(draw_all(folder))
        if first is None:
            first = resident_mib()
    return {"first": first or 0.0, "last": resident_mib(), "charts": done}


def overfitting_table(n_draws: int = 2000) -> None:
    """Print in which share of simulated trainings overfitting is found: the training loss falls in all of them."""
    import numpy as np

    from hf_monitor.diagnosis.overfitting import overfitting_onset

    draw = np.random.default_rng(1)
    sizes = (3, 4, 5, 10, 20, 50)
    shapes: dict[str, Callable[[Any], Any]] = {
        "parabola, 0.3 % scatter": lambda t: 1 + 0.6 * (t - 0.5) ** 2,
        "exp(-6 t) and a rising line, 0.3 %": lambda t: 1 + 0.8 * np.exp(-6 * t) + 0.25 * t,
        "rises in the last third, 0.3 %": lambda t: 1 + 0.5 * np.exp(-4 * t) + 0.5 * np.maximum(t - 0.7, 0),
    }
    cases = [(f"flat, {scatter:.1%} scatter", np.ones_like, scatter) for scatter in (0.01, 0.004)]
    print("| validation loss over 0 < t <= 1 | " + " | ".join(f"{n} evaluations" for n in sizes) + " |")
    print("|---|" + "---:|" * len(sizes))
    for name, shape, scatter in [*cases, *((name, shape, 0.003) for name, shape in shapes.items())]:
        shares = []
        for n in sizes:
            steps, down = np.arange(1, n + 1), np.linspace(4, 1, n)
            losses = (shape(steps / n) * (1 + scatter * draw.standard_normal(n)) for _ in range(n_draws))
            shares.append(sum(overfitting_onset(steps, down, steps, one) is not None for one in losses) / n_draws)
        print(f"| {name} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")


def versions() -> str:
    import matplotlib

    import hf_monitor

    return (
        f"Python {platform.python_version()}, matplotlib {matplotlib.__version__}, hf_monitor {hf_monitor.__version__}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--charts", type=int, default=300, help="for the memory")
    parser.add_argument("--overfitting", action="store_true", help="only simulate the mark of overfitting")
    parser.add_argument("--memory-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.getLogger("hf_monitor").setLevel(logging.ERROR)
    if options.overfitting:
        overfitting_table()
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.memory_only:
            print(json.dumps(measure_memory(folder, options.charts)))
            return 0
        load = os.getloadavg()[0]
        shapes = geometries(folder / "ours")
        draw_empty(shapes, folder / "empty")
        ours: list[float] = []
        empty: list[float] = []
        pairs = [(ours, lambda: draw_all(folder / "ours")), (empty, lambda: draw_empty(shapes, folder / "empty"))]
        for number in range(options.rounds):
            for times, work in pairs if number % 2 else pairs[::-1]:
                times.append(seconds_of(work))
        command = [sys.executable, __file__, "--memory-only", "--charts", str(options.charts)]
        memory = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

        from hf_monitor.charts import draw_history

        growth = {}
        for n in (10_000, 100_000, 1_000_000):
            rows = history(n)
            growth[n] = seconds_of(lambda rows=rows: draw_history(rows, folder / "long"))

    ratio = statistics.median(ours) / statistics.median(empty)
    more = memory["last"] - memory["first"]
    print(f"{versions()}; {os.cpu_count()} cores, load {load:.1f} before; {platform.platform()}\n")
    print(f"| {len(shapes)} charts, {options.rounds} rounds | median, s | fastest, s | x empty |")
    print("|---|---:|---:|---:|")
    n_axes = sum(len(shape["axes"]) for shape in shapes)
    print(f"| empty figures, {n_axes} axes | {statistics.median(empty):.2f} | {min(empty):.2f} | 1.00 |")
    print(f"| ours | {statistics.median(ours):.2f} | {min(ours):.2f} | {ratio:.2f} |\n")
    after = f"{memory['last']:.0f} after {memory['charts']} charts: +{more:.0f} MiB"
    print(f"Memory: {memory['first']:.0f} MiB after the first set, {after}\n")
    print("| rows of the history | both pictures, s |\n|---:|---:|")
    for n, seconds in growth.items():
        print(f"| {n:,} | {seconds:.2f} |")
    missed = [
        *([f"time: {ratio:.2f} times the empty figures, goal {GOAL_RATIO}"] if ratio > GOAL_RATIO else []),
        *([f"memory: +{more:.0f} MiB, goal {GOAL_MIB:.0f}"] if more > GOAL_MIB else []),
        *(
            [f"a million rows: {growth[1_000_000]:.1f} s, goal {GOAL_SECONDS:.0f}"]
            if growth[1_000_000] > GOAL_SECONDS
            else []
        ),
        *([f"only {len(shapes)} charts were drawn"] if len(shapes) != 15 else []),
    ]
    print("\nGoals: " + ("all reached" if not missed else "; ".join(missed)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
