"""What the event ``error`` of a run folder says of an error."""

from __future__ import annotations

import traceback
from typing import Any

from hf_monitor.run.secrets import SecretMask

__all__ = ["error_facts"]

_MOST_CHARACTERS = 20_000  # of a traceback


def error_facts(error: BaseException, mask: SecretMask) -> dict[str, Any]:
    """Give ``type``, ``message`` and ``traceback`` of an error, without secrets; the error itself is not held."""
    trace = mask.text("".join(traceback.format_exception(error)))
    text = str(traceback.TracebackException.from_exception(error))  # the error's own __str__ may fail
    return {"type": type(error).__name__, "message": mask.text(text)[:2000], "traceback": trace[-_MOST_CHARACTERS:]}
