"""The notebook around us: whether there is one, showing and replacing outputs, hearing that a cell ends."""

from __future__ import annotations

import logging
import os
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Any

__all__ = ["at_cell_end", "cell_runs", "clearings", "in_notebook", "listen", "publish", "this_cell"]

log = logging.getLogger("hf_monitor")

_hooked: weakref.WeakSet[Any] = weakref.WeakSet()  # shells that tell us
_listeners: list[weakref.WeakMethod[Callable[[BaseException | None], None]]] = []
_clearings: Counter[int] = Counter()  # how often the output of a cell was cleared, as far as we hear
_hearing = threading.local()  # of each thread, the publishers that tell us
_resting = False  # whether the last cell that we heard of has ended


def _shell() -> Any:
    """Give IPython's shell, if this process has one; IPython is not imported for it."""
    found = sys.modules.get("IPython")
    get = getattr(found, "get_ipython", None)
    return None if get is None else get()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (Jupyter, VS Code, Colab), or of something that runs one."""
    return getattr(_shell(), "kernel", None) is not None


def this_cell() -> int:
    """Give a number that the cell that runs has alone; one that is run again has another. 0 without IPython."""
    return int(getattr(_shell(), "execution_count", 0))


def publish(html: str, text: str, display_id: str, *, update: bool) -> None:
    """Show an output in the running cell, or put another in the place of what has this id, wherever that is.

    Parameters
    ----------
    html, text : str
        What a notebook shows, and what a front end without HTML does.
    display_id : str
    update : bool
        Whether it is there already.
    """
    # What IPython.display.display(raw=True) does.
    bundle = {"text/html": html, "text/plain": text}
    publisher = _shell().display_pub
    session = getattr(publisher, "session", None)
    if session is not None and getattr(session, "pid", None) not in (None, os.getpid()):
        # A forked child (accelerate's notebook_launcher). Its socket is made for it; the session is not, and keeps
        # displays back until something was printed there. What its print does:
        session.pid = os.getpid()
    publisher.publish(data=bundle, metadata={}, transient={"display_id": display_id}, update=update)


def listen() -> None:
    """Hear from now on, in a cell, that cells begin and end."""
    global _resting
    shell = _shell()
    if shell is not None and shell not in _hooked:
        _resting = False
        _hooked.add(shell)
        shell.events.register("pre_run_cell", _cell_begins)
        shell.events.register("post_run_cell", _cell_ended)


def clearings(cell: int) -> int:
    """Give how often this thread has cleared what the cell shows (``clear_output()``), from the first call on."""
    publisher = getattr(_shell(), "display_pub", None)
    heard = _hearing.__dict__.setdefault("publishers", weakref.WeakSet())
    register = getattr(publisher, "register_hook", None)
    if register is not None and publisher not in heard:
        heard.add(publisher)
        register(_leaves)
    return _clearings[cell]


def _leaves(message: Any) -> Any:
    """Look at a message that goes out to the front end."""
    if message["header"]["msg_type"] == "clear_output":
        _clearings[this_cell()] += 1
    return message


def cell_runs() -> bool:
    """Whether a cell is being run, as far as we :func:`listen`."""
    return not _resting


def at_cell_end(listener: Callable[[BaseException | None], None]) -> None:
    """Have a method called when a cell has run, with the error that ended it; as long as its object lives.

    Without a notebook it is never called. What it raises is logged and not shown.
    """
    if _shell() is not None:
        listen()
        _listeners.append(weakref.WeakMethod(listener))


def _cell_begins(_: Any) -> None:
    global _resting
    _resting = False


def _cell_ended(result: Any) -> None:
    global _resting
    _resting = True
    error = getattr(result, "error_in_exec", None) or getattr(result, "error_before_exec", None)
    for reference in list(_listeners):
        listener = reference()
        if listener is None:
            _listeners.remove(reference)
            continue
        try:
            listener(error)
        except Exception:  # IPython would show a traceback below the cell
            log.debug("hf_monitor: at the end of a cell", exc_info=True)
