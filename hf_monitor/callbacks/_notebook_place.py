"""Who shows a Trainer's progress: our NotebookCallback or what transformers brings."""

from __future__ import annotations

import sys
from typing import Any

from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hf_monitor.callbacks.alerts import AlertCallback
from hf_monitor.callbacks.notebook import NotebookCallback
from hf_monitor.notebook.shell import in_notebook

__all__ = ["notebook_callback"]


def notebook_callback(trainer: Any) -> NotebookCallback | None:
    """Give the NotebookCallback of a Trainer, at its place; None where there is to be none.

    In a notebook one is added where transformers would draw progress (not with ``disable_tqdm=True``). Where there is
    one, what transformers shows is taken out; classes of somebody's own, which may do more, stay.
    """
    callbacks = trainer.callback_handler.callbacks
    bars = (ProgressCallback, getattr(sys.modules.get("transformers.utils.notebook"), "NotebookProgressCallback", None))
    ours: NotebookCallback | None = next((one for one in callbacks if isinstance(one, NotebookCallback)), None)
    if ours is None:
        if not in_notebook() or not any(type(one) in bars for one in callbacks):
            return None
        ours = NotebookCallback()
    ours.attended = True
    alerts = next(one for one in callbacks if isinstance(one, AlertCallback))
    theirs = (*bars, PrinterCallback)
    rest = [one for one in callbacks if one is not ours and type(one) not in theirs]
    rest.insert(rest.index(alerts), ours)
    callbacks[:] = rest
    return ours
