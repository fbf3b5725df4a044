"""Make the demo corpus: `python -m hf_monitor.demo.generate` rewrites its files, byte for byte the same each time."""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hf_monitor.demo import SPLITS, patterns_en, patterns_ko
from hf_monitor.demo.templates import Ending, Pattern, Turn, fill, slots_of
from hf_monitor.errors import InputError

__all__ = ["PATTERNS", "Sample", "build_corpus", "main", "write_corpus"]

SEED = 11
PER_PATTERN = {"train": 35, "held_out": 5}
"""How many dialogues of each pattern and language; the held-out ones are shared out between validation and test."""
MIN_TURNS, MAX_TURNS = 3, 6
_MAX_TRIES = 10_000

_Modules = {"ko": patterns_ko, "en": patterns_en}
PATTERNS: dict[str, tuple[Pattern, ...]] = {language: module.PATTERNS for language, module in _Modules.items()}

_T = TypeVar("_T")


@dataclass(frozen=True)
class Sample:
    """A dialogue, its summary, and what it was made from.

    Parameters
    ----------
    language : str
        ``ko`` or ``en``.
    pattern : str
        The pattern's name.
    values : tuple of (str, str)
        The slots of the pattern and its ending, and what was put into them (small talk left out).
    dialogue, summary : str
        The texts.
    """

    language: str
    pattern: str
    values: tuple[tuple[str, str], ...]
    dialogue: str
    summary: str


class _Dice:
    """Draws from `random.random` alone, the one method whose results Python promises never to change."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def pick(self, choices: Sequence[_T]) -> _T:
        return choices[int(self._random() * len(choices))]

    def chance(self, probability: float) -> bool:
        return self._random() < probability

    def shuffled(self, items: Sequence[_T]) -> list[_T]:
        rest = list(items)
        return [rest.pop(int(self._random() * len(rest))) for _ in range(len(rest))]


def _slot_values(dice: _Dice, templates: Sequence[str], vocabulary: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Fill each slot from the word list of its type (`time2` is of type `time`), never twice with the same word."""
    rest = {}
    values = {}
    for slot in slots_of(*templates):
        kind = slot.rstrip("0123456789")
        if kind not in rest:
            rest[kind] = dice.shuffled(vocabulary[kind])
        values[slot] = rest[kind].pop()
    return values


def _turns(dice: _Dice, language: str, pattern: Pattern, ending: Ending) -> list[tuple[str, str]]:
    """Choose an opening, one way to say each turn, and a closing: (who, template) pairs, speakers alternating."""
    core = [*pattern.turns, *ending.turns]
    opening: tuple[Turn, ...] = ()
    if dice.chance(0.7):
        opening = dice.pick(_Modules[language].OPENINGS[pattern.setting])
    turns = [(turn[0], dice.pick(turn[1:])) for turn in (*opening, *core)]
    if dice.chance(0.5) and len(turns) < MAX_TURNS:
        last = "B" if turns[-1][0] == "A" else "A"
        turns.append((last, dice.pick(_Modules[language].CLOSINGS[pattern.setting][last])))
    return turns


def _sample(dice: _Dice, language: str, pattern: Pattern, ending: Ending) -> Sample:
    turns = _turns(dice, language, pattern, ending)
    # All ways to say it, so that the summary's slots have a value whichever was chosen.
    core = [text for turn in (*pattern.turns, *ending.turns) for text in turn[1:]] + [ending.summary]
    values = _slot_values(dice, [*core, *(text for _, text in turns)], _Modules[language].VOCABULARY)
    first = turns[0][0]
    marks = {who: "#Person1#" if who == first else "#Person2#" for who in ("A", "B")}
    filled = {**values, **marks}
    dialogue = "\n".join(f"{marks[who]}: {fill(text, filled)}" for who, text in turns)
    return Sample(
        language=language,
        pattern=pattern.name,
        values=tuple((slot, values[slot]) for slot in slots_of(*core)),
        dialogue=dialogue,
        summary=fill(ending.summary, filled),
    )


def _draw(
    dice: _Dice, language: str, pattern: Pattern, count: int, combinations: set[object], barred_summaries: set[str]
) -> list[Sample]:
    """Draw `count` samples of a pattern, its endings in turn, none with a combination of slots drawn before."""
    samples: list[Sample] = []
    for _ in range(_MAX_TRIES):
        if len(samples) == count:
            return samples
        sample = _sample(dice, language, pattern, pattern.endings[len(samples) % len(pattern.endings)])
        key = (language, pattern.name, frozenset(sample.values))
        if key in combinations or sample.summary in barred_summaries:
            continue
        combinations.add(key)
        samples.append(sample)
    raise InputError(
        f"The pattern {pattern.name!r} ({language}) has too few combinations of slots for {count} dialogues."
    )


def build_corpus(seed: int = SEED) -> dict[str, list[Sample]]:
    """Make the three parts of the corpus.

    Each pattern gives as many dialogues as any other, in both languages. No combination of slot values comes twice
    within a pattern, and no summary of validation or test is in train.

    Parameters
    ----------
    seed : int
        The same seed gives the same corpus on every machine and Python version.

    Returns
    -------
    dict of str to list of Sample
        ``train``, ``validation`` and ``test``.

    Raises
    ------
    InputError
        If a pattern has too few combinations of slots.
    """
    dice = _Dice(seed)
    parts: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for language, patterns in PATTERNS.items():
        combinations: set[object] = set()
        held_out = [s for p in patterns for s in _draw(dice, language, p, PER_PATTERN["held_out"], combinations, set())]
        held_out = dice.shuffled(held_out)
        summaries = {sample.summary for sample in held_out}
        half = len(held_out) // 2
        parts["validation"] += held_out[:half]
        parts["test"] += held_out[half:]
        for pattern in patterns:
            parts["train"] += _draw(dice, language, pattern, PER_PATTERN["train"], combinations, summaries)
    return {split: dice.shuffled(samples) for split, samples in parts.items()}


def write_corpus(folder: Path, seed: int = SEED) -> dict[str, int]:
    """Write the corpus as JSON lines.

    Parameters
    ----------
    folder : Path
        Is made if missing; files of the same names are replaced.
    seed : int
        See `build_corpus`.

    Returns
    -------
    dict of str to int
        How many dialogues each part has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = {}
    for split, samples in build_corpus(seed).items():
        lines = [
            json.dumps(
                {
                    "id": f"{split}-{number:04d}",
                    "language": sample.language,
                    "dialogue": sample.dialogue,
                    "summary": sample.summary,
                },
                ensure_ascii=False,
                separators=(",", ":"),
            )
            for number, sample in enumerate(samples)
        ]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
        counts[split] = len(lines)
    return counts


def main(argv: Sequence[str] | None = None) -> None:
    """Rewrite the data files of the package, or write them elsewhere with ``--folder``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(__file__).parent / "data", help="where to (default: the package)"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="another seed makes another corpus (default: %(default)s)"
    )
    options = parser.parse_args(argv)
    counts = write_corpus(options.folder, options.seed)
    print(f"{options.folder}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))


if __name__ == "__main__":
    main()
