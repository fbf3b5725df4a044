"""What a command says beside the training arguments."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["WORDS", "command_facts"]

_LAUNCHED = ("--local-rank", "--local_rank")
_TRUE_OR_FALSE = ("true", "false", "yes", "no", "t", "f", "y", "n", "1", "0")
_ASSIGNED = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)
#: Under which name words stand that are no options.
WORDS = "command.arguments"


def command_facts(command: str, known: Mapping[str, Any]) -> Iterator[tuple[str, list[str] | Any]]:
    """Give the script's name, options that the training arguments do not have, and words that are no options.

    A word that is a JSON object, or ``key=value``, is taken apart: each key is compared on its own.

    Parameters
    ----------
    command : str
    known : mapping
        The training arguments.
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
    if found.get("command.script", "").startswith("ipykernel"):  # its words name the connection of the notebook
        rest = rest[:1]
    option, left = None, 0
    for word in rest[1:]:
        if word.startswith("--"):
            name, has_value, value = word.partition("=")
            key = name[2:].replace("-", "_")
            skipped = name in _LAUNCHED or key in known
            option = "" if skipped else f"command.{name}"
            left = 0 if has_value else _words_of(known.get(key))
            if option:
                found[option] = [*found.get(option, []), *([value] if has_value else [])]
        elif option == "" and left and not (isinstance(known.get(key), bool) and word.lower() not in _TRUE_OR_FALSE):
            left -= 1
        elif not option:
            left = 0
            inside = _taken_apart(word)
            if inside is None:
                loose.append(word)
            else:
                found |= {f"{WORDS}.{key}": value for key, value in inside.items() if key not in known}
        else:
            found[option].append(word)
    if loose:
        found[WORDS] = loose
    yield from found.items()


def _words_of(value: Any) -> int:
    """Say how many words a training argument has in the command, as its recorded value has."""
    return max(1, len(value)) if isinstance(value, list) else 1


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
