"""One failure policy: until a training begins we say what is wrong; from then on nothing of ours stops it."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from hf_monitor.callbacks._recorder import recorder_for, run_dir_for
from hf_monitor.callbacks._report import described, report_once

__all__ = ["guarded", "report_disk"]

log = logging.getLogger("hf_monitor")

_Event = TypeVar("_Event", bound=Callable[..., Any])


def report_disk(owner: Any, args: Any, error: OSError) -> None:
    """Say that a callback cannot write: once, together with all else that fails in the same run folder."""
    reported: set[str] = owner.__dict__.setdefault("_reported", set())
    if "disk" not in reported:
        reported.add("disk")
        recorder = owner.__dict__.get("_recorder") or recorder_for(run_dir_for(owner.run_dir, args))
        trouble = recorder.writer.trouble
        trouble.report(f"what {type(owner).__name__} records", error)


def guarded(event: _Event) -> _Event:
    """Make an event method of a callback unable to stop a training.

    What fails is reported once. A failing disk (:class:`OSError`; rows and ``run.json`` do not raise it, they wait) is
    tried again at the next event, since space may come back; anything else is a mistake of ours that would repeat, so
    the event is set aside until the next ``on_train_begin``, which is not guarded: there, before anything was computed,
    the user wants to know.
    """
    name = event.__name__

    @functools.wraps(event)
    def guard(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        if name in self.__dict__.get("_set_aside", ()):
            return None
        try:
            return event(self, args, state, control, **kwargs)
        except OSError as error:
            report_disk(self, args, error)
        except Exception as error:
            self.__dict__.setdefault("_set_aside", set()).add(name)
            report_once(
                self,
                name,
                f"{type(self).__name__}.{name} failed and is left out from here on, the training is not affected: "
                f"{described(error)}",
            )
            log.debug("hf_monitor: traceback", exc_info=True)
        return None

    return guard  # type: ignore[return-value]  # the same signature, wrapped
