"""Show a message on the console beside whatever is drawn there."""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from hf_monitor.loggers.levels import ERROR, WARNING

__all__ = ["bars_live", "disown_bars", "drawn_again", "say"]

_not_ours: weakref.WeakSet[Any] = weakref.WeakSet()  # bars of the process that this one was forked from


def disown_bars() -> None:
    """In a forked child: leave the parent's bars to the parent. Its tqdm may hold its lock for ever here."""
    _not_ours.update(_bars())


def _bars() -> list[Any]:
    """Tqdm's bars that are on the screen; tqdm itself is not imported for it."""
    tqdm = getattr(sys.modules.get("tqdm.std"), "tqdm", None)
    for _ in range(3):
        try:
            return [
                bar
                for bar in getattr(tqdm, "_instances", ())
                if not getattr(bar, "disable", True) and bar not in _not_ours
            ]
        except RuntimeError:  # another thread opened a bar meanwhile
            continue
    return []


def bars_live() -> bool:
    """Whether tqdm shows a bar."""
    return bool(_bars())


def drawn_again(text: str) -> bool:
    """Whether tqdm will draw this line again: it has bars below the first one, or the line is of a bar that is open."""
    return any(
        getattr(bar, "pos", 0) or f" {getattr(bar, 'last_print_n', None)}/{getattr(bar, 'total', None)} " in text
        for bar in _bars()
    )


def say(text: str, number: int, *, beside_bars: bool = True) -> None:
    """Print a message: warnings and errors on stderr, errors red on a terminal, above tqdm's bars. Never raises.

    Parameters
    ----------
    text : str
    number : int
        Level.
    beside_bars : bool
        Whether to go through tqdm if it shows bars. It takes tqdm's lock: not for callers that hold one of ours.
    """
    stream = sys.stderr if number >= WARNING else sys.stdout
    if stream is None:
        return
    try:
        if number >= ERROR and _colorful(stream):
            text = "\n".join(f"\x1b[31m{line}\x1b[0m" for line in text.split("\n"))
        try:
            _show(stream, text, beside_bars)
        except UnicodeEncodeError:  # a console of another encoding
            encoding = getattr(stream, "encoding", None) or "ascii"
            _show(stream, text.encode(encoding, "backslashreplace").decode(encoding), beside_bars)
    except Exception:  # noqa: BLE001 - streams can be anything, and there is nowhere left to say it
        pass


def _show(stream: Any, text: str, beside_bars: bool) -> None:
    if beside_bars and bars_live():
        sys.modules["tqdm.std"].tqdm.write(text, file=stream)
    else:
        stream.write(text + "\n")
    stream.flush()


def _colorful(stream: Any) -> bool:
    return bool(stream.isatty()) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
