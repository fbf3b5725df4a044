"""The first texts of each set's latest evaluation, as predictions.jsonl gets them."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_monitor.notebook.scene import Sample
from hf_monitor.report.words import number
from hf_monitor.run.rows import decode_line
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
        self._lines: dict[str, list[bytes]] = {}  # of each set's latest evaluation, the first ones

    def look(self) -> None:
        """Read what is new.

        Raises
        ------
        OSError
            As the operating system says.
        """
        while self._most:
            for line in self._tail.lines():
                if (head := _HEAD.match(line)) is not None:
                    self._keep(line, head)
            if not self._tail.behind:
                break

    def _keep(self, line: bytes, head: re.Match[bytes]) -> None:
        name = head[1].decode(errors="replace")
        if head[0] != self._group:  # an evaluation begins
            self._group, self._lines[name] = head[0], []
        if len(self._lines[name]) < self._most:
            self._lines[name].append(line)

    def samples(self) -> list[Sample]:
        """Give the texts, of each set as many."""
        each = max(self._most // max(len(self._lines), 1), 1)
        found = []
        for name, lines in self._lines.items():
            for line in lines[:each]:
                with contextlib.suppress(ValueError):  # a broken line
                    found.append(_sample(name if len(self._lines) > 1 else "", decode_line(line)))
        return found


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
