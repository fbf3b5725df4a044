"""A spell in which a run folder cannot be written: said once, however many parts of the folder fail."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import monotonic

__all__ = ["Trouble", "reason_of"]

log = logging.getLogger("hf_monitor")

_QUIET_SECONDS = 60.0  # a nearly full disk comes and goes; nobody wants to hear of it every second


class Trouble:
    """The state that all who write into one run folder share.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    since : float or None
        When the spell began, by :func:`time.monotonic`; None where there is none.
    reason : str
        What the operating system said first.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.since: float | None = None
        self.reason = ""
        self._quiet_until = 0.0
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """Take a new lock: in a forked child, where whoever held the old one is not there to give it back."""
        self._lock = threading.Lock()

    def report(self, part: str, error: OSError, *, lasting: bool = False) -> None:
        """Say that a part of the folder (``train.log``) cannot be written, unless that is known.

        Parameters
        ----------
        part : str
        error : OSError
        lasting : bool
            Whether a spell begins, which goes on until :meth:`end`.
        """
        reason = reason_of(error)
        self.say(
            f"{part} cannot be written in {str(self.folder)!r}: {reason}. The training goes on; rows and lines of the "
            "log wait in memory and are tried again.",
            reason,
            lasting=lasting,
        )

    def say(self, message: str, reason: str, *, lasting: bool) -> bool:
        """Log a warning about the folder, the first one of a spell; the others, one a second maybe, as DEBUG.

        Returns
        -------
        bool
            Whether it was a warning.
        """
        now = monotonic()
        with self._lock:
            known = self.since is not None or now < self._quiet_until
            if lasting and self.since is None:
                self.since, self.reason = now, reason
            if not known:
                self._quiet_until = now + _QUIET_SECONDS
        log.log(logging.DEBUG if known else logging.WARNING, "hf_monitor: %s", message)
        return not known

    def end(self) -> float:
        """End the spell; give how many seconds it took."""
        now = monotonic()
        with self._lock:
            since, self.since = self.since, None
            self._quiet_until = now + _QUIET_SECONDS
        return 0.0 if since is None else now - since


def reason_of(error: OSError) -> str:
    """Give what the operating system said."""
    if error.strerror is None and isinstance(error.__cause__, OSError):  # wrapped by us
        error = error.__cause__
    return error.strerror or str(error)
