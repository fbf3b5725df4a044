"""The notebook around us: whether there is one, showing and replacing outputs, hearing that a cell ends."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["at_cell_end", "in_notebook", "publish", "this_cell"]

_hooked: weakref.WeakSet[Any] = weakref.WeakSet()  # shells that tell us
_listeners: list[weakref.WeakMethod[Callable[[BaseException | None], None]]] = []


def _shell() -> Any:
    """Give IPython's shell, if this process has one; IPython is not imported for it."""
    found = sys.modules.get("IPython")
    get = getattr(found, "get_ipython", None)
    return None if get is None else get()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook (Jupyter, VS Code, Colab), or of something that runs one."""
    return getattr(_shell(), "kernel", None) is not None


def this_cell() -> int:
    """Give the number of the cell that runs, ``In [7]``; a cell that is run again has another. 0 without IPython."""
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
    _shell().display_pub.publish(data=bundle, metadata={}, transient={"display_id": display_id}, update=update)


def at_cell_end(listener: Callable[[BaseException | None], None]) -> None:
    """Have a method called when a cell has run, with the error that ended it; as long as its object lives.

    Without a notebook it is never called. What it raises is not shown to anybody.
    """
    shell = _shell()
    if shell is None:
        return
    if shell not in _hooked:
        _hooked.add(shell)
        shell.events.register("post_run_cell", _cell_ended)
    _listeners.append(weakref.WeakMethod(listener))


def _cell_ended(result: Any) -> None:
    error = getattr(result, "error_in_exec", None) or getattr(result, "error_before_exec", None)
    for reference in list(_listeners):
        listener = reference()
        if listener is None:
            _listeners.remove(reference)
        else:
            listener(error)
