"""The five levels, and which of them a line of console output deserves."""

from __future__ import annotations

import re
from typing import Final

from hf_monitor.errors import InputError

__all__ = ["ERROR", "INFO", "NUMBERS", "TAGS", "WARNING", "LevelGuess", "level_number"]

INFO: Final = 20
WARNING: Final = 30
ERROR: Final = 40
NUMBERS: Final[dict[str, int]] = {"DEBUG": 10, "INFO": INFO, "WARNING": WARNING, "ERROR": ERROR, "CRITICAL": 50}
TAGS: Final[dict[int, str]] = {number: f"{name:<5} " for name, number in NUMBERS.items()}

_ALIASES = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_BEGINS = re.compile(r"\[?(WARNING|WARN|ERROR|CRITICAL|FATAL)\b")
_FIRST = "[WECF"  # letters with which that can begin: looking there first is cheaper
_WARNING = re.compile(r"(?:[^\s:][^:]*:\d+: )?\w*Warning: ")  # what warnings.warn prints: path:line: UserWarning: ...
_TRACEBACK = re.compile(r"[\s+|]*(?:Exception Group )?Traceback \(most recent call last\):")
_BETWEEN = ("During handling of the above exception", "The above exception was the direct cause")


def level_number(level: str | int) -> int:
    """Translate a level's name, or a number of the :mod:`logging` module, into one of the five levels.

    Raises
    ------
    InputError
        If there is no such level.
    """
    if isinstance(level, int):
        return max(10, min(50, level // 10 * 10))
    name = level.upper() if isinstance(level, str) else ""
    number = NUMBERS.get(_ALIASES.get(name, name))
    if number is None:
        raise InputError(f"There is no log level {level!r}; use one of {', '.join(NUMBERS)}.")
    return number


class LevelGuess:
    """The level of console output: ERROR within a traceback, what a line says of itself, INFO otherwise.

    Never below INFO: what was shown on the console is not filtered away from the file by its first word.
    """

    def __init__(self) -> None:
        self._in_traceback = False

    def __call__(self, line: str) -> int:
        """Judge the next line of one stream."""
        if "Traceback" in line and _TRACEBACK.match(line):
            self._in_traceback = True
            return ERROR
        if self._in_traceback:
            # frames are indented (or drawn with | and + in a group); the first line that is not is the exception itself
            self._in_traceback = line[:1] in " \t+|"
            return ERROR
        if line.startswith(_BETWEEN):
            return ERROR
        if line[:1] in _FIRST and (begins := _BEGINS.match(line)):
            return level_number(begins[1])
        return WARNING if "Warning: " in line and _WARNING.match(line) else INFO
