"""The first texts of each set's latest evaluation, as predictions.jsonl gets them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hf_monitor.notebook.scene import Sample
from hf_monitor.report.words import number
from hf_monitor.run.tail import Tail

__all__ = ["FirstTexts"]

_HEAD = re.compile(rb'\{"time":[^,]*,"attempt":\d+,"step":\d+,"name":"((?:[^"\\]|\\.)*)"')
"""How each row begins that belongs to an evaluation; the same for all rows that were written together."""
_SCORES = ("score", "rougeL", "rouge1", "bleu")


class FirstTexts:
    """Reads what is appended to ``predictions.jsonl`` from now on, and keeps a few of it.

    Of an evaluation of thousands of texts only those that are shown are decoded.

    Parameters
    ----------
    folder : Path
        The run folder.
    most : int
        How many texts are shown, of all evaluation sets together; of each set at least one.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._most = most
        self._tail = Tail(folder / "predictions.jsonl")
        self._tail.skip(0)
        self._group = b""  # the head of the evaluation that was read last
        self._rows: dict[str, list[dict[str, Any]]] = {}  # of each set's latest evaluation

    def look(self) -> None:
        """Read what is new.

        Raises
        ------
        OSError
            As the operating system says.
        """
        while self._most:
            for row in self._tail.rows(self._first):
                self._rows[str(row.get("name"))].append(row)
            if not self._tail.behind:
                break

    def _first(self, lines: list[bytes]) -> Iterable[bytes]:
        """Choose the first lines of each evaluation."""
        for line in lines:
            head = _HEAD.match(line)
            if head is None:
                continue
            name = head[1].decode(errors="replace")
            if head[0] != self._group:
                self._group, self._rows[name] = head[0], []
            if len(self._rows[name]) < self._most:
                yield line

    def samples(self) -> list[Sample]:
        """Give the texts, of each set as many."""
        sets = [(name, rows) for name, rows in self._rows.items() if rows]
        each = max(self._most // max(len(sets), 1), 1)
        return [_sample(name if len(sets) > 1 else "", row) for name, rows in sets for row in rows[:each]]


def _sample(name: str, row: Mapping[str, Any]) -> Sample:
    label = f"{name.removeprefix('eval_')} {row.get('index', '')}".strip()
    references = row.get("references")
    texts = [references] if isinstance(references, str) else references if isinstance(references, list) else []
    score = next((key for key in _SCORES if isinstance(row.get(key), int | float)), None)
    return Sample(
        label=label,
        prediction=str(row.get("prediction", "")),
        references=[str(text) for text in texts],
        input=str(row.get("input") or ""),
        score=f"{score} {number(row[score], 3)}" if score else "",
    )
