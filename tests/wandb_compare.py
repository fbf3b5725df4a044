"""metrics.jsonl beside what W&B has: each row once, at its own step, with the values under the names it has there."""

import contextlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SLOTS = 10  # of W&B's steps a line of metrics.jsonl


def flatten(value: Any, name: str = "", into: dict[str, Any] | None = None) -> dict[str, Any]:
    """Make ``{"a": {"b": 1}}`` ``{"a.b": 1}``."""
    into = {} if into is None else into
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            flatten(inner, f"{name}.{key}" if name else str(key), into)
    else:
        into[name] = value
    return into


def expected(row: Mapping[str, Any], rewrite: bool = True) -> dict[str, Any]:
    """Give what W&B is to have of a row of ``metrics.jsonl``, under the names that transformers gives them."""
    from transformers.integrations.integration_utils import rewrite_logs

    own = {name: value for name, value in row.items() if name not in ("time", "attempt", "step", "kind")}
    kind = row["kind"]
    if kind == "log" and not rewrite:
        named = own
    elif kind in ("train", "eval", "predict", "train_summary", "log"):
        named = rewrite_logs(own)
    else:
        named = {f"{kind}/{name}": value for name, value in own.items()}
    return flatten({**named, "attempt": row["attempt"], "kind": kind, "train/global_step": row["step"]})


def alike(first: Any, second: Any) -> bool:
    """Say whether two values are the same; what JSON has no number for may be a word, what is empty its own text."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, float) and not math.isfinite(one):
            return str(other).lower().replace("infinity", "inf") == str(one)
        if one in ({}, []) and other == repr(one):  # wandb drops empty ones
            return True
    return bool(first == second) and isinstance(first, bool) == isinstance(second, bool)


@dataclass
class Compared:
    """metrics.jsonl beside a history of W&B."""

    rows: int = 0
    missing: list[dict[str, Any]] = field(default_factory=list)
    unlike: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether it is the same."""
        return self.rows > 0 and not (self.missing or self.unlike or self.doubled)

    def __str__(self) -> str:
        return f"{self.rows} rows, {len(self.missing)} missing, {len(self.unlike)} unlike, {len(self.doubled)} doubled"


def rows_of(run_dir: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read number and row of each line of ``metrics.jsonl``; a line that a kill tore off is none."""
    from hf_monitor.run.rows import decode_line

    found = []
    try:
        lines = (run_dir / "metrics.jsonl").read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    for number, line in enumerate(lines, 1):
        with contextlib.suppress(ValueError):
            found.append((number, decode_line(line)))
    return found


def compare(run_dir: Path, history: Iterable[Mapping[str, Any]], rewrite: bool = True) -> Compared:
    """Hold the rows of a run folder against what W&B has; `rewrite`: whether names are those of transformers."""
    found = Compared()
    by_step: dict[int, list[Mapping[str, Any]]] = {}
    for line in history:
        by_step.setdefault(int(line["_step"]), []).append(line)
    for number, row in rows_of(run_dir):
        found.rows += 1
        there = by_step.pop(SLOTS * number, [])
        if not there:
            found.missing.append(row)
        wanted = expected(row, rewrite)
        for line in there:
            other = {name: value for name, value in wanted.items() if not alike(value, line.get(name))}
            if other:
                got = {name: line.get(name) for name in other}
                found.unlike.append(f"line {number}, {row['kind']} {row['step']}: {got} should be {other}")
        if len(there) > 1:
            found.doubled.append(f"line {number}, {row['kind']} {row['step']}: {len(there)} times")
    left = Counter(
        (line.get("attempt"), line["kind"]) for lines in by_step.values() for line in lines if "kind" in line
    )
    found.doubled += [f"{n} rows of attempt {attempt}, {kind}, at other steps" for (attempt, kind), n in left.items()]
    return found
