"""Make run folders of any length by writing their lines, for benchmarks and tests of what reads them."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import orjson

_BEGAN = 1_790_000_000.0
_WORDS = [
    "a man",
    "calls",
    "asks",
    "about",
    "a train ticket",
    "tomorrow",
    "#Person1#",
    "#Person2#",
    "회의",
    "내일",
    "기차",
]


def make_run(
    folder: str | Path,
    n_steps: int,
    *,
    attempts: int = 1,
    evaluations: int = 20,
    n_texts: int = 100,
    seconds_per_step: float = 1.0,
    samples: bool = True,
    timing: bool = True,
    seed: int = 0,
    facts: dict[str, Any] | None = None,
    level: float = 0.0,
) -> Path:
    """Write a run folder.

    Parameters
    ----------
    folder : path-like
        Made when missing.
    n_steps : int
        Each is logged.
    attempts : int
        2: the first is cut off at 60 % of the steps, the second resumes at 40 %.
    evaluations : int
        How many, each with `n_texts` texts.
    n_texts : int
    seconds_per_step : float
        Samples of GPU and host come once a second.
    samples, timing : bool
        Whether there are samples of the machine, and rows of how the time was spent.
    seed : int
    facts : dict, optional
        Put over those in ``run.json``.
    level : float
        Added to ROUGE of every evaluation.

    Returns
    -------
    Path
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(seed)
    spans = [(0, n_steps)] if attempts == 1 else [(0, int(n_steps * 0.6)), (int(n_steps * 0.4), n_steps)]
    rows: list[dict[str, Any]] = []
    texts: list[dict[str, Any]] = []
    system: list[dict[str, Any]] = []
    now = _BEGAN
    every = max(1, n_steps // max(evaluations, 1))
    entries = []
    for attempt, (first, last) in enumerate(spans, start=1):
        entries.append({"attempt": attempt, "time": now, "host": "made", "pid": 1, "launch": None, "world_size": 1})
        begin = {"event": "train_begin", "max_steps": n_steps, "epochs": 3, "training": 1}
        resumed = {"resumed_attempt": attempt - 1} if attempt > 1 else {}
        rows.append({"time": now, "attempt": attempt, "step": first, "kind": "event", **begin, **resumed})
        if samples:
            head = {"kind": "event", "event": "sampler_begin", "interval_s": 1.0, "device": "cuda", "used_gpus": [0]}
            gpus = [{"gpu": 0, "name": "NVIDIA GeForce RTX 3090", "memory_total_mib": 24576.0}]
            system.append({"time": now, "attempt": attempt, "step": first, **head, "cpu_count": 8, "gpus": gpus})
        sampled = now
        for step in range(first + 1, last + 1):
            now += seconds_per_step
            head = {"time": now, "attempt": attempt, "step": step}
            share = step / n_steps
            loss = 1.2 + 2.5 * math.exp(-6 * share) + chance.gauss(0, 0.05)
            values = {"loss": loss, "grad_norm": 1 + chance.random(), "learning_rate": 3e-4 * (1 - share)}
            rows.append({**head, "kind": "train", **values, "epoch": 3 * share})
            if timing:
                wait = 0.02 * seconds_per_step
                spent = {"steps": 1, "seconds": seconds_per_step, "step_seconds": 0.9 * seconds_per_step}
                waited = {"data_wait_seconds": wait, "data_wait_share": 0.02, "other_seconds": wait}
                rows.append({**head, "kind": "timing", **spent, **waited, "samples_per_second": 16 / seconds_per_step})
            if step % every == 0:
                rouge = level + 42 * (1 - math.exp(-5 * share)) + chance.gauss(0, 0.3)
                scores = {"eval_loss": loss + 0.1, "eval_rouge1": rouge + 4, "eval_rouge2": rouge / 2}
                rows.append({**head, "kind": "eval", **scores, "eval_rougeL": rouge, "eval_bleu": rouge / 3})
                texts += [_text(head, index, rouge, chance) for index in range(n_texts)]
            while samples and sampled + 1 <= now:
                sampled += 1
                system += _samples(sampled, attempt, step, chance)
    rows.append({"time": now, "attempt": len(spans), "step": n_steps, "kind": "event", "event": "train_end"})
    (folder / "metrics.jsonl").write_bytes(_lines(rows))
    if texts:
        (folder / "predictions.jsonl").write_bytes(_lines(texts))
    if system:
        (folder / "system.jsonl").write_bytes(_lines(system))
    arguments = {"learning_rate": 3e-4, "num_train_epochs": 3, "per_device_train_batch_size": 16, "seed": 42}
    known = {
        "run_id": f"made-{n_steps}-{seed}",
        "created": _BEGAN,
        "format": 1,
        "attempts": entries,
        "command": "python scripts/train_summarizer.py --output_dir out",
        "arguments": {**arguments, "output_dir": str(folder), "logging_steps": 1},
        "max_steps": n_steps,
        "seed": 42,
    }
    (folder / "run.json").write_bytes(orjson.dumps({**known, **(facts or {})}, option=orjson.OPT_INDENT_2))
    return folder


def _lines(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _text(head: dict[str, Any], index: int, rouge: float, chance: random.Random) -> dict[str, Any]:
    said = [" ".join(chance.choices(_WORDS, k=n)) for n in (60, 15, 15)]
    score = min(max(chance.gauss(rouge, 15), 0.0), 100.0)
    scores = {"rouge1": score, "rouge2": score / 2, "rougeL": score, "score": score}
    texts = {"input": said[0], "prediction": said[1], "references": [said[2]], "language": "en"}
    return {**head, "name": "eval", "index": index, **texts, **scores}


def _samples(time: float, attempt: int, step: int, chance: random.Random) -> list[dict[str, Any]]:
    head = {"time": time, "attempt": attempt, "step": step, "phase": "train"}
    load = {"utilization_percent": 90 + 8 * chance.random(), "memory_used_mib": 17000.0, "throttle": []}
    torch = {"torch_allocated_mib": 9000.0, "torch_reserved_mib": 15000.0, "torch_reserved_peak_mib": 15000.0}
    gpu = {**load, "power_w": 310.0, "temperature_c": 71, "sm_clock_mhz": 1700, **torch}
    host = {"cpu_percent": 30.0, "ram_used_mib": 9000.0, "ram_total_mib": 64000.0, "process_rss_mib": 4000.0}
    return [{**head, "kind": "gpu", "gpu": 0, **gpu}, {**head, "kind": "host", **host}]
