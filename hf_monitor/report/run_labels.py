"""Which words of the commands name runs and are no settings."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from hf_monitor.report.command_words import WORDS
from hf_monitor.report.compared_facts import Absent, canonical

__all__ = ["labels", "may_be_labels", "of_each_word"]

#: Options that name a run or say where its files go.
_OF_A_RUN = re.compile(
    r"command\.--((run|exp|experiment|job|trial|wandb(_run)?|mlflow(_run)?)_?)?(name|tags?|id|label|title|notes?|comment)"
    r"|command\.--(exp|experiment)"
    r"|command\.--(out|output|save|log|logging|results?)(_?(dir|directory|folder|path|file))?"
)
_FEWEST = 3  # runs of which it is no chance that each has another value


def of_each_word(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Compare words that are no options one by one, where all runs have as many."""
    column = columns.get(WORDS)
    if column is None or not all(isinstance(one, str | list) for one in column):
        return columns
    rows = [one if isinstance(one, list) else [one] for one in column]
    if len({len(row) for row in rows}) > 1:
        return columns
    differing = [k for k, words in enumerate(zip(*rows, strict=True)) if len(set(map(canonical, words))) > 1]
    split = {
        WORDS if len(differing) == 1 else f"{WORDS}[{k + 1}]": [row[k] for row in rows]  # as people count
        for k in differing
    }
    return {name: value for name, value in columns.items() if name != WORDS} | split


def labels(columns: Mapping[str, list[Any]], parting: Sequence[str], seeds: Sequence[Any]) -> set[str]:
    """Find words of the command that name a run and are no setting.

    It is one where its option says so (``--run_tag``, ``--name``, ``--log_dir``), or where it is a text, another one in
    each of three or more runs, and without it the runs are repetitions of settings, each with a seed of its own.

    Parameters
    ----------
    columns : mapping of str to list
        What differs, a value for each run.
    parting : sequence of str
        Names in `columns` that would part runs into groups.
    seeds : sequence
        What repetitions of a setting differ by, one a run; None where it is not known.
    """
    named = {name for name in parting if _OF_A_RUN.fullmatch(name.replace("-", "_").replace("__", "--", 1))}
    texts = {name for name in parting if name.startswith("command.") and name not in named and _is_text(columns[name])}
    rest = [columns[name] for name in parting if name not in named | texts]
    return named | texts if texts and len(seeds) >= _FEWEST and _are_repetitions(rest, seeds) else named


def may_be_labels(parting: Mapping[str, list[Any]], seeds: Sequence[Any]) -> list[str]:
    """Give words of the command without which runs that stand alone would be repetitions of settings."""
    own = [name for name, column in parting.items() if name.startswith("command.") and _all_differ(column)]
    rest = [column for name, column in parting.items() if name not in own]
    return own if own and _are_repetitions(rest, seeds) else []


def _all_differ(column: Sequence[Any]) -> bool:
    return len(set(map(canonical, column))) == len(column) and not any(isinstance(one, Absent) for one in column)


def _is_text(column: Sequence[Any]) -> bool:
    return _all_differ(column) and all(isinstance(one, str) and not _is_number(one) for one in column)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _are_repetitions(parting: Sequence[Sequence[Any]], seeds: Sequence[Any]) -> bool:
    """Tell whether runs form groups in which none has the seed of another, one group of two at least."""
    if any(seed is None for seed in seeds):
        return False
    groups: dict[tuple[str, ...], list[Any]] = {}
    for place, seed in enumerate(seeds):
        groups.setdefault(tuple(canonical(column[place]) for column in parting), []).append(seed)
    return any(len(own) > 1 for own in groups.values()) and all(len(set(own)) == len(own) for own in groups.values())
