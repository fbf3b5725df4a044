"""A run in which every text that a person, a model or a machine could have written is meant to break a page."""

import runpy
from pathlib import Path

import orjson

make_run = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "made_runs.py"))["make_run"]
WORD = "o" * 10_000
ATTACKS = [
    "<script>alert(1)</script>",
    "</script><script>alert(2)</script>",
    '" onload="alert(3)',
    "' onmouseover='alert(4)",
    "</style><script>alert(5)</script>",
    "</title><img src=x onerror=alert(6)>",
    "<svg onload=alert(7)>",
    "--><iframe srcdoc='<script>alert(8)</script>'></iframe>",
    "javascript:alert(9)",
    "<a href='javascript:alert(10)' style='position:fixed'>x</a>",
    "{{ 7 * 7 }}{% include 'x' %}",
    "&lt;b&gt; &#x3C;i&#x3E; &amp;",
    "]]><!-- -->",
]
WRITING = [
    "\u202eright to left\u202c ثلاثة رجال ואחת \u2067אבג\u2069",
    "한국어 요약문입니다",
    "👩🏽‍💻 🇰🇷",
    "a\u0301\u0489 \u200b\u200d\ufeff z",
    "\x00\x07\x1b[31m red\x7f\x85",
]
EVERY = [*ATTACKS, *WRITING]
# What the reader goes by stays; and what the charts count by stays a word, else there is nothing to draw.
KEPT = ("kind", "event", "phase", "rule", "severity", "name", "language", "device", "status", "verdict", "boot_id")


class Poison:
    """Puts the texts in, one after another."""

    def __init__(self, turn: int) -> None:
        self.turn = turn

    def text(self) -> str:
        self.turn += 1
        return EVERY[self.turn % len(EVERY)]

    def of(self, value, key=""):
        """Give a value with each text in it replaced, and a key and a text more in each mapping."""
        if isinstance(value, dict):
            return {name: self.of(inner, name) for name, inner in value.items()} | {self.text(): self.text()}
        if isinstance(value, list):
            return [self.of(inner, key) for inner in value]
        return self.text() if isinstance(value, str) and key not in KEPT else value


def hostile_run(folder: Path, turn: int = 0) -> Path:
    """Make it: evaluations, findings, samples, trials, and then a crash; with another `turn` every text is another."""
    make_run(folder, 60, evaluations=3, n_texts=2 * len(EVERY))
    poison = Poison(turn)
    facts = orjson.loads((folder / "run.json").read_bytes())
    facts |= {
        "python": "3.11",
        "platform": "Linux",
        "working_folder": "x",
        "git": {"commit": "x", "branch": "x", "dirty": True, "folder": "x"},
        "packages": {"torch": "2"},
        "devices": {"device": "cuda", "gpus": [{"name": "x", "uuid": "x"}]},
        "precision": "x",
        "model": {"class": "x", "name_or_path": "x", "n_parameters": 5, "config": {"d_model": 1, "task": "x"}},
        "optimizer": {"class": "x", "learning_rates": [0.1]},
        "data": {"train": {"class": "x", "n_samples": 3, "columns": ["x", "y"], "fingerprint": "x"}},
        "text_metrics": {"eval": {"rouge": {"metric": "x", "tokenizer": {"en": "x"}}, "bleu": "x"}},
    }
    kept = {name: facts[name] for name in ("created", "format", "attempts", "max_steps", "seed")}
    (folder / "run.json").write_bytes(orjson.dumps(poison.of(facts) | kept))

    runs = [
        {"id": one, "project": one, "entity": one, "name": one, "url": one, "why": one, "mode": mode, "folders": [one]}
        for one in EVERY
        for mode in ("online", "offline")
    ]
    runs.append({"id": 5, "attempts": 7, "url": ["x"]})
    (folder / "wandb.json").write_bytes(orjson.dumps({"format": 1, "runs": runs}))

    head = {"time": 1_790_000_070.0, "attempt": 1, "step": 60}
    alert = {
        **head,
        "kind": "alert",
        "rule": "generation_collapse",
        "severity": "error",
        "sentence": "x",
        "value": 1.0,
        "unit": "share",
        "threshold": 0.8,
        "steps": [20, 40],
        "suggestions": ["x", "y"],
        "evidence": {"name": "eval", "example": "x"},
    }
    error = {**head, "kind": "event", "event": "error", "type": "x", "message": "x", "traceback": "x"}
    said = {"type": "".join(ATTACKS[:3]), "message": "\n".join([*EVERY, WORD]), "traceback": "\n".join([WORD, *EVERY])}
    rows = _rows(folder / "metrics.jsonl")
    rows = [row for row in rows if row.get("event") != "train_end"]
    rows = [row | {f"{row['kind']}_{poison.text()}": row["step"]} if row["kind"] != "event" else row for row in rows]
    _write(folder / "metrics.jsonl", [*rows, poison.of(alert), {**error, **said}])

    texts = [poison.of(row) for row in _rows(folder / "predictions.jsonl")]
    texts[-1] |= {"input": WORD, "prediction": f"{WORD} {ATTACKS[0]}", "references": [ATTACKS[0], WORD]}
    _write(folder / "predictions.jsonl", texts)
    _write(folder / "system.jsonl", [poison.of(row) for row in _rows(folder / "system.jsonl")])
    trial = {
        "time": head["time"],
        "attempt": 1,
        "batch_size": 4,
        "peak_bytes": 1_439_300,
        "fits": True,
        "out_of_memory": False,
        "seconds": 0.2,
        "samples_per_second": 20.0,
        "predicted_bytes": 1_439_316,
        "phase": "train",
        "device": "cpu",
        "precision": "fp32",
    }
    trials = [trial, {**trial, "batch_size": 8, "fits": False, "out_of_memory": True, "error": "x"}]
    _write(folder / "trials.jsonl", [poison.of(one) | {"precision": ATTACKS[0]} for one in trials])
    return folder


def _rows(path: Path) -> list[dict]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _write(path: Path, rows: list[dict]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
