"""Course: how a training goes by its rows, for the exit code that W&B is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["Course"]

_INTERRUPTED = 255  # wandb's own code after Ctrl-C


class Course:
    """Sees the rows of the mirrored attempts, in order.

    Attributes
    ----------
    has_ended : bool
        Whether the last training that began has come to its end.
    """

    def __init__(self) -> None:
        self._begun = False
        self._error: Mapping[str, Any] | None = None
        self._ended: Mapping[str, Any] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the last training that began has come to its end, in whatever way."""
        return self._ended is not None or self._error is not None

    def see(self, row: Mapping[str, Any]) -> None:
        """See a row."""
        if row.get("kind") != "event":
            return
        event = row.get("event")
        if event == "train_begin":
            self._begun, self._error, self._ended = True, None, None
        elif event == "train_end":
            self._ended = row
        elif event == "error":
            self._error = row

    def exit_code(self, *, orderly: bool) -> int:
        """Give 0 (finished), 255 (Ctrl-C) or 1.

        Parameters
        ----------
        orderly : bool
            Whether the process has said that it ends.
        """
        if self._error is not None:
            if self._error.get("type") == "KeyboardInterrupt":
                return _INTERRUPTED
            code = self._error.get("exit_code")
            return code if isinstance(code, int) and 0 <= code <= _INTERRUPTED else 1
        if self._ended is not None:
            return 1 if self._ended.get("stopped_by") else 0
        return 0 if orderly and not self._begun else 1
