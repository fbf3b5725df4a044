"""Who tells W&B of a Trainer: our callback or that of transformers (``report_to="wandb"``)."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from hf_monitor.callbacks.wandb import WandBCallback
from hf_monitor.loggers.console import say
from hf_monitor.loggers.levels import INFO

__all__ = ["wandb_callback"]

log = logging.getLogger("hf_monitor")

_LOG_MODEL = {"checkpoint": "all", "end": "best"}
_WATCHED = ("gradients", "parameters", "all")


def wandb_callback(trainer: Any) -> WandBCallback | None:
    """Give the WandBCallback that is to tell W&B of a Trainer, None where W&B is not asked for.

    That of transformers is taken out, unless it does what ours cannot.
    """
    callbacks = trainer.callback_handler.callbacks
    speaks = trainer.state.is_world_process_zero
    ours: WandBCallback | None = next((one for one in callbacks if isinstance(one, WandBCallback)), None)
    kind = getattr(sys.modules.get("transformers.integrations.integration_utils"), "WandbCallback", ())
    theirs = [one for one in callbacks if isinstance(one, kind)]
    if ours is not None:
        ours.attended = True
    if not theirs:
        return ours
    if stays := _why_it_stays(theirs, kind):
        if ours is not None:
            ours.yields_to = "transformers"
        if speaks:
            log.warning(
                "hf_monitor: W&B is told by %s, not by hf_monitor: %s. The run folder has everything.",
                type(theirs[0]).__name__,
                stays,
            )
        return ours
    for one in theirs:
        callbacks.remove(one)
    if ours is not None:
        told = "WandBCallback tells W&B; transformers' own callback (report_to) is taken out"
    else:
        log_model = _LOG_MODEL.get(os.environ.get("WANDB_LOG_MODEL", "").lower())
        ours = WandBCallback(log_model=log_model)
        ours.attended = True
        trainer.add_callback(ours)
        told = "W&B is told by hf_monitor's WandBCallback, in the place of transformers' own (report_to)"
        told += f", log_model={log_model!r}" if log_model else ""
    if speaks:
        say(f"hf_monitor: {told}.", INFO)
    return ours


def _why_it_stays(theirs: list[Any], kind: Any) -> str:
    if any(type(one) is not kind for one in theirs):
        return "it is a class of its own, which may do more"
    watch = os.environ.get("WANDB_WATCH", "").lower()
    return f"WANDB_WATCH={watch} needs a run in the training's own process" if watch in _WATCHED else ""
