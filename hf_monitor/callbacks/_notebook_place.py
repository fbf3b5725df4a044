"""Who shows a Trainer's progress: our NotebookCallback or what transformers brings."""

from __future__ import annotations

import sys
from typing import Any

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_monitor.callbacks.alerts import AlertCallback
from hf_monitor.callbacks.notebook import NotebookCallback
from hf_monitor.notebook.shell import in_notebook

__all__ = ["notebook_callback"]


def notebook_callback(trainer: Any, *, add: bool = True) -> NotebookCallback | None:
    """Give the NotebookCallback of a Trainer, at its place; None where there is to be none.

    In a notebook one is added where transformers would draw progress (not with ``disable_tqdm=True``), unless not to
    `add`. Where there is one, what transformers shows is taken out; classes of somebody's own, which may do more, stay.
    Of several the first one shows the Trainer, before that one of the user's own in the place of the added one.
    """
    callbacks = trainer.callback_handler.callbacks
    bars = (ProgressCallback, getattr(sys.modules.get("transformers.utils.notebook"), "NotebookProgressCallback", None))
    ours = [one for one in callbacks if isinstance(one, NotebookCallback)]
    ours = [one for one in ours if not one.is_default] or ours
    if not ours:
        if not add or not in_notebook() or not any(type(one) in bars for one in callbacks):
            return None
        ours = [NotebookCallback()]
        ours[0].is_default = True
    ours[0].attended = True
    alerts = next((one for one in callbacks if isinstance(one, AlertCallback)), None)
    theirs = (*bars, PrinterCallback)
    rest = [one for one in callbacks if not isinstance(one, NotebookCallback) and type(one) not in theirs]
    place = len(rest) if alerts is None else rest.index(alerts)
    rest[place:place] = ours
    callbacks[:] = rest
    return ours[0]
