"""What a command says beside the training arguments."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

__all__ = ["WORDS", "command_facts"]

_LAUNCHED = ("--local-rank", "--local_rank")
_ASSIGNED = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)
#: Under which name words stand that are no options.
WORDS = "command.arguments"


def command_facts(command: str, known: Collection[str]) -> Iterator[tuple[str, list[str] | Any]]:
    """Give the script's name, options that the training arguments do not have, and words that are no options.

    A word that is a JSON object, or ``key=value``, is taken apart: each key is compared on its own.

    Parameters
    ----------
    command : str
    known : collection of str
        Names of training arguments.
    """
    try:
        words = shlex.split(command)
    except ValueError:  # an open quote: not of ours
        words = command.split()
    found: dict[str, Any] = {}
    loose: list[str] = []
    rest = words[1:]  # the interpreter is no part of it: packages.* and python say which
    while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-c"):  # its own options
        rest = rest[3:] if rest[0] in ("-X", "-W") and len(rest) > 2 else rest[1:]
    if rest[:1] in (["-m"], ["-c"]):
        rest = rest[1:]
    if rest:
        found["command.script"] = Path(rest[0]).name if "\n" not in rest[0] else rest[0]
    option = None
    for word in rest[1:]:
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            skipped = name in _LAUNCHED or name[2:].replace("-", "_") in known
            option = "" if skipped else f"command.{name}"
            if option:
                found[option] = [*found.get(option, []), *([value] if has_value else [])]
        elif option is None:
            inside = _taken_apart(word)
            if inside is None:
                loose.append(word)
            else:
                found |= {f"{WORDS}.{key}": value for key, value in inside.items() if key not in known}
        elif option:
            found[option].append(word)
    if loose:
        found[WORDS] = loose
    yield from found.items()


def _taken_apart(word: str) -> dict[str, Any] | None:
    if word.startswith("{"):
        try:
            inside = json.loads(word)
        except (ValueError, RecursionError):
            return None
        return inside if isinstance(inside, dict) else None
    if _ASSIGNED.fullmatch(word):
        key, _, value = word.partition("=")
        return {key: value}
    return None
